//! The watched folder over a store in memory. Events are not waited for: each test says which files it looks at.

use std::path::Path;

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
    handle: FolderHandle,
}

/// Nothing is left alone for a while, so that a test need not wait.
const AT_ONCE: FolderOptions = FolderOptions { settle: Duration::ZERO, poll: None };

fn target(store: Arc<MemoryStore>, metrics: Arc<Metrics>) -> FolderTarget {
    FolderTarget { store, sealer: Arc::new(Sealer::in_memory()), metrics, traces: Default::default() }
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
        let opened = Folder::open(dir.path().to_owned(), AT_ONCE, target(store.clone(), metrics.clone())).await;
        let (folder, handle) = opened.unwrap();
        Self { dir, store, metrics, folder, handle }
    }

    /// Ends the watch, and returns the folder and the store that stay.
    fn close(self) -> (tempfile::TempDir, Arc<MemoryStore>) {
        (self.dir, self.store)
    }

    /// Writes files, and lets the folder look at them and at no others.
    async fn write(&mut self, files: &[(&str, String)]) {
        write_all(self.dir.path(), files);
        self.look_at(files.iter().map(|(name, _)| *name)).await;
    }

    /// Lets the folder look at files.
    async fn look_at<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.folder.take_in(names.map(Arc::from).collect()).await;
        self.settle().await;
    }

    /// Lets the folder look at everything.
    async fn look_over(&mut self) {
        self.folder.look_over().await.unwrap();
        self.settle().await;
    }

    async fn settle(&mut self) {
        self.folder.remove_missing().await;
        self.folder.publish();
    }

    async fn remove(&mut self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
        self.look_at([name].into_iter()).await;
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
        let names = self.handle.status().broken.keys().map(ToString::to_string).collect();
        (self.metrics.files_broken.get(), names)
    }
}

fn write_all(root: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
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
async fn a_file_is_read_again_only_if_it_is_another() {
    let mut watched = Watched::open(&[("a.yaml", service("a")), ("b.yaml", service("b"))]).await;
    watched.look_over().await;
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
    assert_eq!(twice.stored().await, ["x of a.yaml"]);
    assert_eq!(twice.broken(), (1, vec!["a.yaml".to_owned()]));
}

#[tokio::test]
async fn an_object_that_was_applied_by_hand_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::default());
    let object = super::file::parse_documents(&service("a"), "default", &Sealer::in_memory()).objects.remove(0).object;
    let by_hand = ConfigWrite { json: Some(object.json), owner: Owner::Api, ..deletion(object.config.key.clone()) };
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
    let opened = Folder::open(root, AT_ONCE, target(Arc::default(), Arc::default())).await;
    let error = opened.err().unwrap();
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
async fn changes_are_followed_until_the_end() {
    let watched = Watched::open(&[("a.yaml", service("a"))]).await;
    let Watched { dir, store, metrics: _, folder, handle: _ } = watched;
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

#[tokio::test]
async fn a_document_with_a_fault_keeps_its_object_and_the_others_of_its_file_are_taken() {
    let mut watched = Watched::open(&[("a.yaml", service("a") + &service("b"))]).await;
    let text = service("a").replace("80", "0") + &service("b").replace("80", "81") + &service("new");
    watched.write(&[("a.yaml", text)]).await;
    assert_eq!(watched.stored().await, ["a of a.yaml", "b of a.yaml", "new of a.yaml"]);
    let key = |name: &str| ConfigKey::new(Kind::Service, "default", name);
    assert!(watched.store.get(&key("a")).await.unwrap().unwrap().json.contains("80"), "as its last good version said");
    assert!(watched.store.get(&key("b")).await.unwrap().unwrap().json.contains("81"));
    let fault = "line 1: service default/a: spec.ports[0].port: want 1..=65535, got 0";
    assert_eq!(watched.handle.status().broken, [("a.yaml".into(), fault.to_owned())].into());
    watched.write(&[("a.yaml", service("b"))]).await;
    assert_eq!(watched.stored().await, ["b of a.yaml"], "a file without a fault says everything");
}

#[tokio::test]
async fn a_file_that_becomes_empty_is_faulty_and_one_of_comments_is_not() {
    let mut watched = Watched::open(&[("a.yaml", service("a"))]).await;
    watched.write(&[("a.yaml", " \n".to_owned())]).await;
    assert_eq!(watched.stored().await, ["a of a.yaml"]);
    let want = "want at least one object, got an empty file (delete the file if that is meant)";
    assert_eq!(watched.handle.status().broken, [("a.yaml".into(), want.to_owned())].into());
    watched.write(&[("a.yaml", "# nothing for now\n".to_owned())]).await;
    assert!(watched.stored().await.is_empty());
    assert_eq!(watched.broken(), (0, Vec::new()));
}

#[tokio::test]
async fn an_object_moves_between_files_whichever_is_written_first() {
    let mut watched = Watched::open(&[("a.yaml", service("x") + &service("w")), ("b.yaml", service("z"))]).await;
    let created = |watched: &Watched| {
        let (store, key) = (watched.store.clone(), ConfigKey::new(Kind::Service, "default", "x"));
        async move { store.get(&key).await.unwrap().unwrap().first_revision }
    };
    // The new file comes first: it waits for the old one, and has the object as soon as that is written.
    watched.write(&[("b.yaml", service("z") + &service("x"))]).await;
    assert_eq!(watched.broken(), (1, vec!["b.yaml".to_owned()]));
    watched.write(&[("a.yaml", service("w"))]).await;
    assert_eq!(watched.stored().await, ["w of a.yaml", "x of b.yaml", "z of b.yaml"]);
    assert_eq!((watched.broken().0, created(&watched).await), (0, 1), "it was never deleted");
    // The old file comes first: the object stays for a while, and is taken over within it.
    watched.folder.settle = Duration::from_secs(3600);
    watched.write(&[("b.yaml", service("z"))]).await;
    assert_eq!(watched.stored().await, ["w of a.yaml", "x of b.yaml", "z of b.yaml"]);
    watched.write(&[("a.yaml", service("w") + &service("x"))]).await;
    assert_eq!(watched.stored().await, ["w of a.yaml", "x of a.yaml", "z of b.yaml"]);
    assert_eq!((watched.folder.missing.keys().len(), created(&watched).await), (0, 1));
}

#[tokio::test]
async fn a_start_over_an_empty_folder_deletes_nothing_until_that_is_confirmed() {
    let (dir, store) = Watched::open(&[("a.yaml", service("a"))]).await.close();
    std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let mut watched = Watched::reopen(dir, store).await;
    assert_eq!(watched.stored().await, ["a of a.yaml"]);
    assert_eq!(watched.handle.status().held, [(Kind::Service, Loss { missing: 1, all: 1 })].into());
    assert_eq!(watched.metrics.folder_objects_held.get(), 1);
    let (answer, confirmed) = oneshot::channel();
    watched.folder.confirm(answer).await;
    watched.settle().await;
    assert_eq!(confirmed.await, Ok(Confirmed { deleted: 1 }));
    assert!(watched.stored().await.is_empty() && watched.handle.status().held.is_empty());
}

#[tokio::test]
async fn objects_that_are_held_are_free_when_their_files_come_back() {
    let files: Vec<(String, String)> =
        (0..20).map(|number| (format!("{number:02}.yaml"), service(&format!("s{number}")))).collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut watched = Watched::open(&files).await;
    let before = watched.revision();
    for (name, _) in &files {
        std::fs::remove_file(watched.dir.path().join(name)).unwrap();
    }
    watched.look_over().await;
    assert_eq!(watched.handle.status().held, [(Kind::Service, Loss { missing: 20, all: 20 })].into());
    watched.write(&files[..15]).await;
    assert_eq!((watched.stored().await.len(), watched.handle.status().held.len()), (15, 0), "five may go");
    watched.write(&files).await;
    assert_eq!((watched.stored().await.len(), watched.revision()), (20, before + 2));
}

#[tokio::test]
async fn a_confirmation_in_advance_lets_the_next_deletion_through() {
    let files: Vec<(String, String)> =
        (0..20).map(|number| (format!("{number:02}.yaml"), service(&format!("s{number}")))).collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut watched = Watched::open(&files).await;
    let (answer, confirmed) = oneshot::channel();
    watched.folder.confirm(answer).await;
    assert_eq!(confirmed.await, Ok(Confirmed { deleted: 0 }));
    watched.settle().await;
    assert!(watched.handle.status().confirmed_until.is_some());
    for (name, _) in &files {
        std::fs::remove_file(watched.dir.path().join(name)).unwrap();
    }
    watched.look_over().await;
    assert_eq!((watched.stored().await.len(), watched.handle.status().confirmed_until), (0, None));
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_back_loses_nothing() {
    let mut watched = Watched::open(&[("a.yaml", service("a")), ("sub/b.yaml", service("b"))]).await;
    let (root, away) = (watched.dir.path().to_owned(), watched.dir.path().with_extension("away"));
    std::fs::rename(&root, &away).unwrap();
    watched.look_over().await;
    assert_eq!(watched.stored().await.len(), 2);
    assert!(watched.handle.status().unreadable[""].starts_with("No such file"));
    // An empty folder in its place is one that was not mounted.
    std::fs::create_dir(&root).unwrap();
    watched.look_over().await;
    assert_eq!(watched.handle.status().held, [(Kind::Service, Loss { missing: 2, all: 2 })].into());
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    assert!(watched.folder.is_root_another().await);
    let before = watched.revision();
    watched.look_over().await;
    assert_eq!((watched.stored().await.len(), watched.revision()), (2, before));
    assert_eq!(watched.handle.status().held, BTreeMap::new());
    assert!(watched.handle.status().unreadable.is_empty());
}

#[tokio::test]
async fn what_the_store_cannot_take_is_tried_again() {
    let mut watched = Watched::open(&[("a.yaml", service("a"))]).await;
    let name: Arc<str> = "a.yaml".into();
    watched.folder.try_again([name.clone()]);
    assert!(watched.folder.pending.next_settled().is_some());
    assert_eq!(watched.folder.files[&name].identity, None);
    watched.look_at(["a.yaml"].into_iter()).await;
    assert!(watched.folder.files[&name].identity.is_some());
}
