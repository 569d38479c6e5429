//! Results as a table, as JSON and as curves.

use serde_json::{Value, json};

/// The result of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The name of the scenario.
    pub scenario: String,
    /// The number of sidecars that were sent something.
    pub reached: usize,
    /// The time from the change to the answer, in milliseconds: the median, the 99th percentile and the maximum.
    pub millis: [f64; 3],
    /// The length of all responses, in bytes.
    pub bytes: u64,
    /// The number of resources that were new, changed or removed.
    pub resources: u64,
    /// The CPU time of the server, in seconds.
    pub cpu: Option<f64>,
    /// The resident memory of the server afterwards, in kilobytes.
    pub rss_kb: Option<u64>,
    /// The number of resources that the server encoded.
    pub encodes: Option<u64>,
    /// The number of resources that sidecars hold and should not, or hold in another version.
    pub wrong: usize,
    /// The number of resources that sidecars lack.
    pub missing: usize,
    /// What else is to be said of the run.
    pub note: String,
}

impl Figures {
    /// Returns the result as JSON.
    pub fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "reached": self.reached,
            "p50Ms": self.millis[0], "p99Ms": self.millis[1], "lastMs": self.millis[2],
            "bytes": self.bytes, "resources": self.resources, "cpuSeconds": self.cpu, "rssKb": self.rss_kb,
            "encodes": self.encodes, "wrong": self.wrong, "missing": self.missing, "note": self.note,
        })
    }

    /// Returns the head of the table.
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

    /// Returns a line of the table.
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

/// Returns the value below which a share of the sorted values lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// A curve: its name and its points.
type Curve = (String, Vec<(f64, f64)>);

/// Returns the curves of several results of the bench by the number of services or of sidecars, whichever varies.
fn curves(results: &[Value]) -> (&'static str, Vec<Curve>) {
    let number = |result: &Value, field: &str| result[field].as_f64().unwrap_or_default();
    let varies = |field: &str| results.iter().any(|one| number(one, field) != number(&results[0], field));
    let (axis, field) = if varies("services") { ("services", "services") } else { ("sidecars", "sidecars") };
    let figure = |result: &Value, name: &str, field: &str| {
        let found = result["figures"].as_array().into_iter().flatten().find(|one| one["scenario"] == name).cloned();
        found.unwrap_or_default()[field].as_f64().unwrap_or_default()
    };
    let curve = |name: &str, value: &dyn Fn(&Value) -> f64| {
        (name.to_owned(), results.iter().map(|one| (number(one, field), value(one))).collect())
    };
    let all = vec![
        curve("RSS with the mesh loaded, MB", &|one| number(one, "loadedRssKb") / 1024.0),
        curve("RSS with all connected, MB", &|one| figure(one, "connect", "rssKb") / 1024.0),
        curve("connect: server CPU, ms per sidecar", &|one| {
            figure(one, "connect", "cpuSeconds") * 1e3 / number(one, "sidecars").max(1.0)
        }),
        curve("S1: server CPU, ms", &|one| figure(one, "S1", "cpuSeconds") * 1e3),
    ];
    (axis, all)
}

/// Draws the curves of several results, one picture below the other.
///
/// # Errors
/// Fails if it cannot be drawn.
pub fn plot(results: &[Value], path: &std::path::Path) -> anyhow::Result<()> {
    use plotters::prelude::*;
    let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("{}: {error}", path.display());
    let (axis, curves) = curves(results);
    let area = SVGBackend::new(path, (720, 260 * curves.len() as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    for ((name, mut points), part) in curves.iter().cloned().zip(area.split_evenly((curves.len(), 1))) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let right = points.iter().map(|(x, _)| *x).fold(1.0, f64::max) * 1.05;
        let top = points.iter().map(|(_, y)| *y).fold(1e-3, f64::max) * 1.2;
        let mut chart = ChartBuilder::on(&part)
            .caption(&name, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(32)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..right, 0.0..top)
            .map_err(|error| failed(&error))?;
        chart.configure_mesh().x_desc(axis).max_light_lines(1).draw().map_err(|error| failed(&error))?;
        chart.draw_series(LineSeries::new(points.clone(), &BLUE)).map_err(|error| failed(&error))?;
        let dots = points.iter().map(|point| Circle::new(*point, 4, BLUE.filled()));
        chart.draw_series(dots).map_err(|error| failed(&error))?;
    }
    area.present().map_err(|error| failed(&error))
}
