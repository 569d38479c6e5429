//! The command about versions.

use anyhow::Result;
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable;
use serde_json::json;

use crate::args::{Output, Version};
use crate::client::{self, Admin};
use crate::output::{Out, print};

/// The version of this program.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Shows the version of this program and, unless only that is asked for, of the control plane.
pub(crate) async fn version(server: &client::Wanted, wanted: &Version, out: Out<'_>) -> Result<()> {
    let server = if wanted.client { None } else { Some(of_server(&mut client::connect(server).await?).await) };
    let server = server.transpose();
    let known = server.as_ref().ok().cloned().flatten();
    match wanted.output {
        Output::Short => {
            writeln!(out, "client: {CLIENT}")?;
            if let Some(server) = &known {
                writeln!(out, "server: {server}")?;
            }
        }
        output @ (Output::Json | Output::Yaml) => print(&json!({"client": CLIENT, "server": known}), output, out)?,
    }
    server?;
    if let Some(hint) = known.and_then(|server| difference(&server)) {
        eprintln!("{}", printable(&hint));
    }
    Ok(())
}

/// Tells on standard error if the control plane has another version. One that does not say its version is not asked again:
/// the command itself fails, and says why.
pub(crate) async fn tell_difference(admin: &mut Admin) {
    if let Some(hint) = of_server(admin).await.ok().and_then(|server| difference(&server)) {
        eprintln!("{}", printable(&hint));
    }
}

async fn of_server(admin: &mut Admin) -> Result<String> {
    Ok(admin.version(pb::VersionRequest {}).await?.into_inner().version)
}

/// Returns a hint if the control plane has another version. `None` means that it has the same.
fn difference(server: &str) -> Option<String> {
    (server != CLIENT)
        .then(|| format!("this program is {CLIENT} and the control plane is {server}: some commands may fail"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_version_is_told() {
        assert_eq!(difference(CLIENT), None);
        assert!(difference("9.9.9").unwrap().ends_with("and the control plane is 9.9.9: some commands may fail"));
    }
}
