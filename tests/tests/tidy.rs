//! The code stays tidy: no file that nothing declares, no file over its limit, no runtime in a pure crate, no name in the
//! documents that does not exist, no dependency under another licence or from another place than those that we take.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use rutter_tests::{CRATES, production_of, root};

/// The number of production lines that a file may have.
const LINES_MAX: usize = 600;
const PURE: [&str; 3] = ["api", "control-plane/core", "data-plane/core"];
/// What a pure crate may not depend on. (`api` has tonic for the generated services, whose transport is that of the
/// binaries.)
const IMPURE: [&str; 6] = ["tokio", "hyper", "sled", "tracing", "axum", "notify"];

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
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
            let declaration = format!("mod {name};");
            text.lines().any(|line| line.trim_start_matches("pub").ends_with(&declaration))
        });
        assert!(declared, "{}: no `mod {name};` declares it", path.display());
    }
}

/// Returns where a file or folder may be declared: in `lib.rs` or `main.rs` beside it, or in the file of its folder.
fn parents_of(path: &Path) -> Vec<PathBuf> {
    let dir = path.parent().unwrap();
    vec![dir.join("lib.rs"), dir.join("main.rs"), dir.join("mod.rs"), dir.with_extension("rs")]
}

#[test]
fn no_file_is_over_its_limit() {
    let is_test = |path: &Path| path.ends_with("tests.rs") || path.iter().any(|folder| folder == "tests");
    for path in sources().iter().filter(|path| !is_test(path)) {
        let text = read_to_string(path).unwrap();
        let lines = production_of(&text).lines().count();
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
fn pure_crates_ban_the_clock_threads_and_the_environment() {
    for name in PURE {
        let config = read_to_string(root().join(name).join("clippy.toml")).unwrap();
        for banned in ["std::time::Instant::now", "std::time::SystemTime::now", "std::env::var", "std::thread::spawn"] {
            assert!(config.contains(banned), "{name}/clippy.toml does not ban {banned}");
        }
    }
}

/// Returns every package that is built, as `cargo metadata` describes it.
fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Dependencies for other platforms were not downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments =
        ["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", platform.as_str()];
    let output = std::process::Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Returns whether a licence expression can be fulfilled with the licences that we take. A slash is an old `OR`.
fn is_taken(expression: &str, taken: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // `A AND (B OR C)` is read as `(A AND B) OR C`, which is stricter or the same if A is taken.
    let alternatives = expression.split(" OR ");
    alternatives.map(|all| all.split(" AND ")).any(|mut all| all.all(|licence| taken.contains(licence.trim())))
}

#[test]
fn every_dependency_has_a_licence_that_we_take_and_comes_from_crates_io() {
    let deny = read_to_string(root().join("deny.toml")).unwrap();
    let list = deny.split("allow = [").nth(1).unwrap().split(']').next().unwrap();
    let taken: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_taken(licence, &taken), "{name}: {licence}");
        let source = package["source"].as_str().unwrap_or("this repository");
        let is_known = source == "this repository" || source == "registry+https://github.com/rust-lang/crates.io-index";
        assert!(is_known, "{name} comes from {source}");
    }
}

#[test]
fn licence_expressions_are_read() {
    let taken = ["MIT", "Apache-2.0"].into();
    for (expression, want) in
        [("MIT", true), ("MIT OR GPL-3.0", true), ("GPL-3.0", false), ("MIT AND GPL-3.0", false), ("MIT/GPL-3.0", true)]
    {
        assert_eq!(is_taken(expression, &taken), want, "{expression}");
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
