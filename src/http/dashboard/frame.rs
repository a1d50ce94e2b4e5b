//! What every page has around it, and how a page becomes a response.

use askama::Template;
use axum::Extension;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::assets::ASSETS;
use crate::http::error::{Detail, Document, Error, Result};
use crate::http::layers::Written;

/// The head of a page, and where it stands in the navigation.
pub(super) struct Frame {
    pub(super) title: String,
    /// The path in the navigation that it belongs to.
    pub(super) current: &'static str,
    /// Whether something on it is on its way, so that it is worth looking again.
    pub(super) is_live: bool,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) icon: &'static str,
}

/// Where the navigation leads.
const PLACES: &[(&str, &str)] = &[
    ("/models", "Models"),
    ("/datasets", "Datasets"),
    ("/jobs", "Jobs"),
    ("/recipes", "Recipes"),
    ("/workers", "Workers"),
];

impl Frame {
    /// A page of that title below `current`.
    pub(super) fn new(title: impl Into<String>, current: &'static str) -> Self {
        Self {
            title: title.into(),
            current,
            is_live: false,
            style: &ASSETS.style.path,
            script: &ASSETS.script.path,
            icon: &ASSETS.icon.path,
        }
    }

    /// Marks a page that shows something on its way.
    pub(super) fn live(mut self, is_live: bool) -> Self {
        self.is_live = is_live;
        self
    }

    /// `(path, name, whether it is this page's)`
    pub(super) fn places(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        PLACES.iter().map(|(path, name)| (*path, *name, *path == self.current))
    }
}

/// A page.
pub(super) fn page(template: &impl Template) -> Result<Response> {
    page_with(StatusCode::OK, template)
}

/// A page with a status of its own.
pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Result<Response> {
    let text = template.render().map_err(Error::internal)?;
    Ok((status, Extension(Written), Html(text)).into_response())
}

/// Where the browser goes after a form was taken.
pub(super) fn see(path: &str) -> Response {
    axum::response::Redirect::to(path).into_response()
}

/// A refusal.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    problem: &'a Document,
}

/// The page of a refusal.
pub(super) fn problem(problem: &Document) -> String {
    let title = if problem.status == 404 { "Not found" } else { problem.title.as_str() };
    let page = ProblemPage { frame: Frame::new(title, ""), problem };
    // the template writes to a text, which can't fail
    page.render().unwrap_or_default()
}

/// What is wrong with a form.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// What came of it.
    pub(super) title: &'static str,
    /// Every problem.
    pub(super) list: Vec<Detail>,
}

impl Problems {
    /// Those of a refusal that the form's owner can mend; other refusals are passed on.
    pub(super) fn of(title: &'static str, error: Error) -> Result<(StatusCode, Self)> {
        let document = error.document("");
        let status = StatusCode::from_u16(document.status).unwrap_or(StatusCode::BAD_REQUEST);
        if !status.is_client_error() {
            return Err(error);
        }
        let whole = Detail { pointer: String::new(), code: document.code, detail: document.detail };
        let list = if document.errors.is_empty() { vec![whole] } else { document.errors };
        Ok((status, Self { title, list }))
    }

    /// The texts of those at a pointer, or below it.
    pub(super) fn at(&self, pointer: &str) -> Vec<String> {
        self.list.iter().filter(|one| is_below(&one.pointer, pointer)).map(|one| one.detail.clone()).collect()
    }

    /// Those that stand at none of these pointers.
    pub(super) fn beside(&self, pointers: &[&str]) -> Vec<Detail> {
        let has_field = |one: &Detail| pointers.iter().any(|pointer| is_below(&one.pointer, pointer));
        self.list.iter().filter(|one| !has_field(one)).cloned().collect()
    }
}

fn is_below(pointer: &str, parent: &str) -> bool {
    pointer.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
