//! Who may use the admin API: what a request has to be before the service sees it.
//!
//! Browsers send requests to any address on behalf of any page. None of theirs gets in: they do not speak gRPC over HTTP/2,
//! say from which page they come (`Origin`), and ask for the host that the page named (`Host`), whatever address that host
//! has today.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Version, header};
use tonic::Status;

use super::caller::{Caller, UnixPeer};
use super::tokens::{Role, Tokens};
use crate::ads::Switch;

/// The calls that change nothing. Every other one wants the role that may write.
const READS: [&str; 17] = [
    "/rutter.admin.v1.Admin/Analyze",
    "/rutter.admin.v1.Admin/Get",
    "/rutter.admin.v1.Admin/Watch",
    "/rutter.admin.v1.Admin/History",
    "/rutter.admin.v1.Admin/Diff",
    "/rutter.admin.v1.Admin/Version",
    "/rutter.admin.v1.Admin/ProxyStatus",
    "/rutter.admin.v1.Admin/ProxyConfig",
    "/rutter.admin.v1.Admin/Pushes",
    "/rutter.admin.v1.Admin/Trace",
    "/rutter.admin.v1.Admin/Explain",
    "/rutter.admin.v1.Admin/Top",
    "/rutter.admin.v1.Admin/Describe",
    "/rutter.admin.v1.Admin/WaitForAck",
    "/rutter.admin.v1.Admin/Backup",
    "/rutter.admin.v1.Admin/FolderStatus",
    "/envoy.service.status.v3.ClientStatusDiscoveryService/",
];

/// What requests have to be.
#[derive(Debug)]
pub(super) enum Door {
    /// They come by a Unix socket, which only those can open who may.
    Socket,
    /// They come over TCP.
    Tcp {
        /// The hosts that may be asked for, beside the names of the loopback.
        hosts: Vec<String>,
        /// The origins that may ask.
        origins: Vec<String>,
        tokens: Tokens,
    },
}

/// Lets a request in, or answers why not.
pub(super) async fn guard(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    match door.refusal(&request) {
        Some(refusal) => refusal,
        None => {
            if let Some(switch) = request.extensions().get::<Switch>() {
                switch.use_it();
            }
            let caller = door.caller(&request);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    }
}

impl Door {
    /// Returns who makes a request that is let in.
    fn caller<T>(&self, request: &http::Request<T>) -> Caller {
        match self {
            Self::Socket => {
                let peer = request.extensions().get::<ConnectInfo<UnixPeer>>();
                let uid = peer.and_then(|ConnectInfo(peer)| peer.uid);
                Caller::new(&uid.map_or_else(|| "the admin socket".to_owned(), |uid| format!("uid {uid}")))
            }
            Self::Tcp { tokens, .. } => {
                let role = bearer(request.headers()).and_then(|token| tokens.role_of(token));
                let role = if role == Some(Role::Write) { "write" } else { "read" };
                let address = request.extensions().get::<Switch>().and_then(|switch| switch.peer().address);
                let address = address.map(|address| format!(" from {address}")).unwrap_or_default();
                Caller::new(&format!("token {role}{address}"))
            }
        }
    }

    /// Returns the answer to a request that is not let in.
    fn refusal<T>(&self, request: &http::Request<T>) -> Option<Response> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let is_grpc =
            content_type.is_some_and(|value| value == b"application/grpc" || value.starts_with(b"application/grpc+"));
        if request.version() != Version::HTTP_2 || !is_grpc {
            let text = "want gRPC over HTTP/2 (metrics and health are at --monitoring)\n";
            return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
        }
        let Self::Tcp { hosts, origins, tokens } = self else { return None };
        if let Some(origin) = request.headers().get(header::ORIGIN)
            && !origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        {
            let text = "want a request of no web page (--admin-origins allows others), got one with an origin";
            return Some(Status::permission_denied(text).into_http());
        }
        let host = request.uri().authority().map(|authority| authority.host().to_owned());
        let host = host.or_else(|| host_header(request.headers())).unwrap_or_default();
        if !is_loopback(&host) && !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host)) {
            let text = "want a host that is allowed (localhost, a loopback address, or one of --admin-hosts)";
            return Some(Status::permission_denied(text).into_http());
        }
        let wanted =
            if READS.iter().any(|read| request.uri().path().starts_with(read)) { Role::Read } else { Role::Write };
        let token = bearer(request.headers());
        match token.and_then(|token| tokens.role_of(token)) {
            Some(role) if role >= wanted => None,
            Some(_) => {
                Some(Status::permission_denied("want a token of the role write, got one of the role read").into_http())
            }
            None => {
                let got = if token.is_some() { "one that is not known" } else { "none" };
                let text = format!("want a token of this control plane (rutterctl --token-file), got {got}");
                Some(Status::unauthenticated(text).into_http())
            }
        }
    }
}

fn host_header(headers: &HeaderMap) -> Option<String> {
    let authority: http::uri::Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_owned())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "/rutter.admin.v1.Admin/Get";
    const APPLY: &str = "/rutter.admin.v1.Admin/Apply";

    fn tokens() -> Tokens {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "read reader-reader-reader\nwrite writer-writer-writer\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Tokens::open(&path).unwrap()
    }

    fn door() -> Door {
        Door::Tcp { hosts: vec!["rutter.mesh".into()], origins: vec!["https://page.mesh".into()], tokens: tokens() }
    }

    /// Returns a call of gRPC with a token, which is changed by each test.
    fn call(host: &str, path: &str, token: &str) -> http::request::Builder {
        let request = http::Request::post(format!("http://{host}{path}")).version(Version::HTTP_2);
        request.header("content-type", "application/grpc").header("authorization", format!("Bearer {token}"))
    }

    /// Returns what a request is answered: `in`, the status of HTTP, or that of gRPC and its message.
    fn answer(door: &Door, request: http::request::Builder) -> String {
        match door.refusal(&request.body(()).unwrap()) {
            None => "in".into(),
            Some(response) => match Status::from_header_map(response.headers()) {
                Some(status) => format!("{:?}: {}", status.code(), status.message()),
                None => response.status().as_str().to_owned(),
            },
        }
    }

    #[test]
    fn who_is_let_in_has_a_name() {
        let name = |door: &Door, request: http::request::Builder, extension: Option<UnixPeer>| {
            let mut request = request.body(()).unwrap();
            if let Some(peer) = extension {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            let mut call = tonic::Request::new(());
            call.extensions_mut().insert(door.caller(&request));
            Caller::of(&call).to_string()
        };
        let peer = |uid| Some(UnixPeer { uid });
        assert_eq!(name(&Door::Socket, call("a", GET, ""), peer(Some(7))), "uid 7");
        assert_eq!(name(&Door::Socket, call("a", GET, ""), peer(None)), "the admin socket");
        assert_eq!(name(&door(), call("a", GET, "writer-writer-writer"), None), "token write");
        assert_eq!(name(&door(), call("a", GET, "reader-reader-reader"), None), "token read");
        assert_eq!(&*Caller::of(&tonic::Request::new(())), "", "a call that came through no door");
    }

    #[test]
    fn only_grpc_over_http_2_gets_in() {
        for door in [door(), Door::Socket] {
            let http_1 = call("localhost", GET, "reader-reader-reader").version(Version::HTTP_11);
            assert_eq!(answer(&door, http_1), "415");
            for content_type in ["text/plain", "application/json", "application/grpc-web", "application/grpcx"] {
                let request = http::Request::post(format!("http://localhost{GET}")).version(Version::HTTP_2);
                assert_eq!(answer(&door, request.header("content-type", content_type)), "415", "{content_type}");
            }
        }
        assert_eq!(
            answer(&Door::Socket, call("anything", APPLY, "")),
            "in",
            "who may open the socket may do everything"
        );
    }

    #[test]
    fn a_host_that_is_not_allowed_is_refused() {
        let door = door();
        let at = |host: &str| answer(&door, call(host, GET, "reader-reader-reader"));
        for host in ["localhost:15013", "127.0.0.1", "127.8.8.8:1", "[::1]:80", "rutter.mesh", "RUTTER.mesh:5"] {
            assert_eq!(at(host), "in", "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"] {
            assert!(at(host).starts_with("PermissionDenied: want a host that is allowed"), "{host}: {}", at(host));
        }
    }

    #[test]
    fn an_origin_is_refused_unless_it_is_allowed() {
        let door = door();
        let of = |origin: &str| answer(&door, call("localhost", GET, "reader-reader-reader").header("origin", origin));
        assert_eq!(of("https://page.mesh"), "in");
        for origin in ["null", "http://localhost", "https://page.mesh.evil.example"] {
            assert!(of(origin).starts_with("PermissionDenied: want a request of no web page"), "{origin}");
        }
    }

    #[test]
    fn a_token_has_a_role_and_every_call_that_is_not_known_to_read_wants_to_write() {
        let door = door();
        let with = |path: &str, token: &str| answer(&door, call("localhost", path, token));
        for read in READS {
            assert_eq!(with(read, "reader-reader-reader"), "in", "{read}");
        }
        for write in [APPLY, "/rutter.admin.v1.Admin/Delete", "/rutter.admin.v1.Admin/FolderConfirm", "/x.Y/New"] {
            assert_eq!(with(write, "writer-writer-writer"), "in", "{write}");
            let refused = "PermissionDenied: want a token of the role write, got one of the role read";
            assert_eq!(with(write, "reader-reader-reader"), refused, "{write}");
        }
        let want = "Unauthenticated: want a token of this control plane (rutterctl --token-file), got ";
        assert_eq!(with(GET, "guess-guess-guess-guess"), format!("{want}one that is not known"));
        let none = http::Request::post(format!("http://localhost{GET}")).version(Version::HTTP_2);
        assert_eq!(answer(&door, none.header("content-type", "application/grpc")), format!("{want}none"));
    }
}
