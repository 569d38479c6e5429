//! Damaged data folders: either everything is there, or the folder is refused and left as it was, and restored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use expect_test::{Expect, expect};
use rutter_api::{ConfigKey, Kind};
use rutter_store::{
    ConfigStore, ConfigWrite, EmbeddedStore, Expected, Listing, Owner, RestoreReport, RestoreRequest, StoreError,
    Stored, backup_lines, restore,
};

fn key(name: &str) -> ConfigKey {
    ConfigKey::new(Kind::VirtualService, "default", name)
}

fn put(name: &str, value: u64) -> ConfigWrite {
    ConfigWrite {
        key: key(name),
        json: Some(format!("{{\"v\":{value},\"pad\":{:?}}}", "x".repeat(300)).into()),
        created: None,
        owner: Owner::Api,
        expected: Expected::Any,
    }
}

/// Makes a folder with 20 objects, each of which is a commit of its own, and returns what is in it.
async fn make(dir: &Path) -> Vec<Stored> {
    let store = EmbeddedStore::open(dir).unwrap();
    for number in 1..=20 {
        assert_eq!(store.commit(vec![put(&format!("o{number:02}"), number)]).await, Ok(number));
    }
    sorted(store.list(rutter_store::ALL).await.unwrap()).objects
}

fn sorted(mut listing: Listing) -> Listing {
    listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
    listing
}

/// Opens a folder, and returns what is in it.
async fn listed(dir: &Path) -> Result<Listing, StoreError> {
    Ok(sorted(EmbeddedStore::open(dir)?.list(rutter_store::ALL).await.unwrap()))
}

/// Returns every file in a folder with its content. That of the lock is not config.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn restored(dir: &Path) -> RestoreReport {
    restore(RestoreRequest { data_dir: dir, from: None, dry_run: false }).unwrap()
}

/// Numbers that look random, from a seed that is printed when a test fails.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// Damages a file in some way, and returns how.
fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(path).unwrap();
    // The file of sled is long and nearly empty.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let offset = match random.below(4) {
        0 => random.below(64.min(used)),
        1 => used - 1 - random.below(64.min(used)),
        _ => random.below(used),
    };
    let how = match random.below(4) {
        0 | 1 => {
            bytes[offset] ^= 1 << random.below(8);
            "flipped a bit"
        }
        2 => {
            bytes.truncate(offset);
            "cut"
        }
        _ => {
            let end = bytes.len().min(offset + 400);
            bytes[offset..end].fill_with(|| u8::try_from(random.below(256)).unwrap());
            "wrote 400 random bytes"
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{how} at {offset} of {used} bytes in {}", path.display())
}

/// Every place of every file is damaged in some run: the heads of segments, what is in them, and the end.
#[tokio::test]
async fn a_damaged_folder_has_everything_or_is_refused_and_left_as_it_was() {
    let runs: u64 = std::env::var("DAMAGE_RUNS").map_or(50, |runs| runs.parse().unwrap());
    let seed = u64::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos());
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let objects = make(&whole).await;
    let (mut refused, mut opened) = (0, 0);
    for run in 0..runs {
        let folder = dir.path().join(format!("run-{run}"));
        copy(&whole, &folder);
        let all: Vec<PathBuf> = files(&folder).into_keys().filter(|path| !fs::read(path).unwrap().is_empty()).collect();
        // Half of the runs damage the file with the objects.
        let path = if random.below(2) == 0 { folder.join("db") } else { all[random.below(all.len())].clone() };
        let how = damage(&path, &mut random);
        let context = format!("seed {seed}, run {run}: {how}");
        let before = files(&folder);
        match listed(&folder).await {
            Ok(listing) => {
                opened += 1;
                assert_eq!((listing.revision, &listing.objects), (20, &objects), "{context}");
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("rutter restore --data-dir"), "{context}: {error}");
                assert!(files(&folder) == before, "{context}: a file was changed");
                let report = restored(&folder);
                assert_eq!((report.revision, report.highest, report.goes_on_at), (20, 20, 20), "{context}: {report}");
                let listing = listed(&folder).await.unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!((listing.revision, &listing.objects), (20, &objects), "{context}");
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    println!("{runs} runs: {opened} opened, {refused} refused and restored");
    assert!(opened > 0 && refused > 0, "seed {seed}: {opened} opened, {refused} refused");
}

/// Opens a folder that is refused, and compares the reason and the report of its restoration. Paths are told as `DIR`.
async fn check_refused(folder: &Path, reason: &Expect, report: &Expect) {
    let before = files(folder);
    let tell = |text: String| text.replace(&folder.display().to_string(), "DIR");
    reason.assert_eq(&tell(listed(folder).await.unwrap_err().to_string()));
    let dry = restore(RestoreRequest { data_dir: folder, from: None, dry_run: true }).unwrap();
    report.assert_eq(&tell(dry.to_string()));
    assert!(files(folder) == before, "a file was changed");
}

#[tokio::test]
async fn a_database_that_is_missing_is_restored_whole_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let objects = make(dir.path()).await;
    fs::remove_file(dir.path().join("db")).unwrap();
    check_refused(dir.path(), &expect!["DIR: the database ends at revision 0 (with 0 objects), but the journal at 20: revisions 1 to 20 are missing (no file was changed; `rutter restore --data-dir DIR --dry-run` shows what can be brought back, and without --dry-run brings it back)"], &expect![[r#"
        The database: its file db is missing
        Would be restored: 20 objects at revision 20, from DIR/journal/snapshot-00000000000000000000.jsonl at revision 0 and the commits after it in the journal.
        What comes back: revisions 1 to 20.
        What does not come back: nothing.
        The next change of config will be revision 21.
        Nothing was changed.
    "#]]).await;
    let report = restored(dir.path());
    let replaced = report.replaced.clone().unwrap();
    assert!(replaced.join("conf").exists() && replaced.join("journal").exists(), "the old files are kept");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(sorted(store.list(rutter_store::ALL).await.unwrap()).objects, objects);
    assert_eq!(store.commits_after(17).await.unwrap().len(), 3, "the history is there too");
    assert_eq!(store.commit(vec![put("new", 1)]).await, Ok(21));
    drop(store);
    let again = restored(dir.path());
    assert_eq!(again.to_string(), "Nothing is missing: the store has 21 objects at revision 21.\n");
    assert!(again.is_whole() && again.replaced.is_none());
}

#[tokio::test]
async fn what_no_file_has_any_more_is_told_as_lost_and_its_revisions_are_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    fs::remove_file(dir.path().join("db")).unwrap();
    let commits = dir.path().join("journal/commits-00000000000000000000.jsonl");
    let text = fs::read_to_string(&commits).unwrap();
    let without_18 = text.lines().filter(|line| !line.contains("\"revision\":18,\"instant\""));
    fs::write(&commits, without_18.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    check_refused(dir.path(), &expect!["DIR: the database ends at revision 0 (with 0 objects), but the journal at 20: revisions 1 to 20 are missing (no file was changed; `rutter restore --data-dir DIR --dry-run` shows what can be brought back, and without --dry-run brings it back)"], &expect![[r#"
        The database: its file db is missing
        Would be restored: 17 objects at revision 17, from DIR/journal/snapshot-00000000000000000000.jsonl at revision 0 and the commits after it in the journal.
        What comes back: revisions 1 to 17.
        What does not come back: revisions 18 to 20.
        The next change of config will be revision 22.
        Nothing was changed.
    "#]]).await;
    restored(dir.path());
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.list(rutter_store::ALL).await.unwrap().objects.len(), 17);
    assert_eq!(store.commit(vec![put("new", 1)]).await, Ok(22));
}

#[tokio::test]
async fn a_backup_is_restored_at_a_revision_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, backup) = (dir.path().join("store"), dir.path().join("backup"));
    make(&folder).await;
    let store = EmbeddedStore::open(&folder).unwrap();
    let saved = sorted(store.list(rutter_store::ALL).await.unwrap());
    fs::write(&backup, backup_lines(saved.clone()).collect::<Vec<_>>().concat()).unwrap();
    store.commit(vec![put("o01", 99), put("new", 1)]).await.unwrap();
    drop(store);
    let report = restore(RestoreRequest { data_dir: &folder, from: Some(&backup), dry_run: false }).unwrap();
    let text = report.to_string().replace(&dir.path().display().to_string(), "DIR");
    let replaced = report.replaced.unwrap();
    let text = text.replace(replaced.file_name().unwrap().to_str().unwrap(), "replaced-TIME");
    expect![[r#"
        Restored: 20 objects at revision 20, from DIR/backup.
        What does not come back: revision 21.
        The next change of config will be revision 23.
        The files that were there before are in DIR/store/replaced-TIME.
    "#]]
    .assert_eq(&text);
    let listing = listed(&folder).await.unwrap();
    assert_eq!((listing.revision, listing.objects), (22, saved.objects));

    // To another folder, which is not there yet, it brings everything too.
    let other = dir.path().join("other");
    let report = restore(RestoreRequest { data_dir: &other, from: Some(&backup), dry_run: false }).unwrap();
    assert_eq!((report.revision, report.goes_on_at), (20, 21));
    assert_eq!(listed(&other).await.unwrap().objects.len(), 20);

    let mut bytes = fs::read(&backup).unwrap();
    bytes[700] ^= 1;
    fs::write(&backup, bytes).unwrap();
    let error = restore(RestoreRequest { data_dir: &other, from: Some(&backup), dry_run: false }).unwrap_err();
    let want = "want a whole file of `rutterctl backup` or a snapshot: line 3: the checksum does not match";
    assert_eq!(error.to_string(), format!("{}: {want}", backup.display()));
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_finished_by_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let objects = make(dir.path()).await;
    // What a restore leaves when it stops after its first step, and after each of its moves.
    for stop in ["restored", "moving"] {
        let folder = dir.path().join(format!("{stop}-2026"));
        fs::create_dir(&folder).unwrap();
        for name in ["db", "conf", "journal"] {
            fs::rename(dir.path().join(name), folder.join(name)).unwrap();
        }
        if stop == "moving" {
            fs::rename(folder.join("conf"), dir.path().join("conf")).unwrap();
        } else {
            fs::write(dir.path().join("db"), "the old one").unwrap();
        }
        assert_eq!(listed(dir.path()).await.unwrap().objects, objects, "{stop}");
        assert!(!folder.exists());
    }
    assert_eq!(fs::read(dir.path().join("replaced-2026/db")).unwrap(), b"the old one");
}

#[tokio::test]
async fn a_folder_in_use_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let request = RestoreRequest { data_dir: dir.path(), from: None, dry_run: true };
    assert!(matches!(restore(request), Err(StoreError::InUse(_))));
    drop(store);
    let missing = dir.path().join("missing");
    let error = restore(RestoreRequest { data_dir: &missing, ..request }).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: there is no such folder", missing.display()));
}

/// Power may go at any moment between the database and the journal: then the database is ahead, and nothing is missing.
#[tokio::test]
async fn a_database_that_is_ahead_of_its_journal_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let objects = make(dir.path()).await;
    let commits = dir.path().join("journal/commits-00000000000000000000.jsonl");
    let bytes = fs::read(&commits).unwrap();
    for left in [bytes.len() - 10, 0] {
        fs::write(&commits, &bytes[..left]).unwrap();
        assert_eq!(listed(dir.path()).await.unwrap().objects, objects);
        let snapshot = dir.path().join("journal/snapshot-00000000000000000020.jsonl");
        assert!(snapshot.exists(), "the journal has begun anew");
        fs::remove_file(snapshot).unwrap();
        fs::remove_file(dir.path().join("journal/commits-00000000000000000020.jsonl")).unwrap();
    }
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert_eq!(listed(dir.path()).await.unwrap().objects, objects, "as a folder of an older version");
}

#[tokio::test]
async fn a_generation_ends_when_its_commits_are_long_and_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let text: std::sync::Arc<str> = format!("{{\"pad\":{:?}}}", "x".repeat(900_000)).into();
    for number in 1..=35_u64 {
        let json = Some(text.replacen('x', &number.to_string(), 1).into());
        store.commit(vec![ConfigWrite { json, ..put("large", 0) }]).await.unwrap();
    }
    let mut names: Vec<String> = files(&dir.path().join("journal"))
        .into_keys()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "commits-00000000000000000020.jsonl",
            "commits-00000000000000000030.jsonl",
            "snapshot-00000000000000000020.jsonl",
            "snapshot-00000000000000000030.jsonl"
        ]
    );
    let before = store.list(rutter_store::ALL).await.unwrap();
    drop(store);
    fs::remove_file(dir.path().join("db")).unwrap();
    let report = restored(dir.path());
    assert_eq!((report.revision, report.origin.base), (35, 30));
    assert_eq!(listed(dir.path()).await.unwrap(), before);
}
