//! Where a redirect leads.

use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use rutter_api::pb::envoy::config::route::v3 as pb;

use super::filters::answer;
use super::{HttpRequest, Outcome};

/// Returns what a redirect makes of a request.
pub(super) fn redirected(redirect: &pb::RedirectAction, request: &HttpRequest) -> Outcome {
    let scheme = match &redirect.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme.as_str(),
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => &request.scheme,
    };
    let port = if redirect.port_redirect > 0 { format!(":{}", redirect.port_redirect) } else { String::new() };
    let host = match redirect.host_redirect.as_str() {
        "" => host_for(request, scheme, !port.is_empty()),
        host => host,
    };
    let path = match &redirect.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('?') => path.clone(),
        Some(PathRewriteSpecifier::PathRedirect(path)) => format!("{path}{}", request.query()),
        // The control plane writes no other.
        Some(_) | None => request.path.clone(),
    };
    outcome(status(redirect.response_code()), format!("{scheme}://{host}{port}{path}"), request)
}

/// Returns what a virtual host makes of a plain request that it wants to be encrypted.
pub(super) fn to_https(request: &HttpRequest) -> Outcome {
    outcome(301, format!("https://{}{}", request.authority, request.path), request)
}

/// Returns the redirect of a request. A call of gRPC is answered in gRPC's way, which knows no redirects.
fn outcome(status: u32, location: String, request: &HttpRequest) -> Outcome {
    match request.is_grpc() {
        true => answer(status, request, "", format!("a redirect to {location}, which gRPC does not know")),
        false => Outcome::Redirected { status, location },
    }
}

/// Returns the host of a request, without its port if a redirect gives another, or if it is the usual one of a scheme that changes.
fn host_for<'a>(request: &'a HttpRequest, scheme: &str, has_port: bool) -> &'a str {
    let Some((host, port)) = request.authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
        return &request.authority;
    };
    let is_usual = matches!((request.scheme.as_str(), port), ("http", "80") | ("https", "443"));
    if has_port || scheme != request.scheme && is_usual { host } else { &request.authority }
}

fn status(code: RedirectResponseCode) -> u32 {
    match code {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    }
}
