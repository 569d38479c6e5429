//! The watched folder as the programs of others change it: shells, mounts, archives, and scripts that fail half way.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rutter_tests::http;
use rutter_tests::process::{ControlPlane, eventually};
use tokio::process::Command;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
    )
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

/// Makes a folder of config with a file for each of some services, `s0.yaml` and so on.
fn folder_with(services: usize) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("config");
    std::fs::create_dir(&folder)?;
    for number in 0..services {
        write(&folder, &format!("s{number}.yaml"), &service(&format!("s{number}")));
    }
    Ok((dir, folder))
}

async fn start(dir: &Path, folder: &Path, more: &[&str]) -> Result<ControlPlane> {
    let folder = folder.display().to_string();
    ControlPlane::start(dir, &[&["--config-dir", &folder], more].concat()).await
}

async fn objects(plane: &ControlPlane) -> String {
    plane.ctl(&["get", "svc", "-o", "wide", "--no-headers"]).await.unwrap()
}

async fn count(plane: &ControlPlane) -> usize {
    objects(plane).await.lines().count()
}

/// Returns the revision of the config. Nothing was written if it is what it was.
async fn revision(plane: &ControlPlane) -> Result<u64> {
    plane.metric("rutter_config_revision").await
}

async fn shell(script: &str, folder: &Path) -> Result<()> {
    let status = Command::new("sh").args(["-ec", script]).current_dir(folder).status().await?;
    anyhow::ensure!(status.success(), "{script}: {status}");
    Ok(())
}

#[tokio::test]
async fn of_the_watched_folder_only_changed_files_are_read_and_broken_ones_keep_their_last_good_version() -> Result<()>
{
    let (dir, folder) = folder_with(20)?;
    write(&folder, "broken.yaml", "a: [");
    let plane = start(dir.path(), &folder, &[]).await?;
    let objects = async || objects(&plane).await;
    assert_eq!(objects().await.lines().count(), 20);
    assert_eq!(plane.metric("rutter_folder_files_broken").await?, 1);
    let read = plane.metric("rutter_folder_files_read_total").await?;
    assert_eq!(read, 21);

    write(&folder, "s3.yaml", &service("other"));
    eventually("the changed file is read", || async { objects().await.contains(" other ") }).await?;
    eventually("what the file no longer has goes", || async { !objects().await.contains(" s3 ") }).await?;
    write(&folder, "s4.yaml", "kind: [");
    eventually("the broken file is seen", || async {
        plane.metric("rutter_folder_files_broken").await.is_ok_and(|count| count == 2)
    })
    .await?;
    assert!(objects().await.contains(" s4 "), "its last good version stays");
    std::fs::remove_file(folder.join("s5.yaml"))?;
    eventually("the removed file's object goes", || async { !objects().await.contains(" s5 ") }).await?;
    let more = plane.metric("rutter_folder_files_read_total").await? - read;
    assert!((2..=4).contains(&more), "two files changed, {more} were read");

    let error = plane.apply(&service("s1"), &[]).await.unwrap_err().to_string();
    assert!(error.contains("service shop/s1: want an object of api, got one of s1.yaml"), "{error}");
    assert!(plane.ctl(&["-n", "shop", "delete", "svc", "s1"]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_cut_and_written_slowly_is_read_when_it_is_closed() -> Result<()> {
    let (dir, folder) = folder_with(3)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    let before = revision(&plane).await?;
    // What `helm template > s0.yaml` does: the shell empties the file, and much later the text comes, in parts.
    let mut file = std::fs::File::create(folder.join("s0.yaml"))?;
    for part in [service("s0"), "---\n".to_owned(), service("more")] {
        tokio::time::sleep(Duration::from_millis(150)).await;
        file.write_all(part.as_bytes())?;
        assert_eq!((count(&plane).await, revision(&plane).await?), (3, before), "nothing is seen of it before");
    }
    drop(file);
    eventually("the closed file is read", || async { count(&plane).await == 4 }).await?;
    assert_eq!(revision(&plane).await?, before + 1, "one transaction");
    // A file that is left open is read when nobody has written to it for a while.
    let mut open = std::fs::File::create(folder.join("open.yaml"))?;
    open.write_all(service("open").as_bytes())?;
    eventually("the file that is left alone is read", || async { objects(&plane).await.contains(" open ") }).await?;
    // One that is emptied and closed keeps its objects.
    shell(": > s1.yaml", &folder).await?;
    eventually("the empty file is seen", || async {
        plane.metric("rutter_folder_files_broken").await.is_ok_and(|broken| broken == 1)
    })
    .await?;
    assert!(objects(&plane).await.contains(" s1 "));
    let status = plane.ctl(&["folder", "status"]).await?;
    assert!(
        status.contains("s1.yaml: want at least one object, got an empty file (delete the file if that is meant)"),
        "{status}"
    );
    Ok(())
}

#[tokio::test]
async fn an_empty_folder_or_a_large_loss_deletes_nothing_until_somebody_confirms_it() -> Result<()> {
    let (dir, folder) = folder_with(20)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    plane.kill().await?;
    // The folder is not mounted when the control plane starts.
    let away = dir.path().join("away");
    std::fs::rename(&folder, &away)?;
    std::fs::create_dir(&folder)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    assert_eq!(count(&plane).await, 20);
    assert_eq!(plane.metric("rutter_folder_objects_held").await?, 20);
    assert!(plane.log().contains("many objects are no longer in the watched folder"), "{}", plane.log());
    let verbose = http::get(plane.monitoring, "/readyz?verbose", &[]).await?.body;
    assert!(verbose.contains("folder: held until `rutterctl folder confirm`: 20 of 20 Service"), "{verbose}");
    let before = revision(&plane).await?;
    std::fs::remove_dir(&folder)?;
    std::fs::rename(&away, &folder)?;
    eventually("the mounted folder is seen", || async {
        plane.metric("rutter_folder_objects_held").await.is_ok_and(|held| held == 0)
    })
    .await?;
    assert_eq!((count(&plane).await, revision(&plane).await?), (20, before), "nothing was written for it");
    // The folder that has come back is watched.
    write(&folder, "new.yaml", &service("new"));
    eventually("a file of the new folder is read", || async { count(&plane).await == 21 }).await?;

    shell("rm s*.yaml", &folder).await?;
    eventually("the loss is held", || async {
        plane.metric("rutter_folder_objects_held").await.is_ok_and(|held| held == 20)
    })
    .await?;
    assert_eq!(count(&plane).await, 21);
    let status = plane.ctl(&["folder", "status"]).await?;
    assert!(status.contains("held: 20 of 21 Service are in no file any more"), "{status}");
    assert_eq!(plane.ctl(&["folder", "confirm"]).await?, "20 objects deleted\n");
    assert_eq!(count(&plane).await, 1);
    Ok(())
}

#[tokio::test]
async fn thousands_of_files_that_are_replaced_at_once_are_all_read_and_none_is_lost() -> Result<()> {
    const FILES: usize = 5_000;
    let (dir, folder) = folder_with(FILES)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    assert_eq!(count(&plane).await, FILES);
    // Somebody lists the folder all the time, which must not keep anything from being read.
    let listing = tokio::spawn({
        let folder = folder.clone();
        async move {
            loop {
                drop(std::fs::read_dir(&folder).map(Iterator::count));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let new = dir.path().join("new");
    std::fs::create_dir(&new)?;
    for number in 0..FILES {
        write(&new, &format!("s{number}.yaml"), &service(&format!("s{number}")).replace("port: 80", "port: 81"));
    }
    for number in 0..FILES {
        let name = format!("s{number}.yaml");
        std::fs::rename(new.join(&name), folder.join(&name))?;
    }
    eventually("every file is read", || async {
        let yaml = plane.ctl(&["get", "svc", "-o", "json"]).await.unwrap();
        yaml.matches("\"port\": 81").count() == FILES
    })
    .await?;
    listing.abort();
    assert_eq!(count(&plane).await, FILES);
    Ok(())
}

#[tokio::test]
async fn a_copy_of_the_same_size_and_time_is_read() -> Result<()> {
    let (dir, folder) = folder_with(1)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    let time = std::fs::metadata(folder.join("s0.yaml"))?.modified()?;
    write(dir.path(), "copy.yaml", &service("s1"));
    std::fs::File::options().write(true).open(dir.path().join("copy.yaml"))?.set_modified(time)?;
    shell("cp -p ../copy.yaml s0.yaml", &folder).await?;
    eventually("the copy is read", || async { objects(&plane).await.contains(" s1 ") }).await?;
    assert_eq!(std::fs::metadata(folder.join("s0.yaml"))?.modified()?, time);
    Ok(())
}

#[tokio::test]
async fn an_object_that_moves_between_files_is_never_away() -> Result<()> {
    let (dir, folder) = folder_with(2)?;
    let plane = start(dir.path(), &folder, &[]).await?;
    let first = plane.ctl(&["get", "svc", "s0", "-n", "shop", "-o", "json"]).await?;
    let created = |json: &str| json.lines().find(|line| line.contains("creationTimestamp")).unwrap().to_owned();
    for script in [
        // The new file first, then the old one.
        "cat s0.yaml > t.yaml; sleep 0.05; rm s0.yaml",
        // The old one first.
        "cp t.yaml ../kept; rm t.yaml; sleep 0.05; mv ../kept u.yaml",
        "mv u.yaml s0.yaml",
    ] {
        shell(script, &folder).await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = plane.ctl(&["get", "svc", "s0", "-n", "shop", "-o", "json"]).await?;
        assert_eq!(created(&now), created(&first), "{script}: the object is the same, and not one that was made again");
    }
    assert!(objects(&plane).await.contains(" s0.yaml "), "{}", objects(&plane).await);
    assert_eq!(plane.metric("rutter_folder_files_broken").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_from_version_to_version() -> Result<()> {
    let (dir, folder) = folder_with(0)?;
    let version = |number: usize, text: &str| -> Result<()> {
        let name = format!("..2026_{number}");
        std::fs::create_dir(folder.join(&name))?;
        write(&folder.join(&name), "mesh.yaml", text);
        symlink(&name, folder.join("..data_tmp"))?;
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data"))?;
        Ok(())
    };
    version(1, &service("one"))?;
    symlink("..data/mesh.yaml", folder.join("mesh.yaml"))?;
    let plane = start(dir.path(), &folder, &[]).await?;
    for number in 2..5 {
        let name = format!("v{number}");
        version(number, &service(&name))?;
        std::fs::remove_dir_all(folder.join(format!("..2026_{}", number - 1)))?;
        eventually("the new version is read", || async { objects(&plane).await.contains(&format!(" {name} ")) })
            .await?;
        eventually("the old one goes", || async { count(&plane).await == 1 }).await?;
    }
    assert!(objects(&plane).await.contains(" mesh.yaml "));
    assert_eq!(plane.metric("rutter_folder_files_broken").await?, 0);
    assert!(!plane.log().contains("ERROR"), "{}", plane.log());
    Ok(())
}

#[tokio::test]
async fn rings_of_links_pipes_and_folders_that_cannot_be_read_cost_nothing_else() -> Result<()> {
    let (dir, folder) = folder_with(2)?;
    for link in ["ring", "ring-too"] {
        symlink(".", folder.join(link))?;
    }
    shell("mkfifo pipe.yaml; mkdir -p private sub; ln -s /etc/shadow-that-is-not secret.yaml", &folder).await?;
    write(&folder.join("private"), "p.yaml", &service("p"));
    write(&folder.join("sub"), "q.yaml", &service("q"));
    let plane = start(dir.path(), &folder, &[]).await?;
    assert_eq!(count(&plane).await, 4);
    plane.end_by("TERM").await?;
    std::fs::set_permissions(folder.join("private"), std::fs::Permissions::from_mode(0o0))?;
    // Root may read everything: then there is nothing to refuse.
    let may_read = std::fs::read_dir(folder.join("private")).is_ok();
    let plane = start(dir.path(), &folder, &[]).await?;
    let status = plane.ctl(&["folder", "status"]).await?;
    assert!(may_read || status.contains("private: Permission denied"), "{status}");
    assert_eq!(count(&plane).await, 4, "what cannot be read stays as it was");
    write(&folder.join("sub"), "q.yaml", &service("r"));
    eventually("the others are followed", || async { objects(&plane).await.contains(" r ") }).await?;
    let code = plane.end_by("TERM").await?;
    std::fs::set_permissions(folder.join("private"), std::fs::Permissions::from_mode(0o700))?;
    assert!(code.success(), "{code}");
    Ok(())
}

#[tokio::test]
async fn the_documents_of_a_file_are_taken_one_by_one() -> Result<()> {
    let (dir, folder) = folder_with(0)?;
    let faulty = service("b").replace("80", "0");
    write(&folder, "all.yaml", &[service("a"), faulty, service("c")].join("---\n"));
    let plane = start(dir.path(), &folder, &[]).await?;
    assert_eq!(count(&plane).await, 2);
    let status = plane.ctl(&["folder", "status"]).await?;
    assert!(status.contains("all.yaml: line 6: service shop/b: spec.ports[0].port: want 1..=65535, got 0"), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_folder_of_which_nothing_is_told_is_looked_over() -> Result<()> {
    // Changes under a folder that is mounted over are not told to those who see another one. Here the polling is asked for,
    // and the changes come through a link to a folder that was put in the place of another.
    let (dir, folder) = folder_with(1)?;
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    for (path, name) in [(&old, "before"), (&new, "after")] {
        std::fs::create_dir(path)?;
        write(path, "x.yaml", &service(name));
    }
    symlink(&old, folder.join("linked"))?;
    let plane = start(dir.path(), &folder, &["--config-poll-s", "1"]).await?;
    assert!(objects(&plane).await.contains(" before "));
    // The folder that the link leads to is replaced, and nothing in the watched folder itself changes.
    std::fs::rename(&old, dir.path().join("older"))?;
    std::fs::rename(&new, &old)?;
    eventually("the new folder is found", || async { objects(&plane).await.contains(" after ") }).await?;
    Ok(())
}

#[tokio::test]
async fn no_folder_is_told_as_such_and_a_full_data_disk_delays_files() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::start(dir.path(), &[]).await?;
    let error = plane.ctl(&["folder", "status"]).await.unwrap_err().to_string();
    assert_eq!(error, "no folder is watched (see rutter serve --config-dir)");
    plane.kill().await?;

    // The store cannot be written for a while: the file is taken as soon as it can.
    let (dir, folder) = folder_with(1)?;
    let socket = dir.path().join("admin.sock").display().to_string();
    let plane = start(dir.path(), &folder, &["--admin-socket", &socket]).await?;
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    std::fs::rename(&data, &away)?;
    write(&folder, "late.yaml", &service("late"));
    eventually("the failure is counted", || async {
        plane.metric("rutter_store_failures_total").await.is_ok_and(|failures| failures > 0)
    })
    .await?;
    assert_eq!(count(&plane).await, 1);
    std::fs::rename(&away, &data)?;
    eventually("the file is taken", || async { objects(&plane).await.contains(" late ") }).await?;
    let told: BTreeSet<String> =
        plane.log().lines().filter(|line| line.contains("could not be stored")).map(str::to_owned).collect();
    assert_eq!(told.len(), 1, "it is told once: {told:?}");
    Ok(())
}
