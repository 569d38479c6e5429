//! Checks that several kinds share. Each adds what is wrong, with the path of the field, to a list of faults.

use std::net::IpAddr;

use crate::invalid::Invalid;
use crate::names::Hostname;

/// Everything that is wrong with one object, so that its writer sees it all at once.
pub(crate) type Faults = Vec<Invalid>;

pub(crate) fn check_not_empty(path: &str, len: usize, faults: &mut Faults) {
    if len == 0 {
        faults.push(Invalid::new(path, "at least one", "none"));
    }
}

pub(crate) fn check_addresses(path: &str, texts: &[String], faults: &mut Faults) {
    for (index, text) in texts.iter().enumerate() {
        if !text.is_empty() && text.parse::<IpAddr>().is_err() {
            faults.push(Invalid::new(format!("{path}[{index}]"), "an IP address", format!("{text:?}")));
        }
    }
}

pub(crate) fn check_protocol(path: &str, text: &str, faults: &mut Faults) {
    const KNOWN: [&str; 10] = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "MYSQL", "REDIS"];
    let upper = text.to_ascii_uppercase();
    if upper == "UDP" {
        faults.push(Invalid::not_supported(path).hint(text.to_owned()));
    } else if !KNOWN.contains(&upper.as_str()) {
        faults.push(Invalid::new(path, "HTTP, HTTP2, GRPC, HTTPS, TLS or TCP", format!("{text:?}")));
    }
}

pub(crate) fn check_export_to(names: &[String], faults: &mut Faults) {
    for (index, name) in names.iter().enumerate() {
        let is_namespace = name.parse::<Hostname>().is_ok_and(|host| !host.is_wildcard()) && !name.contains('.');
        if !matches!(name.as_str(), "." | "*") && !is_namespace {
            let hint = if name == "~" { "\"~\" (nobody) is not supported yet" } else { "see Istio's exportTo" };
            let path = format!("spec.exportTo[{index}]");
            faults.push(Invalid::new(path, "\".\", \"*\" or a namespace", format!("{name:?}")).hint(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(check: impl FnOnce(&mut Faults)) -> Vec<String> {
        let mut faults = Vec::new();
        check(&mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn protocols_have_istios_names_in_any_case() {
        for text in ["HTTP", "http", "grpc-web", "TLS"] {
            assert!(texts(|faults| check_protocol("p", text, faults)).is_empty(), "{text}");
        }
        assert_eq!(texts(|faults| check_protocol("p", "x", faults)).len(), 1);
    }

    #[test]
    fn exports_are_the_own_namespace_all_or_names() {
        let names: Vec<String> = [".", "*", "shop", "~", "a.b"].map(str::to_owned).into();
        assert_eq!(
            texts(|faults| check_export_to(&names, faults)),
            [
                "spec.exportTo[3]: want \".\", \"*\" or a namespace, got \"~\" (\"~\" (nobody) is not supported yet)",
                "spec.exportTo[4]: want \".\", \"*\" or a namespace, got \"a.b\" (see Istio's exportTo)",
            ]
        );
    }

    #[test]
    fn empty_addresses_are_passed_over() {
        let addresses = ["".to_owned(), "10.0.0.1".to_owned(), "x".to_owned()];
        assert_eq!(
            texts(|faults| check_addresses("ips", &addresses, faults)),
            ["ips[2]: want an IP address, got \"x\""]
        );
    }
}
