//! The command about pushes.

use anyhow::Result;
use rutter_api::brief;
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::{Value, json};

use crate::args::{Output, Pushes};
use crate::client::Admin;
use crate::output::{print, table};

/// The number of names of a push that the table shows.
const NAMES_SHOWN: usize = 3;

pub(crate) async fn pushes(admin: &mut Admin, wanted: Pushes) -> Result<()> {
    let request = pb::PushesRequest { sidecar: wanted.sidecar, since_revision: wanted.since };
    let pushes = admin.pushes(request).await?.into_inner().pushes;
    if wanted.output == Output::Short {
        print_pushes(&pushes);
        return Ok(());
    }
    print(&Value::Array(pushes.iter().map(push_json).collect()), wanted.output)
}

fn push_json(push: &pb::Push) -> Value {
    json!({
        "sidecar": push.sidecar, "type": push.r#type, "revision": push.revision, "resources": push.resources,
        "removed": push.removed, "bytes": push.bytes, "ackUs": push.ack_us, "error": push.error, "names": push.names,
    })
}

/// Prints what was sent to whom, and what was refused.
pub(crate) fn print_pushes(pushes: &[pb::Push]) {
    if pushes.is_empty() {
        println!("nothing was sent to anybody");
        return;
    }
    let mut rows = table(["SIDECAR", "REVISION", "TYPE", "SENT", "REMOVED", "BYTES", "ANSWER", "NAMES"]);
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
        rows.add_row([&push.sidecar, &cause, &push.r#type, &sent, &removed, &bytes, &answer, &names]);
    }
    println!("{rows}");
    for push in pushes.iter().filter(|push| !push.error.is_empty()) {
        println!("{} refused {} {}: {}", push.sidecar, push.r#type, push.names.join(" "), brief(&push.error));
    }
}
