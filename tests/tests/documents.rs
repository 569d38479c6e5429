//! The commands of the documents, run as they are written.
//!
//! Every block of shell commands in them has to be in [`BLOCKS`], with how it is run. The blocks run in a container of
//! their own, made with `unshare`: a network with nothing but a loopback, an empty home, and an empty `/var/lib`, so that
//! fixed ports and paths are free, and nothing of the machine is changed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rutter_tests::process::{Release, binary, envoy_binary};
use rutter_tests::root;
use tokio::process::Command;

/// How a block is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It runs until the end of the blocks of its document, and serves before the next one begins.
    Server,
    /// It is a sidecar, which runs as long, and is connected before the next one begins.
    Sidecar,
    /// It is run, and each of its commands has to succeed.
    Run,
    /// It is run, after a server ended whose folder it is about.
    RunStopped,
    /// It is not run here, for this reason.
    Elsewhere(&'static str),
}

/// A block of commands: the document, how its first line begins, and how it is run.
struct Block {
    document: &'static str,
    begins: &'static str,
    how: How,
}

const fn block(document: &'static str, begins: &'static str, how: How) -> Block {
    Block { document, begins, how }
}

const BLOCKS: [Block; 13] = [
    block("README.md", "make demo", How::Elsewhere("make demo has a test of its own, and make test runs this one")),
    block("README.md", "rutter serve", How::Server),
    block("README.md", "rutterctl apply -f examples/bookinfo/bookinfo.yaml", How::Run),
    block("README.md", "envoy -c envoy.json", How::Sidecar),
    block("README.md", "rutterctl apply -f examples/bookinfo/reviews-v3.yaml", How::Run),
    block("README.md", "rutterctl check -f my-mesh/", How::Run),
    block("README.md", "rutterctl -n shop bootstrap", How::Run),
    block("README.md", "rutterctl apply -f examples/bookinfo/gateway.yaml", How::Run),
    block(
        "CONTRIBUTING.md",
        "cargo test -p rutter-core",
        How::Elsewhere("they build, fuzz and run the tests themselves"),
    ),
    block("docs/operations.md", "rutter restore --data-dir /var/lib/rutter --dry-run", How::RunStopped),
    block("docs/operations.md", "rutterctl backup mesh.jsonl", How::RunStopped),
    block("examples/README.md", "rutter serve", How::Server),
    block("examples/README.md", "rutterctl apply -f examples/tasks/services.yaml", How::Run),
];

/// Documents whose blocks of commands are run.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/istio.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/proxy.md",
    "docs/xds.md",
    "docs/decisions",
    "examples/README.md",
];
/// How long all blocks of a document may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the blocks of shell commands of a document.
fn commands_of(path: &Path) -> Result<Vec<String>> {
    if path.is_dir() {
        let files = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        let blocks = files.iter().map(|file| commands_of(file)).collect::<Result<Vec<_>>>()?;
        return Ok(blocks.concat());
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let blocks = text.split("\n```sh\n").skip(1);
    Ok(blocks.map(|block| block.split("\n```").next().unwrap_or_default().to_owned()).collect())
}

fn how(document: &str, commands: &str) -> Result<How> {
    let block = BLOCKS.iter().find(|block| block.document == document && commands.starts_with(block.begins));
    let how = block.map(|block| block.how);
    how.with_context(|| format!("{document}: nothing runs this block (add it to BLOCKS):\n{commands}"))
}

#[test]
fn every_block_of_commands_is_run_by_something() -> Result<()> {
    let mut found = 0;
    for document in DOCUMENTS {
        for commands in commands_of(&root().join(document))? {
            if let How::Elsewhere(reason) = how(document, &commands)? {
                assert!(!reason.is_empty());
            }
            found += 1;
        }
    }
    assert_eq!(found, BLOCKS.len(), "a block of BLOCKS is in no document any more");
    Ok(())
}

/// Writes a script that runs the blocks of a document.
fn script_of(document: &str) -> Result<String> {
    let mut script = String::from(PREPARE);
    for commands in commands_of(&root().join(document))? {
        match how(document, &commands)? {
            How::Elsewhere(_) => {}
            How::Server => {
                script.push_str(&format!("( {} ) > server.log 2>&1 &\nwait_for_server\n", without_comments(&commands)));
            }
            How::Sidecar => {
                let commands = without_comments(&commands);
                script.push_str(&format!("( {commands} ) > sidecar.log 2>&1 &\nwait_for_sidecar\n"));
            }
            How::Run => script.push_str(&format!("set -x\n{}\nset +x\n", in_background(&commands))),
            How::RunStopped => {
                let commands = in_background(&commands);
                script.push_str(&format!("{SERVED_FOLDER}\nset -x\n{commands}\nset +x\nrm -rf /var/lib/rutter\n"));
            }
        }
    }
    script.push_str("echo everything was run\n");
    Ok(script)
}

fn without_comments(commands: &str) -> String {
    let lines = commands.lines().map(|line| line.split("  #").next().unwrap_or_default().trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Lets a proxy that the last line of a block starts run in the background, as it would in a terminal of its own, and ends
/// a server before its folder is restored, as the text around the block says.
fn in_background(commands: &str) -> String {
    let lines = commands.lines().map(|line| {
        if line.starts_with("envoy ") && !line.trim_end().ends_with('&') {
            format!("{line} &\nsleep 1; kill -0 $!")
        } else if line.starts_with("rutter restore") {
            format!("end_server\n{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What every script begins with: a loopback, an empty `/var/lib`, and the files that the documents take for granted.
const PREPARE: &str = r#"
set -eu
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
python3 -c "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x49))"
mount -t tmpfs none /var/lib
mkdir -p my-mesh && cp "$ROOT"/examples/bookinfo/bookinfo.yaml my-mesh
ln -s "$ROOT"/examples examples
wait_for_server() {
    for _ in $(seq 100); do
        if rutterctl --timeout 1s version > /dev/null 2>&1; then return; fi
        sleep 0.1
    done
    cat server.log; exit 1
}
wait_for_sidecar() {
    for _ in $(seq 100); do
        if rutterctl proxy-status | grep -q SYNCED; then return; fi
        sleep 0.1
    done
    cat sidecar.log; exit 1
}
end_server() {
    if pkill -x rutter; then while pgrep -x rutter > /dev/null; do sleep 0.1; done; fi
}
"#;

/// A server whose data folder is where the documents have it, with something in it.
const SERVED_FOLDER: &str = r#"
rutter serve --data-dir /var/lib/rutter > server.log 2>&1 &
wait_for_server
rutterctl apply -f my-mesh > /dev/null
"#;

/// Runs the blocks of a document.
async fn run(document: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin)?;
    for name in ["rutter", "rutterctl", "rutter-proxy"] {
        std::os::unix::fs::symlink(binary(name)?, bin.join(name))?;
    }
    std::os::unix::fs::symlink(envoy_binary(Release::V1_40)?, bin.join("envoy"))?;
    // The cluster of somebody who comes from Istio.
    let kubectl = format!("#!/bin/sh\ncat {}/examples/bookinfo/bookinfo.yaml\n", root().display());
    std::fs::write(bin.join("kubectl"), kubectl)?;
    std::process::Command::new("chmod").arg("+x").arg(bin.join("kubectl")).status()?;
    let home = dir.path().join("home");
    std::fs::create_dir(&home)?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["bash", "-c", &script_of(document)?]).current_dir(&home);
    command.env("PATH", path).env("HOME", &home).env("ROOT", root()).env_remove("RUTTER_SERVER");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.context("it did not end in time")??;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !text.contains("everything was run") {
        bail!("{document}: {}\n{text}", output.status);
    }
    Ok(())
}

#[tokio::test]
async fn the_commands_of_the_readme_work_as_they_are_written() -> Result<()> {
    run("README.md").await
}

#[tokio::test]
async fn the_commands_of_the_manual_for_operators_work_as_they_are_written() -> Result<()> {
    run("docs/operations.md").await
}

#[tokio::test]
async fn the_commands_of_the_examples_work_as_they_are_written() -> Result<()> {
    run("examples/README.md").await
}

#[tokio::test]
async fn the_demo_tells_its_story() -> Result<()> {
    let output = Command::new(binary("demo")?).current_dir(root()).stdin(Stdio::null()).output().await?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("Done: the weights that were applied"), "{text}");
    Ok(())
}
