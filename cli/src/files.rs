//! The files that are applied.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rutter_api::config::APPLY_BYTES_MAX;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;

use crate::args::Files;
use crate::usage::usage;

impl Files {
    /// Returns whether no file is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.filename.is_empty() && self.kustomize.is_none()
    }
}

/// Reads the files, folders and standard input that a command line names.
pub(crate) fn read(files: &Files) -> Result<Vec<pb::Source>> {
    if files.is_empty() {
        return Err(usage("want files (-f FILE, -f DIR, -f -) or a kustomization (-k DIR)"));
    }
    let mut sources = Vec::new();
    for path in &files.filename {
        if path == Path::new("-") {
            let mut text = Vec::new();
            std::io::stdin().take(APPLY_BYTES_MAX as u64 + 1).read_to_end(&mut text).context("standard input")?;
            check_size(text.len()).context("standard input")?;
            sources.push(pb::Source { name: "-".into(), text: text.into() });
            continue;
        }
        refuse_url(path)?;
        read_path(path, &mut Vec::new(), &mut sources)?;
    }
    if let Some(dir) = &files.kustomize {
        sources.push(kustomize(dir)?);
    }
    if sources.is_empty() {
        bail!(
            "no .yaml, .yml or .json file in {}",
            files.filename.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(sources)
}

fn refuse_url(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        bail!(
            "{text}: want a file, got a URL: look at it before you apply it (curl -sSL {text} | rutterctl apply -f -)"
        );
    }
    Ok(())
}

/// Identifies a folder by its device and its number there.
type FolderId = (u64, u64);

/// Reads a file whatever its name is, or the files of a folder and of the folders in it that hold YAML or JSON. Other
/// files of a folder are passed over, so that a repository with a README can be applied as it is, and so are hidden ones,
/// pipes, and links to a folder that is one of those `around` it.
fn read_path(path: &Path, around: &mut Vec<FolderId>, sources: &mut Vec<pb::Source>) -> Result<()> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !metadata.is_dir() {
        return read_file(path, sources);
    }
    let id = (metadata.dev(), metadata.ino());
    if around.contains(&id) {
        return Ok(());
    }
    around.push(id);
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for entry in entries.into_iter().filter(|entry| !is_hidden(entry) && is_wanted(entry)) {
        read_path(&entry, around, sources)?;
    }
    around.pop();
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Returns whether something in a folder is a folder, or a file of YAML or JSON. A link that leads nowhere is one, so that it
/// is an error; a pipe is not, because nobody may write to it, and is told.
fn is_wanted(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_config = matches!(extension, "yaml" | "yml" | "json");
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => true,
        Ok(metadata) if metadata.is_file() => is_config,
        Ok(_) => {
            if is_config {
                eprintln!("passed over, because it is no file: {}", printable(&path.display().to_string()));
            }
            false
        }
        Err(_) => is_config,
    }
}

/// Reads a file, or a pipe that is named itself, as those of the shell's `<(…)` are.
fn read_file(path: &Path, sources: &mut Vec<pb::Source>) -> Result<()> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    let file = std::fs::File::open(path).with_context(|| name.clone())?;
    let size = file.metadata()?.len();
    if size > APPLY_BYTES_MAX as u64 {
        bail!("{name}: want at most {APPLY_BYTES_MAX} bytes, got {size}");
    }
    file.take(APPLY_BYTES_MAX as u64 + 1).read_to_end(&mut text).with_context(|| name.clone())?;
    check_size(text.len()).with_context(|| name.clone())?;
    sources.push(pb::Source { name, text: text.into() });
    Ok(())
}

fn check_size(size: usize) -> Result<()> {
    if size > APPLY_BYTES_MAX {
        bail!("want at most {APPLY_BYTES_MAX} bytes, got more");
    }
    Ok(())
}

/// Returns what a kustomization comes to, for which the program of its makers is run: `kustomize`, or else `kubectl`, whichever
/// is found first in `PATH`. Without either, the error says how to do it where one of them is.
fn kustomize(dir: &Path) -> Result<pb::Source> {
    kustomize_with(&[("kustomize", &["build"]), ("kubectl", &["kustomize"])], dir)
}

/// Runs the first program that is there, with some arguments and the folder.
fn kustomize_with(programs: &[(&str, &[&str])], dir: &Path) -> Result<pb::Source> {
    let dir = dir.to_str().context("want a path of UTF-8")?;
    for (program, arguments) in programs {
        let arguments = [*arguments, &[dir]].concat();
        let output = match Command::new(program).args(&arguments).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            result => result.with_context(|| (*program).to_owned())?,
        };
        if !output.status.success() {
            bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        check_size(output.stdout.len()).context(dir.to_owned())?;
        return Ok(pb::Source { name: format!("{program} {}", arguments.join(" ")), text: output.stdout.into() });
    }
    bail!(
        "-k {dir}: want kustomize or kubectl in PATH, got neither (where one of them is: kubectl kustomize {dir} | \
         rutterctl apply -f -)"
    )
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

    fn files(paths: Vec<PathBuf>) -> Files {
        Files { filename: paths, kustomize: None }
    }

    fn read_now(paths: Vec<PathBuf>) -> Result<Vec<pb::Source>> {
        read(&files(paths))
    }

    /// Returns what is read, each with the path in the folder.
    fn read_in(dir: &Path, names: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        let sources = read_now(paths).unwrap();
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
        assert_eq!(&read_now(vec![dir.path().join("a.yaml")]).unwrap()[0].text[..], b"a.yaml");
    }

    #[test]
    fn nothing_to_read_is_an_error_that_names_the_places() {
        let dir = folder(&["README.md"]);
        let error = read_now(vec![dir.path().to_owned()]).unwrap_err().to_string();
        assert_eq!(error, format!("no .yaml, .yml or .json file in {}", dir.path().display()));
        let error = format!("{:#}", read_now(vec![dir.path().join("gone.yaml")]).unwrap_err());
        assert!(error.starts_with(&format!("{}/gone.yaml: ", dir.path().display())), "{error}");
    }

    #[test]
    fn pipes_hidden_files_and_links_in_a_ring_do_not_hold_it_up() {
        let dir = folder(&["a.yaml", ".git/b.yaml", "sub/c.yaml"]);
        let pipe = dir.path().join("pipe.yaml");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(".", dir.path().join("ring")).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("sub/up")).unwrap();
        assert_eq!(read_in(dir.path(), &[""]), ["a.yaml", "sub/c.yaml"]);
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost.yaml")).unwrap();
        let error = format!("{:#}", read_now(vec![dir.path().to_owned()]).unwrap_err());
        assert!(error.ends_with("lost.yaml: No such file or directory (os error 2)"), "{error}");
    }

    #[test]
    fn a_kustomization_is_built_by_the_first_program_that_is_there() {
        let dir = folder(&["bin/kustomize"]);
        let program = dir.path().join("bin/kustomize");
        std::fs::write(
            &program,
            "#!/bin/sh\n[ \"$2\" = good ] || { echo no such folder >&2; exit 1; }\necho \"kind: $1\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let built = |name: &str| kustomize_with(&[(program.to_str().unwrap(), &["build"])], Path::new(name));
        let source = built("good").unwrap();
        assert_eq!(
            (&source.text[..], source.name),
            (&b"kind: build\n"[..], format!("{} build good", program.display()))
        );
        let error = built("bad").unwrap_err().to_string();
        assert_eq!(error, format!("{} build bad: no such folder", program.display()));
        let error = kustomize_with(&[("/no/such/program", &[])], Path::new("d")).unwrap_err().to_string();
        assert!(error.starts_with("-k d: want kustomize or kubectl in PATH, got neither"), "{error}");
    }

    #[test]
    fn a_url_is_refused_with_what_to_do_instead() {
        let error = read_now(vec!["https://a.example/x.yaml".into()]).unwrap_err().to_string();
        assert!(error.ends_with("(curl -sSL https://a.example/x.yaml | rutterctl apply -f -)"), "{error}");
        let error = read_now(Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "want files (-f FILE, -f DIR, -f -) or a kustomization (-k DIR)");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = folder(&["big.yaml"]);
        let path = dir.path().join("big.yaml");
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(APPLY_BYTES_MAX as u64 + 1).unwrap();
        let error = format!("{:#}", read_now(vec![path]).unwrap_err());
        assert_eq!(
            error,
            format!("{}: want at most 16777216 bytes, got 16777217", dir.path().join("big.yaml").display())
        );
    }
}
