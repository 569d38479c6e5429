//! Texts of others: what a client says of itself, and why it refuses something, reach terminals and logs as text alone.

use anyhow::Result;
use rutter_api::ResourceType::Cluster;
use rutter_api::pb::google::rpc;
use rutter_tests::client::{Client, request};
use rutter_tests::process::{ControlPlane, eventually};

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";

/// A text that clears the screen, turns the rest around, and looks like a line of the log.
const HOSTILE: &str = "bad \u{1b}[2J\u{202e}evil\n2026-01-01T00:00:00Z  INFO rutter: all is well\r\u{9b}31m";

fn assert_plain(what: &str, text: &str) {
    for character in ['\u{1b}', '\u{202e}', '\r', '\u{9b}'] {
        assert!(!text.contains(character), "{what}: {text:?}");
    }
    let is_forged = |line: &str| line.starts_with("2026-01-01T00:00:00Z  INFO rutter: all is well");
    assert!(!text.lines().any(is_forged), "{what}: {text:?}");
}

#[tokio::test]
async fn names_that_are_none_are_refused_and_nothing_of_them_reaches_a_terminal() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let long = "x".repeat(1 << 20);
    for pod in ["a\u{1b}[2J", "a\u{202e}b", HOSTILE, &long] {
        let mut client = Client::connect(plane.xds).await?;
        client.send(request(&format!("sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local"), Cluster)).await;
        let status = client.next().await.unwrap_err();
        assert!(status.message().contains("want 1 to 253 lower-case letters"), "{status}");
        assert!(status.message().len() < 1500, "{} bytes", status.message().len());
    }
    assert!(plane.ctl(&["proxy-status"]).await?.contains("no sidecar is connected"));
    assert_plain("the log", &plane.log());
    let name = SERVICE.replace("name: a,", "name: \"a\\e[2J\\u202e\",");
    let error = plane.apply(&name, &[]).await.unwrap_err().to_string();
    assert!(error.contains("metadata.name: want 1 to 253 lower-case letters"), "{error}");
    assert_plain("the error of an apply", &error);
    let label = SERVICE.replace("name: a,", "name: a, labels: {app: \"v\\e[2J\"},");
    let error = plane.apply(&label, &[]).await.unwrap_err().to_string();
    assert!(error.contains("metadata.labels[\"app\"]: want at most 63 letters"), "{error}");
    assert_plain("the error of a label", &error);
    Ok(())
}

#[tokio::test]
async fn what_a_client_says_is_printed_and_logged_as_text_alone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    plane.apply(SERVICE, &[]).await?;
    let mut client = Client::connect(plane.xds).await?;
    let mut first = request("sidecar~10.0.0.1~w1.shop~shop.svc.cluster.local", Cluster);
    first.node.as_mut().unwrap().user_agent_name = HOSTILE.into();
    client.send(first).await;
    // A response of several resources comes again in halves, until it is known which of them is refused.
    let refusing = tokio::spawn(async move {
        while let Ok(response) = client.next().await {
            let refusal = rutter_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                error_detail: Some(rpc::Status { code: 3, message: HOSTILE.into(), details: Vec::new() }),
                ..Default::default()
            };
            client.send(refusal).await;
        }
    });
    eventually("the refusal is known", || async {
        plane.ctl(&["proxy-status"]).await.is_ok_and(|status| status.contains("NACK"))
    })
    .await?;
    for args in [
        &["proxy-status"][..],
        &["proxy-status", "-o", "json"],
        &["proxy-status", "-o", "yaml"],
        &["proxy-config", "w1", "cluster"],
        &["pushes"],
        &["pushes", "-o", "json"],
        &["get", "all"],
        &["get", "svc", "-o", "yaml"],
    ] {
        assert_plain(&args.join(" "), &plane.ctl(args).await?);
    }
    assert_plain("the log", &plane.log());
    refusing.abort();
    Ok(())
}
