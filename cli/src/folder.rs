//! The watched folder of a control plane.

use anyhow::Result;
use rutter_api::pb::rutter::admin::v1 as pb;

use crate::args::Folder;
use crate::client::Admin;
use crate::output::Out;

/// Shows the folder, or confirms a deletion.
pub(crate) async fn folder(admin: &mut Admin, wanted: &Folder, out: Out<'_>) -> Result<()> {
    match wanted {
        Folder::Status => {
            let status = admin.folder_status(pb::FolderStatusRequest {}).await?.into_inner();
            print_status(&status, out)
        }
        Folder::Confirm => {
            let confirmed = admin.folder_confirm(pb::FolderConfirmRequest {}).await?.into_inner();
            print_confirmed(&confirmed, out)
        }
    }
}

fn print_status(status: &pb::FolderStatusResponse, out: Out<'_>) -> Result<()> {
    let pb::FolderStatusResponse { path, files, faults, held, confirmed_for_s } = status;
    writeln!(out, "{path}: {files} files")?;
    for fault in faults {
        writeln!(out, "faulty (what is faulty stays as it was): {}: {}", fault.path, fault.fault)?;
    }
    for held in held {
        writeln!(
            out,
            "held: {} of {} {} are in no file any more; they stay until `rutterctl folder confirm`",
            held.missing, held.all, held.kind
        )?;
    }
    if *confirmed_for_s > 0 {
        writeln!(
            out,
            "confirmed: the next deletion of the next {confirmed_for_s} s is let through, whatever it deletes"
        )?;
    }
    Ok(())
}

fn print_confirmed(confirmed: &pb::FolderConfirmResponse, out: Out<'_>) -> Result<()> {
    match confirmed {
        pb::FolderConfirmResponse { deleted: 0, counts_for_s } => {
            let minutes = counts_for_s / 60;
            writeln!(
                out,
                "no object is held; the next deletion of the next {minutes} minutes is let through, whatever it deletes"
            )?;
        }
        pb::FolderConfirmResponse { deleted, .. } => writeln!(out, "{deleted} objects deleted")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_state_is_told_in_lines() {
        let fault =
            |path: &str, fault: &str| pb::folder_status_response::Fault { path: path.into(), fault: fault.into() };
        let held = pb::folder_status_response::Held { kind: "Service".into(), missing: 20, all: 50 };
        let status = pb::FolderStatusResponse {
            path: "/config".into(),
            files: 7,
            faults: vec![fault("/config/a.yaml", "line 3: want x, got y")],
            held: vec![held],
            confirmed_for_s: 500,
        };
        let mut out = Vec::new();
        print_status(&status, &mut out).unwrap();
        for confirmed in [
            pb::FolderConfirmResponse { deleted: 20, counts_for_s: 0 },
            pb::FolderConfirmResponse { deleted: 0, counts_for_s: 600 },
        ] {
            print_confirmed(&confirmed, &mut out).unwrap();
        }
        expect![[r#"
            /config: 7 files
            faulty (what is faulty stays as it was): /config/a.yaml: line 3: want x, got y
            held: 20 of 50 Service are in no file any more; they stay until `rutterctl folder confirm`
            confirmed: the next deletion of the next 500 s is let through, whatever it deletes
            20 objects deleted
            no object is held; the next deletion of the next 10 minutes is let through, whatever it deletes
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }
}
