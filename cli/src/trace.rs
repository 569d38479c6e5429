//! The command about the times of a change.

use anyhow::Result;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::{Value, json};

use crate::args::{Output, Trace};
use crate::client::Admin;
use crate::output::{Out, print, table};

/// Shows where the time of a revision went: in the store, in the engine, and until sidecars had it and had answered.
pub(crate) async fn trace(admin: &mut Admin, wanted: &Trace, out: Out<'_>) -> Result<()> {
    let request = pb::TraceRequest { revision: wanted.revision.unwrap_or_default() };
    let trace = admin.trace(request).await?.into_inner();
    if wanted.output != Output::Short {
        return print(&trace_json(&trace), wanted.output, out);
    }
    print_trace(&trace, out)
}

fn print_trace(trace: &pb::TraceResponse, out: Out<'_>) -> Result<()> {
    let pb::TraceResponse { first_revision, revision, objects, affected, encodes, .. } = trace;
    let revisions = match first_revision == revision || *revision == 0 {
        true => format!("revision {revision}"),
        false => format!("revisions {first_revision} to {revision}, taken in together"),
    };
    let counts = [(*objects, "object"), (*affected, "sidecar")].map(|(count, noun)| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    });
    writeln!(out, "{revisions}: {} changed, {} see something else, {encodes} encoded", counts[0], counts[1])?;
    let mut rows = table(["STEP", "TIME", "WHAT"]);
    let store = trace.store_us.map_or_else(|| "-".to_owned(), time);
    let steps = [
        ("store", store, "until the commit was durable"),
        ("held", time(trace.held_us), "held back, because changes came in a burst"),
        ("index", time(trace.index_us), "taken into the index"),
        ("scopes", time(trace.scopes_us), "scopes brought up to date, and what they see encoded"),
        ("publish", time(trace.publish_us), "views given to the streams"),
    ];
    for (step, time, what) in steps {
        rows.add_row([step, &time, what]);
    }
    writeln!(out, "{rows}")?;
    if *affected == 0 {
        return Ok(());
    }
    writeln!(out, "\nsince the engine learnt of it:")?;
    let mut rows = table(["SIDECARS", "COUNT", "P50", "P90", "P99", "MAX"]);
    for (step, times) in [("sent", &trace.sent), ("answered", &trace.answered)] {
        match times {
            Some(pb::Percentiles { count, p50_us, p90_us, p99_us, max_us }) => {
                let [p50, p90, p99, max] = [p50_us, p90_us, p99_us, max_us].map(|us| time(*us));
                rows.add_row([step, &count.to_string(), &p50, &p90, &p99, &max]);
            }
            None => drop(rows.add_row([step, "0", "-", "-", "-", "-"])),
        }
    }
    writeln!(out, "{rows}")?;
    if trace.refused > 0 {
        writeln!(out, "REFUSED by {} sidecars (see rutterctl proxy-status)", trace.refused)?;
    }
    if trace.waiting_count > 0 {
        let more = if trace.waiting_count as usize > trace.waiting.len() { ", …" } else { "" };
        writeln!(out, "no answer from {}: {}{more}", trace.waiting_count, printable(&trace.waiting.join(", ")))?;
    }
    if trace.without_record > 0 {
        let count = trace.without_record;
        writeln!(
            out,
            "no record of {count}: not sent yet or with a later revision, not asked for, left, or no longer in memory"
        )?;
    }
    let slowest = trace.slowest.iter().take(3).map(|one| format!("{} {}", one.sidecar, time(one.answered_us)));
    let slowest: Vec<String> = slowest.collect();
    if !slowest.is_empty() {
        writeln!(out, "last to answer: {}", printable(&slowest.join(", ")))?;
    }
    Ok(())
}

/// Returns a number of microseconds as people write it.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

fn trace_json(trace: &pb::TraceResponse) -> Value {
    let percentiles = |times: &Option<pb::Percentiles>| {
        times.map(|pb::Percentiles { count, p50_us, p90_us, p99_us, max_us }| {
            json!({"count": count, "p50Us": p50_us, "p90Us": p90_us, "p99Us": p99_us, "maxUs": max_us})
        })
    };
    let slowest = trace.slowest.iter().map(|pb::SidecarTrace { sidecar, sent_us, answered_us }| {
        json!({"sidecar": sidecar, "sentUs": sent_us, "answeredUs": answered_us})
    });
    json!({
        "firstRevision": trace.first_revision, "revision": trace.revision, "objects": trace.objects, "affected": trace.affected,
        "encodes": trace.encodes, "storeUs": trace.store_us, "heldUs": trace.held_us, "indexUs": trace.index_us,
        "scopesUs": trace.scopes_us, "publishUs": trace.publish_us, "sent": percentiles(&trace.sent),
        "answered": percentiles(&trace.answered), "waitingCount": trace.waiting_count, "waiting": trace.waiting,
        "withoutRecord": trace.without_record,
        "refused": trace.refused, "slowest": slowest.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn shown(trace: &pb::TraceResponse) -> String {
        let mut out = Vec::new();
        print_trace(trace, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_steps_are_shown_and_those_who_have_not_answered_are_named() {
        let times =
            |count: u32| Some(pb::Percentiles { count, p50_us: 900, p90_us: 2_340, p99_us: 12_000, max_us: 1_230_000 });
        let slowest = pb::SidecarTrace { sidecar: "web-1.shop".into(), sent_us: 900, answered_us: 1_230_000 };
        let trace = pb::TraceResponse {
            first_revision: 5,
            revision: 6,
            objects: 1,
            affected: 21,
            encodes: 3,
            store_us: Some(1_500),
            held_us: 0,
            index_us: 30,
            scopes_us: 800,
            publish_us: 10,
            sent: times(21),
            answered: times(20),
            waiting_count: 1,
            refused: 2,
            slowest: vec![slowest],
            waiting: vec!["stuck-1.shop".into()],
            without_record: 4,
        };
        expect![[r#"
            revisions 5 to 6, taken in together: 1 object changed, 21 sidecars see something else, 3 encoded
             STEP     TIME    WHAT                                                 
             store    1.5 ms  until the commit was durable                         
             held     0 µs    held back, because changes came in a burst           
             index    30 µs   taken into the index                                 
             scopes   800 µs  scopes brought up to date, and what they see encoded 
             publish  10 µs   views given to the streams                           

            since the engine learnt of it:
             SIDECARS  COUNT  P50     P90     P99      MAX    
             sent      21     900 µs  2.3 ms  12.0 ms  1.23 s 
             answered  20     900 µs  2.3 ms  12.0 ms  1.23 s 
            REFUSED by 2 sidecars (see rutterctl proxy-status)
            no answer from 1: stuck-1.shop
            no record of 4: not sent yet or with a later revision, not asked for, left, or no longer in memory
            last to answer: web-1.shop 1.23 s
        "#]]
        .assert_eq(&shown(&trace));
        let nobody = pb::TraceResponse { revision: 7, first_revision: 7, objects: 2, ..Default::default() };
        expect![[r#"
            revision 7: 2 objects changed, 0 sidecars see something else, 0 encoded
             STEP     TIME  WHAT                                                 
             store    -     until the commit was durable                         
             held     0 µs  held back, because changes came in a burst           
             index    0 µs  taken into the index                                 
             scopes   0 µs  scopes brought up to date, and what they see encoded 
             publish  0 µs  views given to the streams                           
        "#]]
        .assert_eq(&shown(&nobody));
        assert_eq!(trace_json(&trace)["answered"]["p90Us"], 2_340);
    }
}
