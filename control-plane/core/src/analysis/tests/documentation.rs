//! `docs/analyze.md`, which is made from the table of codes.

use std::fmt::Write;

use expect_test::expect_file;

use super::*;

const HEAD: &str = "\
# What `rutterctl analyze` says

<!-- Made by the test `every_code_is_documented` of control-plane/core/src/analysis/tests/documentation.rs. -->

`rutterctl analyze` looks at the objects that are there, `rutterctl analyze FILE…` at what they would be with those of the files, and
with `--offline` at the files alone, without a control plane. The codes that begin with `IST` are those of Istio's configuration analysis,
with its numbers, names and levels; those that begin with `RUT` are our own.

    rutterctl analyze
    rutterctl analyze -n shop new.yaml
    rutterctl analyze --offline -o json manifests/

The exit code is 1 from `--failure-threshold` on, which is `error` unless you say otherwise. `-S CODE='Kind NAME.NAMESPACE'` leaves a
code out for an object, and so does the annotation `galley.io/analyze-suppress: CODE,CODE` of the object itself. `-o json` has the keys of
istioctl (`code`, `level`, `origin`, `reference`, `message`, `documentationUrl`), and `field`, `cause` and `fix`.

What cannot be known is not told. Selectors of Gateways and Sidecars are compared with the Pods and the WorkloadEntries that are known,
and, with a control plane, with the connected clients; that nothing is selected is told only where some Pod or client is known, of the
namespace if it is a Sidecar. Labels of subsets are compared with the endpoints of the service, if it has some. With `--offline` the domain
of the cluster and the root namespace are the usual ones, unless `--domain` and `--root-namespace` say otherwise.

Where the two differ:

- IST0109 and IST0145 are told of equal hosts. A wildcard and a host that it covers are no conflict: the more specific one counts.
- IST0118 is told only of services that a VirtualService or a DestinationRule is about. Nobody has to name the ports of the others.
- IST0131 and IST0130 compare all conditions of a match, not only the prefix of the path. Rules that delegate leave over what the other
  VirtualService does not take.
- A subset counts as defined by rules that act where the VirtualService is: those of its namespace, of the service's or of the root
  namespace.

## Codes
";

#[test]
fn every_code_is_documented() {
    let mut page = HEAD.to_owned();
    for code in Code::ALL {
        let (name, level, about) = (code.name(), code.level(), code.about());
        writeln!(page, "\n### {code}\n\n{name}, {level}. {about}").unwrap();
    }
    expect_file!["../../../../../docs/analyze.md"].assert_eq(&page);
}
