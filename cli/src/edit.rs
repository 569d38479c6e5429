//! The command that changes an object in an editor.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use serde_json::Value;

use crate::apply::{Context, action};
use crate::client::Admin;
use crate::output::{Out, yaml};
use crate::targets::{display_name, keys, namespace_or_default};
use crate::usage::usage;

/// Opens an object in an editor, and applies what comes of it, if anything changed. The version of the object goes with it,
/// so that nothing is overwritten that somebody else writes meanwhile. A text that is refused is kept.
pub(crate) async fn edit(admin: &mut Admin, targets: &[String], context: &Context<'_>, out: Out<'_>) -> Result<()> {
    let keys = keys(targets, namespace_or_default(context.namespace))?;
    let key = match &keys[..] {
        [key] if !key.name.is_empty() => key.clone(),
        _ => return Err(usage("want one object, as KIND NAME or KIND/NAME")),
    };
    let response = admin.get(pb::GetRequest { wanted: vec![key.clone()], selector: String::new() }).await?.into_inner();
    let Some(object) = response.objects.first() else { bail!("{}: not found", display_name(&key)) };
    let mut json: Value = serde_json::from_slice(&object.json)?;
    if let Some(fields) = json.as_object_mut() {
        fields.remove("status");
    }
    let before = yaml(&json);
    let mut file = tempfile::Builder::new().prefix("rutterctl-edit-").suffix(".yaml").tempfile()?;
    file.write_all(before.as_bytes())?;
    file.flush()?;
    run_editor(file.path())?;
    let after = std::fs::read_to_string(file.path())?;
    let name = display_name(&object.key.clone().unwrap_or_default());
    if after == before {
        writeln!(out, "{name} unchanged")?;
        return Ok(());
    }
    if after.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
        writeln!(out, "{name} unchanged: the text is empty")?;
        return Ok(());
    }
    let source = pb::Source { name: file.path().display().to_string(), text: after.into() };
    let request = pb::ApplyRequest { sources: vec![source], ..Default::default() };
    match admin.apply(request).await {
        Ok(response) => {
            for applied in &response.into_inner().applied {
                let key = applied.key.clone().unwrap_or_default();
                writeln!(out, "{} {}", display_name(&key), action(applied.action(), false))?;
            }
            Ok(())
        }
        Err(status) => {
            let (_, path) = file.keep()?;
            bail!("{}\nyour text is kept: rutterctl apply -f {}", status.message(), path.display())
        }
    }
}

fn run_editor(path: &std::path::Path) -> Result<()> {
    let editor = ["RUTTER_EDITOR", "KUBE_EDITOR", "EDITOR"].iter().find_map(|name| std::env::var(name).ok());
    let editor = editor.filter(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    // An editor may be given with options, as in `code --wait`.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program).args(words).arg(path).status();
    let status = status.with_context(|| format!("{program} (choose an editor by EDITOR)"))?;
    if !status.success() {
        bail!("{editor}: it ended with {status}; nothing was changed");
    }
    Ok(())
}
