//! The mesh as YAML, which any server that reads the kinds of Istio can take.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// The size of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshSpec {
    /// The number of namespaces.
    pub namespaces: usize,
    /// The number of services of each namespace.
    pub services: usize,
    /// The number of endpoints of each service.
    pub endpoints: usize,
    /// What each sidecar sees.
    pub scopes: Scopes,
    /// Which services have rules.
    pub rules: Rules,
}

/// What each sidecar sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scopes {
    /// Its own namespace, the next one, and one service that all sidecars see.
    Next,
    /// Everything, because there are no Sidecar objects.
    All,
}

/// Which services have a VirtualService and a DestinationRule with two subsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rules {
    /// The first of each namespace, with one rule.
    First,
    /// All of them, those but the first with five rules.
    Each,
    /// The first of each namespace; and for each service a VirtualService of six rules at a gateway, which is the only client.
    Gateway,
}

impl FromStr for MeshSpec {
    type Err = anyhow::Error;

    /// Reads `NAMESPACESxSERVICESxENDPOINTS`.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<usize> = text.split('x').map(str::parse).collect::<Result<_, _>>().context(text.to_owned())?;
        let [namespaces, services, endpoints] = numbers[..] else {
            bail!("want NAMESPACESxSERVICESxENDPOINTS, as 100x10x10, got {text:?}");
        };
        if namespaces < 3 || services == 0 || endpoints == 0 {
            bail!("want at least 3x1x1, got {text:?}");
        }
        Ok(Self { namespaces, services, endpoints, scopes: Scopes::Next, rules: Rules::First })
    }
}

/// The host of the service that every sidecar sees.
pub const SHARED: &str = "all.shared.svc.cluster.local";
/// The pod of the only gateway.
pub const GATEWAY_POD: &str = "edge-0";
/// The port of every service.
pub const PORT: u16 = 80;

/// Returns the name of a namespace by its number.
pub fn namespace(number: usize) -> String {
    format!("ns-{number:03}")
}

/// Returns the host of a service by the numbers of its namespace and its own.
pub fn host(namespace_number: usize, service: usize) -> String {
    format!("s{service}.{}.svc.cluster.local", namespace(namespace_number))
}

fn head(kind: &str, namespace: &str, name: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
}

impl MeshSpec {
    fn index(&self, namespace: usize, service: usize) -> usize {
        namespace * self.services + service
    }

    /// Returns the address of an endpoint. `generation` makes that of a replaced one differ from that of the first.
    pub fn endpoint(&self, (namespace, service, endpoint): (usize, usize, usize), generation: usize) -> Ipv4Addr {
        let number = (self.index(namespace, service) * self.endpoints + endpoint) % (1 << 20) + generation * (1 << 20);
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + 1 + number as u32)
    }

    fn entry(&self, (namespace_name, name): (&str, &str), number: usize, addresses: &[Ipv4Addr]) -> String {
        let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(240, 0, 0, 1)) + number as u32);
        let mut text = head("ServiceEntry", namespace_name, name);
        let _ = write!(
            text,
            "spec:\n  hosts: [{name}.{namespace_name}.svc.cluster.local]\n  addresses: [{vip}]\n  location: MESH_INTERNAL\n  \
             resolution: STATIC\n  ports: [{{number: {PORT}, name: http, protocol: HTTP, targetPort: 8080}}]\n  endpoints:\n"
        );
        for (at, ip) in addresses.iter().enumerate() {
            let _ = writeln!(text, "  - {{address: {ip}, labels: {{app: {name}, version: v{}}}}}", at % 2 + 1);
        }
        text
    }

    /// Returns the objects of a service. So many of its endpoints as `replaced` says are of a later generation.
    pub fn service(&self, (namespace_number, service): (usize, usize), replaced: usize, generation: usize) -> String {
        let of = |endpoint| {
            let generation = if endpoint < replaced { generation } else { 0 };
            self.endpoint((namespace_number, service, endpoint), generation)
        };
        let addresses: Vec<Ipv4Addr> = (0..self.endpoints).map(of).collect();
        let name = format!("s{service}");
        self.entry((&namespace(namespace_number), &name), self.index(namespace_number, service), &addresses)
    }

    /// Returns the VirtualService of the first service of a namespace, which sends `weight` percent to the first of two
    /// subsets.
    pub fn routes(namespace_number: usize, weight: u8) -> String {
        let route = |subset: &str, weight: u8| {
            format!("{{destination: {{host: {}, subset: {subset}}}, weight: {weight}}}", host(namespace_number, 0))
        };
        format!(
            "{}spec:\n  hosts: [{}]\n  http: [{{route: [{}, {}]}}]\n",
            head("VirtualService", &namespace(namespace_number), "s0"),
            host(namespace_number, 0),
            route("v1", weight),
            route("v2", 100 - weight)
        )
    }

    /// Returns the DestinationRule of the first service of a namespace, which has two subsets.
    pub fn subsets(namespace_number: usize, count: usize) -> String {
        let subsets: Vec<String> =
            (1..=count).map(|number| format!("{{name: v{number}, labels: {{version: v{number}}}}}")).collect();
        let head = head("DestinationRule", &namespace(namespace_number), "s0");
        format!("{head}spec: {{host: {}, subsets: [{}]}}\n", host(namespace_number, 0), subsets.join(", "))
    }

    /// Returns the VirtualService of a service with five rules, and its DestinationRule with two subsets.
    fn five_rules((namespace_number, service): (usize, usize)) -> String {
        let (dir, name, host) = (namespace(namespace_number), format!("s{service}"), host(namespace_number, service));
        let rule = |number: usize| {
            format!(
                "  - match: [{{uri: {{prefix: /api/v{number}/}}, headers: {{x-canary: {{exact: 'yes'}}}}}}]\n    timeout: {number}s\n    \
                 retries: {{attempts: 3, perTryTimeout: 1s}}\n    \
                 route: [{{destination: {{host: {host}, subset: v1}}, weight: 90}}, {{destination: {{host: {host}, subset: v2}}, weight: 10}}]\n"
            )
        };
        let rules: String = (1..5).map(rule).collect();
        format!(
            "{}spec:\n  hosts: [{host}]\n  http:\n{rules}  - route: [{{destination: {{host: {host}, subset: v1}}}}]\n---\n\
             {}spec: {{host: {host}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}\n",
            head("VirtualService", &dir, &name),
            head("DestinationRule", &dir, &name),
        )
    }

    /// Returns the Gateway object, which chooses the only gateway.
    fn gateway() -> String {
        let head = head("Gateway", "edge", "edge");
        let server = format!("{{port: {{number: {PORT}, name: http, protocol: HTTP}}, hosts: ['*']}}");
        format!("{head}spec: {{selector: {{app: {GATEWAY_POD}}}, servers: [{server}]}}\n")
    }

    /// Returns a VirtualService with six rules at the gateway, which leads to a service. The last rule has a timeout.
    pub fn gateway_routes(&self, number: usize, timeout_s: usize) -> String {
        let host = host(number / self.services, number % self.services);
        let route = format!("route: [{{destination: {{host: {host}, port: {{number: {PORT}}}}}}}]");
        let rule =
            |at: usize| format!("  - {{match: [{{uri: {{prefix: /part-{at}/}}}}], rewrite: {{uri: /}}, {route}}}\n");
        let rules: String = (0..5).map(rule).collect();
        let head = head("VirtualService", "edge", &format!("v{number}"));
        format!(
            "{head}spec:\n  hosts: [h{number}.example.com]\n  gateways: [edge]\n  http:\n{rules}  - {{timeout: {timeout_s}s, {route}}}\n"
        )
    }

    fn scope(&self, number: usize) -> String {
        let next = namespace((number + 1) % self.namespaces);
        let head = head("Sidecar", &namespace(number), "default");
        format!("{head}spec: {{egress: [{{hosts: ['./*', '{next}/*', 'shared/*']}}]}}\n")
    }

    /// Returns a VirtualService of the service that all sidecars see, with a timeout.
    pub fn shared_routes(timeout_s: usize) -> String {
        let head = head("VirtualService", "shared", "all");
        format!(
            "{head}spec: {{hosts: [{SHARED}], http: [{{timeout: {timeout_s}s, route: [{{destination: {{host: {SHARED}}}}}]}}]}}\n"
        )
    }

    /// Returns a VirtualService in a namespace that no sidecar sees.
    pub fn quiet_routes(&self, timeout_s: usize) -> String {
        let host = "s0.quiet.svc.cluster.local";
        let head = head("VirtualService", "quiet", "s0");
        format!(
            "{head}spec: {{exportTo: ['.'], hosts: [{host}], http: [{{timeout: {timeout_s}s, route: [{{destination: {{host: {host}}}}}]}}]}}\n"
        )
    }

    /// Returns every file of the mesh: its path in a folder, and its text.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let outside = self.namespaces * self.services;
        let of_outside = |number: usize| {
            let number = outside + number;
            vec![self.endpoint((number, 0, 0), 0)]
        };
        files.push(("shared/all.yaml".to_owned(), self.entry(("shared", "all"), outside, &of_outside(0))));
        files.push(("shared/routes.yaml".to_owned(), Self::shared_routes(1)));
        files.push(("quiet/s0.yaml".to_owned(), self.entry(("quiet", "s0"), outside + 1, &of_outside(1))));
        files.push(("quiet/routes.yaml".to_owned(), self.quiet_routes(1)));
        for number in 0..self.namespaces {
            let dir = namespace(number);
            for service in 0..self.services {
                files.push((format!("{dir}/s{service}.yaml"), self.service((number, service), 0, 0)));
            }
            files.push((format!("{dir}/routes.yaml"), Self::routes(number, 90)));
            files.push((format!("{dir}/subsets.yaml"), Self::subsets(number, 2)));
            if self.rules == Rules::Each {
                let rules = (1..self.services).map(|service| (service, Self::five_rules((number, service))));
                files.extend(rules.map(|(service, text)| (format!("{dir}/rules-{service}.yaml"), text)));
            }
            if self.scopes == Scopes::Next {
                files.push((format!("{dir}/sidecar.yaml"), self.scope(number)));
            }
        }
        if self.rules == Rules::Gateway {
            files.push(("edge/gateway.yaml".to_owned(), Self::gateway()));
            let routes = (0..outside).map(|number| (Self::gateway_file(number), self.gateway_routes(number, 1)));
            files.extend(routes);
        }
        files
    }

    /// Returns the file of a VirtualService at the gateway.
    pub fn gateway_file(number: usize) -> String {
        format!("edge/v{number}.yaml")
    }

    /// Writes the mesh into a folder.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        for (path, text) in self.files() {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Returns the namespaces whose sidecars see a given one.
    pub fn seen_by(&self, number: usize) -> Vec<usize> {
        match self.scopes {
            Scopes::Next => vec![number, (number + self.namespaces - 1) % self.namespaces],
            Scopes::All => (0..self.namespaces).collect(),
        }
    }
}
