//! Modules import one way: no file depends on itself through others.
//!
//! The test reads every path outside tests that begins with `crate`, `super` or a module which the file declares, and
//! follows it to the file that defines the item. A re-export is another name of an item and no dependency. The file that
//! declares a module does not depend on it for that alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use rutter_tests::{CRATES, production_of, root};

/// The names from the root of a crate to a module. It is empty for the root.
type ModulePath = Vec<String>;

/// A module: its file without tests, and what it re-exports.
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    /// The paths that the file names, without those of re-exports.
    paths: Vec<ModulePath>,
    /// The paths of re-exported items by their names. `*` stands for everything in a module.
    reexports: Vec<Reexport>,
}

struct Reexport {
    name: String,
    path: ModulePath,
}

/// The modules of one crate.
#[derive(Default)]
struct Crate(BTreeMap<ModulePath, Module>);

impl Crate {
    fn read(directory: &Path) -> Self {
        let mut modules = Self::default();
        let source = directory.join("src");
        let roots = ["lib.rs", "main.rs"].map(|name| source.join(name));
        let root = roots.into_iter().find(|file| file.exists()).unwrap();
        modules.add(root, Vec::new(), &source);
        modules
    }

    /// Reads a file and the modules that it declares, whose files are in a folder.
    fn add(&mut self, file: PathBuf, path: ModulePath, folder: &Path) {
        let text = without_tests(&read_to_string(&file).unwrap());
        let children: BTreeSet<String> = text.lines().filter_map(declared_module).collect();
        for child in &children {
            let (flat, nested) = (folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs"));
            let child_path = joined(&path, [child.clone()]);
            let child_file = if flat.exists() { flat } else { nested };
            if child_file.exists() {
                self.add(child_file, child_path, &folder.join(child));
            }
        }
        let module = read_module(file, &text, &path, children);
        self.0.insert(path, module);
    }

    /// Returns the file that defines the item at a path.
    fn defining_file(&self, path: &[String], depth: usize) -> Option<&PathBuf> {
        let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = (&self.0[&path[..length]], &path[length..]);
        let Some(item) = rest.first().filter(|_| depth < 16) else { return Some(&module.file) };
        let by_name = module.reexports.iter().find(|reexport| reexport.name == *item);
        if let Some(reexport) = by_name {
            return self.defining_file(&reexport.path, depth + 1);
        }
        Some(&module.file)
    }

    /// Returns the files that each file depends on.
    fn dependencies(&self) -> BTreeMap<&PathBuf, BTreeSet<&PathBuf>> {
        let mut dependencies = BTreeMap::new();
        for module in self.0.values() {
            let files = module.paths.iter().filter_map(|path| self.defining_file(path, 0));
            let files: BTreeSet<&PathBuf> = files.filter(|file| **file != module.file).collect();
            dependencies.insert(&module.file, files);
        }
        dependencies
    }
}

fn joined(path: &[String], rest: impl IntoIterator<Item = String>) -> ModulePath {
    path.iter().cloned().chain(rest).collect()
}

/// Returns the text up to its tests, without comments, strings and attributes of visibility.
fn without_tests(text: &str) -> String {
    let production = production_of(text);
    let mut lines: Vec<&str> = Vec::new();
    let mut is_test_item = false;
    for line in production.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            is_test_item = true;
        } else if is_test_item {
            is_test_item = false;
        } else if !trimmed.starts_with("//") {
            lines.push(line);
        }
    }
    lines.join("\n").replace("pub(in crate", "pub(in_crate")
}

/// Returns the name of the module that a line declares.
fn declared_module(line: &str) -> Option<String> {
    let line = line.trim();
    let rest =
        ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "].iter().find_map(|start| line.strip_prefix(start))?;
    rest.strip_suffix(';').map(str::to_owned)
}

fn read_module(file: PathBuf, text: &str, path: &ModulePath, children: BTreeSet<String>) -> Module {
    let mut module = Module { file, children, paths: Vec::new(), reexports: Vec::new() };
    let mut rest = text.to_owned();
    while let Some(found) = next_use(&rest) {
        let tree = expand(&found.tree);
        for names in tree {
            let Some(absolute) = absolute(&names, path, &module.children) else { continue };
            if found.is_reexport {
                let name = absolute.last().cloned().unwrap_or_default();
                module.reexports.push(Reexport { name, path: absolute });
            } else {
                module.paths.push(absolute);
            }
        }
        rest.replace_range(found.range, "");
    }
    module.paths.extend(inline_paths(&rest, path, &module.children));
    module
}

/// A `use` item in a text.
struct Use {
    range: std::ops::Range<usize>,
    tree: String,
    is_reexport: bool,
}

fn next_use(text: &str) -> Option<Use> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let visibility = ["pub(crate) ", "pub(super) ", "pub "].iter().find(|word| trimmed.starts_with(**word));
        let item = &trimmed[visibility.map_or(0, |word| word.len())..];
        if item.starts_with("use ") {
            let end = start + text[start..].find(';')?;
            let begin = start + text[start..].find("use ")? + "use ".len();
            let tree = text[begin..end].split_whitespace().collect();
            return Some(Use { range: start..end + 1, tree, is_reexport: visibility.is_some() });
        }
        start += line.len();
    }
    None
}

/// Returns the paths of a tree such as `a::{b,c::{d,self}}`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let Some((prefix, list)) = tree.split_once('{') else {
        let path = tree.split("as").next().filter(|_| tree.contains("::")).unwrap_or(tree);
        let names = if tree.contains("::") { tree } else { path };
        return vec![names.split("::").map(str::to_owned).collect()];
    };
    let list = list.strip_suffix('}').unwrap_or(list);
    let prefix: Vec<String> = prefix.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut paths = Vec::new();
    for part in top_level_parts(list) {
        for path in expand(&part) {
            let names = path.into_iter().filter(|name| name != "self");
            paths.push(joined(&prefix, names));
        }
    }
    paths
}

fn top_level_parts(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// Returns a path from the root of the crate. `None` means that the path leads out of the crate.
fn absolute(names: &[String], module: &ModulePath, children: &BTreeSet<String>) -> Option<ModulePath> {
    let first = names.first()?;
    match first.as_str() {
        "crate" => Some(names[1..].to_vec()),
        "self" => Some(joined(module, names[1..].iter().cloned())),
        "super" => {
            let ups = names.iter().take_while(|name| *name == "super").count();
            let parent = &module[..module.len().checked_sub(ups)?];
            Some(joined(parent, names[ups..].iter().cloned()))
        }
        child if children.contains(child) => Some(joined(module, names.iter().cloned())),
        _ => None,
    }
}

/// Returns the paths in a text that are in no `use` item.
fn inline_paths(text: &str, module: &ModulePath, children: &BTreeSet<String>) -> Vec<ModulePath> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let words = text.split(|character: char| !is_part(character));
    let paths = words.filter(|word| word.contains("::"));
    let names =
        paths.map(|word| word.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>());
    names.filter_map(|names| absolute(&names, module, children)).collect()
}

/// Returns a ring of files, if there is one.
fn ring<'a>(dependencies: &BTreeMap<&'a PathBuf, BTreeSet<&'a PathBuf>>) -> Option<Vec<&'a PathBuf>> {
    let mut done = BTreeSet::new();
    for file in dependencies.keys() {
        let mut way = Vec::new();
        if let Some(ring) = follow(file, dependencies, &mut way, &mut done) {
            return Some(ring);
        }
    }
    None
}

fn follow<'a>(
    file: &'a PathBuf,
    dependencies: &BTreeMap<&'a PathBuf, BTreeSet<&'a PathBuf>>,
    way: &mut Vec<&'a PathBuf>,
    done: &mut BTreeSet<&'a PathBuf>,
) -> Option<Vec<&'a PathBuf>> {
    if let Some(start) = way.iter().position(|before| *before == file) {
        return Some(way[start..].to_vec());
    }
    if done.contains(file) {
        return None;
    }
    way.push(file);
    for next in dependencies.get(file).into_iter().flatten() {
        if let Some(ring) = follow(next, dependencies, way, done) {
            return Some(ring);
        }
    }
    way.pop();
    done.insert(file);
    None
}

/// Returns a ring of files of a crate, in words.
fn ring_of_crate(directory: &Path) -> Option<String> {
    let modules = Crate::read(directory);
    let ring = ring(&modules.dependencies())?;
    let names: Vec<String> = ring.iter().map(|file| file.display().to_string()).collect();
    Some(names.join(" -> "))
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    let rings: Vec<String> = CRATES.iter().filter_map(|name| ring_of_crate(&root().join(name))).collect();
    assert!(rings.is_empty(), "{}", rings.join("\n"));
}

#[test]
fn a_ring_is_found_through_re_exports_and_not_through_declarations() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join("src").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\n");
    write("a/mod.rs", "mod inner;\npub use inner::Thing;\n");
    write("a/inner.rs", "pub struct Thing;\n");
    write("b.rs", "use crate::a::Thing;\n");
    let has_ring = || ring(&Crate::read(folder.path()).dependencies()).is_some();
    assert!(!has_ring());
    write("a/inner.rs", "use crate::b::Other;\npub struct Thing;\n");
    assert!(has_ring(), "inner -> b -> inner");
    write("a/inner.rs", "pub struct Thing;\nfn f() { super::super::b::f() }\n");
    assert!(has_ring(), "a path that is no import counts too");
    write("a/inner.rs", "pub struct Thing;\n#[cfg(test)]\nmod tests {\n    use crate::b::Other;\n}\n");
    assert!(!has_ring(), "tests may import anything");
    let tests = "#[cfg(test)]\n#[expect(unused, reason = \"x\")]\nmod tests {\n    use crate::b::Other;\n}\n";
    write("a/inner.rs", &format!("pub struct Thing;\n{tests}"));
    assert!(!has_ring(), "tests with further attributes as well");
}
