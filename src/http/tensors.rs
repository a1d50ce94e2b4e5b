//! A model's tensors, from the header that its validation left: no weight is read.

use axum::Json;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{StatusCode, Uri};
use serde::Serialize;
use uuid::Uuid;

use super::error::{Detail, Error, Result};
use super::extract::{Id, Params};
use super::page::{List, Page};
use super::{App, code};
use crate::db;
use crate::db::models::Model;
use crate::engine::model::site::SiteGlob;
use crate::engine::model::{Dtype, ModelHeader, TensorInfo};
use crate::engine::problem::Code;
use crate::id::ModelId;

/// The longest prefix that is looked for.
const PREFIX_CHARS: usize = 256;

/// A tensor as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct Tensor {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    dtype: Dtype,
    shape: Vec<usize>,
    size_bytes: u64,
    file: String,
}

impl From<TensorInfo> for Tensor {
    fn from(tensor: TensorInfo) -> Self {
        Self {
            name: tensor.name,
            site: tensor.site,
            dtype: tensor.dtype,
            shape: tensor.shape,
            size_bytes: tensor.bytes,
            file: tensor.file,
        }
    }
}

/// Which tensors.
struct Filter<'a> {
    site: Option<SiteGlob>,
    name_prefix: Option<&'a str>,
}

impl<'a> Filter<'a> {
    fn of(params: &'a Params) -> Result<Self> {
        let glob =
            |text: &str| SiteGlob::new(text).map_err(|why| Params::refuse("site", text, &format!("a glob ({why})")));
        let site = params.get("site").map(glob).transpose()?;
        let name_prefix = params.get("name_prefix");
        if let Some(long) = name_prefix.filter(|prefix| prefix.chars().count() > PREFIX_CHARS) {
            return Err(Params::refuse("name_prefix", long, &format!("a text of at most {PREFIX_CHARS} characters")));
        }
        Ok(Self { site, name_prefix })
    }

    fn contains(&self, tensor: &TensorInfo) -> bool {
        let is_site = |glob: &SiteGlob| tensor.site.as_deref().is_some_and(|site| glob.is_match(site));
        self.site.as_ref().is_none_or(is_site) && self.name_prefix.is_none_or(|prefix| tensor.name.starts_with(prefix))
    }
}

/// `GET /v1/models/{id}/tensors`: in the order of their names.
pub(super) async fn list(app: App, Id(id): Id<ModelId>, uri: Uri) -> Result<Json<List<Tensor>>> {
    let params = Params::of(&uri, &["site", "name_prefix", "limit", "cursor"])?;
    let page = Page::of(&params)?;
    let filter = Filter::of(&params)?;
    let model = db::models::find(&app.pool, app.tenant, id).await?;
    let header = header(model.ok_or_else(|| Error::not_found(format_args!("model {id}")))?)?;
    // a cursor is a tensor's place in the shape of an id
    let place = |index: usize| Uuid::from_u128(index as u128);
    let from =
        page.before.map_or(0, |id| usize::try_from(id.as_u128()).map_or(usize::MAX, |index| index.saturating_add(1)));
    let mut tensors = header.tensors;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = tensors.into_iter().enumerate().skip(from).filter(|(_, tensor)| filter.contains(tensor));
    let rows: Vec<_> = rows.take(page.filter().limit as usize).collect();
    Ok(Json(page.list(rows, |(index, _)| place(*index), |(_, tensor)| Tensor::from(tensor))))
}

/// What a ready model's files say.
fn header(model: Model) -> Result<ModelHeader> {
    if let Some(header) = model.header {
        return Ok(header);
    }
    let id = model.id;
    let Some(first) = model.errors.first() else {
        let detail = format!("model {id} is still validating: ask again when it is ready");
        return Err(Error::new(code::NOT_READY, detail).with_header(RETRY_AFTER, HeaderValue::from_static("1")));
    };
    let detail = format!("model {id} is invalid, so it has no tensors to show: {first}");
    Err(Error::problems(StatusCode::CONFLICT, vec![Detail::new("", Code::ModelInvalid, detail)]))
}
