//! What can be held against the document without a server, and the outermost layers without one.

use axum::body::{Body, to_bytes};
use axum::middleware::from_fn;
use axum::routing::get;
use http::{Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Document, api_keys, datasets, frontier, jobs, layers, models, ready, recipes, uploads, usage, workers};

fn document() -> Value {
    serde_saphyr::from_str(super::OPENAPI_YAML).unwrap()
}

fn parses<T: DeserializeOwned>(document: &Value, schema: &str) {
    let example = document["components"]["schemas"][schema]["example"].clone();
    assert!(example.is_object(), "{schema} has no example");
    if let Err(error) = serde_json::from_value::<T>(example) {
        panic!("{schema}: {error}");
    }
}

#[test]
fn the_documents_examples_are_what_we_send() {
    let document = document();
    parses::<models::Shown>(&document, "Model");
    parses::<datasets::Shown>(&document, "Dataset");
    parses::<uploads::Shown>(&document, "Upload");
    parses::<recipes::Shown>(&document, "NamedRecipe");
    parses::<jobs::Shown>(&document, "Job");
    parses::<frontier::Shown>(&document, "Frontier");
    parses::<usage::Shown>(&document, "Usage");
    parses::<workers::Shown>(&document, "Worker");
    parses::<api_keys::Shown>(&document, "ApiKey");
    parses::<ready::Readiness>(&document, "Readiness");
    parses::<Document>(&document, "Problem");
}

#[test]
fn the_documents_examples_are_what_we_take() {
    let document = document();
    let example =
        |path: &str| document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"].clone();
    jobs::Request::parse(&example("/v1/jobs")).unwrap();
    recipes::read(&example("/v1/recipes")).unwrap();
    api_keys::read(&example("/v1/api-keys")).unwrap();
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_no_cause() {
    async fn boom() -> StatusCode {
        panic!("the secret is 42")
    }
    let router = axum::Router::new()
        .route("/boom", get(boom))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::finish));
    let request = Request::get("/boom").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let problem: Document = serde_json::from_slice(&body).unwrap();
    assert_eq!((problem.code.as_str(), problem.request_id.as_str()), ("internal_error", "mine-1"));
    assert!(!String::from_utf8_lossy(&body).contains("secret"));
}
