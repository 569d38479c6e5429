//! What the tests of the screen and of the text share.

use rutter_api::pb::rutter::admin::v1 as pb;

pub(super) fn sample() -> pb::TopResponse {
    let waiting = pb::TopWaiting { sidecar: "stuck-1.shop".into(), types: "cluster, endpoint".into(), age_ms: 61_000 };
    let refusal = pb::TopRefusal {
        sidecar: "web-1.shop".into(),
        resource: "cluster outbound|80||a.shop.svc.cluster.local".into(),
        error: "Invalid path: /nowhere/ca.pem".into(),
    };
    let scope = pb::TopScope {
        namespace: "shop".into(),
        what: "everything".into(),
        clients: 12,
        resources: 3_004,
        bytes: 1_234_567,
    };
    pb::TopResponse {
        revision: 7,
        objects: 3_100,
        scopes: 2,
        connected: 14,
        synced: 12,
        stale: 1,
        refusing: 1,
        pushes: 1_000,
        push_bytes: 12_000_000,
        nacks: 3,
        converged: Some(pb::Percentiles { count: 40, p50_us: 900, p90_us: 2_340, p99_us: 12_000, max_us: 1_230_000 }),
        waiting: vec![waiting],
        refusals: vec![refusal],
        biggest: vec![scope],
    }
}
