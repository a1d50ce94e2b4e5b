//! What an operator or a client's author asks: is it alive, what is the contract.

use std::sync::LazyLock;

use axum::Json;
use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde::Serialize;
use swagger_ui_dist::{ApiDefinition, OpenApiSource};

use super::State as App;
use super::error::{Error, Result};

/// The contract.
pub const OPENAPI_YAML: &str = include_str!("../../openapi.yaml");

/// The same as JSON; `None` where the YAML can't be read, which a test excludes.
static OPENAPI_JSON: LazyLock<Option<String>> = LazyLock::new(|| {
    let document: serde_json::Value = serde_saphyr::from_str(OPENAPI_YAML).ok()?;
    serde_json::to_string(&document).ok()
});

/// Swagger UI sets styles by script; everything comes from here.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

const DOCS_PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pare: the HTTP interface</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

const DOCS_SCRIPT: &str =
    "window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', validatorUrl: null });\n";

/// Alive.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
}

/// `GET /healthz`: the process answers.
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /openapi.yaml`
pub(super) async fn openapi_yaml() -> Response {
    ([(CONTENT_TYPE, "application/yaml")], OPENAPI_YAML).into_response()
}

/// `GET /openapi.json`
pub(super) async fn openapi_json() -> Result<Response> {
    let text = OPENAPI_JSON.as_deref().ok_or_else(|| Error::internal("openapi.yaml can't be read"))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// `GET /docs`
pub(super) async fn docs() -> Response {
    ([(CONTENT_SECURITY_POLICY, DOCS_POLICY)], Html(DOCS_PAGE)).into_response()
}

/// The files that the page loads.
pub(super) fn docs_files() -> Router<App> {
    let assets = ApiDefinition {
        uri_prefix: "/docs/assets",
        api_definition: OpenApiSource::Uri("/openapi.json"),
        title: Some("pare"),
    };
    let script = || async { ([(CONTENT_TYPE, "text/javascript")], DOCS_SCRIPT) };
    Router::new()
        .merge(swagger_ui_dist::generate_routes(assets).with_state(()))
        .route("/docs/start.js", axum::routing::get(script))
}
