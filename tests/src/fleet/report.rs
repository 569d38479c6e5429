//! Results: a table, JSON, and curves.

use serde_json::{Value, json};

/// What one scenario came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Its name.
    pub scenario: String,
    /// Sidecars that were sent something.
    pub reached: usize,
    /// From the change to the answer, in milliseconds: half of them, all but a hundredth, the last.
    pub millis: [f64; 3],
    /// Of responses.
    pub bytes: u64,
    /// New, changed and removed ones.
    pub resources: u64,
    /// Of the server, in seconds.
    pub cpu: Option<f64>,
    /// Of the server afterwards, in kilobytes.
    pub rss_kb: Option<u64>,
    /// Pieces that the server encoded.
    pub encodes: Option<u64>,
    /// Resources that sidecars hold and should not, or in another version.
    pub wrong: usize,
    /// Resources that they lack.
    pub missing: usize,
    /// What else there is to say.
    pub note: String,
}

impl Figures {
    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "reached": self.reached,
            "p50Ms": self.millis[0], "p99Ms": self.millis[1], "lastMs": self.millis[2],
            "bytes": self.bytes, "resources": self.resources, "cpuSeconds": self.cpu, "rssKb": self.rss_kb,
            "encodes": self.encodes, "wrong": self.wrong, "missing": self.missing, "note": self.note,
        })
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:<10} {:>7} {:>8} {:>8} {:>8} {:>10} {:>9} {:>8} {:>8} {:>7} {:>5} {:>7}  {}",
            "scenario",
            "reached",
            "p50 ms",
            "p99 ms",
            "last ms",
            "bytes",
            "resources",
            "cpu s",
            "rss MB",
            "encodes",
            "wrong",
            "missing",
            "note"
        )
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        format!(
            "{:<10} {:>7} {:>8.1} {:>8.1} {:>8.1} {:>10} {:>9} {:>8} {:>8} {:>7} {:>5} {:>7}  {}",
            self.scenario,
            self.reached,
            self.millis[0],
            self.millis[1],
            self.millis[2],
            self.bytes,
            self.resources,
            or_dash(self.cpu.map(|cpu| format!("{cpu:.3}"))),
            or_dash(self.rss_kb.map(|rss| format!("{:.1}", rss as f64 / 1024.0))),
            or_dash(self.encodes.map(|encodes| encodes.to_string())),
            self.wrong,
            self.missing,
            self.note
        )
    }
}

/// The value below which a share of the sorted values is.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
