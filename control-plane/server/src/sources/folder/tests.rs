//! The watched folder over a store in memory. Events are not waited for: each test says which files it looks at.

use rutter_api::Kind;
use rutter_store::MemoryStore;

use super::*;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n---\n";

fn service(name: &str) -> String {
    SERVICE.replace("NAME", name)
}

/// A folder of config, opened over an empty store.
struct Watched {
    dir: tempfile::TempDir,
    store: Arc<MemoryStore>,
    metrics: Arc<Metrics>,
    folder: Folder,
}

impl Watched {
    /// Writes files, then opens the folder.
    async fn open(files: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        write_all(dir.path(), files);
        Self::reopen(dir, store).await
    }

    async fn reopen(dir: tempfile::TempDir, store: Arc<MemoryStore>) -> Self {
        let metrics: Arc<Metrics> = Arc::default();
        let folder = Folder::open(dir.path().to_owned(), store.clone(), metrics.clone()).await.unwrap();
        Self { dir, store, metrics, folder }
    }

    /// Ends the watch, and returns the folder and the store that stay.
    fn close(self) -> (tempfile::TempDir, Arc<MemoryStore>) {
        (self.dir, self.store)
    }

    /// Writes files, and lets the folder look at them and at no others.
    async fn write(&mut self, files: &[(&str, String)]) {
        write_all(self.dir.path(), files);
        let paths = files.iter().map(|(name, _)| self.dir.path().join(name)).collect();
        self.folder.take_in(paths).await.unwrap();
    }

    async fn remove(&mut self, name: &str) {
        let path = self.dir.path().join(name);
        std::fs::remove_file(&path).unwrap();
        self.folder.take_in([path].into()).await.unwrap();
    }

    /// Returns each stored object with its file.
    async fn stored(&self) -> Vec<String> {
        let listing = self.store.list(rutter_store::ALL).await.unwrap();
        listing.objects.iter().map(|stored| format!("{} of {}", stored.key.name, stored.owner)).collect()
    }

    fn revision(&self) -> u64 {
        *self.store.latest().borrow()
    }

    fn broken(&self) -> (i64, Vec<String>) {
        let names = self.folder.broken.iter().map(|path| self.folder.name(path)).collect();
        (self.metrics.files_broken.get(), names)
    }
}

fn write_all(root: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The stamp of a file that is written twice in one tick of the clock differs by its length alone.
        std::fs::write(path, text).unwrap();
    }
}

#[tokio::test]
async fn everything_in_the_folder_and_below_is_one_transaction() {
    let files = [("a.yaml", service("a") + &service("b")), ("shop/c.yml", service("c")), ("d.json", service("d"))];
    let watched = Watched::open(&files).await;
    let want = ["a of a.yaml", "b of a.yaml", "c of shop/c.yml", "d of d.json"];
    assert_eq!((watched.stored().await, watched.revision()), (want.map(str::to_owned).to_vec(), 1));
    assert_eq!(watched.metrics.files_read.get(), 3);
}

#[tokio::test]
async fn hidden_files_and_files_of_other_kinds_are_not_read() {
    let files = [
        (".hidden.yaml", service("a")),
        (".git/b.yaml", service("b")),
        ("c.yaml~", service("c")),
        ("README.md", "text".to_owned()),
    ];
    let watched = Watched::open(&files).await;
    assert!(watched.stored().await.is_empty());
    assert_eq!(watched.metrics.files_read.get(), 0);
}

#[tokio::test]
async fn a_file_is_read_again_only_if_its_stamp_is_another() {
    let mut watched = Watched::open(&[("a.yaml", service("a")), ("b.yaml", service("b"))]).await;
    watched.folder.look_over().await.unwrap();
    assert_eq!(watched.metrics.files_read.get(), 2);
    watched.write(&[("a.yaml", service("a") + &service("more"))]).await;
    assert_eq!(watched.metrics.files_read.get(), 3);
    assert_eq!(watched.stored().await, ["a of a.yaml", "b of b.yaml", "more of a.yaml"]);
}

#[tokio::test]
async fn an_object_that_its_file_no_longer_has_is_deleted() {
    let mut watched = Watched::open(&[("a.yaml", service("a") + &service("b"))]).await;
    watched.write(&[("a.yaml", service("b"))]).await;
    assert_eq!(watched.stored().await, ["b of a.yaml"]);
    watched.remove("a.yaml").await;
    assert!(watched.stored().await.is_empty());
}

#[tokio::test]
async fn an_object_may_move_from_one_file_to_another_in_one_transaction() {
    let mut watched = Watched::open(&[("a.yaml", service("x") + &service("w")), ("b.yaml", service("z"))]).await;
    let before = watched.revision();
    watched.write(&[("a.yaml", service("w")), ("b.yaml", service("z") + &service("x"))]).await;
    assert_eq!(watched.stored().await, ["w of a.yaml", "x of b.yaml", "z of b.yaml"]);
    assert_eq!(watched.revision(), before + 1);
}

#[tokio::test]
async fn a_broken_file_keeps_what_its_last_good_version_had_until_it_is_good_again() {
    let mut watched = Watched::open(&[("a.yaml", service("a"))]).await;
    watched.write(&[("a.yaml", "kind: [".to_owned())]).await;
    assert_eq!(watched.stored().await, ["a of a.yaml"]);
    assert_eq!(watched.broken(), (1, vec!["a.yaml".to_owned()]));
    watched.write(&[("a.yaml", service("other"))]).await;
    assert_eq!(watched.stored().await, ["other of a.yaml"]);
    assert_eq!(watched.broken(), (0, Vec::new()));
}

#[tokio::test]
async fn a_broken_file_that_goes_takes_its_objects_with_it() {
    let mut watched = Watched::open(&[("a.yaml", service("a"))]).await;
    watched.write(&[("a.yaml", "kind: [".to_owned())]).await;
    watched.remove("a.yaml").await;
    assert!(watched.stored().await.is_empty());
    assert_eq!(watched.broken(), (0, Vec::new()));
}

#[tokio::test]
async fn of_files_that_change_together_a_faulty_one_does_not_hold_up_the_others() {
    let mut watched = Watched::open(&[("a.yaml", service("a"))]).await;
    // Both say the same object, which is a fault of the second alone.
    watched.write(&[("b.yaml", service("b")), ("c.yaml", service("a"))]).await;
    assert_eq!(watched.stored().await, ["a of a.yaml", "b of b.yaml"]);
    assert_eq!(watched.broken(), (1, vec!["c.yaml".to_owned()]));
}

#[tokio::test]
async fn an_object_is_in_one_file_only() {
    let watched = Watched::open(&[("a.yaml", service("x")), ("b.yaml", service("x"))]).await;
    assert_eq!(watched.stored().await, ["x of a.yaml"], "the first by name has it");
    assert_eq!(watched.broken(), (1, vec!["b.yaml".to_owned()]));
    let twice = Watched::open(&[("a.yaml", service("x") + &service("x"))]).await;
    assert!(twice.stored().await.is_empty());
}

#[tokio::test]
async fn an_object_that_was_applied_by_hand_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::default());
    let object = parse(&service("a"), "default").unwrap().remove(0);
    let by_hand = ConfigWrite { owner: Owner::Api, ..put(&object, "") };
    store.commit(vec![by_hand]).await.unwrap();
    write_all(dir.path(), &[("a.yaml", service("a")), ("b.yaml", service("b"))]);
    let watched = Watched::reopen(dir, store).await;
    assert_eq!(watched.stored().await, ["a of api", "b of b.yaml"]);
    assert_eq!(watched.broken(), (1, vec!["a.yaml".to_owned()]));
}

#[tokio::test]
async fn objects_of_files_that_went_while_nobody_watched_are_deleted_at_the_start() {
    let (dir, store) = Watched::open(&[("a.yaml", service("a")), ("b.yaml", service("b"))]).await.close();
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    std::fs::write(dir.path().join("b.yaml"), service("changed")).unwrap();
    let watched = Watched::reopen(dir, store).await;
    assert_eq!(watched.stored().await, ["changed of b.yaml"]);
}

#[tokio::test]
async fn a_restart_over_an_unchanged_folder_commits_nothing() {
    let watched = Watched::open(&[("a.yaml", service("a")), ("b.yaml", service("b"))]).await;
    let before = watched.revision();
    let (dir, store) = watched.close();
    let watched = Watched::reopen(dir, store).await;
    assert_eq!(watched.revision(), before);
}

#[tokio::test]
async fn a_file_that_is_broken_at_the_start_keeps_what_the_store_has_of_it() {
    let (dir, store) = Watched::open(&[("a.yaml", service("a"))]).await.close();
    std::fs::write(dir.path().join("a.yaml"), "kind: [").unwrap();
    let watched = Watched::reopen(dir, store).await;
    assert_eq!(watched.stored().await, ["a of a.yaml"]);
    assert_eq!(watched.broken(), (1, vec!["a.yaml".to_owned()]));
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_named() {
    let root = PathBuf::from("/nowhere/at/all");
    let error = Folder::open(root, Arc::new(MemoryStore::default()), Arc::default()).await.err().unwrap();
    assert!(format!("{error:#}").starts_with("--config-dir /nowhere/at/all: "), "{error:#}");
}

#[tokio::test]
async fn more_files_than_a_transaction_takes_are_several() {
    let files: Vec<(String, String)> =
        (0..FILES_MAX + 1).map(|number| (format!("{number:04}.yaml"), service(&format!("s{number}")))).collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let watched = Watched::open(&files).await;
    assert_eq!((watched.stored().await.len(), watched.revision()), (FILES_MAX + 1, 2));
}

#[tokio::test]
async fn an_event_names_paths_or_asks_for_a_look_over() {
    use notify::event::{AccessKind, CreateKind, ModifyKind};
    let watched = Watched::open(&[("a.yaml", service("a")), ("sub/b.yaml", service("b"))]).await;
    let root = watched.dir.path();
    let noted = |event: Option<notify::Result<Event>>| {
        let mut paths = Some(BTreeSet::new());
        watched.folder.note(&mut paths, event);
        paths.map(|paths| paths.iter().map(|path| watched.folder.name(path)).collect::<Vec<_>>())
    };
    let event = |kind: EventKind, name: &str| Some(Ok(Event::new(kind).add_path(root.join(name))));
    let changed = EventKind::Modify(ModifyKind::Any);
    assert_eq!(noted(event(changed, "a.yaml")), Some(vec!["a.yaml".to_owned()]));
    assert_eq!(noted(event(EventKind::Access(AccessKind::Any), "a.yaml")), Some(Vec::new()), "a read changes nothing");
    assert_eq!(noted(event(EventKind::Create(CreateKind::Any), "sub")), None, "a folder says nothing of its files");
    assert_eq!(noted(event(changed, "a.yaml.swp")), Some(vec!["a.yaml.swp".to_owned()]), "an editor's file that went");
    assert_eq!(noted(Some(Err(notify::Error::generic("overflow")))), None);
    assert_eq!(noted(None), None, "nothing was heard for long");
    let rescan = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert_eq!(noted(Some(Ok(rescan))), None);
}

#[tokio::test]
async fn a_folder_that_was_moved_away_is_looked_over() {
    let watched = Watched::open(&[("sub/b.yaml", service("b"))]).await;
    let sub = watched.dir.path().join("sub");
    assert!(watched.folder.has_files_behind(&sub));
    std::fs::rename(&sub, watched.dir.path().join("elsewhere")).unwrap();
    assert!(watched.folder.has_files_behind(&sub), "its files are known still");
    assert!(!watched.folder.has_files_behind(&watched.dir.path().join("su")));
}

#[tokio::test]
async fn changes_are_followed_until_the_end() {
    let watched = Watched::open(&[("a.yaml", service("a"))]).await;
    let Watched { dir, store, metrics: _, folder } = watched;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(folder.run(stopped));
    let mut latest = store.latest();
    let seen = *latest.borrow();
    std::fs::write(dir.path().join("new.yaml"), service("new")).unwrap();
    latest.wait_for(|revision| *revision > seen).await.unwrap();
    let key = ConfigKey::new(Kind::Service, "default", "new");
    assert!(store.get(&key).await.unwrap().is_some());
    stop.send_replace(true);
    task.await.unwrap().unwrap();
}

#[test]
fn every_fault_of_a_text_is_named_with_its_line() {
    let text = service("a") + "kind: 7\n---\n" + &service("b").replace("80", "0");
    let faults = parse(&text, "default").unwrap_err();
    assert_eq!(
        faults,
        [
            "line 6: apiVersion: want a string, got nothing",
            "line 8: service default/b: spec.ports[0].port: want 1..=65535, got 0",
        ]
    );
    assert_eq!(parse("", "default").unwrap(), []);
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.yaml");
    std::fs::File::create(&path).unwrap().set_len(APPLY_BYTES_MAX as u64 + 1).unwrap();
    assert_eq!(parse_file(&path).unwrap_err(), "want at most 16777216 bytes, got 16777217");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(parse_file(&path).unwrap_err().contains("UTF-8"));
}
