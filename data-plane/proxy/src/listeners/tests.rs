//! Sockets that open and close as the config says.

use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use crate::testing::{Proxy, direct, echo, get, prefix};

#[tokio::test]
async fn a_listener_opens_when_its_table_has_come_and_the_proxy_is_ready_then() {
    let mut proxy = Proxy::start().await;
    let address = proxy.http_listener().await;
    assert!(TcpStream::connect(address).await.is_err(), "O12: no table, no socket");
    assert!(!proxy.ready.load(Ordering::Relaxed));
    proxy.routes("a", vec![prefix("/", direct(200, "here"))]);
    proxy.carry_out().await;
    assert_eq!(get(address, "a", "/").await, "200 here");
    assert!(proxy.ready.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_listener_that_changes_keeps_its_socket_and_one_that_goes_gives_it_back() {
    let mut proxy = Proxy::start().await;
    let upstream = echo().await;
    proxy.cluster("c", &[upstream]);
    let first = proxy.tcp_listener("c").await;
    let second = proxy.tcp_listener("c").await;
    let _held = TcpStream::connect(first).await.unwrap();
    proxy.carry_out().await;
    assert!(TcpStream::connect(first).await.is_ok() && TcpStream::connect(second).await.is_ok());
    proxy.remove_listener(second).await;
    assert!(TcpStream::connect(first).await.is_ok() && TcpStream::connect(second).await.is_err());
    assert!(proxy.ready.load(Ordering::Relaxed));
    proxy.remove_listener(first).await;
    assert!(!proxy.ready.load(Ordering::Relaxed), "without a listener there is nothing to be ready for");
}

#[tokio::test]
async fn an_address_that_is_taken_does_not_hold_up_the_other_listeners() {
    let mut proxy = Proxy::start().await;
    let taken = echo().await;
    proxy.cluster("c", &[taken]);
    let listener = rutter_core::encode::listener::BoundListener::cluster("c");
    proxy.listener_at(taken, &listener).await;
    let other = proxy.tcp_listener("c").await;
    assert!(TcpStream::connect(other).await.is_ok());
}
