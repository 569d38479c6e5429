//! `networking.k8s.io/v1 Ingress`. Which classes are served is said by the mesh config.

use k8s_openapi::api::networking::v1 as networking;

use crate::config::checks::Faults;
use crate::config::istio::CredentialName;
use crate::invalid::Invalid;
use crate::names::Hostname;

/// The class that is served where the mesh config says nothing.
pub const DEFAULT_INGRESS_CLASS: &str = "istio";
/// The annotation that was the place of the class before `ingressClassName`.
pub const INGRESS_CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What gateways serve of an Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// The class. The annotation counts more than `ingressClassName`, as in Istio.
    pub class: Option<Box<str>>,
    /// The rules.
    pub rules: Vec<IngressRule>,
    /// Where requests go that no rule takes.
    pub default_backend: Option<IngressBackend>,
    /// The hosts that are served in TLS.
    pub tls: Vec<IngressTls>,
    /// What is left out of an Ingress that is not of Istio's class, because it is written for another controller.
    pub left_out: Vec<String>,
}

/// The paths of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// The host; `*` means any.
    pub host: Hostname,
    /// The paths, as they are written.
    pub paths: Vec<IngressPath>,
}

/// A path, and where requests for it go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressPath {
    /// The path, which begins with a slash.
    pub path: String,
    /// Which paths are taken.
    pub path_match: IngressPathMatch,
    /// Where requests go.
    pub backend: IngressBackend,
}

/// Which paths are taken by that of an Ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngressPathMatch {
    /// The path alone.
    Exact,
    /// The path and what is below it: `/a` takes `/a/b`, and not `/ab`.
    Elements,
    /// Every path that begins so.
    Beginning,
}

/// A port of a service in the namespace of the Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressBackend {
    /// The name of the service.
    pub service: String,
    /// The port.
    pub port: IngressPort,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressPort {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(String),
}

/// Hosts that are served in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressTls {
    /// The hosts. Empty means any.
    pub hosts: Vec<Hostname>,
    /// The Secret with the certificate, in the namespace of the gateway's pod.
    pub secret: String,
}

fn class_of(ingress: &networking::Ingress) -> Option<&str> {
    let annotation =
        ingress.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INGRESS_CLASS_ANNOTATION));
    let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    annotation.or(class).map(String::as_str).filter(|class| !class.is_empty())
}

fn paths_of(rule: &networking::IngressRule) -> &[networking::HTTPIngressPath] {
    rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default()
}

/// Returns what is wrong in an Ingress that has the right types. Those of other classes, and of none, are not judged: most of them
/// are for controllers that take more.
pub(crate) fn check(ingress: &networking::Ingress) -> Faults {
    match class_of(ingress) {
        Some(DEFAULT_INGRESS_CLASS) => all_faults(ingress),
        Some(_) | None => Vec::new(),
    }
}

fn all_faults(ingress: &networking::Ingress) -> Faults {
    let mut faults = Vec::new();
    let Some(spec) = &ingress.spec else {
        return vec![Invalid::new("spec", "rules or a default backend", "nothing")];
    };
    if spec.rules.as_ref().is_none_or(Vec::is_empty) && spec.default_backend.is_none() {
        faults.push(Invalid::new("spec.rules", "at least one, or defaultBackend", "none"));
    }
    if let Some(backend) = &spec.default_backend {
        check_backend("spec.defaultBackend", backend, &mut faults);
    }
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        let path = format!("spec.rules[{index}]");
        check_host(&format!("{path}.host"), rule.host.as_deref().unwrap_or_default(), &mut faults);
        for (number, entry) in paths_of(rule).iter().enumerate() {
            let path = format!("{path}.http.paths[{number}]");
            check_path(&path, entry, &mut faults);
            check_backend(&format!("{path}.backend"), &entry.backend, &mut faults);
        }
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        let path = format!("spec.tls[{index}]");
        let secret = tls.secret_name.as_deref().unwrap_or_default();
        if secret.parse::<CredentialName>().is_err() {
            faults.push(Invalid::new(format!("{path}.secretName"), "the name of a Secret", format!("{secret:?}")));
        }
        for (number, host) in tls.hosts.iter().flatten().enumerate() {
            check_host(&format!("{path}.hosts[{number}]"), host, &mut faults);
        }
    }
    faults
}

fn check_host(path: &str, host: &str, faults: &mut Faults) {
    if !host.is_empty() && host.parse::<Hostname>().is_err() {
        faults.push(Invalid::new(path, "a host", format!("{host:?}")));
    }
}

fn check_path(path: &str, entry: &networking::HTTPIngressPath, faults: &mut Faults) {
    if !matches!(entry.path_type.as_str(), "Exact" | "Prefix" | "ImplementationSpecific") {
        let want = "Exact, Prefix or ImplementationSpecific";
        faults.push(Invalid::new(format!("{path}.pathType"), want, format!("{:?}", entry.path_type)));
    }
    let text = entry.path.as_deref().unwrap_or("/");
    if !text.starts_with('/') {
        faults.push(Invalid::new(format!("{path}.path"), "a path that begins with /", format!("{text:?}")));
    }
}

fn check_backend(path: &str, backend: &networking::IngressBackend, faults: &mut Faults) {
    if backend.resource.is_some() {
        faults.push(Invalid::not_supported(format!("{path}.resource")));
    }
    match &backend.service {
        None if backend.resource.is_some() => {}
        None => faults.push(Invalid::new(format!("{path}.service"), "a service", "none")),
        Some(_) if backend_of(backend).is_none() => {
            faults.push(Invalid::new(format!("{path}.service.port"), "a number from 1 to 65535, or a name", "neither"));
        }
        Some(_) => {}
    }
}

fn backend_of(backend: &networking::IngressBackend) -> Option<IngressBackend> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let name = port.name.clone().filter(|name| !name.is_empty()).map(IngressPort::Name);
    let number = || port.number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0);
    let port = name.or_else(|| number().map(IngressPort::Number))?;
    Some(IngressBackend { service: service.name.clone(), port })
}

fn host_of(text: &str) -> Option<Hostname> {
    if text.is_empty() { "*" } else { text }.parse().ok()
}

fn path_of(entry: &networking::HTTPIngressPath) -> Option<IngressPath> {
    let path = entry.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let (path, path_match) = match entry.path_type.as_str() {
        "Exact" => (path, IngressPathMatch::Exact),
        "Prefix" => (path, IngressPathMatch::Elements),
        // What Istio makes of paths that are left to it: a prefix if there is a star behind, else the path alone.
        _ => match path.strip_suffix(".*").or_else(|| path.strip_suffix('*').filter(|path| path.ends_with('/'))) {
            Some(beginning) => (beginning, IngressPathMatch::Beginning),
            None => (path, IngressPathMatch::Exact),
        },
    };
    Some(IngressPath { path: path.to_owned(), path_match, backend: backend_of(&entry.backend)? })
}

impl From<networking::Ingress> for Ingress {
    fn from(ingress: networking::Ingress) -> Self {
        let class = class_of(&ingress).map(Into::into);
        let left_out = all_faults(&ingress).iter().map(ToString::to_string).collect();
        let spec = ingress.spec.unwrap_or_default();
        let rules = spec.rules.iter().flatten().filter_map(|rule| {
            let host = host_of(rule.host.as_deref().unwrap_or_default())?;
            Some(IngressRule { host, paths: paths_of(rule).iter().filter_map(path_of).collect() })
        });
        let tls = spec.tls.iter().flatten().filter_map(|tls| {
            let hosts = tls.hosts.iter().flatten().filter_map(|host| host_of(host)).collect();
            let secret = tls.secret_name.clone().filter(|secret| secret.parse::<CredentialName>().is_ok())?;
            Some(IngressTls { hosts, secret })
        });
        Self {
            rules: rules.collect(),
            default_backend: spec.default_backend.as_ref().and_then(backend_of),
            tls: tls.collect(),
            class,
            left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::IngressPathMatch;
    use crate::config::testing::{assert_refused, read};

    fn text(spec: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: a}}\nspec: {{ingressClassName: istio, {spec}}}"
        )
    }

    const BACKEND: &str = "backend: {service: {name: s, port: {name: http}}}";

    #[test]
    fn rules_and_secrets_are_read() {
        let paths = format!(
            "[{{path: /a, pathType: Exact, {BACKEND}}}, {{path: /b/*, pathType: ImplementationSpecific, {BACKEND}}}, {{pathType: Prefix, {BACKEND}}}]"
        );
        let object = read(&text(&format!(
            "rules: [{{http: {{paths: {paths}}}}}], tls: [{{hosts: ['*.x.test'], secretName: web}}], \
             defaultBackend: {{service: {{name: d, port: {{number: 80}}}}}}"
        )))
        .unwrap();
        let ingress = object.config.spec.as_ingress().unwrap();
        let paths: Vec<(&str, IngressPathMatch)> =
            ingress.rules[0].paths.iter().map(|path| (path.path.as_str(), path.path_match)).collect();
        let want =
            [("/a", IngressPathMatch::Exact), ("/b/", IngressPathMatch::Beginning), ("/", IngressPathMatch::Elements)];
        assert_eq!((ingress.rules[0].host.as_str(), paths), ("*", want.to_vec()));
        assert_eq!(ingress.tls[0].secret, "web");
        assert!(ingress.default_backend.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |spec: &str, want: &str| assert_refused(&text(spec), &format!("ingress default/a: spec.{want}"));
        let path = |entry: &str| format!("rules: [{{http: {{paths: [{{{entry}}}]}}}}]");
        refused("rules: []", "rules: want at least one, or defaultBackend, got none");
        refused(&path(&format!("path: a, pathType: Exact, {BACKEND}")), "rules[0].http.paths[0].path: want a path");
        refused(&path(&format!("path: /a, pathType: Any, {BACKEND}")), "rules[0].http.paths[0].pathType: want Exact");
        let no_port = "pathType: Prefix, backend: {service: {name: s}}";
        refused(
            &path(no_port),
            "rules[0].http.paths[0].backend.service.port: want a number from 1 to 65535, or a name",
        );
        refused("defaultBackend: {resource: {kind: a, name: b}}", "defaultBackend.resource: not supported yet");
        refused("defaultBackend: {}, tls: [{hosts: [a]}], rules: []", "defaultBackend.service: want a service");
    }

    #[test]
    fn the_annotation_counts_more_than_the_name_of_the_class() {
        let class = |text: &str| {
            let object = read(text).unwrap();
            object.config.spec.as_ingress().unwrap().class.as_deref().map(str::to_owned)
        };
        let ingress = text("defaultBackend: {service: {name: d, port: {number: 80}}}");
        assert_eq!(class(&ingress).as_deref(), Some("istio"));
        assert_eq!(class(&ingress.replace("ingressClassName: istio, ", "")), None);
        let annotated = ingress.replace("{name: a}", "{name: a, annotations: {kubernetes.io/ingress.class: nginx}}");
        assert_eq!(class(&annotated).as_deref(), Some("nginx"));
    }

    #[test]
    fn ingresses_of_other_classes_are_taken_and_what_is_for_others_is_left_out() {
        let spec = format!(
            "defaultBackend: {{resource: {{kind: a, name: b}}}}, rules: [{{http: {{paths: [{{pathType: Prefix, {BACKEND}}}]}}}}]"
        );
        assert_refused(&text(&spec), "ingress default/a: spec.defaultBackend.resource: not supported yet");
        let object = read(&text(&spec).replace("istio,", "nginx,")).unwrap();
        let ingress = object.config.spec.as_ingress().unwrap();
        assert_eq!((ingress.rules.len(), ingress.default_backend.is_none()), (1, true));
        assert_eq!(ingress.left_out, ["spec.defaultBackend.resource: not supported yet"]);
    }
}
