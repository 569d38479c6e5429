//! Where the time of a change went.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_core::AdsStream;

use super::sidecars::count;
use crate::streams::OpenStreams;
use crate::traces::{BatchTrace, Traces};

/// The number of sidecars that are named as slow, and as those that have not answered.
const NAMED: usize = 10;

/// When a sidecar was sent a change, and when it had answered all of it, counted from when the engine learnt of the change.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrival {
    pub(crate) sent: Duration,
    /// `None` means that it has not.
    pub(crate) answered: Option<Duration>,
    pub(crate) is_refused: bool,
}

/// Returns where the time of a revision went. `None` means that it is not remembered.
pub(super) async fn trace(revision: u64, traces: &Traces, streams: &OpenStreams) -> Option<pb::TraceResponse> {
    let batch = traces.batch(revision)?;
    let (of, learnt) = (batch.revision, batch.learnt);
    let asked = streams.all().into_iter().map(|handle| async move {
        let answer = handle.ask(move |stream| arrival(stream, of, learnt)).await;
        (handle.node.id(), answer)
    });
    let answers = join_all(asked).await.into_iter();
    let arrivals = answers.filter_map(|(name, answer)| Some((name, answer??))).collect();
    let store = traces.commit(if revision == 0 { batch.revision } else { revision });
    Some(told(&batch, store, arrivals))
}

/// Returns when the client of a stream was sent a revision, and when it had answered. `None` means that nothing is known of it.
pub(crate) fn arrival(stream: &AdsStream, revision: u64, learnt: Instant) -> Option<Arrival> {
    let mut arrival: Option<Arrival> = None;
    for push in stream.pushes().filter(|push| push.revision == revision) {
        let sent = (push.since + push.sent_after()).saturating_duration_since(learnt);
        let answered = push.answered.map(|answered| answered.saturating_duration_since(learnt));
        let known = arrival.get_or_insert(Arrival { answered: Some(Duration::ZERO), ..Arrival::default() });
        known.sent = known.sent.max(sent);
        known.answered = known.answered.zip(answered).map(|(known, answered)| known.max(answered));
        known.is_refused |= push.error.is_some();
    }
    arrival
}

fn told(batch: &BatchTrace, store: Option<Duration>, mut arrivals: Vec<(String, Arrival)>) -> pb::TraceResponse {
    let mut sent: Vec<Duration> = arrivals.iter().map(|(_, arrival)| arrival.sent).collect();
    let mut answered: Vec<Duration> = arrivals.iter().filter_map(|(_, arrival)| arrival.answered).collect();
    sent.sort_unstable();
    answered.sort_unstable();
    let refused = arrivals.iter().filter(|(_, arrival)| arrival.is_refused).count();
    arrivals.sort_by(|(one, a), (other, b)| {
        let last = |arrival: &Arrival| arrival.answered.unwrap_or(Duration::MAX);
        (last(b), other).cmp(&(last(a), one))
    });
    let waiting: Vec<String> =
        arrivals.iter().filter(|(_, arrival)| arrival.answered.is_none()).map(|(name, _)| name.clone()).collect();
    let slowest = arrivals.iter().filter_map(|(name, arrival)| {
        let answered_us = microseconds(arrival.answered?);
        Some(pb::SidecarTrace { sidecar: name.clone(), sent_us: microseconds(arrival.sent), answered_us })
    });
    pb::TraceResponse {
        first_revision: batch.after + 1,
        revision: batch.revision,
        objects: count(batch.objects),
        affected: count(batch.affected),
        encodes: batch.encodes,
        store_us: store.map(microseconds),
        held_us: microseconds(batch.held),
        index_us: microseconds(batch.index),
        scopes_us: microseconds(batch.scopes),
        publish_us: microseconds(batch.publish),
        sent: percentiles(&sent),
        answered: percentiles(&answered),
        without_record: count(batch.affected.saturating_sub(arrivals.len())),
        waiting_count: count(waiting.len()),
        refused: count(refused),
        slowest: slowest.take(NAMED).collect(),
        waiting: waiting.into_iter().take(NAMED).collect(),
    }
}

/// Returns percentiles of times in ascending order. `None` means that there is no time.
pub(super) fn percentiles(times: &[Duration]) -> Option<pb::Percentiles> {
    let at =
        |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied().map(microseconds);
    Some(pb::Percentiles {
        count: count(times.len()),
        p50_us: at(50)?,
        p90_us: at(90)?,
        p99_us: at(99)?,
        max_us: at(100)?,
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_and_those_that_have_not_answered_are_named() {
        let ms = Duration::from_millis;
        let batch = BatchTrace {
            after: 4,
            revision: 6,
            objects: 2,
            affected: 30,
            encodes: 1,
            learnt: Instant::now(),
            held: ms(1),
            index: ms(2),
            scopes: ms(3),
            publish: ms(4),
        };
        let mut arrivals: Vec<(String, Arrival)> = (1..=20)
            .map(|at| (format!("s{at}"), Arrival { sent: ms(at), answered: Some(ms(10 * at)), is_refused: at == 7 }))
            .collect();
        arrivals.push(("stuck".into(), Arrival { sent: ms(5), answered: None, is_refused: false }));
        let told = told(&batch, Some(ms(9)), arrivals);
        assert_eq!((told.first_revision, told.revision, told.store_us, told.refused), (5, 6, Some(9_000), 1));
        assert_eq!((told.waiting, told.waiting_count), (vec!["stuck".to_owned()], 1));
        assert_eq!((told.slowest.len(), told.slowest[0].sidecar.as_str()), (NAMED, "s20"));
        let answered = told.answered.unwrap();
        assert_eq!(
            (answered.count, answered.p50_us, answered.p90_us, answered.max_us),
            (20, 100_000, 180_000, 200_000)
        );
        assert_eq!((told.sent.unwrap().count, told.without_record), (21, 9));
    }
}
