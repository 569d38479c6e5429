//! Every object of a control plane, in a file.

use std::ffi::OsString;
use std::fs::{OpenOptions, rename};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Streaming;

use crate::args::Backup;
use crate::client::Admin;
use crate::output::Out;

/// The mode of a backup.
const OWNER_ONLY: u32 = 0o600;

/// Writes a backup. A file becomes what it should be only when all of it is there and durable.
pub(crate) async fn backup(admin: &mut Admin, wanted: &Backup, out: Out<'_>) -> Result<()> {
    let mut chunks = admin.backup(pb::BackupRequest {}).await?.into_inner();
    if wanted.file == Path::new("-") {
        // The file is what it is, so that its checksums are right.
        write_chunks(&mut chunks, &mut std::io::stdout()).await?;
        return Ok(());
    }
    let told = wanted.file.display();
    // A link stays, and what it leads to becomes the backup.
    let path = wanted.file.canonicalize().unwrap_or_else(|_| wanted.file.clone());
    if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        bail!("{told}: want a file or nothing, got something else (- is standard output)");
    }
    let mut name = OsString::from(&path);
    name.push(".new");
    // Only its owner may read it, whatever was there before: everything is in it.
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&name);
    let mut file = options.with_context(|| told.to_string())?;
    let objects = write_chunks(&mut chunks, &mut file).await;
    let objects = objects.and_then(|objects| {
        file.sync_all()?;
        rename(&name, &path)?;
        Ok(objects)
    });
    if objects.is_err() {
        // What is not whole is of no use.
        let _ = std::fs::remove_file(&name);
    }
    let objects = objects.with_context(|| told.to_string())?;
    writeln!(out, "{objects} objects are in {told}")?;
    Ok(())
}

/// Writes what comes, and returns the number of objects in it, each of which is a line after the first.
async fn write_chunks(chunks: &mut Streaming<pb::BackupResponse>, out: &mut (dyn Write + Send)) -> Result<usize> {
    let mut lines = 0;
    while let Some(pb::BackupResponse { chunk }) = chunks.message().await? {
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        out.write_all(&chunk)?;
    }
    match lines.checked_sub(1) {
        Some(objects) => Ok(objects),
        None => bail!("want a backup, got nothing"),
    }
}
