//! What the operating system says of the process, under the names that every Prometheus client has for it.

use std::fmt;

use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads everything anew each time that it is asked.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

/// What is read of the process.
#[derive(Debug)]
struct Reading {
    cpu_seconds: f64,
    start_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_descriptors: usize,
    /// The number of descriptors that may be open. `None` means that there is no limit.
    max_descriptors: Option<u64>,
}

impl Reading {
    /// Reads it. `None` means that the operating system does not say.
    fn now() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let max_descriptors = match process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(max) => Some(max),
            LimitValue::Unlimited => None,
        };
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            start_seconds: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_descriptors: process.fd_count().ok()?,
            max_descriptors,
        })
    }
}

/// The name of a metric, without the prefix `process_`, and what it says.
struct Description {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reading) = Reading::now() else { return Ok(()) };
        let into = &mut encoder;
        let about = |name, help, unit| Description { name, help, unit };
        let cpu = about("cpu", "Time of CPUs that the process took", Some(Unit::Seconds));
        add(into, &cpu, &ConstCounter::new(reading.cpu_seconds))?;
        let start = about("start_time", "When the process started, since 1970", Some(Unit::Seconds));
        add(into, &start, &ConstGauge::new(reading.start_seconds))?;
        let resident = about("resident_memory", "Memory that the process has in use", Some(Unit::Bytes));
        add(into, &resident, &ConstGauge::new(gauge(reading.resident_bytes)))?;
        let reserved = about("virtual_memory", "Memory that the process has reserved", Some(Unit::Bytes));
        add(into, &reserved, &ConstGauge::new(gauge(reading.virtual_bytes)))?;
        add(into, &about("threads", "Threads of the process", None), &ConstGauge::new(reading.threads))?;
        let open = about("open_fds", "Open file descriptors", None);
        add(into, &open, &ConstGauge::new(gauge(reading.open_descriptors as u64)))?;
        let Some(max) = reading.max_descriptors else { return Ok(()) };
        add(into, &about("max_fds", "File descriptors that may be open", None), &ConstGauge::new(gauge(max)))
    }
}

fn add(
    encoder: &mut DescriptorEncoder<'_>,
    Description { name, help, unit }: &Description,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let metric_encoder = encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?;
    metric.encode(metric_encoder)
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn the_names_are_those_of_every_client_and_the_values_are_possible() {
        let mut registry = Registry::with_prefix("process");
        registry.register_collector(Box::new(ProcessMetrics));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(value("process_start_time_seconds") > 1.7e9 && value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_virtual_memory_bytes") > 1e6);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
    }
}
