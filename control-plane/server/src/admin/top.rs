//! How the control plane and its sidecars are doing now.

use std::time::{Duration, Instant};

use futures::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{ResourceType, brief};
use rutter_core::describe::scope_sizes;
use rutter_core::stream::{SyncStatus, TypeSync};
use rutter_core::{AdsStream, Mesh};

use super::sidecars::{count, milliseconds};
use super::trace::percentiles;
use crate::metrics::{Metrics, TypeLabel};
use crate::streams::OpenStreams;

/// The number of rows of each sort.
const ROWS: usize = 10;
/// The age up to which answers count for the times.
const LATELY: Duration = Duration::from_secs(60);

/// Measures the scopes.
pub(super) fn biggest(mesh: &Mesh) -> Vec<pb::TopScope> {
    let sizes = scope_sizes(mesh).into_iter().take(ROWS);
    let scope = |size: rutter_core::describe::ScopeSize| pb::TopScope {
        namespace: size.namespace.to_string(),
        what: size.what,
        clients: count(size.clients),
        resources: size.resources as u64,
        bytes: size.bytes as u64,
    };
    sizes.map(scope).collect()
}

/// What one stream says.
#[derive(Default)]
struct State {
    /// The types that are stale, and for how long.
    stale: Vec<(ResourceType, Duration)>,
    refusals: Vec<(String, String)>,
    /// How long each answer of late took.
    converged: Vec<Duration>,
}

fn state(stream: &AdsStream) -> State {
    let mut state = State::default();
    for resource_type in ResourceType::ALL {
        let SyncStatus { sync, since } = stream.sync(resource_type);
        match sync {
            TypeSync::NotRequested | TypeSync::Synced => {}
            TypeSync::Stale => {
                state.stale.push((resource_type, since.map(|since| since.elapsed()).unwrap_or_default()));
            }
            TypeSync::Refused(refused) => {
                let refusals = refused.into_iter();
                state.refusals.extend(
                    refusals.map(|refusal| (format!("{resource_type} {}", refusal.name), brief(&refusal.error))),
                );
            }
        }
    }
    let now = Instant::now();
    let of_changes = stream.pushes().filter(|push| push.revision > 0);
    let answered = of_changes.filter_map(|push| Some((push.since, push.answered?)));
    let lately = answered.filter(|(_, answered)| now.saturating_duration_since(*answered) < LATELY);
    state.converged = lately.map(|(since, answered)| answered.saturating_duration_since(since)).collect();
    state
}

/// Asks all streams how they are doing.
pub(super) async fn top(streams: &OpenStreams, metrics: &Metrics, biggest: Vec<pb::TopScope>) -> pb::TopResponse {
    let handles = streams.all();
    let states = join_all(handles.iter().map(|handle| handle.ask(state))).await;
    let mut response = pb::TopResponse { biggest, connected: count(handles.len()), ..Default::default() };
    let (mut waiting, mut converged) = (Vec::new(), Vec::new());
    for (handle, state) in handles.iter().zip(states) {
        // One that does not answer is stuck, or has gone.
        let State { stale, refusals, converged: times } = state.unwrap_or_default();
        converged.extend(times);
        match (refusals.is_empty(), stale.is_empty()) {
            (false, _) => response.refusing += 1,
            (true, false) => response.stale += 1,
            (true, true) => response.synced += 1,
        }
        if let Some(age) = stale.iter().map(|(_, age)| *age).max() {
            let types: Vec<String> = stale.iter().map(|(resource_type, _)| resource_type.to_string()).collect();
            waiting.push((age, handle.node.id(), types.join(", ")));
        }
        let left = ROWS.saturating_sub(response.refusals.len());
        let refusal = |(resource, error)| pb::TopRefusal { sidecar: handle.node.id(), resource, error };
        response.refusals.extend(refusals.into_iter().take(left).map(refusal));
    }
    waiting.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    let row = |(age, sidecar, types)| pb::TopWaiting { sidecar, types, age_ms: milliseconds(age) };
    response.waiting = waiting.into_iter().take(ROWS).map(row).collect();
    converged.sort_unstable();
    response.converged = percentiles(&converged);
    let gauge = |value: i64| u64::try_from(value).unwrap_or_default();
    response.revision = gauge(metrics.revision.get());
    response.objects = gauge(metrics.objects.get());
    response.scopes = gauge(metrics.scopes.get());
    for resource_type in ResourceType::ALL {
        let label = TypeLabel::from(resource_type);
        let value = |family: &Family<TypeLabel, Counter>| family.get(&label).map_or(0, |counter| counter.get());
        response.pushes += value(&metrics.pushes);
        response.push_bytes += value(&metrics.push_bytes);
        response.nacks += value(&metrics.nacks);
    }
    response
}
