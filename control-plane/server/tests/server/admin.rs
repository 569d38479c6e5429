//! Config through the admin API.

use rutter_api::ResourceType;
use rutter_api::pb::rutter::admin::v1 as pb;
use tonic::Code;

use crate::process::{Process, Sidecar, routes, service, wanted};

fn key(kind: &str, name: &str) -> pb::ObjectKey {
    pb::ObjectKey { kind: kind.into(), namespace: "shop".into(), name: name.into() }
}

/// Returns what became of each object of an apply.
fn actions(response: &pb::ApplyResponse) -> Vec<String> {
    let describe = |applied: &pb::Applied| {
        let key = applied.key.as_ref().unwrap();
        format!("{} {}/{} {}", key.kind, key.namespace, key.name, applied.action().as_str_name())
    };
    response.applied.iter().map(describe).collect()
}

/// Returns the names of the objects that a request finds.
async fn names(process: &mut Process, kind: &str, namespace: &str, name: &str) -> Result<Vec<String>, tonic::Status> {
    let objects = process.admin.get(wanted(kind, namespace, name)).await?.into_inner().objects;
    let name_of = |object: pb::Object| object.key.map(|key| format!("{} {}", key.kind, key.name)).unwrap_or_default();
    Ok(objects.into_iter().map(name_of).collect())
}

#[tokio::test]
async fn an_apply_says_what_became_of_each_object() {
    let mut process = Process::start().await;
    let first = process.try_apply(&(service("a") + &service("b")), false).await.unwrap();
    assert_eq!(actions(&first), ["Service shop/a CREATED", "Service shop/b CREATED"]);
    let second = process.try_apply(&(service("a") + &service("b").replace("80", "81")), false).await.unwrap();
    assert_eq!(actions(&second), ["Service shop/a UNCHANGED", "Service shop/b CONFIGURED"]);
    assert_eq!((first.revision, second.revision), (1, 2));
    let third = process.try_apply(&service("a"), false).await.unwrap();
    assert_eq!((actions(&third), third.revision), (vec!["Service shop/a UNCHANGED".to_owned()], 2), "no commit");
}

#[tokio::test]
async fn another_age_is_a_change() {
    let mut process = Process::start().await;
    let aged = |time: &str| service("a").replace("name: a,", &format!("name: a, creationTimestamp: '{time}',"));
    process.apply(&aged("2026-01-01T00:00:00Z")).await;
    let same = process.try_apply(&aged("2026-01-01T00:00:00Z"), false).await.unwrap();
    assert_eq!(actions(&same), ["Service shop/a UNCHANGED"]);
    let older = process.try_apply(&aged("2025-01-01T00:00:00Z"), false).await.unwrap();
    assert_eq!(actions(&older), ["Service shop/a CONFIGURED"]);
    let without = process.try_apply(&service("a"), false).await.unwrap();
    assert_eq!(actions(&without), ["Service shop/a UNCHANGED"], "who gives no age leaves it as it is");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_writes_nothing() {
    let mut process = Process::start().await;
    let dry = process.try_apply(&service("a"), true).await.unwrap();
    assert_eq!((actions(&dry), dry.revision), (vec!["Service shop/a CREATED".to_owned()], 0));
    assert!(names(&mut process, "all", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_apply_lands_as_a_whole_or_not_at_all() {
    let mut process = Process::start().await;
    let error = process.try_apply(&(service("a") + &service("b").replace("80", "0")), false).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.message(), "test.yaml: line 6: service shop/b: spec.ports[0].port: want 1..=65535, got 0");
    assert!(names(&mut process, "all", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_destination_that_nobody_knows_is_a_warning_unless_it_comes_along() {
    let mut process = Process::start().await;
    let response = process.try_apply(&(service("a") + &routes("v", "a", "b")), false).await.unwrap();
    let want = "IST0101 virtualService shop/v: spec.http[0].route[0].destination.host: no service b.shop.svc.cluster.local is known; \
                requests sent there are answered 503";
    assert_eq!(response.warnings, [want]);
    let response = process.try_apply(&(service("b") + &routes("v", "a", "b")), false).await.unwrap();
    assert!(response.warnings.is_empty());
}

#[tokio::test]
async fn objects_are_found_by_kind_namespace_and_name() {
    let mut process = Process::start().await;
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
    let elsewhere = service("a").replace("shop", "bank");
    process.apply(&(service("a") + &service("b") + &elsewhere + &routes("v", "a", "b") + namespace)).await;
    let mut found =
        async |kind: &str, namespace: &str, name: &str| names(&mut process, kind, namespace, name).await.unwrap();
    assert_eq!(found("svc", "shop", "").await, ["Service a", "Service b"]);
    assert_eq!(found("services", "", "a").await.len(), 2);
    assert_eq!(found("vs", "", "").await, ["VirtualService v"]);
    assert_eq!(found("all", "shop", "").await.len(), 3, "a namespace is in no namespace");
    assert_eq!(found("ns", "bank", "").await, ["Namespace shop"], "and is found if it is asked for");
    assert!(found("sidecar", "", "").await.is_empty(), "a list may be empty");
}

#[tokio::test]
async fn an_object_that_is_not_there_and_a_kind_that_nobody_knows_are_errors() {
    let mut process = Process::start().await;
    let response = process.admin.get(wanted("svc", "shop", "a")).await.unwrap().into_inner();
    assert_eq!((response.objects.len(), response.missing), (0, vec![key("Service", "a")]));
    let error = names(&mut process, "deployments", "", "").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().starts_with("want a kind of Namespace, ConfigMap, Service, "), "{error}");
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_applied_with_its_version_and_age() {
    let mut process = Process::start().await;
    process.apply(&service("a").replace("name: a,", "name: a, creationTimestamp: '2026-01-01T00:00:00Z',")).await;
    let request = wanted("svc", "", "");
    let response = process.admin.get(request).await.unwrap().into_inner();
    let json: serde_json::Value = serde_json::from_slice(&response.objects[0].json).unwrap();
    let want = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "a",
            "namespace": "shop",
            "resourceVersion": "1",
            "annotations": {"rutter/revision": "1"},
            "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {"ports": [{"name": "http", "port": 80}]}
    });
    assert_eq!((json, response.objects[0].owner.as_str(), response.revision), (want, "api", 1));
}

#[tokio::test]
async fn deletions_are_one_transaction() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &service("b"))).await;
    let request = pb::DeleteRequest { keys: vec![key("svc", "a"), key("svc", "gone")], ..Default::default() };
    let error = process.admin.delete(request).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "service shop/gone: not found"));
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap().len(), 2, "nothing was deleted");
    let request = pb::DeleteRequest { keys: vec![key("svc", "a"), key("Service", "b")], ..Default::default() };
    assert_eq!(process.admin.delete(request).await.unwrap().into_inner().revision, 2);
    assert!(names(&mut process, "svc", "", "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_version_is_a_conflict() {
    let mut process = Process::start().await;
    process.apply(&service("a")).await;
    process.apply(&service("a").replace("80", "81")).await;
    let stale = service("a")
        .replace("name: a,", "name: a, annotations: {rutter/revision: '1'}, resourceVersion: '999',")
        .replace("80", "82");
    let error = process.try_apply(&stale, false).await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    assert!(error.message().starts_with("service shop/a: want version 1, got 2"), "{error}");
}

#[tokio::test]
async fn a_dry_run_refuses_what_the_real_call_would_refuse() {
    let mut process = Process::start().await;
    process.apply(&service("a")).await;
    process.apply(&service("a").replace("80", "81")).await;
    let stale = service("a").replace("name: a,", "name: a, annotations: {rutter/revision: '1'},").replace("80", "82");
    let dry = process.try_apply(&stale, true).await.unwrap_err();
    let real = process.try_apply(&stale, false).await.unwrap_err();
    assert_eq!((dry.code(), dry.message()), (real.code(), real.message()));
    let gone = pb::DeleteRequest { keys: vec![key("svc", "gone")], dry_run: true, ..Default::default() };
    assert_eq!(process.admin.delete(gone.clone()).await.unwrap_err().code(), Code::NotFound);
    let passed = pb::DeleteRequest { ignore_missing: true, ..gone };
    assert!(process.admin.delete(passed).await.unwrap().into_inner().deleted.is_empty());
    let there = pb::DeleteRequest { keys: vec![key("svc", "a")], dry_run: true, ..Default::default() };
    assert_eq!(process.admin.delete(there).await.unwrap().into_inner().deleted, [key("Service", "a")]);
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap(), ["Service a"]);
}

#[tokio::test]
async fn what_was_got_can_be_applied_again_and_what_kubernetes_exported_is_no_conflict() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &routes("r", "a", "a"))).await;
    let objects = process.admin.get(wanted("all", "", "")).await.unwrap().into_inner().objects;
    let items: Vec<String> = objects.iter().map(|object| String::from_utf8(object.json.to_vec()).unwrap()).collect();
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}]}}"#, items.join(","));
    let again = process.try_apply(&list, false).await.unwrap();
    assert_eq!(actions(&again), ["Service shop/a UNCHANGED", "VirtualService shop/r UNCHANGED"]);
    assert_eq!(again.revision, 1);
    let exported = service("a").replace(
        "name: a,",
        "name: a, resourceVersion: '48151623', uid: 0b1c, managedFields: [{manager: kubectl}],\n  \
         annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'},",
    );
    assert_eq!(actions(&process.try_apply(&exported, false).await.unwrap()), ["Service shop/a UNCHANGED"]);
}

#[tokio::test]
async fn objects_are_found_by_several_names_and_by_labels() {
    let mut process = Process::start().await;
    let labelled = service("b").replace("name: b,", "name: b, labels: {app: web},");
    process.apply(&(service("a") + &labelled + &routes("r", "a", "a"))).await;
    let pattern = |kind: &str, name: &str| pb::ObjectKey { namespace: String::new(), ..key(kind, name) };
    let request = pb::GetRequest { wanted: vec![pattern("svc", "a"), pattern("vs", "")], selector: String::new() };
    let response = process.admin.get(request).await.unwrap().into_inner();
    let shown: Vec<String> = response.objects.iter().map(|object| object.key.clone().unwrap().name).collect();
    assert_eq!(shown, ["a", "r"]);
    let request = pb::GetRequest { wanted: vec![pattern("all", "")], selector: "app=web".into() };
    let response = process.admin.get(request).await.unwrap().into_inner();
    assert_eq!(response.objects.len(), 1);
}

#[tokio::test]
async fn a_watch_shows_what_is_there_and_then_each_change() {
    let mut process = Process::start().await;
    let labelled = |name: &str| service(name).replace("shop}", "shop, labels: {app: web}}");
    process.apply(&(labelled("a") + &service("other"))).await;
    let request = pb::GetRequest { selector: "app=web".into(), ..wanted("svc", "shop", "") };
    let mut changes = process.admin.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let change = changes.message().await.unwrap().unwrap();
        format!("{} {}", change.event().as_str_name(), change.object.unwrap().key.unwrap().name)
    };
    assert_eq!(next().await, "LISTED a");
    process.apply(&(labelled("b") + &service("other").replace("80", "81"))).await;
    assert_eq!(next().await, "ADDED b");
    process.apply(&labelled("a").replace("80", "81")).await;
    assert_eq!(next().await, "MODIFIED a");
    process.apply(&service("a")).await;
    assert_eq!(next().await, "DELETED a", "its labels are no longer those that are wanted");
    let request = pb::DeleteRequest { keys: vec![key("svc", "b")], ..Default::default() };
    process.admin.delete(request).await.unwrap();
    assert_eq!(next().await, "DELETED b");
    process.end().await;
    assert!(changes.message().await.unwrap().is_none(), "it ends with the process");
}

#[tokio::test]
async fn a_prune_deletes_what_has_the_labels_and_is_not_applied_in_the_same_transaction() {
    let mut process = Process::start().await;
    let labelled = |name: &str| service(name).replace("shop}", "shop, labels: {app: web}}");
    let elsewhere = labelled("c").replace("namespace: shop", "namespace: bank");
    process.apply(&(labelled("a") + &labelled("b") + &service("other") + &elsewhere)).await;
    let source = pb::Source { name: "test.yaml".into(), text: labelled("a").into() };
    let request = pb::ApplyRequest { sources: vec![source], prune: "app=web".into(), ..Default::default() };
    let dry = pb::ApplyRequest { dry_run: true, ..request.clone() };
    let want = ["Service shop/a UNCHANGED", "Service shop/b DELETED"];
    assert_eq!(actions(&process.admin.apply(dry).await.unwrap().into_inner()), want);
    let response = process.admin.apply(request).await.unwrap().into_inner();
    assert_eq!((actions(&response), response.revision), (want.map(str::to_owned).to_vec(), 2));
    assert_eq!(names(&mut process, "svc", "shop", "").await.unwrap(), ["Service a", "Service other"]);
    assert_eq!(
        names(&mut process, "svc", "bank", "").await.unwrap(),
        ["Service c"],
        "no file speaks of this namespace"
    );
}

#[tokio::test]
async fn history_says_who_changed_what_and_a_rollback_brings_it_back() {
    let mut process = Process::start().await;
    process.apply(&(service("a") + &service("b"))).await;
    process.apply(&(service("a").replace("80", "81") + &service("c"))).await;
    process.admin.delete(pb::DeleteRequest { keys: vec![key("svc", "b")], ..Default::default() }).await.unwrap();
    let history = process.admin.history(pb::HistoryRequest::default()).await.unwrap().into_inner().revisions;
    let shown: Vec<String> = history
        .iter()
        .map(|revision| {
            let changes = pb::ApplyResponse { applied: revision.changes.clone(), ..Default::default() };
            format!("{}: {}", revision.revision, actions(&changes).join(", "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "3: Service shop/b DELETED",
            "2: Service shop/a CONFIGURED, Service shop/c CREATED",
            "1: Service shop/a CREATED, Service shop/b CREATED"
        ]
    );
    let uid = history[0].by.strip_prefix("uid ").unwrap();
    assert!(uid.parse::<u32>().is_ok() && history[0].at_us > 1_700_000_000_000_000, "{history:?}");
    let diff = pb::DiffRequest { from_revision: 1, to_revision: 0, wanted: None };
    let diff = process.admin.diff(diff).await.unwrap().into_inner();
    assert_eq!((diff.differences.len(), diff.to_revision), (3, 3));
    assert!(String::from_utf8_lossy(&diff.differences[0].before).contains(r#""port":80"#));
    let back = process.admin.rollback(pb::RollbackRequest { revision: 1, dry_run: false }).await.unwrap().into_inner();
    assert_eq!(back.revision, 4);
    assert_eq!(actions(&back), ["Service shop/a CONFIGURED", "Service shop/b CREATED", "Service shop/c DELETED"]);
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap(), ["Service a", "Service b"]);
    let none = pb::DiffRequest { from_revision: 1, to_revision: 4, wanted: None };
    assert!(process.admin.diff(none).await.unwrap().into_inner().differences.is_empty(), "it is as it was");
    let error = process.admin.rollback(pb::RollbackRequest { revision: 9, dry_run: false }).await.unwrap_err();
    assert_eq!(error.message(), "want a revision of at most 4, got 9");
}

#[tokio::test]
async fn objects_of_the_watched_folder_are_changed_only_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), service("a")).unwrap();
    let folder = dir.path().to_owned();
    let mut process = Process::with_settings(move |settings| settings.store.config_dir = Some(folder)).await;
    assert_eq!(names(&mut process, "svc", "", "").await.unwrap(), ["Service a"]);
    let error = process.try_apply(&service("a").replace("80", "81"), false).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.message(), "service shop/a: want an object of api, got one of a.yaml (change it there)");
}

#[tokio::test]
async fn refused_applies_are_counted_and_health_is_told() {
    let mut process = Process::start().await;
    process.try_apply("a: [", false).await.unwrap_err();
    assert!(process.monitoring("/metrics").await.contains("\nrutter_config_rejected_total 1\n"));
    assert!(process.monitoring("/healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(process.monitoring("/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(
        process.monitoring("/readyz?verbose").await.ends_with("\r\n\r\nxds: ok\nengine: ok, revision 0\nstore: ok\n")
    );
    let metrics = process.monitoring("/metrics").await;
    assert!(metrics.contains(&format!("\nrutter_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))));
    assert!(metrics.contains("\nprocess_resident_memory_bytes "), "{metrics}");
    let unknown = process.monitoring("/metric").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert!(unknown.ends_with("/metric: not found (want /metrics, /healthz or /readyz)\n"), "{unknown}");
}

#[tokio::test]
async fn a_control_plane_without_room_for_a_sidecar_is_not_ready() {
    let process = Process::with_settings(|settings| settings.limits.connections_max = 1).await;
    let sidecar = Sidecar::connect(&process, "web-1", ResourceType::Cluster).await;
    let answer = process.monitoring("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("xds: not ready: no room for another connection (--connections-max)\nengine: ok"),
        "{answer}"
    );
    drop(sidecar);
    while !process.monitoring("/readyz").await.ends_with("\r\n\r\nok\n") {}
}
