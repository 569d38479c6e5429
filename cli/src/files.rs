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

/// Reads a file whatever its name is, or the files of a folder and of the folders in it that hold YAML or JSON.
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
