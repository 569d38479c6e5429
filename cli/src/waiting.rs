//! `--wait`: until every sidecar has answered what a revision made due.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::{Value, json};

use crate::client::Admin;
use crate::output::Out;
use crate::pushes::{print_pushes, push_json};

/// The longest time for which one call waits, so that progress can be shown.
const CALL_MAX: Duration = Duration::from_secs(1);
/// The number of sidecars that a line of progress names.
const NAMES_SHOWN: usize = 5;

/// What came of waiting.
pub(crate) struct Waited {
    revision: u64,
    answer: pb::WaitForAckResponse,
    pushes: Vec<pb::Push>,
    waited: Duration,
}

/// Waits until every sidecar has answered everything that a revision made due, but no longer than `timeout`, of which zero
/// means for ever. For whom it waits is told on standard error each second in which that changed, so that standard output
/// has nothing but the result.
pub(crate) async fn wait(admin: &mut Admin, revision: u64, timeout: Duration) -> Result<Waited> {
    let start = Instant::now();
    let mut told = String::new();
    let answer = loop {
        let left = timeout.saturating_sub(start.elapsed());
        let call = if timeout.is_zero() { CALL_MAX } else { left.min(CALL_MAX) };
        let timeout_ms = u32::try_from(call.as_millis()).unwrap_or(u32::MAX);
        let answer = admin.wait_for_ack(pb::WaitForAckRequest { revision, timeout_ms }).await?.into_inner();
        if answer.waiting.is_empty() || !timeout.is_zero() && start.elapsed() >= timeout {
            break answer;
        }
        let progress = progress(&answer);
        if progress != told {
            eprintln!("{}", printable(&progress));
            told = progress;
        }
    };
    let request = pb::PushesRequest { since_revision: revision, ..Default::default() };
    let pushes = admin.pushes(request).await?.into_inner().pushes;
    Ok(Waited { revision, answer, pushes, waited: timeout })
}

fn progress(answer: &pb::WaitForAckResponse) -> String {
    let waiting = answer.waiting.len();
    let mut names = answer.waiting.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if waiting > NAMES_SHOWN {
        names.push_str(&format!(" and {} more", waiting - NAMES_SHOWN));
    }
    format!("waiting for {waiting} of {} sidecars: {names}", answer.connected)
}

impl Waited {
    /// Prints what was sent to whom.
    pub(crate) fn print(&self, out: Out<'_>) -> Result<()> {
        writeln!(out, "\nrevision {}:", self.revision)?;
        print_pushes(&self.pushes, out)
    }

    /// Prints what was sent to whom, and fails if a sidecar refused or did not answer.
    pub(crate) fn show(&self, out: Out<'_>) -> Result<()> {
        self.print(out)?;
        self.result()
    }

    /// Returns what was sent to whom.
    pub(crate) fn json(&self) -> Value {
        let pushes: Vec<Value> = self.pushes.iter().map(push_json).collect();
        let pb::WaitForAckResponse { waiting, refused, connected } = &self.answer;
        json!({"connected": connected, "waiting": waiting, "refused": refused, "pushes": pushes})
    }

    /// Fails if a sidecar refused or did not answer.
    pub(crate) fn result(&self) -> Result<()> {
        let pb::WaitForAckResponse { waiting, refused, connected } = &self.answer;
        let mut faults = Vec::new();
        if !refused.is_empty() {
            let (count, names) = (refused.len(), refused.join(", "));
            faults.push(format!("refused by {count} of {connected} sidecars: {names} (see rutterctl proxy-status)"));
        }
        if !waiting.is_empty() {
            let (seconds, names) = (self.waited.as_secs_f64(), waiting.join(", "));
            faults.push(format!("no answer within {seconds} s (--timeout) from {names}"));
        }
        if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(waiting: &[&str], refused: &[&str]) -> pb::WaitForAckResponse {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        pb::WaitForAckResponse { waiting: owned(waiting), refused: owned(refused), connected: 40 }
    }

    #[test]
    fn progress_names_some_and_counts_the_others() {
        assert_eq!(progress(&answer(&["a", "b"], &[])), "waiting for 2 of 40 sidecars: a, b");
        let many = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(progress(&answer(&many, &[])), "waiting for 7 of 40 sidecars: a, b, c, d, e and 2 more");
    }

    #[test]
    fn refusals_and_silence_are_failures_that_are_named() {
        let waited = |answer| Waited { revision: 7, answer, pushes: Vec::new(), waited: Duration::from_secs(30) };
        assert!(waited(answer(&[], &[])).result().is_ok());
        let error = waited(answer(&["a"], &["b"])).result().unwrap_err().to_string();
        let want =
            "refused by 1 of 40 sidecars: b (see rutterctl proxy-status)\nno answer within 30 s (--timeout) from a";
        assert_eq!(error, want);
        assert_eq!(waited(answer(&["a"], &[])).json()["connected"], 40);
        let mut out = Vec::new();
        waited(answer(&[], &[])).print(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\nrevision 7:\nnothing was sent to anybody\n");
    }
}
