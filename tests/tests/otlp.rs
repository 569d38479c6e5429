//! Traces of changes that the control plane sends to a collector.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use rutter_tests::otlp::{Collector, attribute};
use rutter_tests::process::{ControlPlane, Proxy, Sidecar, Workload, eventually, free_port};
use tokio::task::JoinSet;

fn entry(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec: {{hosts: [a.test], resolution: STATIC, \
         ports: [{{number: {port}, name: http, protocol: HTTP}}], endpoints: [{{address: 127.0.0.1}}]}}\n"
    )
}

#[tokio::test]
async fn a_change_is_a_trace_from_the_commit_to_the_answer_of_a_real_envoy() -> Result<()> {
    let mut tasks = JoinSet::new();
    let (collector, address) = Collector::start(Duration::ZERO, &mut tasks).await?;
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &["--otlp-endpoint", &format!("http://{address}")]).await?;
    let workload =
        Workload { proxy: Proxy::ENVOY, ..Workload::new("client-1", "default", IpAddr::from([127, 0, 155, 1])) };
    let _envoy = Sidecar::start(dir.path(), &plane, &workload).await?;
    plane.apply(&entry(8000), &["--wait"]).await?;
    let answered = || {
        let spans = collector.spans();
        spans.into_iter().find(|span| attribute(span, "rutter.sidecar").as_deref() == Some("client-1.default"))
    };
    eventually("the trace has come", async || answered().is_some()).await?;
    let Some(answer) = answered() else { anyhow::bail!("no answer") };
    let spans: Vec<_> = collector.spans().into_iter().filter(|span| span.trace_id == answer.trace_id).collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    ensure!(names == ["change", "store", "hold", "index", "scopes", "publish", "send", "answer"], "{names:?}");
    let root = &spans[0];
    ensure!(attribute(root, "rutter.sidecars").as_deref() == Some("1"), "{root:?}");
    ensure!(attribute(root, "rutter.unanswered").as_deref() == Some("0"), "{root:?}");
    ensure!(root.end_time_unix_nano >= answer.end_time_unix_nano && root.start_time_unix_nano > 0, "{root:?}");
    ensure!(spans[1..].iter().all(|span| span.parent_span_id == root.span_id), "{spans:?}");
    eventually("it is counted", async || {
        plane.metric("rutter_otlp_traces_exported_total").await.is_ok_and(|count| count >= 1)
    })
    .await?;
    ensure!(plane.metric("rutter_otlp_traces_dropped_total").await? == 0);
    Ok(())
}

async fn apply_some(plane: &ControlPlane) -> Result<()> {
    for port in 8000..8010 {
        plane.apply(&entry(port), &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_hangs_holds_nothing_up() -> Result<()> {
    let mut tasks = JoinSet::new();
    let (_slow, hanging) = Collector::start(Duration::from_secs(3600), &mut tasks).await?;
    let nobody = format!("127.0.0.1:{}", free_port()?);
    for collector in [nobody, hanging.to_string()] {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &["--otlp-endpoint", &format!("http://{collector}")]).await?;
        apply_some(&plane).await?;
        let is_dropped = async || plane.metric("rutter_otlp_traces_dropped_total").await.is_ok_and(|count| count > 0);
        eventually("traces are dropped", is_dropped).await?;
        apply_some(&plane).await?;
        ensure!(plane.metric("rutter_otlp_traces_exported_total").await? == 0);
        ensure!(plane.log().matches("traces are dropped").count() == 1, "{}", plane.log());
        let trace = plane.ctl(&["trace"]).await?;
        ensure!(trace.contains("scopes"), "{trace}");
    }
    Ok(())
}
