//! Who gets in at the admin API, tried as a web page, a neighbour and an operator would.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Output;

use anyhow::Result;
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, binary, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n";

/// Starts a control plane that serves the admin API over TCP as well, and returns that address.
async fn start(dir: &Path) -> Result<(ControlPlane, SocketAddr)> {
    let tcp = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let plane = ControlPlane::start(dir, &["--admin", &tcp.to_string()]).await?;
    plane.apply(SERVICE, &[]).await?;
    Ok((plane, tcp))
}

/// Runs `rutterctl` without anything of the environment that says where a control plane is.
async fn ctl(args: &[&str], variables: &[(&str, &str)]) -> Result<(i32, String)> {
    let mut command = Command::new(binary("rutterctl")?);
    command.args(args).env_remove("RUTTER_SERVER").env("HOME", "/nowhere").env("TMPDIR", "/nowhere");
    let Output { status, stdout, stderr } = command.envs(variables.iter().copied()).output().await?;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    Ok((status.code().unwrap_or(-1), text))
}

/// Sends a request of HTTP/1.1 as a browser does for a page, and returns everything that comes before the connection ends.
async fn from_a_page(address: SocketAddr, call: &str, headers: &str, body: &[u8]) -> Result<String> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    let head = format!(
        "POST /rutter.admin.v1.Admin/{call} HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://evil.example\r\n{headers}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    // A server that closes the connection at the first bytes resets what comes after them.
    let _ = socket.write_all(&[head.as_bytes(), body].concat()).await;
    let _ = socket.read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_web_page_gets_nothing_and_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (plane, tcp) = start(dir.path()).await?;
    // A delete of service shop/a, in the frame of gRPC.
    let key = b"\x0a\x12\x0a\x07Service\x12\x04shop\x1a\x01a";
    let delete = [&[0, 0, 0, 0, u8::try_from(key.len())?][..], key].concat();
    for content_type in ["Content-Type: text/plain\r\n", "Content-Type: application/grpc\r\n", ""] {
        for (call, body) in [("Get", &b"\0\0\0\0\x07\x0a\x05\x0a\x03all"[..]), ("Delete", &delete)] {
            let answer = from_a_page(tcp, call, content_type, body).await?;
            // The connection speaks HTTP/2 alone, and is closed.
            assert!(!answer.starts_with("HTTP/1.1 ") && !answer.contains("shop"), "{content_type}{call}: {answer}");
            // Metrics and health have no objects and no calls.
            let answer = from_a_page(plane.monitoring, call, content_type, body).await?;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{content_type}{call}: {answer}");
        }
    }
    assert_eq!(plane.ctl(&["get", "svc", "-o", "name"]).await?.lines().count(), 1);
    assert_eq!(http::get(plane.monitoring, "/healthz", &[]).await?.body, "ok\n");
    Ok(())
}

#[tokio::test]
async fn over_tcp_a_token_is_wanted_and_its_role_is_what_it_may() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (plane, tcp) = start(dir.path()).await?;
    let server = tcp.to_string();
    let tokens = dir.path().join("data/tokens");
    assert_eq!(std::fs::metadata(&tokens)?.mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&tokens)?;
    let reader = dir.path().join("reader");
    std::fs::write(&reader, text.lines().find_map(|line| line.strip_prefix("read ")).unwrap())?;
    let (reader, all) = (reader.display().to_string(), tokens.display().to_string());
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, SERVICE.replace("80", "81"))?;
    let config = config.display().to_string();

    let (code, text) = ctl(&["--server", &server, "get", "svc"], &[]).await?;
    assert_eq!((code, text.trim()), (1, "want a token of this control plane (rutterctl --token-file), got none"));
    let (code, text) = ctl(&["--server", &server, "--token-file", &reader, "get", "svc"], &[]).await?;
    assert!(code == 0 && text.contains(" a "), "{text}");
    let apply = ["--server", &server, "--token-file", &reader, "apply", "-f", &config];
    let (code, text) = ctl(&apply, &[]).await?;
    assert_eq!((code, text.trim()), (1, "want a token of the role write, got one of the role read"));
    // The tokens of the data folder are found when it is the usual one.
    let data = dir.path().join("data").display().to_string();
    let (code, text) = ctl(&["--server", &server, "apply", "-f", &config], &[("RUTTER_DATA_DIR", &data)]).await?;
    assert!(code == 0 && text.contains("configured"), "{text}");
    let (code, text) = ctl(&["get", "svc"], &[("RUTTER_SERVER", &server), ("RUTTER_TOKEN_FILE", &all)]).await?;
    assert!(code == 0 && text.contains(" a "), "{text}");

    // The tokens stay over a restart, and a file that others may read is refused.
    let again = std::fs::read_to_string(&tokens)?;
    plane.end_by("TERM").await?;
    let (plane, _) = start(dir.path()).await?;
    assert_eq!(std::fs::read_to_string(&tokens)?, again);
    plane.end_by("TERM").await?;
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o644))?;
    let refused = start(dir.path()).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("want a file that only its owner may read (mode 0600), got mode 0644"), "{refused}");
    assert!(!refused.contains(again.lines().nth(1).unwrap()), "a token is never told");
    Ok(())
}

#[tokio::test]
async fn the_socket_is_found_in_the_usual_folders_and_what_was_tried_is_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let socket = plane.admin_socket();
    assert_eq!(std::fs::metadata(socket)?.mode() & 0o777, 0o600);
    let data = dir.path().join("data").display().to_string();
    for (args, variables) in [
        (vec!["get", "all"], vec![("RUTTER_DATA_DIR", data.as_str())]),
        (vec!["--server", &data, "get", "all"], vec![]),
        (vec!["get", "all"], vec![("RUTTER_SERVER", data.as_str())]),
    ] {
        let (code, text) = ctl(&args, &variables).await?;
        assert_eq!((code, text.trim()), (0, "no objects"), "{args:?} {variables:?}");
    }
    plane.end_by("TERM").await?;
    let (code, text) = ctl(&["get", "all"], &[("RUTTER_DATA_DIR", &data)]).await?;
    assert_eq!(code, 1);
    let text = text.replace(&data, "DATA");
    expect_test::expect![[r#"
        no control plane answers (is `rutter serve` running? another address: --server); tried
          DATA/admin.sock: Connection refused (os error 111)
          /var/lib/rutter/admin.sock: No such file or directory (os error 2)
          /nowhere/.local/share/rutter/admin.sock: No such file or directory (os error 2)
          /nowhere/rutter-admin.sock: No such file or directory (os error 2)
    "#]]
    .assert_eq(&text);
    Ok(())
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_is_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let long = dir.path().join("x".repeat(110));
    let error = ControlPlane::start(&long, &[]).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("No such file"), "the folder of the log is missing: {error}");
    std::fs::create_dir(&long)?;
    let error = ControlPlane::start(&long, &[]).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("want a path of at most 107 bytes, got "), "{error}");
    assert!(error.contains("(name a shorter one by --admin-socket)"), "{error}");
    Ok(())
}
