//! What is wrong with the mesh, as it would be with the files of a request.

use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_core::analysis::{Input, Row, Source, report};

use super::objects::key;
use super::sidecars::count;
use crate::engine::Branch;

/// The number of findings that are answered. Nobody reads more, and a response has its limits.
const FINDINGS_MAX: usize = 10_000;

/// Analyzes everything that is there together with the files of a request.
pub(super) fn analyze(request: &pb::AnalyzeRequest, branch: &Branch) -> pb::AnalyzeResponse {
    let Branch { mesh, pending: _ } = branch;
    let clients: Vec<_> = mesh.sidecars().map(|(node, _)| node.clone()).collect();
    let sources = request.sources.iter().map(|source| Source { name: &source.name, text: &source.text });
    let namespace = if request.namespace.is_empty() { "default" } else { &request.namespace };
    let input = Input { live: mesh.analyzer(), sources: sources.collect(), namespace, clients };
    let clients = count(input.clients.len());
    let report = report(input);
    let all = report.rows.len();
    let mut rows = report.rows;
    let only = &request.only_namespace;
    rows.retain(|row| row.key.as_ref().is_none_or(|key| only.is_empty() || *key.namespace == **only));
    let (elsewhere, left_out) = (all - rows.len(), rows.len().saturating_sub(FINDINGS_MAX));
    rows.truncate(FINDINGS_MAX);
    pb::AnalyzeResponse {
        findings: rows.into_iter().map(finding).collect(),
        objects: report.objects as u64,
        revision: mesh.revision(),
        clients,
        elsewhere: elsewhere as u64,
        left_out: left_out as u64,
    }
}

fn finding(row: Row) -> pb::Finding {
    let Row { code, object, key: named, place, path, cause, fix, clients, first_clients } = row;
    let (clients, client_ids) = (count(clients), first_clients);
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
