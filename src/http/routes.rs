//! Every operation, in one table that builds the router and can be compared with `openapi.yaml`.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, head, post, put};
use tower_http::catch_panic::CatchPanicLayer;

use super::layers::{self, Pace};
use super::{
    State as App, api_keys, artifacts, auth, capabilities, compare, dashboard, datasets, frontier, jobs, metrics,
    models, operations, ready, recipes, tensors, uploads, usage, workers,
};

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// In lower case, as in the document.
    pub method: &'static str,
    /// With `{parameters}`, as in the document.
    pub path: &'static str,
    /// Its `operationId`.
    pub operation_id: &'static str,
}

macro_rules! routes {
    ($($method:ident $path:literal $operation_id:literal $pace:ident $handler:path;)*) => {
        /// Every operation.
        pub const ROUTES: &[Route] =
            &[$(Route { method: stringify!($method), path: $path, operation_id: $operation_id },)*];

        fn table(app: &App) -> Router<App> {
            let limit = app.limits.request;
            Router::new()$(.route(
                $path,
                $method($handler).route_layer(from_fn_with_state((Pace::$pace, limit), layers::limit_time)),
            ))*
        }
    };
}

routes! {
    post "/v1/models/files"                 "uploadModel"         Stream models::upload;
    get  "/v1/models"                       "listModels"          Quick  models::list;
    post "/v1/models"                       "createModel"         Quick  models::create;
    get  "/v1/models/{model_id}"            "getModel"            Quick  models::find;
    delete "/v1/models/{model_id}"          "deleteModel"         Quick  models::delete;
    get  "/v1/models/{model_id}/tensors"    "listTensors"         Quick  tensors::list;
    get  "/v1/models/{model_id}/frontier"   "getFrontier"         Quick  frontier::show;
    post "/v1/datasets/files"               "uploadDataset"       Stream datasets::upload;
    get  "/v1/datasets"                     "listDatasets"        Quick  datasets::list;
    post "/v1/datasets"                     "createDataset"       Quick  datasets::create;
    get  "/v1/datasets/{dataset_id}"        "getDataset"          Quick  datasets::find;
    delete "/v1/datasets/{dataset_id}"      "deleteDataset"       Quick  datasets::delete;
    post "/v1/uploads"                      "createUpload"        Quick  uploads::create;
    get  "/v1/uploads/{upload_id}"          "getUpload"           Quick  uploads::find;
    delete "/v1/uploads/{upload_id}"        "cancelUpload"        Quick  uploads::cancel;
    put  "/v1/uploads/{upload_id}/parts/{number}" "uploadPart"    Stream uploads::put_part;
    put  "/v1/uploads/{upload_id}/content"  "uploadContent"       Stream uploads::put_content;
    post "/v1/uploads/{upload_id}/complete" "completeUpload"      Stream uploads::complete;
    get  "/v1/recipes"                      "listRecipes"         Quick  recipes::list;
    post "/v1/recipes"                      "createRecipe"        Quick  recipes::create;
    get  "/v1/recipes/{name}"               "getRecipe"           Quick  recipes::find;
    get  "/v1/capabilities"                 "getCapabilities"     Quick  capabilities::show;
    get  "/v1/jobs"                         "listJobs"            Quick  jobs::list;
    post "/v1/jobs"                         "createJob"           Quick  jobs::submit;
    get  "/v1/jobs/{job_id}"                "getJob"              Quick  jobs::find;
    delete "/v1/jobs/{job_id}"              "deleteJob"           Quick  jobs::delete;
    post "/v1/jobs/{job_id}/cancel"         "cancelJob"           Quick  jobs::cancel;
    post "/v1/jobs/{job_id}/retry"          "retryJob"            Quick  jobs::retry;
    get  "/v1/jobs/{job_id}/events"         "listJobEvents"       Quick  jobs::events;
    get  "/v1/jobs/{job_id}/events/stream"  "streamJobEvents"     Stream jobs::stream;
    get  "/v1/jobs/{job_id}/report"         "getJobReport"        Quick  jobs::report;
    get  "/v1/jobs/{job_id}/report.html"    "getJobReportPage"    Quick  jobs::report_page;
    get  "/v1/jobs/{job_id}/artifacts"      "listJobArtifacts"    Quick  jobs::artifacts;
    get  "/v1/jobs/{job_id}/artifacts.tar"  "downloadArtifacts"   Stream jobs::archive;
    get  "/v1/compare"                      "compareJobs"         Quick  compare::show;
    get  "/v1/artifacts/{artifact_id}/content" "downloadArtifact" Stream artifacts::content;
    head "/v1/artifacts/{artifact_id}/content" "checkArtifact"    Quick  artifacts::content;
    get  "/v1/workers"                      "listWorkers"         Quick  workers::list;
    get  "/v1/usage"                        "getUsage"            Quick  usage::show;
    get  "/v1/api-keys"                     "listApiKeys"         Quick  api_keys::list;
    post "/v1/api-keys"                     "createApiKey"        Quick  api_keys::create;
    get  "/v1/api-keys/{key_id}"            "getApiKey"           Quick  api_keys::find;
    delete "/v1/api-keys/{key_id}"          "revokeApiKey"        Quick  api_keys::revoke;
    get  "/healthz"                         "getHealth"           Quick  operations::health;
    get  "/readyz"                          "getReadiness"        Quick  ready::show;
    get  "/metrics"                         "getMetrics"          Quick  metrics::show;
    get  "/openapi.yaml"                    "getOpenapiYaml"      Quick  operations::openapi_yaml;
    get  "/openapi.json"                    "getOpenapiJson"      Quick  operations::openapi_json;
    get  "/docs"                            "getDocs"             Quick  operations::docs;
}

/// The server without a socket. The first layer here is the innermost.
pub fn router(app: App) -> Router {
    let guard = from_fn_with_state(app.clone(), auth::check);
    table(&app)
        .merge(operations::docs_files())
        .merge(dashboard::router(&app))
        .fallback(dashboard::missing)
        .layer(DefaultBodyLimit::disable())
        .layer(guard)
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::finish))
        .with_state(app)
}
