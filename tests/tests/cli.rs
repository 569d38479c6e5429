//! `rutterctl` as people and scripts run it: what it prints, where, and how it exits.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use expect_test::expect;
use rutter_tests::process::{ControlPlane, Sidecar, Workload, binary, eventually};
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tokio::process::Command;

const CONFIG: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, creationTimestamp: '1971-01-01T00:00:00Z'}\n\
    spec: {ports: [{name: http, port: 80}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n\
    spec: {hosts: [a], http: [{route: [{destination: {host: b}}]}]}\n";

/// Files as people have them, each with its name.
const WHAT_PEOPLE_HAVE: [(&str, &str); 5] = [
    (
        "exported.yaml",
        "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    annotations:\n      \
         kubectl.kubernetes.io/last-applied-configuration: '{}'\n    creationTimestamp: \"1971-01-01T00:00:00Z\"\n    \
         managedFields: [{manager: kubectl, operation: Update}]\n    name: a\n    namespace: shop\n    resourceVersion: \"123456\"\n    \
         uid: 3f0c\n  spec:\n    clusterIP: 10.9.0.1\n    clusterIPs: [10.9.0.1]\n    internalTrafficPolicy: Cluster\n    \
         ipFamilies: [IPv4]\n    ipFamilyPolicy: SingleStack\n    ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080}]\n    \
         selector: {app: a}\n    sessionAffinity: None\n    type: ClusterIP\n  status: {loadBalancer: {}}\n\
         kind: List\nmetadata: {resourceVersion: \"\"}\n",
    ),
    (
        "mixed.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, annotations: {sidecar.istio.io/inject: 'true'}}\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: d}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: EnvoyFilter\nmetadata: {name: g}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n\
         spec: {hosts: [a], http: [{fault: {abort: {httpStatus: 500, http2Error: a}, delay: {fixedDelay: 1s, exponentialDelay: 1s}}, \
         route: [{destination: {host: a}}]}]}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio-injection: enabled}}\n",
    ),
    (
        "twice.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"n\"}}\n\
         {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\", \"namespace\": \"shop\"}, \"spec\": {\"ports\": [{\"port\": 1}]}}\n",
    ),
    (
        "labelled.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: kept, labels: {app: web}}\nspec: {ports: [{port: 80}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: pruned, labels: {app: web}}\nspec: {ports: [{port: 80}]}\n",
    ),
    (
        "labelled-less.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: kept, labels: {app: web}}\nspec: {ports: [{port: 80}]}\n",
    ),
];

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

/// Returns a line with `N` for each digit of an age, which is another one at each run.
fn without_ages(line: &str) -> String {
    let is_age = |word: &str| {
        let number = word.strip_suffix(['s', 'm', 'h', 'd']);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let words = line.split(' ').map(|word| {
        if is_age(word) { word.replace(|letter: char| letter.is_ascii_digit(), "N") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the exit code and what was printed.
fn shown(output: &Output) -> String {
    let trimmed = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(|line| format!("{}\n", without_ages(line.trim_end()))).collect::<String>()
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
        service shop/a created (dry run)
        virtualService shop/v created (dry run)
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml --dry-run").await?);
    expect![[r#"
        exit 0
        on standard error:
        no objects
    "#]]
    .assert_eq(&shell.shown("get all").await?);
    expect![[r#"
        exit 0
        service shop/a created
        virtualService shop/v created
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml").await?);
    expect![[r#"
        exit 0
        {
          "applied": [
            {
              "action": "unchanged",
              "object": "service shop/a"
            },
            {
              "action": "unchanged",
              "object": "virtualService shop/v"
            }
          ],
          "dryRun": false,
          "leftOut": [],
          "passedOver": [],
          "revision": 1,
          "warnings": [
            "IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503"
          ]
        }
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f . -o json").await?);
    expect![[r#"
        exit 0
        service/a
        virtualservice.networking.istio.io/v
    "#]]
    .assert_eq(&shell.shown("get all --no-headers -o name").await?);
    expect![[r#"
        exit 0
         NAMESPACE  NAME       CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS  VERSION  OWNER  LABELS
         shop       service/a  -           80/http  none       NNNNNd  ok      1        api    -

         NAMESPACE  NAME              GATEWAYS  HOSTS  AGE  STATUS  VERSION  OWNER  LABELS
         shop       virtualservice/v  -         a      Ns   ok      1        api    -
    "#]]
    .assert_eq(&shell.shown("get svc,vs -o wide --show-labels").await?);
    expect![[r#"
        exit 0
        apiVersion: v1
        kind: Service
        metadata:
          annotations:
            rutter/revision: "1"
          creationTimestamp: "1971-01-01T00:00:00Z"
          name: a
          namespace: shop
          resourceVersion: "1"
        spec:
          ports:
            - name: http
              port: 80
    "#]]
    .assert_eq(&shell.shown("-n shop get svc a -o yaml").await?);
    expect![[r#"
        exit 0
        on standard error:
        no objects in the namespace bank
    "#]]
    .assert_eq(&shell.shown("-n bank get all").await?);
    expect![[r#"
        exit 1
         NAMESPACE  NAME  CLUSTER-IP  PORTS    ENDPOINTS  AGE     STATUS
         shop       a     -           80/http  none       NNNNNd  ok
        on standard error:
        virtualService gone: not found
    "#]]
    .assert_eq(&shell.shown("get svc/a vs/gone").await?);
    expect![[r#"
        exit 0
        a
    "#]]
    .assert_eq(&shell.shown("get virtualService shop/v -o jsonpath={.spec.hosts[*]}").await?);
    expect![[r#"
        exit 0
        virtualService shop/v deleted (dry run)
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v --dry-run=server").await?);
    expect![[r#"
        exit 0
        virtualService shop/v deleted
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v").await?);
    expect![[r#"
        exit 1
        on standard error:
        virtualService shop/v: not found
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v").await?);
    expect![[r#"
        exit 0
    "#]]
    .assert_eq(&shell.shown("-n shop delete vs v --ignore-not-found").await?);
    expect![[r#"
        exit 0
        service shop/a deleted
    "#]]
    .assert_eq(&shell.shown("delete svc --all -n shop").await?);
    expect![[r#"
        exit 0
    "#]]
    .assert_eq(&shell.shown("delete -f config.yaml --ignore-not-found").await?);
    Ok(())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is expected output")]
async fn what_people_have_is_taken_and_what_is_not_taken_is_named() -> Result<()> {
    let shell = Shell::start().await?;
    for (name, text) in WHAT_PEOPLE_HAVE {
        std::fs::write(shell.dir.path().join(name), text)?;
    }
    expect![[r#"
        exit 0
        service shop/a created (dry run)
    "#]]
    .assert_eq(&shell.shown("apply -f exported.yaml --dry-run").await?);
    expect![[r#"
        exit 1
        on standard error:
        mixed.yaml: line 9: EnvoyFilter g: kind: not supported yet
        mixed.yaml: line 13: virtualService default/v: spec.http[0].fault.abort.http2Error: not supported yet
        mixed.yaml: line 13: virtualService default/v: spec.http[0].fault.delay.exponentialDelay: not supported yet
        2 objects would be taken if more were supported: --skip-unsupported leaves such objects out, whole
    "#]]
    .assert_eq(&shell.shown("apply -f mixed.yaml").await?);
    expect![[r#"
        exit 0
        namespace shop created
        on standard error:
        left out: EnvoyFilter g (mixed.yaml: line 9): kind: not supported yet
        left out: virtualService default/v (mixed.yaml: line 13): spec.http[0].fault.abort.http2Error: not supported yet; spec.http[0].fault.delay.exponentialDelay: not supported yet
        passed over, because they are no config of a mesh: 1 apps/v1 Deployment, 1 v1 ServiceAccount
    "#]].assert_eq(&shell.shown("apply -f mixed.yaml --skip-unsupported").await?);
    expect![[r#"
        exit 1
        on standard error:
        mixed.yaml: line 1: want config of a mesh, got apps/v1 Deployment (without --strict it is passed over)
        mixed.yaml: line 5: want config of a mesh, got v1 ServiceAccount (without --strict it is passed over)
    "#]]
    .assert_eq(&shell.shown("apply -f mixed.yaml --skip-unsupported --strict").await?);
    expect![[r#"
        exit 1
        on standard error:
        config.yaml: line 1: service shop/a: want each object once, got it at twice.json: line 2 too
    "#]]
    .assert_eq(&shell.shown("apply -f twice.json -f config.yaml").await?);
    expect![[r#"
        exit 1
        on standard error:
        config.yaml: line 1: service shop/a: want the namespace bank of --namespace, got shop
        config.yaml: line 6: virtualService shop/v: want the namespace bank of --namespace, got shop
    "#]]
    .assert_eq(&shell.shown("-n bank apply -f config.yaml").await?);
    expect![[r#"
        exit 0
        service default/kept created
        service default/pruned created
    "#]]
    .assert_eq(&shell.shown("apply -f labelled.yaml --prune -l app=web").await?);
    expect![[r#"
        exit 0
        service default/kept unchanged
        service default/pruned deleted
    "#]]
    .assert_eq(&shell.shown("apply -f labelled-less.yaml --prune -l app=web").await?);
    expect![[r#"
        exit 1
        mixed.yaml:1: apps/v1 Deployment d: no config of a mesh
            Istio: it acts on the annotation sidecar.istio.io/inject of pods; Rutter injects nothing into pods
        mixed.yaml:9: EnvoyFilter g: not supported yet
            kind: not supported yet
        mixed.yaml:13: virtualService default/v: not supported yet
            spec.http[0].fault.abort.http2Error: not supported yet
            spec.http[0].fault.delay.exponentialDelay: not supported yet
        mixed.yaml:18: namespace shop: acted on
            Istio: the label istio-injection makes it inject sidecars; Rutter injects none: give each pod its own (rutterctl bootstrap)

        5 objects: 1 acted on, 2 not supported yet, 2 no config of a mesh (1 apps/v1 Deployment, 1 v1 ServiceAccount)
    "#]].assert_eq(&shell.shown("check -f mixed.yaml --from-istio").await?);
    expect![[r#"
        exit 0
        {
          "objects": [
            {
              "faults": [],
              "notes": [],
              "object": "service shop/a",
              "place": "config.yaml:1",
              "verdict": "acted on"
            },
            {
              "faults": [],
              "notes": [],
              "object": "virtualService shop/v",
              "place": "config.yaml:6",
              "verdict": "acted on"
            }
          ],
          "summary": "2 objects: 2 acted on"
        }
    "#]]
    .assert_eq(&shell.shown("check -f config.yaml -o json").await?);
    expect![[r#"
        exit 1
        on standard error:
        https://a.example/b.yaml: want a file, got a URL: look at it before you apply it (curl -sSL https://a.example/b.yaml | rutterctl apply -f -)
    "#]].assert_eq(&shell.shown("apply -f https://a.example/b.yaml").await?);
    Ok(())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is expected output")]
async fn history_is_shown_compared_and_brought_back() -> Result<()> {
    let shell = Shell::start().await?;
    std::fs::write(shell.dir.path().join("changed.yaml"), CONFIG.replace("80", "81"))?;
    expect![[r#"
        exit 0
        service shop/a created
        virtualService shop/v created
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f config.yaml").await?);
    expect![[r#"
        exit 0
        service shop/a configured
        virtualService shop/v unchanged
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("apply -f changed.yaml").await?);
    expect![[r#"
        exit 1
        --- service shop/a (revision 1)
        +++ service shop/a (revision 2)
        @@ -7,4 +7,4 @@
         spec:
           ports:
             - name: http
        -      port: 80
        +      port: 81
    "#]]
    .assert_eq(&shell.shown("diff 1..2").await?);
    expect![[r#"
        exit 1
        --- service shop/a (live)
        +++ service shop/a (file)
        @@ -6,4 +6,4 @@
         spec:
           ports:
             - name: http
        -      port: 81
        +      port: 80
    "#]]
    .assert_eq(&shell.shown("diff -f config.yaml").await?);
    expect![[r#"
        exit 0
    "#]]
    .assert_eq(&shell.shown("diff -f changed.yaml").await?);
    expect![[r#"
        exit 0
        service shop/a configured (dry run)
    "#]]
    .assert_eq(&shell.shown("rollback 1 --dry-run").await?);
    expect![[r#"
        exit 0
        service shop/a configured
        revision 3 is as revision 1 was
    "#]]
    .assert_eq(&shell.shown("rollback 1").await?);
    expect![[r#"
        exit 0
        everything is as it was at revision 1
    "#]]
    .assert_eq(&shell.shown("rollback 1").await?);
    expect![[r#"
        exit 1
        on standard error:
        want a revision of at most 3, got 9
    "#]]
    .assert_eq(&shell.shown("rollback 9").await?);
    expect![[r#"
        exit 2
        on standard error:
        want FROM..TO, two revisions, got "x"
    "#]]
    .assert_eq(&shell.shown("diff 1..x").await?);
    Ok(())
}

#[tokio::test]
async fn history_says_who_and_when() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let json = String::from_utf8(shell.run("history vs/v -n shop -o json").await?.stdout)?;
    let history: serde_json::Value = serde_json::from_str(&json)?;
    let by = history[0]["by"].as_str().unwrap_or_default();
    let time = history[0]["time"].as_str().unwrap_or_default();
    assert!(by.starts_with("uid ") && time.starts_with("20") && time.ends_with('Z'), "{json}");
    assert_eq!(history[0]["changes"][0]["object"], "service shop/a");
    // So does the log, also of what was refused or only tried.
    shell.run("-n shop delete svc gone").await?;
    shell.run("apply -f config.yaml --dry-run").await?;
    let log = shell.plane.log();
    let audit: Vec<&str> = log.lines().filter_map(|line| line.split_once(" audit: ").map(|(_, line)| line)).collect();
    assert_eq!(
        audit,
        [
            format!(
                r#"done by={by} call="apply" dry_run=false revision=1 objects="Service shop/a created, VirtualService shop/v created""#
            ),
            format!(r#"refused by={by} call="delete" dry_run=false error="service shop/gone: not found""#),
            format!(r#"done by={by} call="apply" dry_run=true revision=1 objects="""#),
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_stopped_control_plane_does_not_hold_the_command_for_ever() -> Result<()> {
    let shell = Shell::start().await?;
    shell.plane.signal("STOP")?;
    let output = shell.shown("--timeout 500ms get all").await?;
    shell.plane.signal("CONT")?;
    expect![[r#"
        exit 1
        on standard error:
        the control plane has not answered within 0.5 s (--timeout)
    "#]]
    .assert_eq(&output);
    Ok(())
}

#[tokio::test]
async fn an_object_is_edited_and_a_text_that_is_refused_is_kept() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let edit = async |editor: &str| {
        let mut command = Command::new(binary("rutterctl")?);
        command.args(["-n", "shop", "edit", "svc", "a"]).env("RUTTER_SERVER", shell.plane.admin_socket());
        let output = command.env("RUTTER_EDITOR", editor).env("TMPDIR", shell.dir.path()).output().await?;
        Ok::<_, anyhow::Error>(shown(&output))
    };
    expect![[r#"
        exit 0
        service shop/a unchanged
    "#]]
    .assert_eq(&edit("true").await?);
    expect![[r#"
        exit 0
        service shop/a configured
    "#]]
    .assert_eq(&edit("sed -i s/80/81/").await?);
    let refused = edit("sed -i s/81/0/").await?;
    let kept = refused.lines().find_map(|line| line.strip_prefix("your text is kept: rutterctl apply -f "));
    assert!(std::fs::read_to_string(kept.unwrap_or_default())?.contains("port: 0"), "{refused}");
    expect![[r#"
        exit 1
        on standard error:
        false: it ended with exit status: 1; nothing was changed
    "#]]
    .assert_eq(&edit("false").await?);
    Ok(())
}

#[tokio::test]
async fn a_watch_prints_each_change_until_it_is_interrupted() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let mut command = Command::new(binary("rutterctl")?);
    command.args(["get", "svc", "-w", "-o", "name"]).env("RUTTER_SERVER", shell.plane.admin_socket());
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = tokio::io::BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut next = async || Ok::<_, anyhow::Error>(lines.next_line().await?.unwrap_or_default());
    assert_eq!(next().await?, "service/a");
    std::fs::write(shell.dir.path().join("b.yaml"), CONFIG.replace("name: a,", "name: b,"))?;
    shell.run("apply -f b.yaml").await?;
    assert_eq!(next().await?, "service/b");
    shell.run("-n shop delete svc a").await?;
    assert_eq!(next().await?, "service/a");
    Ok(())
}

#[tokio::test]
async fn ten_thousand_documents_are_one_apply() -> Result<()> {
    let shell = Shell::start().await?;
    let document = |number: usize| {
        CONFIG.split("---\n").next().unwrap_or_default().replace("name: a,", &format!("name: a{number},"))
    };
    let many: String = (0..10_000).map(|number| document(number) + "---\n").collect();
    std::fs::write(shell.dir.path().join("many.yaml"), many)?;
    let applied = String::from_utf8(shell.run("apply -f many.yaml").await?.stdout)?;
    assert_eq!(applied.lines().filter(|line| line.ends_with(" created")).count(), 10_000);
    assert_eq!(shell.shown("diff -f many.yaml").await?, "exit 0\n");
    let pruned = shell.run("delete -f many.yaml --ignore-not-found").await?;
    assert_eq!(String::from_utf8(pruned.stdout)?.lines().count(), 10_000);
    let history = String::from_utf8(shell.run("history").await?.stdout)?;
    assert_eq!(history.lines().count(), 3, "one transaction each, below the heads: {history}");
    Ok(())
}

#[tokio::test]
async fn an_output_that_cannot_be_written_is_a_failure() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let mut bash = Command::new("bash");
    bash.args(["-c", "\"$0\" get all > /dev/full"]).arg(binary("rutterctl")?);
    let output = bash.env("RUTTER_SERVER", shell.plane.admin_socket()).output().await?;
    assert_eq!(shown(&output), "exit 1\non standard error:\nNo space left on device (os error 28)\n");
    Ok(())
}

#[tokio::test]
async fn on_a_terminal_tables_have_colours_and_fit_and_without_one_they_have_neither() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let at_terminal = async |line: &str| {
        let mut script = Command::new("script");
        let line = format!("stty rows 24 cols 60; {} {line}", binary("rutterctl")?.display());
        script.args(["-qec", &line, "/dev/null"]).env("RUTTER_SERVER", shell.plane.admin_socket()).env("TERM", "xterm");
        let output = script.stdin(Stdio::null()).output().await?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let narrow = at_terminal("history").await?;
    assert!(narrow.lines().count() > 3 && narrow.lines().all(|line| line.trim_end().chars().count() <= 60), "{narrow}");
    let wide = String::from_utf8(shell.run("history").await?.stdout)?;
    assert!(wide.lines().any(|line| line.chars().count() > 60) && !wide.contains('\x1b'), "{wide}");
    Ok(())
}

#[tokio::test]
async fn what_would_destroy_more_than_is_meant_is_refused() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    for line in ["delete svc --selector= -n shop", "delete svc -n shop", "apply -f config.yaml --prune --selector="] {
        assert_eq!(shell.run(line).await?.status.code(), Some(2), "{line}");
    }
    // A backup replaces no device, and leaves a link that leads to a file.
    let pipe = shell.dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
    let refused = shell.shown("backup pipe").await?;
    assert!(refused.starts_with("exit 1\n") && refused.contains("pipe: want a file or nothing"), "{refused}");
    std::fs::write(shell.dir.path().join("real"), "old")?;
    std::os::unix::fs::symlink("real", shell.dir.path().join("link"))?;
    shell.run("backup link").await?;
    assert!(std::fs::symlink_metadata(shell.dir.path().join("link"))?.is_symlink());
    let backup = std::fs::metadata(shell.dir.path().join("real"))?;
    assert!(backup.len() > 100 && std::os::unix::fs::PermissionsExt::mode(&backup.permissions()) & 0o777 == 0o600);
    // An object is deleted by its name, whatever the file says of it meanwhile.
    std::fs::write(shell.dir.path().join("config.yaml"), CONFIG.replace("http: [", "http: [{fault: {}, route: []}, "))?;
    let deleted = shell.shown("delete -f config.yaml").await?;
    assert_eq!(deleted, "exit 0\nservice shop/a deleted\nvirtualService shop/v deleted\n");
    Ok(())
}

#[tokio::test]
async fn completions_and_versions_are_printed() -> Result<()> {
    let shell = Shell::start().await?;
    for shell_name in ["bash", "zsh", "fish"] {
        let output = shell.run(&format!("completion {shell_name}")).await?;
        assert!(output.status.success() && output.stdout.len() > 1_000, "{shell_name}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(shell.shown("version").await?, format!("exit 0\nclient: {version}\nserver: {version}\n"));
    assert_eq!(shell.shown("version --client").await?, format!("exit 0\nclient: {version}\n"));
    let refused = shell.shown("-n shop version").await?;
    assert!(refused.ends_with("--namespace shop: want none: this command is about the whole mesh\n"), "{refused}");
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
        want a kind of Namespace, ConfigMap, Service, Pod, EndpointSlice, ServiceEntry, WorkloadGroup, WorkloadEntry, Secret, Gateway, Ingress, VirtualService, DestinationRule, Sidecar, got "deployments"
    "#]]
    .assert_eq(&shell.shown("get deployments").await?);
    expect![[r#"
        exit 1
        on standard error:
        service nothing: not found
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
          "left": [],
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
        service shop/a created
        virtualService shop/v created

        revision 1:
        nothing was sent to anybody
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
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
        apiVersion: v1
        1
    "#]]
    .assert_eq(&shown(&output));
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_stands_in_the_status_is_counted_and_is_told_to_whoever_deletes() -> Result<()> {
    let shell = Shell::start().await?;
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";
    std::fs::write(shell.dir.path().join("b.yaml"), service)?;
    let findings = async |level: &str| {
        shell.plane.metric(&format!("rutter_config_findings{{level=\"{level}\"}}")).await.unwrap_or_default()
    };
    let errors = async |want: u64| eventually("findings", async || findings("Error").await == want).await;
    shell.run("apply -f config.yaml").await?;
    let status = shell.shown("get vs v -n shop -o jsonpath={.status}").await?;
    expect![[r#"
        exit 0
        {"validationMessages":[{"level":"ERROR","message":"spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503","type":{"code":"IST0101","name":"ReferencedResourceNotFound"}}]}
    "#]].assert_eq(&status);
    errors(1).await?;
    shell.run("apply -f b.yaml").await?;
    errors(0).await?;
    expect![[r#"
        exit 0
    "#]]
    .assert_eq(&shell.shown("get vs v -n shop -o jsonpath={.status}").await?);
    // Nothing is wrong any more, so that nothing is said. Whoever takes the service away is told who needs it.
    expect![[r#"
        exit 0
        service shop/a unchanged
        virtualService shop/v unchanged
    "#]]
    .assert_eq(&shell.shown("apply -f config.yaml").await?);
    expect![[r#"
        exit 0
        service shop/b deleted (dry run)

        impact at revision 2: none of 0 sidecars is sent anything
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("delete svc/b -n shop --dry-run --impact").await?);
    expect![[r#"
        exit 0
        {
          "applied": [
            {
              "action": "deleted",
              "object": "service shop/b"
            }
          ],
          "dryRun": false,
          "leftOut": [],
          "passedOver": [],
          "revision": 3,
          "warnings": [
            "IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503"
          ]
        }
        on standard error:
        warning: IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
    "#]].assert_eq(&shell.shown("delete svc/b -n shop -o json").await?);
    let log = shell.plane.log();
    assert!(log.contains("IST0101") && log.contains("no service b.shop.svc.cluster.local"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_trace_says_where_the_time_of_a_revision_went() -> Result<()> {
    let shell = Shell::start().await?;
    let nothing = shell.shown("trace").await?;
    expect![[r#"
        exit 1
        on standard error:
        nothing has changed since this control plane began
    "#]]
    .assert_eq(&nothing);
    shell.run("apply -f config.yaml").await?;
    let json: Value = serde_json::from_slice(&shell.run("trace 1 -o json").await?.stdout)?;
    assert_eq!((&json["revision"], &json["objects"], &json["affected"]), (&1.into(), &2.into(), &0.into()), "{json}");
    assert!(json["storeUs"].is_u64() && json["scopesUs"].is_u64(), "{json}");
    expect![[r#"
        exit 1
        on standard error:
        want a revision of at most 1, got 99
    "#]]
    .assert_eq(&shell.shown("trace 99").await?);
    Ok(())
}

#[tokio::test]
async fn analyze_says_what_is_wrong_with_what_is_there_and_with_files() -> Result<()> {
    let shell = Shell::start().await?;
    let file = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: shop}\n\
        spec: {host: gone}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\n\
        spec: {ports: [{name: http, port: 80}]}\n";
    std::fs::write(shell.dir.path().join("new.yaml"), file)?;
    shell.run("apply -f config.yaml").await?;
    expect![[r#"
        exit 1
        Error [IST0101] (VirtualService shop/v) spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
            Apply the service, or write the full name if it is in another namespace: a short name means one in shop.

        2 objects: 1 error
    "#]].assert_eq(&shell.shown("analyze").await?);
    expect![[r#"
        exit 0
        Warning [IST0174] (DestinationRule shop/r new.yaml:1) spec.host: no service gone.shop.svc.cluster.local is known; the rule acts on nothing
            Apply the service, or correct the host: a short name means a service of the rule's own namespace.

        4 objects: 1 warning
    "#]].assert_eq(&shell.shown("analyze new.yaml").await?);
    expect![[r#"
        exit 1
        [
          {
            "cause": "no service gone.shop.svc.cluster.local is known; the rule acts on nothing",
            "code": "IST0174",
            "documentationUrl": "https://istio.io/latest/docs/reference/config/analysis/ist0174/",
            "field": "spec.host",
            "fix": "Apply the service, or correct the host: a short name means a service of the rule's own namespace.",
            "level": "Warning",
            "message": "UnknownDestinationRuleHost: spec.host: no service gone.shop.svc.cluster.local is known; the rule acts on nothing",
            "origin": "DestinationRule shop/r",
            "reference": "new.yaml:1"
          }
        ]
    "#]].assert_eq(&shell.shown("analyze new.yaml --failure-threshold warning -o json").await?);
    expect![[r#"
        exit 2
        on standard error:
        --suppress IST0101=VirtualService*v.shop: want CODE=Kind NAME.NAMESPACE, such as IST0101=VirtualService a.shop
    "#]]
    .assert_eq(&shell.shown("analyze --offline config.yaml -S IST0101=VirtualService*v.shop").await?);
    expect![[r#"
        exit 0
        2 objects: 1 that were not asked for
    "#]]
    .assert_eq(&shell.shown("analyze -n other").await?);
    expect![[r#"
        exit 2
        on standard error:
        want files beside --offline, got none
    "#]]
    .assert_eq(&shell.shown("analyze --offline").await?);
    expect![[r#"
        exit 2
        on standard error:
        error: invalid value 'serious' for '--output-threshold <LEVEL>': want info, warning or error

        For more information, try '--help'.
    "#]]
    .assert_eq(&shell.shown("analyze --output-threshold serious").await?);
    Ok(())
}

#[tokio::test]
async fn analyze_names_the_connected_clients_that_a_finding_is_about() -> Result<()> {
    let shell = Shell::start().await?;
    shell.run("apply -f config.yaml").await?;
    let workload = Workload::new("client-1", "shop", IpAddr::from([127, 0, 77, 3]));
    let _envoy = Sidecar::start(shell.dir.path(), &shell.plane, &workload).await?;
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: bank}\n\
        spec: {host: a.shop.svc.cluster.local}\n";
    std::fs::write(shell.dir.path().join("rule.yaml"), rule)?;
    expect![[r#"
        exit 1
        Error [IST0101] (VirtualService shop/v) spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; requests sent there are answered 503
            Apply the service, or write the full name if it is in another namespace: a short name means one in shop.
            1 connected client: client-1.shop
        Info [RUT0002] (DestinationRule bank/r rule.yaml:1) metadata.namespace: the rule acts on clients in bank only, whatever its exportTo says, because it is neither in the namespace of a.shop.svc.cluster.local (shop) nor in the root namespace
            Move it to the namespace of the service, if other clients are meant.
            No connected client sees it.

        3 objects: 1 error, 1 note
    "#]].assert_eq(&shell.shown("analyze rule.yaml").await?);
    Ok(())
}

#[tokio::test]
async fn analyze_shows_fifty_of_a_code_unless_all_are_wanted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let rules: String = (0..1000)
        .map(|number| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r{number}}}\n\
                 spec: {{host: gone{number}}}\n---\n"
            )
        })
        .collect();
    std::fs::write(dir.path().join("rules.yaml"), rules)?;
    let lines = async |line: &str| -> Result<(usize, String)> {
        let output = run_in(dir.path(), "/nowhere", line).await?;
        let text = String::from_utf8(output.stdout)?;
        let told = text.lines().filter(|line| line.starts_with("Warning")).count();
        Ok((told, text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")))
    };
    let summary = "1000 objects: 1000 warnings";
    let want = (50, format!("{summary} |  | 950 more [IST0174] are not shown (see --limit)"));
    assert_eq!(lines("analyze --offline rules.yaml").await?, want);
    assert_eq!(lines("analyze --use-kube=false rules.yaml --limit 0").await?.0, 1000);
    Ok(())
}
