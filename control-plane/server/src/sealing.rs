//! Secrets are sealed before anything keeps or shows them.
//!
//! ```text
//! apply, watched folder ──> [`Sealer::seal`] ──> store, history, backup, get, diff, audit
//! store ──> [`Sealer::open`] ──> engine ──> SDS
//! ```
//!
//! The values of a Secret are encrypted as a whole with AES-256-GCM-SIV (RFC 8452), which stays safe with a nonce that
//! repeats. The nonce is always the same, so that a Secret that is written as it was is seen to be unchanged. The name of
//! the object is a part of what is authenticated: sealed values are of no use under another name. The key is in a file of
//! its own, outside the store and its backups.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::default_provider;
use rutter_api::config::kubernetes::{SealedValues, Secret, SecretBytes, SecretContent};
use rutter_api::{Config, ConfigKey, Kind, Spec};
use rutter_store::ConfigStore;

/// The nonce of every encryption.
const NONCE: [u8; 12] = [0; 12];
/// The number of bytes of a key.
const KEY_BYTES: usize = 32;
/// What is encrypted to make the name of a key.
const KEY_NAME: &[u8] = b"rutter sealing key";
/// The number of bytes of the name of a key.
const KEY_ID_BYTES: usize = 8;

/// Seals and opens the values of Secrets.
pub(crate) struct Sealer {
    /// The file of the key. `None` means that the key is kept in memory, because the objects are too.
    path: Option<PathBuf>,
    /// The key, once there is one. It is made for the first Secret.
    key: Mutex<Option<Arc<Key>>>,
}

struct Key {
    cipher: Aes256GcmSiv,
    id: String,
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let cipher = Aes256GcmSiv::new(bytes.into());
        let name = cipher.encrypt(&Nonce::from(NONCE), KEY_NAME).unwrap_or_default();
        let id = name.iter().take(KEY_ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { cipher, id }
    }

    fn random() -> anyhow::Result<[u8; KEY_BYTES]> {
        let mut bytes = [0; KEY_BYTES];
        let filled = default_provider().secure_random.fill(&mut bytes);
        filled.map_err(|_| anyhow::anyhow!("the operating system gives no random numbers"))?;
        Ok(bytes)
    }
}

impl Sealer {
    /// Reads the key, if there is a file of it.
    ///
    /// # Errors
    /// Fails if the file is unfit or others may read it, and if it is missing although a store has Secrets.
    pub(crate) async fn new(path: Option<PathBuf>, store: &dyn ConfigStore) -> anyhow::Result<Self> {
        let key = path.as_deref().map(read_key).transpose()?.flatten();
        let owners = store.owners().await.context("reading the store")?;
        let secrets = owners.iter().filter(|(key, _)| key.kind == Kind::Secret).count();
        if let (Some(path), None, 1..) = (&path, &key, secrets) {
            bail!(
                "--secret-key-file: want the key with which the {secrets} Secrets of the store are sealed, got no file {0}: \
                 put it back; if it is lost, make another (umask 077; head -c {KEY_BYTES} /dev/urandom | base64 > {0}) \
                 and apply the Secrets again",
                path.display()
            );
        }
        Ok(Self { path, key: Mutex::new(key.map(Arc::new)) })
    }

    /// Returns a sealer whose key is kept in memory.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self { path: None, key: Mutex::default() }
    }

    /// Returns a Secret as it is to be kept.
    ///
    /// # Errors
    /// Fails if there is no key and none can be made.
    pub(crate) fn seal(&self, key: &ConfigKey, values: &BTreeMap<String, SecretBytes>) -> anyhow::Result<SealedValues> {
        let sealing = self.key_for_sealing()?;
        let encoded: BTreeMap<&String, String> =
            values.iter().map(|(name, value)| (name, STANDARD.encode(value.reveal()))).collect();
        let clear = serde_json::to_vec(&encoded)?;
        let payload = Payload { msg: &clear, aad: &bound_to(key) };
        let sealed = sealing.cipher.encrypt(&Nonce::from(NONCE), payload);
        let sealed = sealed.map_err(|_| anyhow::anyhow!("the values are too large to be sealed"))?;
        let names = values.keys().cloned().collect();
        Ok(SealedValues { key_id: sealing.id.clone(), names, text: STANDARD.encode(sealed) })
    }

    /// Returns the values of a Secret.
    ///
    /// # Errors
    /// Fails if they were sealed with another key, for another object, or were changed since.
    pub(crate) fn open(
        &self,
        key: &ConfigKey,
        sealed: &SealedValues,
    ) -> Result<BTreeMap<String, SecretBytes>, OpenError> {
        let own = self.lock().clone();
        let Some(own) = own.filter(|own| own.id == sealed.key_id) else {
            return Err(OpenError::OtherKey(sealed.key_id.clone()));
        };
        let text = STANDARD.decode(&sealed.text).map_err(|_| OpenError::Changed)?;
        let payload = Payload { msg: &text, aad: &bound_to(key) };
        let clear = own.cipher.decrypt(&Nonce::from(NONCE), payload).map_err(|_| OpenError::Changed)?;
        let encoded: BTreeMap<String, String> = serde_json::from_slice(&clear).map_err(|_| OpenError::Changed)?;
        let decode = |(name, value): (String, String)| {
            let value = STANDARD.decode(value).map_err(|_| OpenError::Changed)?;
            Ok((name, SecretBytes::from(value)))
        };
        encoded.into_iter().map(decode).collect()
    }

    /// Returns an object with the values of a Secret open. Other objects are as they were.
    ///
    /// # Errors
    /// Fails if the values cannot be opened.
    pub(crate) fn opened(&self, config: Config) -> Result<Config, OpenError> {
        let Spec::Secret(Secret { secret_type, content: SecretContent::Sealed(sealed) }) = &config.spec else {
            return Ok(config);
        };
        let content = SecretContent::Open(self.open(&config.key, sealed)?);
        let spec = Spec::Secret(Secret { secret_type: secret_type.clone(), content });
        Ok(Config { spec, ..config })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Key>>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key, which is made if there is none yet.
    fn key_for_sealing(&self) -> anyhow::Result<Arc<Key>> {
        let mut held = self.lock();
        if let Some(key) = &*held {
            return Ok(key.clone());
        }
        let key = Arc::new(match &self.path {
            Some(path) => make_key(path)?,
            None => Key::new(&Key::random()?),
        });
        *held = Some(key.clone());
        Ok(key)
    }
}

/// Why the values of a Secret cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// They were sealed with another key, which has this name.
    OtherKey(String),
    /// They were sealed for another object, or were changed since.
    Changed,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherKey(id) => write!(f, "it is sealed with the key {id}, which is not that of --secret-key-file"),
            Self::Changed => f.write_str("it was sealed for another object, or was changed since"),
        }
    }
}

fn bound_to(key: &ConfigKey) -> Vec<u8> {
    format!("{}/{}", key.namespace, key.name).into_bytes()
}

/// Reads the file of a key. `None` means that there is no such file.
fn read_key(path: &Path) -> anyhow::Result<Option<Key>> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("--secret-key-file: reading {shown}")),
    };
    let mode = fs::metadata(path).with_context(|| format!("--secret-key-file: {shown}"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("--secret-key-file: want a file that only its owner may read (mode 600), got mode {mode:o} of {shown}");
    }
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
    let Some(bytes) = bytes else {
        bail!("--secret-key-file: want {KEY_BYTES} bytes in base64, got something else in {shown}");
    };
    Ok(Some(Key::new(&bytes)))
}

/// Makes a key and its file. If there is one by now, that is taken.
fn make_key(path: &Path) -> anyhow::Result<Key> {
    let bytes = Key::random()?;
    match write_key(path, &bytes) {
        Ok(()) => {
            tracing::info!(file = %path.display(), "made the key with which Secrets are sealed; keep a copy of it");
            Ok(Key::new(&bytes))
        }
        Err(error) => match read_key(path)? {
            Some(key) => Ok(key),
            None => Err(error).with_context(|| format!("--secret-key-file: writing {}", path.display())),
        },
    }
}

/// Writes a key to a file that does not exist, so that it is there as a whole or not at all.
fn write_key(path: &Path, bytes: &[u8; KEY_BYTES]) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(format!("{}\n", STANDARD.encode(bytes)).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    linked?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rutter_store::MemoryStore;

    use super::*;

    fn values() -> BTreeMap<String, SecretBytes> {
        [("tls.crt", "cert"), ("tls.key", "PRIVATE")]
            .map(|(name, value)| (name.to_owned(), SecretBytes::from(value.as_bytes().to_vec())))
            .into()
    }

    fn key(name: &str) -> ConfigKey {
        ConfigKey::new(Kind::Secret, "shop", name)
    }

    async fn sealer(path: Option<&Path>) -> anyhow::Result<Sealer> {
        Sealer::new(path.map(Path::to_owned), &MemoryStore::default()).await
    }

    #[tokio::test]
    async fn what_is_sealed_is_opened_by_the_same_key_under_the_same_name_only() {
        let sealer = sealer(None).await.unwrap();
        let sealed = sealer.seal(&key("a"), &values()).unwrap();
        assert_eq!(sealer.open(&key("a"), &sealed), Ok(values()));
        let text = STANDARD.decode(&sealed.text).unwrap();
        for clear in ["PRIVATE", "tls.key", &STANDARD.encode("PRIVATE")] {
            assert!(!text.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear}");
        }
        assert_eq!(sealer.seal(&key("a"), &values()).unwrap(), sealed, "the same again is no change");
        assert_eq!(sealer.open(&key("b"), &sealed), Err(OpenError::Changed));
        let mut changed = sealed.clone();
        changed.text.replace_range(0..1, if changed.text.starts_with('A') { "B" } else { "A" });
        assert_eq!(sealer.open(&key("a"), &changed), Err(OpenError::Changed));
        let other = self::sealer(None).await.unwrap();
        other.seal(&key("a"), &values()).unwrap();
        assert_eq!(other.open(&key("a"), &sealed), Err(OpenError::OtherKey(sealed.key_id.clone())));
    }

    #[tokio::test]
    async fn the_key_is_made_for_the_first_secret_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = sealer(Some(&path)).await.unwrap();
        assert!(!path.exists(), "a mesh without Secrets needs no key");
        let sealed = first.seal(&key("a"), &values()).unwrap();
        let late = Sealer { path: Some(path.clone()), key: Mutex::default() };
        assert_eq!(late.seal(&key("a"), &values()).unwrap(), sealed, "a file that is there by now is taken");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let second = sealer(Some(&path)).await.unwrap();
        assert_eq!(second.open(&key("a"), &sealed), Ok(values()));
    }

    #[tokio::test]
    async fn a_key_that_is_missing_unfit_or_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let store = MemoryStore::default();
        let json = r#"{"apiVersion":"v1","kind":"Secret"}"#;
        let write = rutter_store::ConfigWrite {
            key: key("a"),
            json: Some(json.into()),
            created: None,
            owner: rutter_store::Owner::Api,
            expected: rutter_store::Expected::Any,
        };
        store.commit(vec![write]).await.unwrap();
        let refused =
            async |store: &MemoryStore| format!("{:#}", Sealer::new(Some(path.clone()), store).await.err().unwrap());
        let missing = refused(&store).await;
        assert!(missing.contains("the 1 Secrets of the store are sealed, got no file"), "{missing}");
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = refused(&store).await;
        assert!(open.contains("want a file that only its owner may read (mode 600), got mode 640"), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let unfit = refused(&MemoryStore::default()).await;
        assert!(unfit.contains("want 32 bytes in base64, got something else"), "{unfit}");
    }
}
