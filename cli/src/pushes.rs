//! The command about pushes.

use anyhow::Result;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::{CreationTimestamp, brief, printable_line};
use serde_json::{Value, json};

use crate::args::{Output, Pushes};
use crate::client::Admin;
use crate::output::{Out, print, table};

/// The number of names of a push that the table shows.
const NAMES_SHOWN: usize = 3;

/// Shows the latest responses: what was sent to whom, how much it was, and how long the answer took.
pub(crate) async fn pushes(admin: &mut Admin, wanted: Pushes, namespace: &str, out: Out<'_>) -> Result<()> {
    let namespace = namespace.to_owned();
    let is_everything = wanted.sidecar.is_empty() && wanted.since == 0 && namespace.is_empty();
    let request = pb::PushesRequest { sidecar: wanted.sidecar, since_revision: wanted.since, namespace };
    let pushes = admin.pushes(request).await?.into_inner().pushes;
    if wanted.output == Output::Short {
        if pushes.is_empty() && !is_everything {
            writeln!(out, "nothing that is asked for was sent")?;
            return Ok(());
        }
        return print_pushes(&pushes, out);
    }
    print(&Value::Array(pushes.iter().map(push_json).collect()), wanted.output, out)
}

/// Returns a push with a key for each field.
pub(crate) fn push_json(push: &pb::Push) -> Value {
    json!({
        "time": time_of(push), "sidecar": push.sidecar, "type": push.r#type, "revision": push.revision, "resources": push.resources,
        "removed": push.removed, "bytes": push.bytes, "ackUs": push.ack_us, "error": push.error, "names": push.names,
    })
}

/// Returns when a push was caused, to the millisecond.
fn time_of(push: &pb::Push) -> String {
    let milliseconds = push.sent_us.div_euclid(1_000) * 1_000;
    CreationTimestamp::from_microseconds(milliseconds).to_string()
}

/// Prints what was sent to whom, and what was refused.
pub(crate) fn print_pushes(pushes: &[pb::Push], out: Out<'_>) -> Result<()> {
    if pushes.is_empty() {
        writeln!(out, "nothing was sent to anybody")?;
        return Ok(());
    }
    let mut rows = table(["TIME", "SIDECAR", "REVISION", "TYPE", "SENT", "REMOVED", "BYTES", "ANSWER", "NAMES"]);
    for push in pushes {
        let answer = match (push.ack_us, push.error.is_empty()) {
            (None, _) => "none yet".to_owned(),
            (Some(us), true) => format!("ACK {}.{} ms", us / 1000, us % 1000 / 100),
            (Some(_), false) => "NACK".to_owned(),
        };
        let mut names = push.names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(" ");
        let total = (push.resources + push.removed) as usize;
        if total > NAMES_SHOWN {
            names.push_str(&format!(" … {} more", total - NAMES_SHOWN));
        }
        let cause = if push.revision == 0 { "(asked)".to_owned() } else { push.revision.to_string() };
        let (sent, removed, bytes) = (push.resources.to_string(), push.removed.to_string(), push.bytes.to_string());
        rows.add_row([&time_of(push), &push.sidecar, &cause, &push.r#type, &sent, &removed, &bytes, &answer, &names]);
    }
    writeln!(out, "{rows}")?;
    for push in pushes.iter().filter(|push| !push.error.is_empty()) {
        writeln!(
            out,
            "{} refused {} {}: {}",
            push.sidecar,
            push.r#type,
            push.names.join(" "),
            printable_line(&brief(&push.error))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn push(sidecar: &str, revision: u64) -> pb::Push {
        pb::Push {
            sidecar: sidecar.into(),
            r#type: "endpoint".into(),
            revision,
            resources: 1,
            bytes: 123,
            ack_us: Some(4_567),
            names: vec!["outbound|80||a.shop".into()],
            sent_us: 1_795_000_000_123_456,
            ..Default::default()
        }
    }

    fn pushes() -> Vec<pb::Push> {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        vec![
            push("web-1.shop", 0),
            pb::Push { resources: 7, removed: 2, names, ..push("web-1.shop", 3) },
            pb::Push { ack_us: None, ..push("web-2.shop", 3) },
            pb::Push { error: "no such thing\n".into(), ..push("web-3.shop", 3) },
        ]
    }

    fn printed(pushes: &[pb::Push]) -> String {
        let mut out = Vec::new();
        print_pushes(pushes, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| format!("|{}\n", line.trim_end())).collect()
    }

    #[test]
    fn the_table_says_what_was_sent_why_and_what_the_answer_was() {
        expect![[r#"
            | TIME                      SIDECAR     REVISION  TYPE      SENT  REMOVED  BYTES  ANSWER      NAMES
            | 2026-11-18T11:06:40.123Z  web-1.shop  (asked)   endpoint  1     0        123    ACK 4.5 ms  outbound|80||a.shop
            | 2026-11-18T11:06:40.123Z  web-1.shop  3         endpoint  7     2        123    ACK 4.5 ms  a b c … 6 more
            | 2026-11-18T11:06:40.123Z  web-2.shop  3         endpoint  1     0        123    none yet    outbound|80||a.shop
            | 2026-11-18T11:06:40.123Z  web-3.shop  3         endpoint  1     0        123    NACK        outbound|80||a.shop
            |web-3.shop refused endpoint outbound|80||a.shop: no such thing
        "#]]
        .assert_eq(&printed(&pushes()));
    }

    #[test]
    fn nothing_to_show_is_said() {
        expect![[r#"
            |nothing was sent to anybody
        "#]]
        .assert_eq(&printed(&[]));
    }

    #[test]
    fn json_has_a_key_for_each_field() {
        let json: Vec<Value> = pushes()[2..].iter().map(push_json).collect();
        expect![[r#"
            [
              {
                "ackUs": null,
                "bytes": 123,
                "error": "",
                "names": [
                  "outbound|80||a.shop"
                ],
                "removed": 0,
                "resources": 1,
                "revision": 3,
                "sidecar": "web-2.shop",
                "time": "2026-11-18T11:06:40.123Z",
                "type": "endpoint"
              },
              {
                "ackUs": 4567,
                "bytes": 123,
                "error": "no such thing\n",
                "names": [
                  "outbound|80||a.shop"
                ],
                "removed": 0,
                "resources": 1,
                "revision": 3,
                "sidecar": "web-3.shop",
                "time": "2026-11-18T11:06:40.123Z",
                "type": "endpoint"
              }
            ]"#]]
        .assert_eq(&serde_json::to_string_pretty(&json).unwrap());
    }
}
