//! Every object of a control plane, in a file.

use std::ffi::OsString;
use std::fs::{File, rename};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Streaming;

use crate::args::Backup;
use crate::client::Admin;
use crate::output::Out;

/// Writes a backup. A file becomes what it should be only when all of it is there and durable.
pub(crate) async fn backup(admin: &mut Admin, wanted: &Backup, out: Out<'_>) -> Result<()> {
    let mut chunks = admin.backup(pb::BackupRequest {}).await?.into_inner();
    if wanted.file == Path::new("-") {
        // The file is what it is, so that its checksums are right.
        write_chunks(&mut chunks, &mut std::io::stdout()).await?;
        return Ok(());
    }
    let told = wanted.file.display();
    let (path, mut name) = (&wanted.file, OsString::from(&wanted.file));
    name.push(".new");
    let mut file = File::create(&name).with_context(|| told.to_string())?;
    let objects = write_chunks(&mut chunks, &mut file).await;
    let objects = objects.and_then(|objects| {
        file.sync_all()?;
        rename(&name, path)?;
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
