//! The service that `rutterctl` uses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt;
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{Config, ConfigKey, LabelSelector, ResourceType, brief};
use rutter_core::ConfigChange;
use rutter_store::{CommitError, ConfigStore, ConfigWrite, Difference, Owner, StoreError, Stored};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};
use tracing::info;

use super::apply::{Sources, deletion, read_sources, write};
use super::caller::Caller;
use super::changes::{Changes, changes};
use super::objects::Display;
use super::sidecars::{self, Progress, count};
use super::wanted::{Wanted, kind_of};
use super::{analyze, backup, describe, explain, folder, history, impact, objects, top, trace, warnings};
use crate::certificates;
use crate::engine::{Branch, EngineHandle};
use crate::metrics::Metrics;
use crate::sealing::Sealer;
use crate::shutdown::stopped;
use crate::sources::folder::FolderHandle;
use crate::streams::{OpenStreams, StreamHandle};

/// The first pause between two looks at the streams while somebody waits for their answers. It doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// The longest wait for answers.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The turns of those who look at a branch of the mesh at length. What a branch alters is in memory twice.
static ANALYSES: Semaphore = Semaphore::const_new(2);
/// The turns of changes, which do not wait for those.
static CHANGES: Semaphore = Semaphore::const_new(2);

/// The admin service, which `rutterctl` uses: config goes in and comes out, and the state of the sidecars is shown.
#[derive(Clone)]
pub(crate) struct AdminServer {
    pub(crate) store: Arc<dyn ConfigStore>,
    pub(crate) engine: EngineHandle,
    pub(crate) streams: OpenStreams,
    pub(crate) metrics: Arc<Metrics>,
    /// The watched folder. `None` means that none is watched.
    pub(crate) folder: Option<FolderHandle>,
    pub(crate) sealer: Arc<Sealer>,
    /// Turns true when the process ends.
    pub(crate) stop: watch::Receiver<bool>,
}

/// A call that changes config.
struct Call {
    caller: Arc<str>,
    name: &'static str,
    dry_run: bool,
}

impl Call {
    /// Leaves a line in the log of who did what, or was refused what.
    fn audit(&self, result: &Result<pb::ApplyResponse, Status>) {
        let Self { caller, name, dry_run } = self;
        match result {
            Ok(response) => {
                let (revision, objects) = (response.revision, objects::names(&response.applied));
                info!(target: "audit", by = %caller, call = name, dry_run, revision, objects, "done");
            }
            Err(status) => {
                let error = brief(status.message());
                info!(target: "audit", by = %caller, call = name, dry_run, error, "refused");
            }
        }
    }
}

#[tonic::async_trait]
impl pb::admin_server::Admin for AdminServer {
    type BackupStream = backup::Chunks;
    type WatchStream = Changes;

    async fn folder_status(
        &self,
        _: Request<pb::FolderStatusRequest>,
    ) -> Result<Response<pb::FolderStatusResponse>, Status> {
        Ok(Response::new(folder::status(&self.watched()?.status())))
    }

    async fn folder_confirm(
        &self,
        _: Request<pb::FolderConfirmRequest>,
    ) -> Result<Response<pb::FolderConfirmResponse>, Status> {
        let confirmed = self.watched()?.confirm().await;
        let confirmed = confirmed.ok_or_else(|| Status::unavailable("the folder is no longer watched"))?;
        Ok(Response::new(folder::confirmed(confirmed)))
    }

    async fn backup(&self, _: Request<pb::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let listing = self.store.list(rutter_store::ALL).await.map_err(unreadable)?;
        info!(objects = listing.objects.len(), revision = listing.revision, "backed up");
        Ok(Response::new(backup::chunks(listing)))
    }

    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Result<Response<pb::ApplyResponse>, Status> {
        let call = Call { caller: Caller::of(&request), name: "apply", dry_run: request.get_ref().dry_run };
        let result = self.try_apply(&call, request.into_inner()).await;
        call.audit(&result);
        if result.is_err() {
            self.metrics.rejected.inc();
        }
        result.map(Response::new)
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let wanted = Wanted::of_request(request.get_ref())?;
        let mut listing = self.store.list(&|key| wanted.has_key(key)).await.map_err(unreadable)?;
        listing.objects.retain(|stored| wanted.selects(&stored.json));
        listing.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let found: Vec<&ConfigKey> = listing.objects.iter().map(|stored| &stored.key).collect();
        let missing = wanted.missing(&found);
        let objects = self.display().show(&listing.objects).await;
        Ok(Response::new(pb::GetResponse { objects, revision: listing.revision, missing }))
    }

    async fn watch(&self, request: Request<pb::GetRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let wanted = Wanted::of_request(request.get_ref())?;
        let changes = changes(self.store.clone(), self.display(), wanted).await.map_err(unreadable)?;
        Ok(Response::new(changes.take_until(Box::pin(stopped(self.stop.clone()))).boxed()))
    }

    async fn history(&self, request: Request<pb::HistoryRequest>) -> Result<Response<pb::HistoryResponse>, Status> {
        let pb::HistoryRequest { wanted, limit } = request.into_inner();
        let wanted = Wanted::of_pattern(wanted.as_ref())?;
        let commits = rutter_store::history(&*self.store, 0).await.map_err(unreadable)?;
        Ok(Response::new(history::revisions(&commits, &wanted, limit as usize)))
    }

    async fn diff(&self, request: Request<pb::DiffRequest>) -> Result<Response<pb::DiffResponse>, Status> {
        let pb::DiffRequest { from_revision, to_revision, wanted } = request.into_inner();
        let wanted = Wanted::of_pattern(wanted.as_ref())?;
        let latest = *self.store.latest().borrow();
        let to_revision = if to_revision == 0 { latest } else { to_revision };
        let mut differences = self.differences(from_revision, to_revision).await?;
        differences.retain(|difference| wanted.has_key(&difference.key));
        let differences = differences.iter().map(history::difference).collect();
        Ok(Response::new(pb::DiffResponse { differences, to_revision }))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Result<Response<pb::ApplyResponse>, Status> {
        let call = Call { caller: Caller::of(&request), name: "rollback", dry_run: request.get_ref().dry_run };
        let result = self.try_rollback(&call, request.get_ref().revision).await;
        call.audit(&result);
        result.map(Response::new)
    }

    async fn analyze(&self, request: Request<pb::AnalyzeRequest>) -> Result<Response<pb::AnalyzeResponse>, Status> {
        let analyzed = self.on_branch(&ANALYSES, move |branch| analyze::analyze(request.get_ref(), branch)).await?;
        Ok(Response::new(analyzed))
    }

    async fn version(&self, _: Request<pb::VersionRequest>) -> Result<Response<pb::VersionResponse>, Status> {
        Ok(Response::new(pb::VersionResponse { version: env!("CARGO_PKG_VERSION").into() }))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Result<Response<pb::DeleteResponse>, Status> {
        let call = Call { caller: Caller::of(&request), name: "delete", dry_run: request.get_ref().dry_run };
        let result = self.try_delete(&call, request.get_ref()).await;
        call.audit(&result);
        let pb::ApplyResponse { revision, applied, warnings, impact, .. } = result?;
        let deleted = applied.into_iter().filter_map(|applied| applied.key).collect();
        Ok(Response::new(pb::DeleteResponse { revision, deleted, warnings, impact }))
    }

    async fn proxy_status(
        &self,
        request: Request<pb::ProxyStatusRequest>,
    ) -> Result<Response<pb::ProxyStatusResponse>, Status> {
        let mut sidecars = Vec::new();
        for handle in self.streams.of_namespace(&request.get_ref().namespace) {
            let is_contested = self.streams.is_contested(&handle.node);
            sidecars.push(sidecars::sidecar(&handle, &self.engine, is_contested).await);
        }
        let revision = *self.engine.applied().borrow();
        let left = self.streams.left(&request.get_ref().namespace).iter().map(sidecars::left).collect();
        Ok(Response::new(pb::ProxyStatusResponse { sidecars, revision, left }))
    }

    async fn proxy_config(
        &self,
        request: Request<pb::ProxyConfigRequest>,
    ) -> Result<Response<pb::ProxyConfigResponse>, Status> {
        let request = request.into_inner();
        let types = sidecars::types_of_word(&request.r#type)?;
        let handle = self.find(&request.sidecar, &request.namespace)?;
        let resources = handle.ask(move |stream| sidecars::resources(stream, &types)).await;
        let mut resources = resources
            .ok_or_else(|| Status::unavailable(format!("{}: its stream does not answer", handle.node.id())))?;
        for resource in &mut resources {
            let Some(resource_type) = ResourceType::from_type_url(&resource.type_url) else { continue };
            let sources = self.engine.sources(handle.id, resource_type, resource.name.clone()).await;
            resource.sources = sources.iter().map(ToString::to_string).collect();
        }
        Ok(Response::new(pb::ProxyConfigResponse { resources, sidecar: handle.node.id() }))
    }

    async fn pushes(&self, request: Request<pb::PushesRequest>) -> Result<Response<pb::PushesResponse>, Status> {
        let request = request.into_inner();
        let handles = match request.sidecar.is_empty() {
            true => self.streams.of_namespace(&request.namespace),
            false => vec![self.find(&request.sidecar, &request.namespace)?],
        };
        let mut pushes = Vec::new();
        for handle in handles {
            let (id, since) = (handle.node.id(), request.since_revision);
            let of_stream = handle.ask(move |stream| sidecars::pushes(stream, &id, since)).await;
            pushes.extend(of_stream.unwrap_or_default());
        }
        pushes.sort_by_key(|push| std::cmp::Reverse(push.sent_us));
        Ok(Response::new(pb::PushesResponse { pushes }))
    }

    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<pb::TraceResponse>, Status> {
        let revision = request.get_ref().revision;
        let latest = *self.store.latest().borrow();
        if revision > latest {
            return Err(Status::invalid_argument(format!("want a revision of at most {latest}, got {revision}")));
        }
        // The engine takes commits in a little later than the store.
        self.engine.catch_up(revision).await;
        let told = trace::trace(revision, self.engine.traces(), &self.streams).await;
        told.map(Response::new).ok_or_else(|| match revision {
            0 => Status::not_found("nothing has changed since this control plane began"),
            _ => Status::not_found(format!(
                "revision {revision}: its times are not in memory; those of the latest 256 batches since the start are"
            )),
        })
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        let request = request.into_inner();
        let question = explain::Question::of_request(&request)?;
        let find = |name: &str| (!name.is_empty()).then(|| self.find(name, &request.namespace)).transpose();
        let [from, via, to] = [find(&request.from)?, find(&request.via)?, find(&request.to)?];
        let candidate = explain::candidate(&request, &self.sealer)?;
        let is_candidate = !candidate.is_empty();
        let first = from.as_ref().or(via.as_ref());
        let ids = explain::Proxies { first: first.map(|handle| handle.id), last: to.as_ref().map(|handle| handle.id) };
        let explained = self.on_branch(&ANALYSES, move |branch| explain::explain(branch, &candidate, &question, ids));
        let mut explained = explained.await??;
        if !is_candidate {
            for handle in first.into_iter().chain(&to) {
                explained.add_states(handle).await;
            }
        }
        Ok(Response::new(explained.told()))
    }

    async fn describe(&self, request: Request<pb::DescribeRequest>) -> Result<Response<pb::DescribeResponse>, Status> {
        let pb::DescribeRequest { object, sidecar, namespace } = request.into_inner();
        let subject = match object {
            Some(object) => describe::Subject::Object(object_key(&object)?),
            None => describe::Subject::Client(self.find(&sidecar, &namespace)?.id),
        };
        let described = self.on_branch(&ANALYSES, move |branch| describe::describe(branch, &subject)).await??;
        Ok(Response::new(described.told(&self.streams, &self.engine).await))
    }

    async fn top(&self, request: Request<pb::TopRequest>) -> Result<Response<pb::TopResponse>, Status> {
        let biggest = match request.into_inner().with_scopes {
            true => self.on_branch(&ANALYSES, |branch| top::biggest(&branch.mesh)).await?,
            false => Vec::new(),
        };
        Ok(Response::new(top::top(&self.streams, &self.metrics, biggest).await))
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
        let mut pause = PAUSE_MIN;
        loop {
            let is_late = Instant::now() >= end;
            response.waiting.clear();
            response.refused.clear();
            let handles = self.streams.all();
            response.connected = count(handles.len());
            for handle in handles {
                let name = sidecars::display_name(&handle, &self.streams);
                match handle.ask(sidecars::progress).await {
                    Some(Progress::Settled) => {}
                    Some(Progress::SettledWithRefusals) => response.refused.push(name),
                    Some(Progress::Waiting) | None => response.waiting.push(name),
                }
            }
            if is_late || response.waiting.is_empty() && is_applied {
                return Ok(Response::new(response));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl AdminServer {
    fn display(&self) -> Display {
        Display { streams: self.streams.clone(), sealer: self.sealer.clone(), engine: self.engine.clone() }
    }

    async fn try_apply(&self, call: &Call, request: pb::ApplyRequest) -> Result<pb::ApplyResponse, Status> {
        let size: usize = request.sources.iter().map(|source| source.text.len()).sum();
        if size > APPLY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "want at most {APPLY_BYTES_MAX} bytes in one apply, got {size}"
            )));
        }
        let Sources { objects, passed_over, left_out, prune } = read_sources(&request, &self.sealer)?;
        let mut response = pb::ApplyResponse { passed_over, left_out, ..Default::default() };
        for object in &objects {
            let old = self.store.get(&object.config.key).await.map_err(unreadable)?;
            let action = match old {
                None => pb::applied::Action::Created,
                Some(old) if old.json == object.json && object.created.is_none_or(|created| created == old.created) => {
                    pb::applied::Action::Unchanged
                }
                Some(_) => pb::applied::Action::Configured,
            };
            response.applied.push(objects::applied(&object.config.key, action));
        }
        let mut changes: Vec<_> = objects
            .iter()
            .map(|object| (object.config.key.clone(), ConfigChange::Put(object.config.clone())))
            .collect();
        let of_certificates: Vec<String> =
            objects.iter().flat_map(|object| self.certificate_warnings(&object.config)).collect();
        let applied: BTreeSet<ConfigKey> = objects.iter().map(|object| object.config.key.clone()).collect();
        let mut writes: Vec<ConfigWrite> = objects.into_iter().map(write).collect();
        if let Some(prune) = prune {
            for key in self.to_prune(&prune, &applied).await? {
                response.applied.push(objects::applied(&key, pb::applied::Action::Deleted));
                changes.push((key.clone(), ConfigChange::Delete));
                writes.push(deletion(key));
            }
        }
        (response.warnings, response.impact) = self.foresee(changes, request.impact).await?;
        response.warnings.extend(of_certificates);
        response.revision = self.change(call, writes).await?;
        Ok(response)
    }

    /// Returns what an operator should know of the certificates of a Secret.
    fn certificate_warnings(&self, config: &Config) -> Vec<String> {
        let Ok(opened) = self.sealer.opened(config.clone()) else { return Vec::new() };
        let warnings = opened.spec.as_secret().map(|secret| certificates::warnings(secret, SystemTime::now()));
        warnings.unwrap_or_default().into_iter().map(|warning| format!("{}: {warning}", config.key)).collect()
    }

    async fn try_delete(&self, call: &Call, request: &pb::DeleteRequest) -> Result<pb::ApplyResponse, Status> {
        let mut keys = BTreeSet::new();
        for key in &request.keys {
            keys.insert(ConfigKey::new(kind_of(&key.kind)?, &key.namespace, &key.name));
        }
        if request.ignore_missing {
            let all: Vec<ConfigKey> = keys.into_iter().collect();
            let owners = self.store.owners_of(&all).await.map_err(unreadable)?;
            keys = all.into_iter().zip(owners).filter_map(|(key, owner)| owner.map(|_| key)).collect();
        }
        let applied = keys.iter().map(|key| objects::applied(key, pb::applied::Action::Deleted)).collect();
        let changes = keys.iter().map(|key| (key.clone(), ConfigChange::Delete)).collect();
        let (warnings, impact) = self.foresee(changes, request.impact).await?;
        let revision = self.change(call, keys.into_iter().map(deletion).collect()).await?;
        Ok(pb::ApplyResponse { revision, applied, warnings, impact, ..Default::default() })
    }

    async fn try_rollback(&self, call: &Call, revision: u64) -> Result<pb::ApplyResponse, Status> {
        let latest = *self.store.latest().borrow();
        if revision > latest {
            return Err(Status::invalid_argument(format!("want a revision of at most {latest}, got {revision}")));
        }
        let plan = history::rollback(self.differences(revision, latest).await?)?;
        for (key, change) in &plan.changes {
            let ConfigChange::Put(config) = change else { continue };
            let refuse = |error| Status::failed_precondition(format!("{key}: {error}"));
            self.sealer.opened(Config::clone(config)).map_err(refuse)?;
        }
        let (of_analysis, _) = self.foresee(plan.changes, false).await?;
        let warnings = [plan.warnings, of_analysis].concat();
        let revision = self.change(call, plan.writes).await?;
        Ok(pb::ApplyResponse { revision, applied: plan.applied, warnings, ..Default::default() })
    }

    /// Returns the objects of the API that a selector selects and that are not among those that are applied, in the namespaces
    /// of these. Objects that are in no namespace are never among them.
    async fn to_prune(&self, prune: &LabelSelector, applied: &BTreeSet<ConfigKey>) -> Result<Vec<ConfigKey>, Status> {
        let namespaces: BTreeSet<&str> = applied.iter().map(|key| &*key.namespace).collect();
        let is_in = |key: &ConfigKey| key.kind.is_namespaced() && namespaces.contains(&*key.namespace);
        let wanted = |key: &ConfigKey| is_in(key) && !applied.contains(key);
        let listing = self.store.list(&wanted).await.map_err(unreadable)?;
        let is_selected = |stored: &Stored| {
            let json = serde_json::from_str(&stored.json).unwrap_or_default();
            stored.owner == Owner::Api && prune.selects_json(&json)
        };
        Ok(listing.objects.into_iter().filter(is_selected).map(|stored| stored.key).collect())
    }

    async fn differences(&self, from: u64, to: u64) -> Result<Vec<Difference>, Status> {
        let latest = *self.store.latest().borrow();
        if from > to || to > latest {
            return Err(Status::invalid_argument(format!(
                "want revisions from 0 to {latest}, the earlier one first, got {from} and {to}"
            )));
        }
        rutter_store::differences(&*self.store, from, to).await.map_err(|error| {
            let StoreError::Compacted(kept) = error else { return unreadable(error) };
            Status::failed_precondition(format!(
                "what objects were at revision {from} is no longer kept (revisions from {kept} on are)"
            ))
        })
    }

    /// Commits the writes of a call, or finds out whether they could be committed.
    async fn change(&self, call: &Call, writes: Vec<ConfigWrite>) -> Result<u64, Status> {
        let start = Instant::now();
        let result = match call.dry_run {
            true => self.store.check(writes).await.map(|()| *self.store.latest().borrow()),
            false => self.store.commit_by(&call.caller, writes).await,
        };
        if let (Ok(revision), false) = (&result, call.dry_run) {
            self.engine.traces().committed(*revision, start.elapsed());
        }
        result.map_err(|error| match &error {
            CommitError::Conflict { .. } => Status::aborted(error.to_string()),
            CommitError::Owned { .. } => Status::failed_precondition(error.to_string()),
            CommitError::NotFound(_) => Status::not_found(error.to_string()),
            CommitError::Failed(_) => {
                self.metrics.store_failures.inc();
                Status::unavailable(error.to_string())
            }
        })
    }

    /// Returns what an operator should know of a change, and what it would send to whom if that is asked for. It fails with what
    /// is wrong with the change.
    async fn foresee(
        &self,
        changes: Vec<(ConfigKey, ConfigChange)>,
        wants_impact: bool,
    ) -> Result<(Vec<String>, Option<pb::Impact>), Status> {
        let turns = if wants_impact { &ANALYSES } else { &CHANGES };
        let checked = self.on_branch(turns, move |branch| {
            let faults = warnings::faults_of_change(branch, &changes);
            if !faults.is_empty() {
                return Err(faults);
            }
            let foreseen = wants_impact.then(|| impact::foresee(branch, &changes));
            Ok((warnings::of_change(branch, &changes), foreseen))
        });
        let (warnings, foreseen) = checked.await?.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Status::invalid_argument(faults.join("\n"))
        })?;
        let impact = match foreseen {
            Some(foreseen) => Some(foreseen.told(&self.streams).await),
            None => None,
        };
        Ok((warnings, impact))
    }

    /// Computes something on a branch of the mesh, on a thread of its own.
    async fn on_branch<T: Send + 'static>(
        &self,
        turns: &'static Semaphore,
        compute: impl FnOnce(&Branch) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let ended = || Status::unavailable("the engine has ended");
        let turn = turns.acquire().await.map_err(|_| ended())?;
        let branch = self.engine.branch().await.ok_or_else(ended)?;
        let computed = tokio::task::spawn_blocking(move || {
            let computed = compute(&branch);
            drop((branch, turn));
            computed
        });
        computed.await.map_err(|error| Status::internal(format!("the computation failed: {error}")))
    }

    fn watched(&self) -> Result<&FolderHandle, Status> {
        let hint = "no folder is watched (see rutter serve --config-dir)";
        self.folder.as_ref().ok_or_else(|| Status::failed_precondition(hint))
    }

    /// Returns the stream of a sidecar, given by its name or by a beginning that no other sidecar has. Of several
    /// streams it is the latest. A name that is neither fails with the names that it could mean.
    fn find(&self, name: &str, namespace: &str) -> Result<StreamHandle, Status> {
        let streams = self.streams.of_namespace(namespace);
        let name = name.strip_prefix("pod/").unwrap_or(name);
        let ids: BTreeSet<String> =
            streams.iter().map(|handle| handle.node.id()).filter(|id| id.starts_with(name)).collect();
        let id = match &ids.iter().collect::<Vec<_>>()[..] {
            [only] => (*only).clone(),
            _ if ids.contains(name) => name.to_owned(),
            [] => {
                let left = self.streams.left(namespace);
                let told = left.iter().find(|left| left.id.starts_with(name)).map(|left| {
                    format!("{} left {} s ago: {}", left.id, left.at.elapsed().as_secs(), brief(&left.reason))
                });
                let told = told.unwrap_or_else(|| format!("{name}: no such sidecar is connected"));
                return Err(Status::not_found(format!("{told} (see rutterctl proxy-status)")));
            }
            several => {
                let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
                return Err(Status::invalid_argument(format!("{name}: want one sidecar, got {}", names.join(", "))));
            }
        };
        let latest = streams.into_iter().filter(|handle| handle.node.id() == id).max_by_key(|handle| handle.since);
        latest.ok_or_else(|| Status::not_found(id))
    }
}

fn object_key(object: &pb::ObjectKey) -> Result<ConfigKey, Status> {
    if object.name.is_empty() {
        return Err(Status::invalid_argument(format!("want the name of a {}, got none", object.kind)));
    }
    let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
    Ok(ConfigKey::new(kind_of(&object.kind)?, namespace, &object.name))
}

fn unreadable(error: StoreError) -> Status {
    Status::internal(error.to_string())
}
