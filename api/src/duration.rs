//! Durations as Istio writes them: `5s`, `1h30m`, `250ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// The longest duration that protobuf takes, in seconds: about 10,000 years.
const SECONDS_MAX: u64 = 315_576_000_000;

/// Reads the text of a duration in Go's form: numbers, each with one of the units `h`, `m`, `s`, `ms`, `us` and `ns`,
/// at least one of them, and no sign.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(|| refusal(text))?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: f64 = number.parse().map_err(|_| refusal(text))?;
        let seconds = number * unit_seconds(unit).ok_or_else(|| refusal(text))?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| refusal(text))?;
        total = total.checked_add(part).ok_or_else(|| refusal(text))?;
        rest = tail;
    }
    if text.is_empty() || total.as_secs() > SECONDS_MAX { Err(refusal(text)) } else { Ok(total) }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

/// Deserializes an optional field that holds such a text; for `#[serde(deserialize_with)]`.
pub(crate) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| parse(&text).map_err(de::Error::custom)).transpose()
}

/// Returns the protobuf form of a duration. Every duration that comes through [`parse`] fits into it.
pub fn to_pb(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

fn refusal(text: &str) -> String {
    format!("want a duration such as 5s or 250ms, got {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        let check = |text: &str, ms: u64| assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        check("5s", 5_000);
        check("1h30m", 5_400_000);
        check("250ms", 250);
        check("1.5s", 1_500);
        check("0s", 0);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "5", "s", "-1s", "5 s", "5d", "1e9h", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
