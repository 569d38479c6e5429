//! The house stays tidy: no orphan file, no file over its limit, no runtime in a pure crate, no name in
//! the docs that no longer exists.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use rutter_tests::root;

/// Production lines that a file may have.
const LINES_MAX: usize = 600;
const CRATES: [&str; 8] = [
    "api",
    "control-plane/core",
    "control-plane/store",
    "control-plane/malloc",
    "control-plane/server",
    "data-plane/core",
    "data-plane/proxy",
    "cli",
];
const PURE: [&str; 3] = ["api", "control-plane/core", "data-plane/core"];
/// What a pure crate may not depend on. (api has tonic for the generated services; their transport is the binaries'.)
const IMPURE: [&str; 6] = ["tokio", "hyper", "sled", "tracing", "axum", "notify"];

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|one| one == extension) {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<PathBuf> {
    CRATES.iter().flat_map(|name| files(&root().join(name).join("src"), "rs")).collect()
}

#[test]
fn no_file_is_an_orphan() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if matches!(stem.as_str(), "lib" | "main") {
            continue;
        }
        let dir = path.parent().unwrap();
        let (name, parents) = match stem.as_str() {
            "mod" => (dir.file_name().unwrap().to_str().unwrap().to_owned(), parents_of(dir)),
            _ => (stem.clone(), [parents_of(&path), vec![dir.join("mod.rs")]].concat()),
        };
        let declared = parents.iter().filter_map(|parent| read_to_string(parent).ok()).any(|text| {
            text.lines().any(|line| {
                line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").starts_with(&format!("mod {name};"))
            })
        });
        assert!(declared, "{}: no `mod {name};` declares it", path.display());
    }
}

/// Where a file or folder may be declared: `lib.rs` or `main.rs` beside it, or the file of its folder's name.
fn parents_of(path: &Path) -> Vec<PathBuf> {
    let dir = path.parent().unwrap();
    vec![dir.join("lib.rs"), dir.join("main.rs"), dir.join("mod.rs"), dir.with_extension("rs")]
}

#[test]
fn no_file_is_over_its_limit() {
    for path in sources().iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = read_to_string(path).unwrap();
        let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = production.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} production lines, at most {LINES_MAX}", path.display());
    }
}

#[test]
fn pure_crates_name_no_runtime() {
    for name in PURE {
        let manifest = read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(!IMPURE.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_map_names_what_exists() {
    let text = read_to_string(root().join("docs/architecture.md")).unwrap();
    let code: String = [sources(), files(&root().join("tests"), "rs")]
        .concat()
        .iter()
        .map(|path| read_to_string(path).unwrap())
        .collect();
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for quoted in text.split('`').skip(1).step_by(2) {
        for word in quoted.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.len() > 3) {
            let is_path = root().join(quoted).exists() || word == "exportTo";
            assert!(is_path || words.contains(word), "docs/architecture.md names `{quoted}`, and there is no {word}");
        }
    }
}

#[test]
fn every_unfinished_thing_has_gone() {
    let marks = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "#[".to_owned() + "allow("];
    for path in sources() {
        let text = read_to_string(&path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{}: {mark}", path.display());
        }
    }
}
