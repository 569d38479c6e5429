//! The files that are applied.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::rutter::admin::v1 as pb;

/// Reads the files, folders and standard input that an apply names.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<pb::Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = Vec::new();
            std::io::stdin().take(APPLY_BYTES_MAX as u64 + 1).read_to_end(&mut text).context("standard input")?;
            check_size("standard input", text.len() as u64)?;
            sources.push(pb::Source { name: "-".into(), text: text.into() });
            continue;
        }
        read_path(path, &mut sources).with_context(|| path.display().to_string())?;
    }
    if sources.is_empty() {
        bail!(
            "no .yaml, .yml or .json file in {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sources)
}

/// Reads a file whatever its name is, or the files of a folder and of the folders in it that hold YAML or JSON. Other
/// files of a folder are passed over, so that a repository with a README can be applied as it is.
fn read_path(path: &Path, sources: &mut Vec<pb::Source>) -> Result<()> {
    if !path.is_dir() {
        return read_file(path, sources);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for entry in entries.into_iter().filter(|entry| entry.is_dir() || is_config(entry)) {
        read_path(&entry, sources)?;
    }
    Ok(())
}

fn is_config(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(extension, "yaml" | "yml" | "json")
}

fn read_file(path: &Path, sources: &mut Vec<pb::Source>) -> Result<()> {
    check_size(&path.display().to_string(), std::fs::metadata(path)?.len())?;
    sources.push(pb::Source { name: path.display().to_string(), text: std::fs::read(path)?.into() });
    Ok(())
}

fn check_size(name: &str, size: u64) -> Result<()> {
    if size > APPLY_BYTES_MAX as u64 {
        bail!("{name}: want at most {APPLY_BYTES_MAX} bytes, got {size}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a folder with files of the given names, each of which holds its name.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        dir
    }

    /// Returns what is read, each with the path in the folder.
    fn read_in(dir: &Path, names: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        let sources = read(&paths).unwrap();
        let root = format!("{}/", dir.display());
        sources.iter().map(|source| source.name.replace(&root, "")).collect()
    }

    #[test]
    fn a_folder_is_read_with_its_folders_in_the_order_of_the_names() {
        let dir = folder(&["b.yaml", "a.yml", "sub/c.json", "README.md", "sub/x.txt"]);
        assert_eq!(read_in(dir.path(), &[""]), ["a.yml", "b.yaml", "sub/c.json"]);
    }

    #[test]
    fn a_file_that_is_named_is_read_whatever_its_name_is() {
        let dir = folder(&["config.txt", "b.yaml"]);
        assert_eq!(read_in(dir.path(), &["config.txt", "b.yaml"]), ["config.txt", "b.yaml"]);
    }

    #[test]
    fn the_bytes_are_those_of_the_file() {
        let dir = folder(&["a.yaml"]);
        assert_eq!(&read(&[dir.path().join("a.yaml")]).unwrap()[0].text[..], b"a.yaml");
    }

    #[test]
    fn nothing_to_read_is_an_error_that_names_the_places() {
        let dir = folder(&["README.md"]);
        let error = read(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert_eq!(error, format!("no .yaml, .yml or .json file in {}", dir.path().display()));
        let error = format!("{:#}", read(&[dir.path().join("gone.yaml")]).unwrap_err());
        assert!(error.starts_with(&format!("{}/gone.yaml: ", dir.path().display())), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = folder(&["big.yaml"]);
        let path = dir.path().join("big.yaml");
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(APPLY_BYTES_MAX as u64 + 1).unwrap();
        let error = format!("{:#}", read(&[path]).unwrap_err());
        assert!(error.ends_with("big.yaml: want at most 16777216 bytes, got 16777217"), "{error}");
    }
}
