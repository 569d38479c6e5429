//! The admin API: config in and out, and what was sent to whom.

mod csds;
mod show;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::routing::get;
use rutter_api::config::{APPLY_BYTES_MAX, Object};
use rutter_api::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ConfigKey, Kind};
use rutter_store::{CommitError, ConfigStore, Expected, Owner, Write};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::app::stopped;
use crate::engine::EngineHandle;
use crate::folder::parse;
use crate::metrics::Metrics;
use crate::registry::{Registry, StreamHandle};

/// Between two looks at the streams while somebody waits for their answers: at first, and at last.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// The longest wait for answers.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Faults of one apply that are listed.
const FAULTS_MAX: usize = 20;

/// The admin service.
#[derive(Clone)]
pub(crate) struct AdminServer {
    pub(crate) store: Arc<dyn ConfigStore>,
    pub(crate) engine: EngineHandle,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves gRPC, metrics and health on one address.
pub(crate) async fn serve(socket: TcpListener, server: AdminServer, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let metrics = server.metrics.clone();
    // Room for the envelope around the largest apply, so that its own limit is what is told.
    let status = ClientStatusDiscoveryServiceServer::new(csds::ClientStatus {
        registry: server.registry.clone(),
        stop: stop.clone(),
    });
    let service = pb::admin_server::AdminServer::new(server).max_decoding_message_size(APPLY_BYTES_MAX * 2);
    let router = tonic::service::Routes::new(service)
        .add_service(status)
        .into_axum_router()
        .route("/metrics", get(move || async move { metrics.text() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }));
    axum::serve(socket, router).with_graceful_shutdown(stopped(stop)).await.context("serving the admin API")
}

#[tonic::async_trait]
impl pb::admin_server::Admin for AdminServer {
    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Result<Response<pb::ApplyResponse>, Status> {
        let request = request.into_inner();
        let result = self.try_apply(request).await;
        if result.is_err() {
            self.metrics.rejected.inc();
        }
        result.map(Response::new)
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "all" => None,
            word => Some(kind_of(word)?),
        };
        let wanted = |key: &ConfigKey| {
            kind.is_none_or(|kind| kind == key.kind)
                && (request.namespace.is_empty() || !key.kind.is_namespaced() || *key.namespace == *request.namespace)
                && (request.name.is_empty() || *key.name == *request.name)
        };
        let (revision, all) = self.store.list(&wanted).await.map_err(|error| Status::internal(error.to_string()))?;
        let object = |one| show::object(one, &self.registry.refusals_of(&one.key));
        let objects: Vec<pb::Object> = all.iter().map(object).collect();
        if objects.is_empty() && !request.name.is_empty() {
            return Err(Status::not_found(format!(
                "{} {}/{}: not found",
                request.kind, request.namespace, request.name
            )));
        }
        Ok(Response::new(pb::GetResponse { objects, revision }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Result<Response<pb::DeleteResponse>, Status> {
        let keys = request.into_inner().keys;
        let writes = keys.iter().map(|key| {
            let key = ConfigKey::new(kind_of(&key.kind)?, &key.namespace, &key.name);
            Ok(Write { key, json: None, owner: Owner::Api, expected: Expected::Any })
        });
        let writes = writes.collect::<Result<_, Status>>()?;
        let revision = self.commit(writes).await?;
        Ok(Response::new(pb::DeleteResponse { revision }))
    }

    async fn proxy_status(
        &self,
        _: Request<pb::ProxyStatusRequest>,
    ) -> Result<Response<pb::ProxyStatusResponse>, Status> {
        let mut sidecars = Vec::new();
        for handle in self.registry.all() {
            sidecars.push(show::sidecar(&handle, &self.engine).await);
        }
        let revision = *self.engine.applied().borrow();
        Ok(Response::new(pb::ProxyStatusResponse { sidecars, revision }))
    }

    async fn proxy_config(
        &self,
        request: Request<pb::ProxyConfigRequest>,
    ) -> Result<Response<pb::ProxyConfigResponse>, Status> {
        let request = request.into_inner();
        let kinds = show::kinds(&request.r#type)?;
        let handle = self.find(&request.sidecar)?;
        let resources = handle.ask(move |stream| show::resources(stream, &kinds)).await;
        let resources = resources
            .ok_or_else(|| Status::unavailable(format!("{}: its stream does not answer", handle.node.id())))?;
        Ok(Response::new(pb::ProxyConfigResponse { resources, sidecar: handle.node.id() }))
    }

    async fn pushes(&self, request: Request<pb::PushesRequest>) -> Result<Response<pb::PushesResponse>, Status> {
        let request = request.into_inner();
        let handles = if request.sidecar.is_empty() { self.registry.all() } else { vec![self.find(&request.sidecar)?] };
        let mut pushes = Vec::new();
        for handle in handles {
            let (id, since) = (handle.node.id(), request.since_revision);
            let of_stream = handle.ask(move |stream| show::pushes(stream, &id, since)).await;
            pushes.extend(of_stream.unwrap_or_default());
        }
        Ok(Response::new(pb::PushesResponse { pushes }))
    }

    async fn wait_for_ack(
        &self,
        request: Request<pb::WaitForAckRequest>,
    ) -> Result<Response<pb::WaitForAckResponse>, Status> {
        let request = request.into_inner();
        let end = Instant::now() + Duration::from_millis(u64::from(request.timeout_ms)).min(WAIT_MAX);
        let mut applied = self.engine.applied();
        let is_applied = async { applied.wait_for(|revision| *revision >= request.revision).await.is_ok() };
        let is_applied = tokio::time::timeout_at(end.into(), is_applied).await.unwrap_or(false);
        let mut response = pb::WaitForAckResponse::default();
        let mut pause = LOOK_EVERY.0;
        loop {
            let late = Instant::now() >= end;
            response.waiting.clear();
            response.refused.clear();
            for handle in self.registry.all() {
                match handle.ask(show::settled).await {
                    Some(show::Settled { settled: true, refused: false }) => {}
                    Some(show::Settled { settled: true, refused: true }) => response.refused.push(handle.node.id()),
                    Some(show::Settled { settled: false, .. }) | None => response.waiting.push(handle.node.id()),
                }
            }
            if late || response.waiting.is_empty() && is_applied {
                return Ok(Response::new(response));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_EVERY.1);
        }
    }
}

impl AdminServer {
    async fn try_apply(&self, request: pb::ApplyRequest) -> Result<pb::ApplyResponse, Status> {
        let size: usize = request.sources.iter().map(|source| source.text.len()).sum();
        if size > APPLY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "want at most {APPLY_BYTES_MAX} bytes in one apply, got {size}"
            )));
        }
        let objects = read_sources(&request)?;
        let mut response = pb::ApplyResponse::default();
        for object in &objects {
            let old = self.store.get(&object.config.key).await.map_err(|error| Status::internal(error.to_string()))?;
            let action = match old {
                None => pb::applied::Action::Created,
                Some(old) if old.json == object.json => pb::applied::Action::Unchanged,
                Some(_) => pb::applied::Action::Configured,
            };
            response.applied.push(pb::Applied { key: Some(show::key(&object.config.key)), action: action as i32 });
        }
        let checked = self.engine.check(objects.iter().map(|object| object.config.clone()).collect()).await;
        if !checked.faults.is_empty() {
            let faults: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
            return Err(Status::invalid_argument(faults.join("\n")));
        }
        response.warnings = checked.warnings;
        let latest = *self.store.latest().borrow();
        response.revision =
            if request.dry_run { latest } else { self.commit(objects.into_iter().map(write).collect()).await? };
        info!(objects = response.applied.len(), revision = response.revision, dry_run = request.dry_run, "applied");
        Ok(response)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<u64, Status> {
        self.store.commit(writes).await.map_err(|error| match &error {
            CommitError::Conflict { .. } => Status::aborted(error.to_string()),
            CommitError::Owned { .. } => Status::failed_precondition(error.to_string()),
            CommitError::NotFound(_) => Status::not_found(error.to_string()),
            CommitError::Failed(_) => Status::unavailable(error.to_string()),
        })
    }

    /// The stream of a sidecar, by its name or a beginning that only one has. Of several connections the latest.
    fn find(&self, name: &str) -> Result<StreamHandle, Status> {
        let all = self.registry.all();
        let ids: BTreeSet<String> =
            all.iter().map(|handle| handle.node.id()).filter(|id| id.starts_with(name)).collect();
        let id = match &ids.iter().collect::<Vec<_>>()[..] {
            [one] => (*one).clone(),
            _ if ids.contains(name) => name.to_owned(),
            [] => {
                return Err(Status::not_found(format!(
                    "{name}: no such sidecar is connected (see rutterctl proxy-status)"
                )));
            }
            many => {
                let names: Vec<&str> = many.iter().map(|id| id.as_str()).collect();
                return Err(Status::invalid_argument(format!("{name}: want one sidecar, got {}", names.join(", "))));
            }
        };
        let latest = all.into_iter().filter(|handle| handle.node.id() == id).max_by_key(|handle| handle.since);
        latest.ok_or_else(|| Status::not_found(id))
    }
}

fn read_sources(request: &pb::ApplyRequest) -> Result<Vec<Object>, Status> {
    let namespace = Some(request.default_namespace.as_str()).filter(|name| !name.is_empty()).unwrap_or("default");
    let mut objects: Vec<Object> = Vec::new();
    let mut faults = Vec::new();
    for source in &request.sources {
        let text = match std::str::from_utf8(&source.text) {
            Ok(text) => text,
            Err(error) => {
                faults.push(format!("{}: want UTF-8, got another byte at {}", source.name, error.valid_up_to()));
                continue;
            }
        };
        match parse(text, namespace) {
            Ok(more) => objects.extend(more),
            Err(more) => faults.extend(more.into_iter().map(|fault| format!("{}: {fault}", source.name))),
        }
    }
    let mut seen = BTreeSet::new();
    faults.extend(
        objects
            .iter()
            .filter(|one| !seen.insert(&one.config.key))
            .map(|one| format!("{}: want each object once, got it twice", one.config.key)),
    );
    if objects.is_empty() && faults.is_empty() {
        faults.push("want at least one object, got none".to_owned());
    }
    if faults.is_empty() {
        return Ok(objects);
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    if more > 0 {
        faults.push(format!("… and {more} more"));
    }
    Err(Status::invalid_argument(faults.join("\n")))
}

fn write(object: Object) -> Write {
    let expected = object.resource_version.map_or(Expected::Any, Expected::Revision);
    Write { key: object.config.key.clone(), json: Some(object.json), owner: Owner::Api, expected }
}

fn kind_of(word: &str) -> Result<Kind, Status> {
    Kind::from_word(word).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        Status::invalid_argument(format!("{word:?}: want one of {}", names.join(", ")))
    })
}
