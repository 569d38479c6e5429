//! What every store keeps, tried on each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rutter_api::{ConfigKey, Kind};
use rutter_store::{
    Commit, CommitError, ConfigEvent, ConfigStore, ConfigWrite, EmbeddedStore, Expected, Listing, MemoryStore, Owner,
    StoreError, Watch, Writable,
};

fn key(name: &str) -> ConfigKey {
    ConfigKey::new(Kind::VirtualService, "default", name)
}

fn put(name: &str, value: u64) -> ConfigWrite {
    ConfigWrite {
        key: key(name),
        json: Some(format!("{{\"v\":{value}}}").into()),
        created: None,
        owner: Owner::Api,
        expected: Expected::Any,
    }
}

fn delete(name: &str) -> ConfigWrite {
    ConfigWrite { json: None, ..put(name, 0) }
}

async fn contract(store: Arc<dyn ConfigStore>) {
    assert_eq!(store.list(rutter_store::ALL).await.unwrap(), Listing { revision: 0, objects: vec![] });
    assert_eq!(store.commit(vec![put("a", 1), put("b", 1)]).await, Ok(1));
    let a = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((a.revision, a.first_revision, &a.json), (1, 1, &"{\"v\":1}".into()));

    let created = a.created;
    assert_eq!(store.get(&key("b")).await.unwrap().unwrap().created, created, "one instant per commit");

    // The same again is no commit; a change is, and keeps who was first.
    assert_eq!(store.commit(vec![put("a", 1)]).await, Ok(1));
    assert_eq!(store.commit(vec![put("a", 2)]).await, Ok(2));
    let a = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((a.revision, a.first_revision, a.created), (2, 1, created));

    // All or nothing.
    let stale = ConfigWrite { expected: Expected::Revision(1), ..put("a", 3) };
    let conflict = CommitError::Conflict { key: key("a"), want: 1, got: 2 };
    assert_eq!(store.commit(vec![put("c", 1), stale]).await, Err(conflict));
    assert_eq!(store.get(&key("c")).await.unwrap(), None);
    assert_eq!(store.commit(vec![ConfigWrite { expected: Expected::Revision(2), ..put("a", 3) }]).await, Ok(3));

    // A check says what a commit would say, and writes nothing.
    let stale = ConfigWrite { expected: Expected::Revision(1), ..put("a", 4) };
    let conflict = CommitError::Conflict { key: key("a"), want: 1, got: 3 };
    assert_eq!(store.check(vec![stale]).await, Err(conflict));
    assert_eq!(store.check(vec![delete("nope")]).await, Err(CommitError::NotFound(key("nope"))));
    assert_eq!(store.check(vec![put("a", 4)]).await, Ok(()));
    assert_eq!(*store.latest().borrow(), 3);

    // One source per object.
    let file = |path: &str| Owner::File(path.into());
    assert_eq!(store.commit(vec![ConfigWrite { owner: file("x.yaml"), ..put("f", 1) }]).await, Ok(4));
    let error = store.commit(vec![put("f", 2)]).await.unwrap_err();
    assert!(error.to_string().contains("got one of x.yaml"), "{error}");
    assert!(matches!(store.commit(vec![delete("f")]).await, Err(CommitError::Owned { .. })));
    assert_eq!(store.commit(vec![ConfigWrite { owner: file("y.yaml"), ..put("f", 1) }]).await, Ok(5));

    assert_eq!(store.commit(vec![delete("nope")]).await, Err(CommitError::NotFound(key("nope"))));
    assert_eq!(store.commit(vec![delete("b")]).await, Ok(6));
    let all = store.list(rutter_store::ALL).await.unwrap();
    assert_eq!((all.revision, all.objects.len()), (6, 2));

    // An age that is given is kept, and later commits have later instants.
    let f = store.get(&key("f")).await.unwrap().unwrap();
    assert!(f.created > created);

    // A watch sees every commit once, in order, and waits for the next.
    let mut watch = Watch::new(store.clone(), 2);
    let seen: Vec<u64> = watch.next().await.unwrap().iter().map(|commit| commit.revision).collect();
    assert_eq!(seen, [3, 4, 5, 6]);
    let (next, done) = tokio::join!(watch.next(), store.commit_by("uid 7", vec![put("z", 1)]));
    assert_eq!(done, Ok(7));
    let next = next.unwrap();
    assert_eq!(&*next[0].written.as_ref().unwrap().by, "uid 7");
    let differences = rutter_store::differences(&*store, 3, 7).await.unwrap();
    let names: Vec<&str> = differences.iter().map(|difference| &*difference.key.name).collect();
    assert_eq!(names, ["b", "f", "z"]);
    assert!(matches!(&next[0].events[..], [ConfigEvent::Put(stored)] if stored.key == key("z")));
}

#[tokio::test]
async fn memory_store_keeps_the_contract() {
    contract(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn embedded_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(Arc::new(EmbeddedStore::open(dir.path()).unwrap())).await;
}

#[tokio::test]
async fn who_made_a_commit_is_known_after_a_restart_and_history_goes_as_far_back_as_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let shown = async |store: &dyn ConfigStore| {
        let history = rutter_store::history(store, 0).await.unwrap();
        let lines = history.iter().map(|commit| {
            let written = commit.written.as_ref().unwrap();
            let names: Vec<&str> = commit.keys().map(|key| &*key.name).collect();
            (format!("{} by {}: {}", commit.revision, written.by, names.join(" ")), written.at)
        });
        lines.unzip::<String, i64, Vec<_>, Vec<_>>()
    };
    let store = EmbeddedStore::open(dir.path()).unwrap();
    store.commit_by("uid 7", vec![put("a", 1), put("b", 1)]).await.unwrap();
    store.commit_by("token write from 127.0.0.1:9", vec![put("a", 2), delete("b")]).await.unwrap();
    store.commit(vec![put("c", 1)]).await.unwrap();
    let (lines, times) = shown(&store).await;
    assert_eq!(lines, ["1 by uid 7: a b", "2 by token write from 127.0.0.1:9: a b", "3 by : c"]);
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000_000, "{times:?}");
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(shown(&store).await, (lines, times));
    let differences = rutter_store::differences(&store, 1, 3).await.unwrap();
    let texts: Vec<String> = differences
        .iter()
        .map(|difference| {
            let text = |stored: &Option<rutter_store::Stored>| stored.as_ref().map(|stored| stored.json.to_string());
            format!("{}: {:?} {:?}", difference.key.name, text(&difference.before), text(&difference.after))
        })
        .collect();
    assert_eq!(
        texts,
        [r#"a: Some("{\"v\":1}") Some("{\"v\":2}")"#, r#"b: Some("{\"v\":1}") None"#, r#"c: None Some("{\"v\":1}")"#]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_made_at_once_get_each_their_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(vec![put(&format!("k{number}"), number)]).await.unwrap() })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=64).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_second_process_is_told_that_the_folder_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = EmbeddedStore::open(dir.path()).unwrap();
    let error = EmbeddedStore::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[tokio::test]
async fn what_was_committed_is_there_after_the_folder_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    store.commit(vec![put("a", 1), put("b", 1)]).await.unwrap();
    store.commit(vec![put("a", 2), delete("b")]).await.unwrap();
    let before = store.list(rutter_store::ALL).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.list(rutter_store::ALL).await.unwrap(), before);
    assert_eq!(*store.latest().borrow(), 2);
    assert_eq!(store.commit(vec![put("a", 2)]).await, Ok(2), "the same again is still no commit");
    assert_eq!(store.commit(vec![put("c", 1)]).await, Ok(3));
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart_from_the_history_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for number in 1..=5 {
        store.commit(vec![put("a", number), put(&format!("k{number}"), 1)]).await.unwrap();
    }
    let in_memory = store.commits_after(1).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let from_disk = store.commits_after(1).await.unwrap();
    assert_eq!(from_disk, in_memory);
    assert_eq!(from_disk.iter().map(|commit| commit.revision).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(store.commits_after(5).await.unwrap(), []);
}

#[tokio::test]
async fn a_commit_of_many_events_is_read_from_the_disk_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("k{number:03}")).collect();
    store.commit(names.iter().map(|name| put(name, 1)).collect()).await.unwrap();
    let commits = store.commits_after(0).await.unwrap();
    let read: Vec<String> = commits[0]
        .events
        .iter()
        .map(|event| match event {
            ConfigEvent::Put(stored) => stored.key.name.to_string(),
            ConfigEvent::Delete(key) => panic!("{key}"),
        })
        .collect();
    assert_eq!(read, names);
}

#[tokio::test]
async fn a_watch_that_is_too_far_behind_has_to_list_everything() {
    let store = MemoryStore::default();
    for number in 0..=rutter_store::HISTORY_MAX {
        store.commit(vec![put("a", number)]).await.unwrap();
    }
    assert_eq!(store.commits_after(0).await, Err(StoreError::Compacted(1)));
    assert_eq!(store.commits_after(1).await.unwrap().len() as u64, rutter_store::HISTORY_MAX);
    let error = StoreError::Compacted(1).to_string();
    assert_eq!(error, "commits up to 1 are no longer kept");
}

#[tokio::test]
async fn a_list_holds_what_is_wanted_and_owners_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn ConfigStore>; 2] =
        [Arc::new(MemoryStore::default()), Arc::new(EmbeddedStore::open(dir.path()).unwrap())];
    for store in stores {
        let of_file = ConfigWrite { owner: Owner::File("x.yaml".into()), ..put("b", 1) };
        store.commit(vec![put("a", 1), of_file]).await.unwrap();
        let listing = store.list(&|wanted| *wanted.name == *"b").await.unwrap();
        assert_eq!((listing.revision, listing.objects.len(), listing.objects[0].key.clone()), (1, 1, key("b")));
        let owners = store.owners().await.unwrap();
        assert_eq!(owners, [(key("a"), Owner::Api), (key("b"), Owner::File("x.yaml".into()))]);
        assert_eq!(store.get(&key("nothing")).await, Ok(None));
    }
}

#[tokio::test]
async fn a_watch_whose_call_was_dropped_misses_nothing() {
    let store: Arc<dyn ConfigStore> = Arc::new(MemoryStore::default());
    let mut watch = Watch::new(store.clone(), 0);
    let waiting = watch.next();
    store.commit(vec![put("a", 1)]).await.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1);
    let dropped = tokio::time::timeout(std::time::Duration::from_millis(20), watch.next()).await;
    assert!(dropped.is_err(), "it waits for the next commit");
    store.commit(vec![put("a", 2)]).await.unwrap();
    assert_eq!(watch.next().await.unwrap()[0].revision, 2, "a call that was dropped missed nothing");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = EmbeddedStore::open(&file.path().join("data")).map(drop).unwrap_err().to_string();
    assert!(error.starts_with(&file.path().display().to_string()), "{error}");
}

/// Returns a value with its checksum, as it is written in a data folder.
fn sealed(json: &str) -> Vec<u8> {
    [&crc32fast::hash(json.as_bytes()).to_be_bytes()[..], json.as_bytes()].concat()
}

/// Returns a record as version 8bd0ffe wrote it, without an age.
fn old_record(name: &str, created: u64) -> String {
    format!(
        "{{\"kind\":\"VirtualService\",\"namespace\":\"default\",\"name\":\"{name}\",\"json\":{{\"v\":1}},\"revision\":{created},\"created\":{created},\"file\":null}}"
    )
}

#[tokio::test]
async fn a_folder_of_an_older_version_opens_and_keeps_the_order_of_ages() {
    let dir = tempfile::tempdir().unwrap();
    let db = sled::Config::new().path(dir.path()).segment_size(16 << 20).open().unwrap();
    for (name, created) in [("young", 9), ("old", 7)] {
        db.insert(format!("c/VirtualService/default/{name}"), sealed(&old_record(name, created))).unwrap();
    }
    db.insert(b"m/revision", sealed("9")).unwrap();
    db.flush().unwrap();
    drop(db);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let age = async |name: &str| store.get(&key(name)).await.unwrap().unwrap().created;
    assert!(age("old").await < age("young").await);
    assert_eq!(store.commit(vec![put("new", 1), put("old", 2)]).await, Ok(10));
    assert!(age("young").await < age("new").await);
    assert!(age("old").await < age("young").await, "an update keeps the age");
    assert_eq!(store.get(&key("old")).await.unwrap().unwrap().first_revision, 7);
}

/// A large value, so that a disk is full soon.
fn put_large(name: &str, value: u64) -> ConfigWrite {
    let json = format!("{{\"v\":{value},\"pad\":{:?}}}", "x".repeat(200_000));
    ConfigWrite { json: Some(json.into()), ..put(name, 0) }
}

/// Returns a listing in the order of its keys.
fn sorted(mut listing: Listing) -> Listing {
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    listing
}

/// Waits until a store says that it takes commits again.
async fn wait_until_writable(store: &EmbeddedStore) {
    let mut writable = store.writable();
    let is_so = writable.wait_for(|writable| *writable == Writable::Yes);
    let waited = tokio::time::timeout(Duration::from_secs(20), is_so).await.is_ok();
    assert!(waited, "{:?}", *store.writable().borrow());
}

#[tokio::test]
async fn a_folder_that_is_deleted_fails_commits_and_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, away) = (dir.path().join("store"), dir.path().join("away"));
    let store = EmbeddedStore::open(&folder).unwrap();
    store.commit(vec![put("a", 1)]).await.unwrap();
    std::fs::rename(&folder, &away).unwrap();
    for value in 2..4 {
        let error = store.commit(vec![put("a", value), put("b", value)]).await.unwrap_err();
        let want = format!(
            "the store failed: {}: the files of the store were deleted or replaced while it was open",
            folder.display()
        );
        assert_eq!(error.to_string(), want);
    }
    assert!(matches!(&*store.writable().borrow(), Writable::No(_)));
    assert_eq!(store.get(&key("a")).await.unwrap().unwrap().revision, 1);
    assert_eq!(store.get(&key("b")).await.unwrap(), None);
    assert_eq!(store.list(rutter_store::ALL).await.unwrap().revision, 1);
    std::fs::rename(&away, &folder).unwrap();
    wait_until_writable(&store).await;
    assert_eq!(store.commit(vec![put("a", 5)]).await, Ok(2));
}

/// Writes a file for which there is no end but that of the disk.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
}

const FULL_DISK: &str = "RUTTER_STORE_FULL_DISK_TEST";

/// The child of the test below, which runs where a small disk is mounted. By itself it has nothing to do.
#[tokio::test]
async fn writer_on_a_full_disk() {
    let Ok(disk) = std::env::var(FULL_DISK) else { return };
    let (folder, filler) = (Path::new(&disk).join("store"), Path::new(&disk).join("filler"));
    let store = EmbeddedStore::open(&folder).unwrap();
    for round in 0..3 {
        store.commit(vec![put("small", round), put("changed", round)]).await.unwrap();
        fill(&filler);
        let mut acknowledged = *store.latest().borrow();
        let error = loop {
            match store.commit(vec![put_large("large", acknowledged), put("changed", acknowledged + 100)]).await {
                Ok(revision) => acknowledged = revision,
                Err(error) => break error,
            }
            assert!(acknowledged < 1000, "the disk is never full");
        };
        let error = error.to_string();
        assert!(error.starts_with(&format!("the store failed: {}", folder.display())), "{error}");
        assert!(error.ends_with(": no storage space"), "{error}");
        assert!(matches!(&*store.writable().borrow(), Writable::No(reason) if reason.contains("no storage space")));

        let before = store.list(rutter_store::ALL).await.unwrap();
        assert_eq!(before.revision, acknowledged, "nothing of the failed commit is seen");
        for stored in &before.objects {
            assert!(stored.revision <= acknowledged);
            assert_eq!(store.get(&stored.key).await.unwrap().as_ref(), Some(stored));
        }
        store.commit(vec![put("other", 1)]).await.unwrap_err();

        std::fs::remove_file(&filler).unwrap();
        wait_until_writable(&store).await;
        assert_eq!(store.list(rutter_store::ALL).await.unwrap(), before, "nor when the disk has room again");
        assert_eq!(store.commit(vec![put("after", round)]).await, Ok(acknowledged + 1));
        let commits = store.commits_after(acknowledged).await.unwrap();
        let seen: Vec<_> = commits.iter().flat_map(Commit::keys).cloned().collect();
        assert_eq!(seen, [key("after")]);
        store.commit(vec![delete("after")]).await.unwrap();
    }
    let before = sorted(store.list(rutter_store::ALL).await.unwrap());
    drop(store);
    // A store that is opened on a full disk is read, and written as soon as there is room.
    fill(&filler);
    let store = EmbeddedStore::open(&folder).unwrap();
    assert_eq!(sorted(store.list(rutter_store::ALL).await.unwrap()), before);
    assert_eq!(store.get(&before.objects[0].key).await.unwrap().as_ref(), before.objects.first());
    let error = store.commit(vec![put("more", 1)]).await.unwrap_err().to_string();
    assert_eq!(error, format!("the store failed: {}: no storage space", folder.display()));
    std::fs::remove_file(&filler).unwrap();
    wait_until_writable(&store).await;
    assert_eq!(store.commit(vec![put("more", 1)]).await, Ok(before.revision + 1));
    assert_eq!(store.commit(vec![delete("more")]).await, Ok(before.revision + 2));
    drop(store);
    let after = sorted(EmbeddedStore::open(&folder).unwrap().list(rutter_store::ALL).await.unwrap());
    assert_eq!((after.revision, after.objects), (before.revision + 2, before.objects));
    println!("DONE");
}

/// A disk of its own needs namespaces of its own, which every user may make with `unshare`.
#[test]
fn a_full_disk_fails_commits_loses_nothing_and_is_written_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=96m tmpfs \"$0\" && exec \"$1\" --exact writer_on_a_full_disk --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([dir.path(), &std::env::current_exe().unwrap()])
        .env(FULL_DISK, dir.path())
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("DONE"), "{text}");
}

const CHILD: &str = "RUTTER_STORE_KILL_TEST";
/// The number of kills if `KILLS` does not say another.
const KILLS: usize = 50;

/// The child of the test below; by itself it has nothing to do.
#[tokio::test]
async fn killed_writer() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let store = EmbeddedStore::open(Path::new(&dir)).unwrap();
    let start = *store.latest().borrow();
    for number in start.. {
        let name = format!("k{}", number % 50);
        let padding = "x".repeat(usize::try_from(number % 7).unwrap() * 900);
        let pair = [name.clone(), format!("{name}-twin")];
        let writes = pair.map(|name| ConfigWrite {
            json: Some(format!("{{\"pad\":{padding:?},\"v\":{number}}}").into()),
            ..put(&name, 0)
        });
        let revision = store.commit(writes.to_vec()).await.unwrap();
        println!("ACK {revision} {number}");
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = u64::from(seed);
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut acknowledged = 0;
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let lines_until_kill = usize::try_from((random >> 33) % 40).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_writer", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acks = lines.filter_map(|line| line.split_once("ACK ").map(|(_, rest)| rest.to_owned()));
        let before_kill: Vec<String> = acks.by_ref().take(lines_until_kill + 1).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = before_kill.into_iter().chain(acks).last().unwrap();
        acknowledged = last.split(' ').next().unwrap().parse().unwrap();

        let store =
            EmbeddedStore::open(dir.path()).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        let Listing { revision, objects } = store.list(rutter_store::ALL).await.unwrap();
        assert!(revision >= acknowledged, "seed {seed}, round {round}: {revision} < {acknowledged}");
        for pair in objects.chunks(2) {
            assert_eq!(pair[0].json, pair[1].json, "seed {seed}, round {round}: half a commit");
        }
        let history = store.commits_after(revision.saturating_sub(20)).await.unwrap();
        assert_eq!(history.last().map(|commit| commit.revision), Some(revision));
        drop(store);
    }
    assert!(acknowledged as usize >= kills, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_given_back_while_others_read_and_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
    store.commit(vec![put("a", 1)]).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 2..100 {
                assert_eq!(store.commit(vec![put("a", number)]).await, Ok(number));
            }
        }
    });
    for _ in 0..5 {
        store.give_back_memory().await;
        assert!(store.get(&key("a")).await.unwrap().is_some());
    }
    writer.await.unwrap();
    store.give_back_memory().await;
    assert_eq!((*store.writable().borrow()).clone(), Writable::Yes);
    assert_eq!(store.list(rutter_store::ALL).await.unwrap().revision, 99);
    assert_eq!(store.commits_after(90).await.unwrap().len(), 9);
}
