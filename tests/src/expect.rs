//! What tables of cases say of requests and of the answers to them, in words.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http::{Answer, request};

/// Sends a request that is given in words: `METHOD PATH`, and headers `name=value`.
///
/// # Errors
/// Fails if there is no answer.
pub async fn send(proxy: SocketAddr, host: &str, ask: &str) -> Result<Answer> {
    let mut words = ask.split(' ');
    let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
    let mut headers: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    headers.push(("host", host));
    request(proxy, (method, path), &headers).await
}

/// Checks one word of what is expected: a status; a backend, or several with `|` between them; `body=`, `path=` and `host=` as
/// the backend saw them; `request:NAME=` and `response:NAME=`, where `-` means none.
///
/// # Errors
/// Fails if the answer is another.
pub fn expect_word(word: &str, answer: &Answer) -> Result<()> {
    let echoed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let Some((place, want)) = word.split_once('=') else {
        if let Ok(status) = word.parse::<u16>() {
            ensure!(answer.status == status, "want status {status}, got {}: {}", answer.status, answer.body);
        } else {
            let backend = text(&echoed["backend"]);
            ensure!(word.split('|').any(|want| want == backend), "want backend {word}, got {backend}");
        }
        return Ok(());
    };
    let got = match place.split_once(':') {
        Some(("request", name)) => text(&echoed["headers"][name]),
        Some(("response", name)) => answer.header(name).unwrap_or("-").to_owned(),
        Some(_) | None => match place {
            "body" => answer.body.clone(),
            _ => text(&echoed[place]),
        },
    };
    ensure!(got == want, "want {place} {want:?}, got {got:?}");
    Ok(())
}
