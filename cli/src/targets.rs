//! The objects that a command line names.

use anyhow::Result;
use rutter_api::ConfigKey;
use rutter_api::pb::rutter::admin::v1 as pb;

use crate::usage::usage;

/// The namespace of objects of which nobody says one.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Returns the namespace that a command line names, or the default one.
pub(crate) fn namespace_or_default(namespace: &str) -> &str {
    if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace }
}

/// Returns the objects that arguments name, as kubectl reads them: kinds and then names (`vs reviews ratings`), or each
/// object for itself (`vs/reviews svc/a`). A name may have its namespace before it (`vs shop/reviews`), so that what
/// messages say can be pasted. `namespace` is that of names which have none.
pub(crate) fn keys(arguments: &[String], namespace: &str) -> Result<Vec<pb::ObjectKey>> {
    let Some((first, names)) = arguments.split_first() else { return Ok(Vec::new()) };
    if first.contains('/') {
        return arguments.iter().map(|argument| single(argument, namespace)).collect();
    }
    let kinds: Vec<&str> = first.split(',').filter(|kind| !kind.is_empty()).collect();
    if kinds.is_empty() {
        return Err(usage(format!("want a kind, got {first:?}")));
    }
    if names.is_empty() {
        return Ok(kinds.into_iter().map(|kind| key(kind, namespace, "")).collect());
    }
    let mut keys = Vec::new();
    for name in names {
        for kind in &kinds {
            match name.split('/').collect::<Vec<_>>()[..] {
                [name] => keys.push(key(kind, namespace, name)),
                [other, name] if namespace.is_empty() || other == namespace => keys.push(key(kind, other, name)),
                [other, _] => {
                    return Err(usage(format!("{name}: want the namespace {namespace} of --namespace, got {other}")));
                }
                _ => return Err(usage(format!("{name}: want NAME or NAMESPACE/NAME"))),
            }
        }
    }
    Ok(keys)
}

fn single(argument: &str, namespace: &str) -> Result<pb::ObjectKey> {
    match argument.split('/').collect::<Vec<_>>()[..] {
        [kind, name] if !kind.is_empty() && !name.is_empty() => Ok(key(kind, namespace, name)),
        _ => Err(usage(format!("{argument}: want KIND/NAME (each object so, or kinds and then names)"))),
    }
}

fn key(kind: &str, namespace: &str, name: &str) -> pb::ObjectKey {
    pb::ObjectKey { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Returns a key as the API has it.
pub(crate) fn api_key(key: &ConfigKey) -> pb::ObjectKey {
    self::key(key.kind.name(), &key.namespace, &key.name)
}

/// Returns the name of an object as messages have it: `virtualService shop/a`.
pub(crate) fn display_name(key: &pb::ObjectKey) -> String {
    let mut kind = key.kind.clone();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    if key.namespace.is_empty() {
        format!("{kind} {}", key.name)
    } else {
        format!("{kind} {}/{}", key.namespace, key.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &str, namespace: &str) -> String {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        match keys(&arguments, namespace) {
            Ok(keys) => keys.iter().map(display_name).collect::<Vec<_>>().join(", "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn objects_are_named_as_for_kubectl() {
        assert_eq!(shown("vs", ""), "vs ");
        assert_eq!(shown("svc,vs", "shop"), "svc shop/, vs shop/");
        assert_eq!(shown("vs a b", "shop"), "vs shop/a, vs shop/b");
        assert_eq!(shown("svc,vs a", ""), "svc a, vs a");
        assert_eq!(shown("svc/a vs/b", "shop"), "svc shop/a, vs shop/b");
        assert_eq!(shown("virtualService shop/a", ""), "virtualService shop/a");
        assert_eq!(shown("vs shop/a", "shop"), "vs shop/a");
    }

    #[test]
    fn what_names_no_object_is_refused() {
        assert_eq!(shown("svc/a vs", ""), "error: vs: want KIND/NAME (each object so, or kinds and then names)");
        assert_eq!(shown("svc/", ""), "error: svc/: want KIND/NAME (each object so, or kinds and then names)");
        assert_eq!(shown("vs bank/a", "shop"), "error: bank/a: want the namespace shop of --namespace, got bank");
        assert_eq!(shown("vs a/b/c", ""), "error: a/b/c: want NAME or NAMESPACE/NAME");
        assert_eq!(shown(",", ""), "error: want a kind, got \",\"");
    }

    #[test]
    fn objects_have_one_name_everywhere() {
        assert_eq!(display_name(&key("VirtualService", "shop", "a")), "virtualService shop/a");
        assert_eq!(display_name(&key("Namespace", "", "a")), "namespace a");
        assert_eq!(
            display_name(&pb::ObjectKey::default()),
            " ",
            "an answer without a key is of no version that exists"
        );
    }
}
