//! Listeners of gateways.

use std::collections::BTreeSet;

use rutter_api::config::istio::{CertificateFiles, ServerProtocol, ServerTls, ServerTlsMode, TlsVersion};
use rutter_api::pb::envoy::config::core::v3 as core;
use rutter_api::pb::envoy::config::listener::v3 as pb;
use rutter_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use rutter_api::{ListenerName, RouteTableName};

use super::chains::{http_chain, tcp_chain};
use super::connections::{ConnectionTargets, connection_chain};
use super::listener_filters::tls_inspector;
use super::outbound::ANY_ADDRESS;
use super::{encoded, managers};
use crate::encode::transport::{certificate, file, san_matcher, sds, socket, validation};
use crate::encode::wire::{any, config_field, istio_metadata, socket_address};
use crate::model::{Credential, CredentialPart, GatewayAddress, GatewayServer, server_authorities, server_credentials};
use crate::resource::EncodedResource;

/// A server of a listener, and where its connections go if they have no requests in them.
pub struct ServerOfListener<'a> {
    /// The server.
    pub server: &'a GatewayServer,
    /// Where connections go that are passed on, by what is known of them.
    pub connections: ConnectionTargets,
}

/// Encodes the listener of some servers at one address. `None` means that none of them leads anywhere.
pub fn encode_gateway_listener(address: GatewayAddress, servers: &[ServerOfListener<'_>]) -> Option<EncodedResource> {
    let (bind, port) = address;
    let ip = bind.unwrap_or(ANY_ADDRESS);
    let name = ListenerName::Address { ip, port };
    let mut chains = Chains { listener_name: name.to_string(), taken: BTreeSet::new(), chains: Vec::new() };
    servers.iter().for_each(|server| chains.add(server));
    let is_encrypted = servers.first().is_some_and(|first| match first.server.protocol {
        ServerProtocol::Http | ServerProtocol::Tcp => false,
        ServerProtocol::Https | ServerProtocol::Passthrough | ServerProtocol::Tls => true,
    });
    let listener = pb::Listener {
        address: Some(socket_address(&ip.to_string(), port)),
        filter_chains: chains.chains,
        listener_filters: if is_encrypted { vec![tls_inspector()] } else { Vec::new() },
        traffic_direction: core::TrafficDirection::Outbound as i32,
        ..Default::default()
    };
    (!listener.filter_chains.is_empty()).then(|| encoded(name, listener))
}

/// The filter chains of a listener. Envoy refuses two that take the same connections, so the first has them.
struct Chains {
    listener_name: String,
    taken: BTreeSet<String>,
    chains: Vec<pb::FilterChain>,
}

impl Chains {
    fn add(&mut self, ServerOfListener { server, connections }: &ServerOfListener<'_>) {
        let metadata = || Some(istio_metadata(vec![config_field(&server.gateway)]));
        match (server.protocol, server.table()) {
            (ServerProtocol::Http | ServerProtocol::Https, Some(table)) => {
                let chain = http_chain(&managers::gateway(&self.listener_name, &table));
                let names =
                    if matches!(server.protocol, ServerProtocol::Https) { server_names(server) } else { Vec::new() };
                self.push(pb::FilterChain { metadata: metadata(), ..decrypted(chain, server, names, &table) });
            }
            (ServerProtocol::Tls, _) => {
                if let Some(target) = connections.values().next() {
                    let table = RouteTableName::Gateway { port: server.port(), server: None };
                    let chain = decrypted(tcp_chain(target), server, server_names(server), &table);
                    self.push(pb::FilterChain { metadata: metadata(), ..chain });
                }
            }
            (ServerProtocol::Passthrough | ServerProtocol::Tcp | ServerProtocol::Http | ServerProtocol::Https, _) => {
                for (connection_match, target) in connections {
                    self.push(connection_chain(connection_match, target));
                }
            }
        }
    }

    /// Adds a chain for those of its connections that no other chain takes.
    fn push(&mut self, mut chain: pb::FilterChain) {
        let mut chain_match = chain.filter_chain_match.take().unwrap_or_default();
        let rest = pb::FilterChainMatch { server_names: Vec::new(), ..chain_match.clone() };
        let is_free = |name: &str, taken: &mut BTreeSet<String>| taken.insert(format!("{name} {rest:?}"));
        if chain_match.server_names.is_empty() {
            if is_free("", &mut self.taken) {
                chain.filter_chain_match = (chain_match != pb::FilterChainMatch::default()).then_some(chain_match);
                self.chains.push(chain);
            }
            return;
        }
        chain_match.server_names.retain(|name| is_free(name, &mut self.taken));
        if !chain_match.server_names.is_empty() {
            chain.filter_chain_match = Some(chain_match);
            self.chains.push(chain);
        }
    }
}

/// Returns the names by which clients ask for a server in TLS, or none if it takes every name.
fn server_names(server: &GatewayServer) -> Vec<String> {
    let names: BTreeSet<String> = server.server().hosts.iter().map(|host| host.host.to_string()).collect();
    if names.contains("*") { Vec::new() } else { names.into_iter().collect() }
}

/// Returns the chain for connections to some names, which are decrypted as the server says.
fn decrypted(
    chain: pb::FilterChain,
    server: &GatewayServer,
    server_names: Vec<String>,
    table: &RouteTableName,
) -> pb::FilterChain {
    let settings = server.server().tls.as_ref().filter(|_| server.protocol != ServerProtocol::Http);
    let Some(settings) = settings else { return chain };
    let is_http = match table {
        RouteTableName::Gateway { server, .. } => server.is_some(),
        RouteTableName::Port(_) | RouteTableName::Service(_) | RouteTableName::Grpc(_) => false,
    };
    let chain_match = (!server_names.is_empty()).then(|| pb::FilterChainMatch { server_names, ..Default::default() });
    pb::FilterChain { filter_chain_match: chain_match, transport_socket: Some(tls_socket(settings, is_http)), ..chain }
}

fn tls_socket(settings: &ServerTls, is_http: bool) -> core::TransportSocket {
    let ServerTls {
        https_redirect: _,
        mode,
        credential_name: _,
        credential_names: _,
        ca_cert_credential_name: _,
        server_certificate: _,
        private_key: _,
        tls_certificates: _,
        ca_certificates,
        ca_crl,
        subject_alt_names,
        verify_certificate_spki,
        verify_certificate_hash,
        min_protocol_version,
        max_protocol_version,
        cipher_suites,
    } = settings;
    let authorities = server_authorities(settings);
    let context = settings.asks_client().then(|| tls::CertificateValidationContext {
        trusted_ca: ca_certificates.as_deref().filter(|_| authorities.is_none()).map(file),
        crl: ca_crl.as_deref().map(file),
        match_typed_subject_alt_names: subject_alt_names.iter().map(|name| san_matcher(name)).collect(),
        verify_certificate_spki: verify_certificate_spki.clone(),
        verify_certificate_hash: verify_certificate_hash.clone(),
        ..Default::default()
    });
    let common = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: version(*min_protocol_version, TlsVersion::V1_2) as i32,
            tls_maximum_protocol_version: version(*max_protocol_version, TlsVersion::V1_3) as i32,
            cipher_suites: cipher_suites.clone(),
            ..Default::default()
        }),
        tls_certificates: certificates(settings),
        tls_certificate_sds_secret_configs: certificates_by_name(settings).iter().map(sds).collect(),
        alpn_protocols: if is_http { vec!["h2".into(), "http/1.1".into()] } else { Vec::new() },
        validation_context_type: context.map(|context| validation(context, authorities.as_ref())),
        ..Default::default()
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(*mode == ServerTlsMode::Mutual),
        ..Default::default()
    };
    const NAME: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    socket("envoy.transport_sockets.tls", any(NAME, &context))
}

/// Returns the certificates of a server that are in files. Those in Secrets take their place.
fn certificates(settings: &ServerTls) -> Vec<tls::TlsCertificate> {
    if !settings.credentials().is_empty() {
        return Vec::new();
    }
    let several = settings.tls_certificates.iter();
    let several =
        several.map(|CertificateFiles { server_certificate, private_key }| (&**server_certificate, &**private_key));
    let one = settings.server_certificate.as_deref().zip(settings.private_key.as_deref());
    let one = one.filter(|_| settings.tls_certificates.is_empty());
    several.chain(one).map(|(chain, key)| certificate(chain, key)).collect()
}

/// Returns the certificates of a server that are in Secrets.
fn certificates_by_name(settings: &ServerTls) -> Vec<Credential> {
    let mut needed = server_credentials(settings);
    needed.retain(|credential| credential.part == CredentialPart::Certificate);
    needed
}

fn version(wanted: TlsVersion, default: TlsVersion) -> tls::tls_parameters::TlsProtocol {
    use tls::tls_parameters::TlsProtocol;
    match if wanted == TlsVersion::Auto { default } else { wanted } {
        TlsVersion::Auto => TlsProtocol::TlsAuto,
        TlsVersion::V1_0 => TlsProtocol::TlSv10,
        TlsVersion::V1_1 => TlsProtocol::TlSv11,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}
