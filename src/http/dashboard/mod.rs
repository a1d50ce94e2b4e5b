//! The dashboard: pages for people, drawn here, that work without a script. One file a page, its template beside.
//!
//! It is no part of the contract in `openapi.yaml`. It asks the same functions as the JSON handlers do; its forms post
//! and redirect; a script adds live progress and copying, and nothing that could not be done without.

mod assets;
mod bars;
mod choices;
mod dataset;
mod datasets;
mod form;
mod frame;
mod frontier;
mod frontier_plot;
mod home;
mod job;
mod job_log;
mod job_row;
mod jobs;
mod measure;
mod model;
mod models;
mod new_job;
mod plan;
mod recipes;
mod results;
mod sensitivity;
mod show;
mod tensors;
mod upload_form;
mod workers;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::error::Error;
use super::layers::{AsPage, Pace, limit_time};
use super::{State as Server, code};

/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Every page and what its forms post to. A layer that asks who is there belongs around [`pages`]; assets are for all.
pub(super) fn router(server: &Server) -> Router<Server> {
    pages(server).merge(assets())
}

fn pages(server: &Server) -> Router<Server> {
    let quick = Router::new()
        .route("/", get(home::show))
        .route("/models", get(models::list))
        .route("/models/{model_id}", get(model::show))
        .route("/models/{model_id}/delete", post(model::delete))
        .route("/datasets", get(datasets::list))
        .route("/datasets/{dataset_id}", get(dataset::show))
        .route("/datasets/{dataset_id}/delete", post(dataset::delete))
        .route("/jobs", get(jobs::list).post(new_job::start))
        .route("/jobs/new", get(new_job::show))
        .route("/jobs/{job_id}", get(job::show))
        .route("/jobs/{job_id}/cancel", post(job::cancel))
        .route("/jobs/{job_id}/retry", post(job::retry))
        .route("/recipes", get(recipes::list))
        .route("/workers", get(workers::list))
        .route_layer(from_fn_with_state((Pace::Quick, server.limits.request), limit_time));
    let uploads = Router::new().route("/models", post(models::upload)).route("/datasets", post(datasets::upload));
    quick.merge(uploads).layer(CsrfLayer::new().with_rejection_response(refuse_site)).layer(from_fn(as_pages))
}

fn assets() -> Router<Server> {
    Router::new().route("/assets/{name}", get(assets::find))
}

/// A form that another site sent.
fn refuse_site(_: ProtectionError) -> Response {
    Error::new(code::CROSS_SITE, "this form was sent by a page of another site; open ours and send it from there")
        .into_response()
}

/// The headers of pages; refusals become pages too.
async fn as_pages(request: Request, next: Next) -> Response {
    mark(next.run(request).await)
}

fn mark(mut response: Response) -> Response {
    response.extensions_mut().insert(AsPage(frame::problem));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // forms must say where they come from, or their Origin would be null
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What has no route: a page for a browser, a problem document for other clients.
pub(super) async fn missing(method: Method, headers: HeaderMap, uri: http::Uri) -> Response {
    let response = Error::not_found(format_args!("page {}", uri.path())).into_response();
    let wants_page = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|v| v.contains("text/html"));
    if method == Method::GET && wants_page && !uri.path().starts_with("/v1/") { mark(response) } else { response }
}
