//! What is wrong with the mesh, as it would be with the files of a request.

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_core::analysis::{Input, Row, Source, report};

use super::objects::key;
use super::sidecars::count;
use crate::engine::Everything;

/// The number of findings that are answered. Nobody reads more, and a response has its limits.
const FINDINGS_MAX: usize = 10_000;

/// The number of clients that a finding names.
const NAMED: usize = 3;

/// Analyzes everything that is there together with the files of a request.
pub(super) fn analyze(request: &pb::AnalyzeRequest, everything: Everything) -> pb::AnalyzeResponse {
    let Everything { configs, clients, settings, revision } = everything;
    let sources = request.sources.iter().map(|source| Source { name: &source.name, text: &source.text });
    let namespace = if request.namespace.is_empty() { "default" } else { &request.namespace };
    let input = Input { live: configs, sources: sources.collect(), namespace, clients, settings };
    let clients = count(input.clients.len());
    let report = report(&input);
    let findings = report.rows.into_iter().take(FINDINGS_MAX).map(finding).collect();
    pb::AnalyzeResponse { findings, objects: report.objects as u64, revision, clients }
}

fn finding(row: Row) -> pb::Finding {
    let Row { code, object, key: named, place, path, cause, fix, clients } = row;
    let client_ids = clients.iter().take(NAMED).map(|node| node.id()).collect();
    let clients = count(clients.len());
    pb::Finding {
        code: code.id().into(),
        object,
        key: named.as_ref().map(key),
        place,
        path,
        cause,
        fix,
        clients,
        client_ids,
    }
}
