//! `rutterctl` as people and scripts run it: what it prints, where, and how it exits.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::Result;
use expect_test::expect;
use rutter_tests::process::{ControlPlane, binary};
use tokio::process::Command;

const CONFIG: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\n\
    spec: {ports: [{name: http, port: 80}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n\
    spec: {hosts: [a], http: [{route: [{destination: {host: b}}]}]}\n";

/// A control plane, and a folder of files for `rutterctl`.
struct Shell {
    plane: ControlPlane,
    dir: tempfile::TempDir,
}

impl Shell {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let plane = ControlPlane::start(dir.path(), &[]).await?;
        std::fs::write(dir.path().join("config.yaml"), CONFIG)?;
        Ok(Self { plane, dir })
    }

    /// Runs `rutterctl` in the folder.
    async fn run(&self, line: &str) -> Result<Output> {
        run_in(self.dir.path(), &self.plane.admin_socket().display().to_string(), line).await
    }

    /// Returns the exit code, the standard output and the standard error of `rutterctl`, without spaces at line ends.
    async fn shown(&self, line: &str) -> Result<String> {
        Ok(shown(&self.run(line).await?))
    }
}

async fn run_in(dir: &Path, server: &str, line: &str) -> Result<Output> {
    let mut command = Command::new(binary("rutterctl")?);
    command.args(line.split(' ')).env("RUTTER_SERVER", server).current_dir(dir).stdin(Stdio::null());
    Ok(command.output().await?)
}

fn shown(output: &Output) -> String {
    let trimmed = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
    };
    let mut text = format!("exit {}\n{}", output.status.code().unwrap_or(-1), trimmed(&output.stdout));
    if !output.stderr.is_empty() {
        text.push_str(&format!("on standard error:\n{}", trimmed(&output.stderr)));
    }
    text
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is expected output")]
async fn objects_are_applied_shown_and_deleted() -> Result<()> {
    let shell = Shell::start().await?;
    expect![[r#"
        exit 0
        service/a.shop created (dry run)
        virtualservice/v.shop created (dry run)
        on standard error:
        warning: virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml --dry-run").await?);
    expect![[r#"
        exit 0
        no objects
    "#]]
    .assert_eq(&shell.shown("get all").await?);
    expect![[r#"
        exit 0
        service/a.shop created
        virtualservice/v.shop created
        on standard error:
        warning: virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml").await?);
    expect![[r#"
        exit 0
        {
          "applied": [
            {
              "action": "unchanged",
              "object": "service/a.shop"
            },
            {
              "action": "unchanged",
              "object": "virtualservice/v.shop"
            }
          ],
          "revision": 1,
          "warnings": [
            "virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503"
          ]
        }
        on standard error:
        warning: virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f . -o json").await?);
    expect![[r#"
        exit 0
         KIND            NAMESPACE  NAME  VERSION  OWNER
         Service         shop       a     1        api
         VirtualService  shop       v     1        api
    "#]]
    .assert_eq(&shell.shown("get all").await?);
    expect![[r#"
        exit 0
        apiVersion: "v1"
        kind: "Service"
        metadata:
          creationTimestamp: "2026-01-01T00:00:00Z"
          name: "a"
          namespace: "shop"
          resourceVersion: "1"
        spec:
          ports:
            - name: "http"
              port: 80
    "#]]
    .assert_eq(&shell.shown("-n shop get svc a -o yaml").await?);
    expect![[r#"
        exit 0
        no objects
    "#]]
    .assert_eq(&shell.shown("-n bank get all").await?);
    expect![[r#"
        exit 0
        vs shop/v deleted
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v").await?);
    expect![[r#"
        exit 1
        on standard error:
        virtualService shop/v: not found
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v").await?);
    Ok(())
}

#[tokio::test]
async fn faults_are_told_on_standard_error_and_by_the_exit_code() -> Result<()> {
    let shell = Shell::start().await?;
    std::fs::write(shell.dir.path().join("bad.yaml"), CONFIG.replace("80", "0").replace("hosts", "host"))?;
    expect![[r#"
        exit 1
        on standard error:
        bad.yaml: line 1: service shop/a: spec.ports[0].port: want 1..=65535, got 0
        bad.yaml: line 6: virtualService shop/v: spec.host: want a field of VirtualService, got unknown field "host"
        bad.yaml: line 6: virtualService shop/v: spec: want the field `hosts`, got nothing
    "#]]
    .assert_eq(&shell.shown("apply -f bad.yaml").await?);
    expect![[r#"
        exit 1
        on standard error:
        gone.yaml: No such file or directory (os error 2)
    "#]]
    .assert_eq(&shell.shown("apply -f gone.yaml").await?);
    expect![[r#"
        exit 1
        on standard error:
        "pods": want one of Namespace, Service, EndpointSlice, ServiceEntry, WorkloadEntry, VirtualService, DestinationRule, Sidecar
    "#]].assert_eq(&shell.shown("get pods").await?);
    expect![[r#"
        exit 1
        on standard error:
        svc nothing: not found
    "#]]
    .assert_eq(&shell.shown("get svc nothing").await?);
    expect![[r#"
        exit 1
        on standard error:
        web: no such sidecar is connected (see rutterctl proxy-status)
    "#]]
    .assert_eq(&shell.shown("proxy-config web").await?);
    expect![[r#"
        exit 1
        on standard error:
        web: no such sidecar is connected (see rutterctl proxy-status)
    "#]]
    .assert_eq(&shell.shown("pushes web").await?);
    let nobody = run_in(shell.dir.path(), "127.0.0.1:1", "get all").await?;
    expect![[r#"
        exit 1
        on standard error:
        no control plane answers (is `rutter serve` running? another address: --server); tried
          127.0.0.1:1: Connection refused (os error 111)
    "#]]
    .assert_eq(&shown(&nobody));
    let xds = run_in(shell.dir.path(), &shell.plane.xds.to_string(), "get all").await?;
    expect![[r#"
        exit 1
        on standard error:
        want an admin address, got one without this call (an xDS address, or a control plane of another version: see --server)
    "#]].assert_eq(&shown(&xds));
    let no_port = run_in(shell.dir.path(), "localhost", "get all").await?;
    expect![[r#"
        exit 2
        on standard error:
        error: invalid value 'localhost' for '--server <ADDR>': want the path of a socket or of a data folder, or HOST:PORT (the address of `rutter serve --admin`)

        For more information, try '--help'.
    "#]].assert_eq(&shown(&no_port));
    assert_eq!(shell.run("frobnicate").await?.status.code(), Some(2), "a command line that is wrong");
    Ok(())
}

#[tokio::test]
async fn what_nobody_is_connected_to_see_is_said() -> Result<()> {
    let shell = Shell::start().await?;
    expect![[r#"
        exit 0
        no sidecar is connected (rutterctl bootstrap prints what a proxy needs)
    "#]]
    .assert_eq(&shell.shown("proxy-status").await?);
    expect![[r#"
        exit 0
        {
          "revision": 0,
          "sidecars": []
        }
    "#]]
    .assert_eq(&shell.shown("proxy-status -o json").await?);
    expect![[r#"
        exit 0
        nothing was sent to anybody
    "#]]
    .assert_eq(&shell.shown("pushes").await?);
    expect![[r#"
        exit 0
        []
    "#]]
    .assert_eq(&shell.shown("pushes -o yaml").await?);
    expect![[r#"
        exit 0
        service/a.shop created
        virtualservice/v.shop created

        revision 1:
        nothing was sent to anybody
        on standard error:
        warning: virtualService shop/v: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml --wait").await?);
    Ok(())
}

#[tokio::test]
async fn standard_input_is_a_file_and_a_reader_that_goes_is_no_panic() -> Result<()> {
    let shell = Shell::start().await?;
    let many: String = (0..2_000)
        .map(|number| {
            format!(
                "{}---\n",
                CONFIG.replace("name: a,", &format!("name: a{number},")).split("---\n").next().unwrap_or_default()
            )
        })
        .collect();
    std::fs::write(shell.dir.path().join("many"), many)?;
    let script = "\"$0\" apply -f - < many > /dev/null && \"$0\" get all -o yaml | head -1; echo ${PIPESTATUS[0]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).arg(binary("rutterctl")?).current_dir(shell.dir.path());
    let output = bash.env("RUTTER_SERVER", shell.plane.admin_socket()).output().await?;
    expect![[r#"
        exit 0
        apiVersion: "v1"
        1
    "#]]
    .assert_eq(&shown(&output));
    Ok(())
}
