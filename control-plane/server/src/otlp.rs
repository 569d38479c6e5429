//! Traces of changes for a collector, in OTLP: from the commit to the answer of the last sidecar.
//!
//! Nothing waits for the collector. What it does not take in time is dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use futures::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

use crate::admin::{Arrival, arrival};
use crate::metrics::Metrics;
use crate::shutdown::stopped;
use crate::streams::OpenStreams;
use crate::traces::{BatchTrace, Export, Traces};

/// The number of batches that wait to be sent.
const WAITING_MAX: usize = 1_024;
/// How long the answers of sidecars to a batch are awaited. Later ones are missing in its trace, and counted there.
const ANSWERS: Duration = Duration::from_secs(5);
/// The time between two looks at what waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The time that a collector has to take a request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of sidecars of a batch that have a span of their own, those that answered last.
const SIDECARS_MAX: usize = 10;

/// What sends traces to a collector.
pub(crate) struct Exporter {
    batches: mpsc::Receiver<BatchTrace>,
    client: TraceServiceClient<Channel>,
    metrics: Arc<Metrics>,
    ids: RandomState,
}

/// Returns where batches are put, and what sends them. The collector need not be there.
pub(crate) fn exporter(endpoint: &str, metrics: &Arc<Metrics>) -> anyhow::Result<(Export, Exporter)> {
    let (sender, batches) = mpsc::channel(WAITING_MAX);
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).context("--otlp-endpoint")?;
    let channel = endpoint.connect_timeout(EXPORT_TIMEOUT).timeout(EXPORT_TIMEOUT).connect_lazy();
    let export = Export { batches: sender, dropped: metrics.otlp_dropped.clone() };
    let client = TraceServiceClient::new(channel);
    Ok((export, Exporter { batches, client, metrics: metrics.clone(), ids: RandomState::new() }))
}

/// When answers to the pushes of a batch came, by the sidecar.
type Answers = Vec<(String, Arrival)>;

impl Exporter {
    /// Sends what comes until `stop`.
    pub(crate) async fn run(
        mut self,
        traces: Traces,
        streams: OpenStreams,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        let mut look = interval(LOOK_EVERY);
        let mut waiting: VecDeque<BatchTrace> = VecDeque::new();
        let mut is_failing = false;
        loop {
            tokio::select! {
                () = &mut stopped => return Ok(()),
                batch = self.batches.recv(), if waiting.len() < WAITING_MAX => waiting.extend(batch),
                _ = look.tick() => {
                    let due = waiting.iter().take_while(|batch| batch.learnt.elapsed() >= ANSWERS).count();
                    let due: Vec<BatchTrace> = waiting.drain(..due).collect();
                    if due.is_empty() {
                        continue;
                    }
                    let sent = tokio::select! {
                        () = &mut stopped => return Ok(()),
                        sent = self.send(&due, &traces, &streams) => sent,
                    };
                    self.count(due.len(), sent, &mut is_failing);
                }
            }
        }
    }

    /// Counts what became of some batches, and logs the first failure and the first success after it.
    fn count(&self, batches: usize, sent: Result<(), tonic::Status>, is_failing: &mut bool) {
        match sent {
            Ok(()) => {
                self.metrics.otlp_exported.inc_by(batches as u64);
                if std::mem::take(is_failing) {
                    info!("the collector takes traces again");
                }
            }
            Err(status) => {
                self.metrics.otlp_dropped.inc_by(batches as u64);
                if !std::mem::replace(is_failing, true) {
                    warn!(error = status.message(), "traces are dropped, because the collector does not take them");
                }
            }
        }
    }

    async fn send(
        &mut self,
        batches: &[BatchTrace],
        traces: &Traces,
        streams: &OpenStreams,
    ) -> Result<(), tonic::Status> {
        let mut answers = answers(batches, streams).await;
        let spans = batches.iter().flat_map(|batch| {
            let store = traces.commit(batch.revision);
            spans(batch, store, answers.remove(&batch.revision).unwrap_or_default(), &self.ids)
        });
        let scope = InstrumentationScope { name: "rutter".to_owned(), ..Default::default() };
        let of_scope = ScopeSpans { scope: Some(scope), spans: spans.collect(), schema_url: String::new() };
        let attributes = vec![text("service.name", "rutter"), text("service.version", env!("CARGO_PKG_VERSION"))];
        let of_resource = ResourceSpans {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_spans: vec![of_scope],
            schema_url: String::new(),
        };
        self.client.export(ExportTraceServiceRequest { resource_spans: vec![of_resource] }).await.map(drop)
    }
}

/// Asks every stream once for what it knows of some batches.
async fn answers(batches: &[BatchTrace], streams: &OpenStreams) -> BTreeMap<u64, Answers> {
    let wanted = batches.iter().filter(|batch| batch.affected > 0);
    let wanted: Arc<Vec<(u64, Instant)>> = Arc::new(wanted.map(|batch| (batch.revision, batch.learnt)).collect());
    let mut answers: BTreeMap<u64, Answers> = BTreeMap::new();
    if wanted.is_empty() {
        return answers;
    }
    let handles = streams.all();
    let asked = handles.iter().map(|handle| {
        let wanted = wanted.clone();
        handle.ask(move |stream| {
            let found =
                wanted.iter().filter_map(|(revision, learnt)| Some((*revision, arrival(stream, *revision, *learnt)?)));
            found.collect::<Vec<_>>()
        })
    });
    for (handle, found) in handles.iter().zip(join_all(asked).await) {
        for (revision, arrival) in found.unwrap_or_default() {
            answers.entry(revision).or_default().push((handle.node.id(), arrival));
        }
    }
    answers
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn number(key: &str, value: usize) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// Makes spans of one trace.
struct Trace<'a> {
    id: Vec<u8>,
    /// The time of the clock at which the engine learnt of the batch, in nanoseconds since 1970.
    learnt: u64,
    ids: &'a RandomState,
    spans: Vec<Span>,
}

impl Trace<'_> {
    /// Adds a span between two times after the engine learnt of the batch.
    fn add(&mut self, name: &str, from: Duration, to: Duration, attributes: Vec<KeyValue>) {
        let at = |after: Duration| self.learnt.saturating_add(nanoseconds(after));
        let (start, end) = (at(from), at(to.max(from)));
        self.push(name, (start, end), attributes);
    }

    fn push(&mut self, name: &str, (start, end): (u64, u64), attributes: Vec<KeyValue>) {
        let parent = self.spans.first().map(|root| root.span_id.clone()).unwrap_or_default();
        let span_id = self.ids.hash_one((&self.id, self.spans.len())).to_be_bytes().to_vec();
        self.spans.push(Span {
            trace_id: self.id.clone(),
            span_id,
            parent_span_id: parent,
            name: name.to_owned(),
            kind: span::SpanKind::Internal as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            ..Default::default()
        });
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the spans of a batch, of which the first is the parent of the others.
fn spans(batch: &BatchTrace, store: Option<Duration>, mut answers: Answers, ids: &RandomState) -> Vec<Span> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let learnt = nanoseconds(now.saturating_sub(batch.learnt.elapsed()));
    let half = |salt: u8| ids.hash_one((batch.revision, learnt, salt)).to_be_bytes();
    let id = [half(0), half(1)].concat();
    let mut trace = Trace { id, learnt, ids, spans: Vec::new() };
    let indexed = batch.held + batch.index;
    let scoped = indexed + batch.scopes;
    let published = scoped + batch.publish;
    let last_sent = answers.iter().map(|(_, arrival)| arrival.sent).max();
    let last_answer = answers.iter().filter_map(|(_, arrival)| arrival.answered).max();
    let end = last_answer.into_iter().chain(last_sent).chain([published]).max().unwrap_or_default();
    let refused = answers.iter().filter(|(_, arrival)| arrival.is_refused).count();
    let unanswered = answers.iter().filter(|(_, arrival)| arrival.answered.is_none()).count();
    let attributes = vec![
        number("rutter.revision.first", usize::try_from(batch.after + 1).unwrap_or(usize::MAX)),
        number("rutter.revision", usize::try_from(batch.revision).unwrap_or(usize::MAX)),
        number("rutter.objects", batch.objects),
        number("rutter.sidecars", batch.affected),
        number("rutter.encodes", usize::try_from(batch.encodes).unwrap_or(usize::MAX)),
        number("rutter.refused", refused),
        number("rutter.unanswered", unanswered),
    ];
    let began = learnt.saturating_sub(nanoseconds(store.unwrap_or_default()));
    trace.push("change", (began, learnt.saturating_add(nanoseconds(end))), attributes);
    if store.is_some() {
        trace.push("store", (began, learnt), Vec::new());
    }
    trace.add("hold", Duration::ZERO, batch.held, Vec::new());
    trace.add("index", batch.held, indexed, Vec::new());
    trace.add("scopes", indexed, scoped, Vec::new());
    trace.add("publish", scoped, published, Vec::new());
    if let Some(sent) = last_sent {
        trace.add("send", scoped, sent, vec![number("rutter.sidecars", answers.len())]);
    }
    answers.sort_by_key(|(_, arrival)| std::cmp::Reverse(arrival.answered.unwrap_or(Duration::MAX)));
    for (sidecar, arrival) in answers.iter().take(SIDECARS_MAX) {
        let attributes = vec![text("rutter.sidecar", sidecar.clone())];
        let name = if arrival.answered.is_some() { "answer" } else { "no answer" };
        trace.add(name, arrival.sent, arrival.answered.unwrap_or(end), attributes);
    }
    if refused > 0 {
        let message = format!("refused by {refused} sidecars");
        let failed = Status { message, code: status::StatusCode::Error as i32 };
        trace.spans.iter_mut().take(1).for_each(|root| root.status = Some(failed.clone()));
    }
    trace.spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spans_of_a_change_follow_each_other_under_one_parent() {
        let ms = Duration::from_millis;
        let batch = BatchTrace {
            after: 6,
            revision: 7,
            objects: 1,
            affected: 2,
            encodes: 3,
            learnt: Instant::now(),
            held: ms(20),
            index: ms(1),
            scopes: ms(4),
            publish: ms(1),
        };
        let arrival = |sent, answered, is_refused| Arrival { sent, answered, is_refused };
        let answers = vec![
            ("a.shop".to_owned(), arrival(ms(27), Some(ms(40)), true)),
            ("b.shop".to_owned(), arrival(ms(28), None, false)),
        ];
        let spans = spans(&batch, Some(ms(5)), answers, &RandomState::new());
        let root = &spans[0];
        let at = |time: u64| (time as i64 - root.start_time_unix_nano as i64) / 1_000_000;
        let told = spans
            .iter()
            .map(|span| format!("{} {} {}", span.name, at(span.start_time_unix_nano), at(span.end_time_unix_nano)));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "change 0 45",
                "store 0 5",
                "hold 5 25",
                "index 25 26",
                "scopes 26 30",
                "publish 30 31",
                "send 30 33",
                "no answer 33 45",
                "answer 32 45",
            ]
        );
        assert!(spans[1..].iter().all(|span| span.parent_span_id == root.span_id && span.trace_id == root.trace_id));
        assert_eq!((root.trace_id.len(), root.span_id.len(), root.parent_span_id.len()), (16, 8, 0));
        assert_eq!(root.status.as_ref().unwrap().message, "refused by 1 sidecars");
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), spans.len());
    }
}
