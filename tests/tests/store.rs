//! The data folder on a bad day: damage, restoring, and backups, with real processes.

use std::path::Path;
use std::process::Output;

use anyhow::Result;
use rutter_tests::process::{ControlPlane, binary};
use tokio::process::Command;

fn service(number: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number:02}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
    )
}

/// Starts a control plane and applies some services, each by itself.
async fn start_with(dir: &Path, services: u32) -> Result<ControlPlane> {
    let plane = ControlPlane::start(dir, &[]).await?;
    for number in 0..services {
        plane.apply(&service(number), &[]).await?;
    }
    Ok(plane)
}

/// Runs `rutter restore`, and returns its exit code and everything that it printed.
async fn restore(data: &Path, more: &[&str]) -> Result<(i32, String)> {
    let output = Command::new(binary("rutter")?).arg("restore").arg("--data-dir").arg(data).args(more).output().await?;
    let Output { status, stdout, stderr } = output;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    Ok((status.code().unwrap_or(-1), text))
}

/// Flips a bit in the middle of what the database has in its file.
fn flip(data: &Path) -> Result<()> {
    let mut bytes = std::fs::read(data.join("db"))?;
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
    bytes[used / 2] ^= 4;
    Ok(std::fs::write(data.join("db"), bytes)?)
}

#[tokio::test]
async fn a_flipped_bit_stops_the_start_names_the_repair_and_the_repair_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let plane = start_with(dir.path(), 20).await?;
    let before = plane.ctl(&["get", "all", "-o", "yaml"]).await?;
    plane.kill().await?;
    flip(&data)?;
    let damaged = std::fs::read(data.join("db"))?;

    let refused = ControlPlane::start(dir.path(), &[]).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("the journal at 20: revisions "), "{refused}");
    assert!(refused.contains("`rutter restore --data-dir "), "{refused}");
    assert!(std::fs::read(data.join("db"))? == damaged, "a refused start changes nothing");

    let (code, text) = restore(&data, &["--dry-run"]).await?;
    assert!(code == 0 && text.contains("Would be restored: 20 objects at revision 20"), "{text}");
    let (code, text) = restore(&data, &[]).await?;
    assert!(code == 0 && text.contains("What does not come back: nothing."), "{text}");
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    assert_eq!(plane.ctl(&["get", "all", "-o", "yaml"]).await?, before, "objects, versions and ages");
    let (code, text) = restore(&data, &[]).await?;
    assert!(code == 1 && text.contains("another process uses this data folder"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_backup_of_a_running_server_makes_another_folder_with_everything() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = start_with(dir.path(), 3).await?;
    let before = plane.ctl(&["get", "all", "-o", "yaml"]).await?;
    let file = dir.path().join("backup.jsonl");
    let path = file.display().to_string();
    assert_eq!(plane.ctl(&["backup", &path]).await?, format!("3 objects are in {path}\n"));
    assert_eq!(plane.ctl(&["backup", "-"]).await?, std::fs::read_to_string(&file)?);
    let error = plane.ctl(&["backup", "/nowhere/backup"]).await.unwrap_err().to_string();
    assert_eq!(error, "/nowhere/backup: No such file or directory (os error 2)");
    plane.kill().await?;

    let other = tempfile::tempdir()?;
    let (code, text) = restore(&other.path().join("data"), &["--from", &path]).await?;
    assert!(code == 0 && text.starts_with("Restored: 3 objects at revision 3, from "), "{text}");
    let plane = ControlPlane::start(other.path(), &[]).await?;
    assert_eq!(plane.ctl(&["get", "all", "-o", "yaml"]).await?, before);

    std::fs::write(&file, "apiVersion: v1\n")?;
    let (code, text) = restore(&dir.path().join("data"), &["--from", &path]).await?;
    assert_eq!(code, 1);
    assert!(text.contains("want a whole file of `rutterctl backup` or a snapshot: line 1:"), "{text}");
    Ok(())
}
