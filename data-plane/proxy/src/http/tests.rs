//! Requests through a proxy, from the client's side and from that of the application.

use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::testing::{Application, Proxy, closed_port, direct, forward, get, prefix, raw, response};

/// Starts a proxy with one application behind the host `a`.
async fn proxy_with_application() -> (Proxy, Application, std::net::SocketAddr) {
    let mut proxy = Proxy::start().await;
    let application = Application::start("app").await;
    proxy.cluster("c", &[application.address]);
    proxy.routes("a", vec![prefix("/", forward("c", 0))]);
    let address = proxy.http_listener().await;
    (proxy, application, address)
}

#[tokio::test]
async fn a_request_is_forwarded_as_the_client_sent_it() {
    let (_proxy, _application, address) = proxy_with_application().await;
    assert_eq!(get(address, "a", "/path?query=1").await, "200 app: GET /path?query=1 HTTP/1.1");
    assert_eq!(get(address, "A:80", "/").await, "200 app: GET / HTTP/1.1", "neither case nor port of the host matters");
}

#[tokio::test]
async fn a_request_without_a_route_is_answered_404() {
    let (mut proxy, _application, address) = proxy_with_application().await;
    assert_eq!(get(address, "b", "/x").await, "404 rutter-proxy: no route for b/x");
    proxy.routes("a", vec![prefix("/only", forward("c", 0))]);
    proxy.carry_out().await;
    assert_eq!(get(address, "a", "/other").await, "404 rutter-proxy: no route for a/other");
}

#[tokio::test]
async fn a_request_names_one_host() {
    let (_proxy, _application, address) = proxy_with_application().await;
    let none = raw(address, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(none, "400 rutter-proxy: want one Host header, got 0");
    let two = raw(address, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    assert_eq!(two, "400 rutter-proxy: want one Host header, got 2");
    let no_text = raw(address, "GET / HTTP/1.1\r\nhost: \u{fc}\r\n\r\n").await;
    assert_eq!(no_text, "400 rutter-proxy: want a Host header of ASCII");
}

#[tokio::test]
async fn the_proxy_itself_gives_direct_responses() {
    let mut proxy = Proxy::start().await;
    proxy.routes("a", vec![prefix("/", direct(418, "a teapot\n"))]);
    let address = proxy.http_listener().await;
    assert_eq!(get(address, "a", "/").await, "418 a teapot");
}

#[tokio::test]
async fn the_first_route_that_matches_is_taken_and_a_change_is_for_the_next_request() {
    let mut proxy = Proxy::start().await;
    let [v1, v2] = [Application::start("v1").await, Application::start("v2").await];
    proxy.cluster("v1", &[v1.address]);
    proxy.cluster("v2", &[v2.address]);
    proxy.routes("a", vec![prefix("/new", forward("v2", 0)), prefix("/", forward("v1", 0))]);
    let address = proxy.http_listener().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut ask = async |path: &str| {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        response(&mut stream).await.unwrap().body
    };
    assert!(ask("/new/x").await.starts_with("v2:"));
    assert!(ask("/old").await.starts_with("v1:"));
    proxy.routes("a", vec![prefix("/", forward("v2", 0))]);
    proxy.carry_out().await;
    assert!(ask("/old").await.starts_with("v2:"), "on the same connection");
}

#[tokio::test]
async fn a_connection_to_an_endpoint_is_used_again_by_the_client_that_made_it() {
    let (_proxy, application, address) = proxy_with_application().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..5 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(response(&mut stream).await.unwrap().status, "200");
    }
    assert_eq!(application.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_endpoints_of_a_cluster_take_turns() {
    let mut proxy = Proxy::start().await;
    let applications = [Application::start("a").await, Application::start("b").await, Application::start("c").await];
    proxy.cluster("c", &applications.each_ref().map(|application| application.address));
    proxy.routes("a", vec![prefix("/", forward("c", 0))]);
    let address = proxy.http_listener().await;
    for _ in 0..9 {
        get(address, "a", "/").await;
    }
    let connections = applications.map(|application| application.connections.load(Ordering::Relaxed));
    assert_eq!(connections, [3, 3, 3]);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_passed_over() {
    let mut proxy = Proxy::start().await;
    let application = Application::start("app").await;
    proxy.cluster("c", &[closed_port().await, application.address]);
    proxy.routes("a", vec![prefix("/", forward("c", 0))]);
    let address = proxy.http_listener().await;
    for _ in 0..4 {
        assert_eq!(get(address, "a", "/").await, "200 app: GET / HTTP/1.1");
    }
}

#[tokio::test]
async fn a_cluster_that_leads_nowhere_is_answered_503() {
    let mut proxy = Proxy::start().await;
    proxy.cluster("empty", &[]);
    let gone = closed_port().await;
    proxy.cluster("gone", &[gone]);
    let to = |cluster: &str| prefix(&format!("/{cluster}"), forward(cluster, 0));
    proxy.routes("a", vec![to("empty"), to("gone"), to("unknown")]);
    let address = proxy.http_listener().await;
    assert_eq!(get(address, "a", "/empty").await, "503 rutter-proxy: empty: no healthy upstream");
    assert_eq!(get(address, "a", "/unknown").await, "503 rutter-proxy: unknown: no such cluster");
    let refused = get(address, "a", "/gone").await;
    assert!(refused.starts_with(&format!("503 rutter-proxy: gone: {gone}: ")), "{refused}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_504() {
    let mut proxy = Proxy::start().await;
    let application = Application::start("app").await;
    proxy.cluster("c", &[application.address]);
    proxy.routes("a", vec![prefix("/", forward("c", 50))]);
    let address = proxy.http_listener().await;
    assert_eq!(get(address, "a", "/slow").await, "504 rutter-proxy: c: no answer within 50ms");
    assert_eq!(get(address, "a", "/").await, "200 app: GET / HTTP/1.1");
}

#[tokio::test]
async fn headers_of_a_hop_end_at_the_proxy_in_both_directions() {
    let (_proxy, _application, address) = proxy_with_application().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n").await.unwrap();
    let answer = response(&mut stream).await.unwrap();
    assert!(!answer.body.contains("with x-hop"), "{}", answer.body);
    assert!(answer.head.contains("x-kept: 1") && !answer.head.contains("x-up"), "{}", answer.head);
}

#[tokio::test]
async fn a_listener_that_goes_finishes_the_request_that_it_has_and_takes_no_more() {
    let (mut proxy, _application, address) = proxy_with_application().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(response(&mut stream).await.unwrap().status, "200");
    proxy.remove_listener(address).await;
    assert!(response(&mut stream).await.is_none(), "an idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err());
}
