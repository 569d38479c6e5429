//! What watches the process: metrics and health checks, without a token and without any object.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use rutter_store::Writable;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::sources::folder::FolderHandle;

/// Returns the service of the monitoring address.
pub(super) fn router(
    metrics: Arc<Metrics>,
    writable: watch::Receiver<Writable>,
    folder: Option<FolderHandle>,
) -> Router {
    Router::new()
        .route("/metrics", get(move || async move { metrics.text() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |RawQuery(query)| async move { readiness(query.as_deref(), &writable, folder) }))
        .fallback(not_found)
}

/// Returns the answer of `/readyz`, which can be had only while sidecars are served. `?verbose` tells of the parts.
fn readiness(query: Option<&str>, writable: &watch::Receiver<Writable>, folder: Option<FolderHandle>) -> String {
    if query != Some("verbose") {
        return "ok\n".into();
    }
    let store = match &*writable.borrow() {
        Writable::Yes => "ok".to_owned(),
        Writable::No(reason) => format!("read-only: {reason}"),
    };
    let folder = folder.map(|folder| format!("folder: {}\n", folder.status().summary())).unwrap_or_default();
    format!("xds: ok\nstore: {store}\n{folder}")
}

async fn not_found(request: Request) -> Response {
    let text = format!("{}: not found (want /metrics, /healthz or /readyz)\n", request.uri().path());
    (StatusCode::NOT_FOUND, text).into_response()
}
