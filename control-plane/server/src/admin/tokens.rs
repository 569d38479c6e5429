//! The tokens that the admin API wants over TCP.
//!
//! They are in a file that only its owner may read, with a role and a token in each line:
//!
//! ```text
//! # Tokens of the admin API: …
//! write 1f0e…
//! read 77ab…
//! ```

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// The mode of the file: its owner may read and write it, and nobody else may do anything.
const MODE: u32 = 0o600;
/// The bits of a mode that concern others than the owner.
const OTHERS: u32 = 0o077;
/// The number of random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// The length of the shortest token that is taken, in characters.
const LENGTH_MIN: usize = 16;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// See everything.
    Read,
    /// See and change everything.
    Write,
}

/// The tokens that are taken, each with its role.
#[derive(Debug)]
pub(super) struct Tokens(Vec<(Role, String)>);

impl Tokens {
    /// Reads a file of tokens. If there is none, it is made with a token for each role.
    ///
    /// # Errors
    /// Fails if the file cannot be read or made, if others may read it, or if a line of it is not what it should be.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::try_open(path).with_context(|| path.display().to_string())
    }

    fn try_open(path: &Path) -> anyhow::Result<Self> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path)?;
                File::open(path)?
            }
            result => result?,
        };
        let mode = file.metadata()?.mode() & 0o777;
        ensure!(mode & OTHERS == 0, "want a file that only its owner may read (mode 0600), got mode {mode:04o}");
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut tokens = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // What is in the line is not told, because it may be a token.
            let Some((role, token)) = line.split_once(' ') else { bail!("line {number}: want a role and a token") };
            let role = match role {
                "read" => Role::Read,
                "write" => Role::Write,
                _ => bail!("line {number}: want the role read or write"),
            };
            let token = token.trim();
            let is_token = |byte: u8| byte.is_ascii_graphic();
            ensure!(token.len() >= LENGTH_MIN, "line {number}: want a token of at least {LENGTH_MIN} characters");
            ensure!(token.bytes().all(is_token), "line {number}: want a token of ASCII characters without spaces");
            tokens.push((role, token.to_owned()));
        }
        ensure!(!tokens.is_empty(), "want at least one token, got none");
        Ok(Self(tokens))
    }

    /// Returns the role of a token. `None` means that it is none.
    pub(super) fn role_of(&self, token: &str) -> Option<Role> {
        // Every token is compared, and all of each, so that the time tells nothing of them.
        let roles = self.0.iter().filter(|(_, known)| is_equal(known.as_bytes(), token.as_bytes()));
        roles.map(|(role, _)| *role).max()
    }
}

fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b));
    a.len() == b.len() && differences == 0
}

/// Makes a file with a token for each role. It appears as a whole.
fn make(path: &Path) -> anyhow::Result<()> {
    let mut text = "# Tokens of the admin API: a role (read or write) and a token in each line.\n".to_owned();
    for role in ["write", "read"] {
        writeln!(text, "{role} {}", random_token()?)?;
    }
    let new = path.with_extension("new");
    // What a crash left would have another mode.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(std::fs::rename(new, path)?)
}

fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("/dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn tokens_are_made_once_and_only_their_owner_may_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let made = Tokens::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        let again = Tokens::open(&path).unwrap();
        assert_eq!(made.0, again.0);
        let [(Role::Write, write), (Role::Read, read)] = &made.0[..] else { panic!("{made:?}") };
        assert_eq!((write.len(), read.len()), (2 * TOKEN_BYTES, 2 * TOKEN_BYTES));
        assert_ne!(write, read);
        assert_eq!((made.role_of(write), made.role_of(read)), (Some(Role::Write), Some(Role::Read)));
        assert_eq!((made.role_of(&write[1..]), made.role_of("")), (None, None));
        set_mode(&path, 0o640);
        let error = format!("{:#}", Tokens::open(&path).unwrap_err());
        let want = "want a file that only its owner may read (mode 0600), got mode 0640";
        assert_eq!(error, format!("{}: {want}", path.display()));
    }

    #[test]
    fn a_faulty_line_is_told_by_its_number_and_never_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            set_mode(&path, MODE);
            Tokens::open(&path).unwrap_err().root_cause().to_string()
        };
        assert_eq!(refused("# none\n\n"), "want at least one token, got none");
        assert_eq!(refused("# a\nsecret-secret-secret"), "line 2: want a role and a token");
        assert_eq!(refused("admin secret-secret-secret"), "line 1: want the role read or write");
        assert_eq!(refused("read short"), "line 1: want a token of at least 16 characters");
        assert_eq!(refused("read secret secret secret"), "line 1: want a token of ASCII characters without spaces");
    }
}
