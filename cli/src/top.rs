//! The command that shows how the control plane and its sidecars are doing, once or until it is ended.

mod screen;
#[cfg(test)]
mod testing;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable_line;
use serde_json::{Value, json};

use crate::args::{Output, Top};
use crate::client::Admin;
use crate::impact::size;
use crate::output::{Out, print, table};
use crate::sidecars::age;
use crate::trace::time;
use screen::Shown;

/// The time between two looks at the keyboard.
const KEYS_EVERY: Duration = Duration::from_millis(50);
/// The time between two measurements of the scopes, which look at everything.
const SCOPES_EVERY: Duration = Duration::from_secs(10);

/// Shows how everything is doing.
pub(crate) async fn top(admin: &mut Admin, wanted: &Top, out: Out<'_>) -> Result<()> {
    if wanted.once || wanted.output != Output::Short {
        let top = ask(admin, true).await?;
        if wanted.output != Output::Short {
            return print(&top_json(&top), wanted.output, out);
        }
        return print_top(&top, out);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("want a terminal, got none: --once prints the same once");
    }
    let mut terminal = ratatui::try_init()?;
    let result = live(admin, wanted.interval, &mut terminal).await;
    ratatui::try_restore()?;
    result
}

async fn ask(admin: &mut Admin, with_scopes: bool) -> Result<pb::TopResponse> {
    Ok(admin.top(pb::TopRequest { with_scopes }).await?.into_inner())
}

async fn live(admin: &mut Admin, interval: Duration, terminal: &mut ratatui::DefaultTerminal) -> Result<()> {
    let has_colours = crate::output::has_colours();
    let mut shown = Shown::new(ask(admin, true).await?, has_colours);
    let (mut asked, mut measured) = (Instant::now(), Instant::now());
    loop {
        terminal.draw(|frame| shown.draw(frame))?;
        if is_ended()? {
            return Ok(());
        }
        tokio::time::sleep(KEYS_EVERY).await;
        if asked.elapsed() < interval {
            continue;
        }
        let with_scopes = measured.elapsed() >= SCOPES_EVERY;
        if with_scopes {
            measured = Instant::now();
        }
        let took = asked.elapsed();
        asked = Instant::now();
        // A control plane that does not answer now may do so later.
        match ask(admin, with_scopes).await {
            Ok(top) => shown.update(top, took, with_scopes),
            Err(error) => shown.fail(&error),
        }
    }
}

/// Returns whether somebody has pressed q, Escape or Ctrl-C.
fn is_ended() -> Result<bool> {
    while event::poll(Duration::ZERO)? {
        let Event::Key(key) = event::read()? else { continue };
        let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let is_quit = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
        if key.kind == KeyEventKind::Press && (is_interrupt || is_quit) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn print_top(top: &pb::TopResponse, out: Out<'_>) -> Result<()> {
    let pb::TopResponse {
        revision,
        objects,
        scopes,
        connected,
        synced,
        stale,
        refusing,
        pushes,
        push_bytes,
        nacks,
        ..
    } = top;
    writeln!(out, "revision {revision}, {objects} objects, {scopes} scopes")?;
    writeln!(out, "{connected} sidecars: {synced} SYNCED, {stale} STALE, {refusing} NACK")?;
    writeln!(out, "since the start: {pushes} pushes, {}, {nacks} refused", size(*push_bytes))?;
    match &top.converged {
        Some(pb::Percentiles { count, p50_us, p90_us, p99_us, max_us }) if *count > 0 => {
            let [p50, p90, p99, max] = [p50_us, p90_us, p99_us, max_us].map(|us| time(*us));
            writeln!(
                out,
                "from a change to the answers of the last minute ({count}): P50 {p50}, P90 {p90}, P99 {p99}, at most {max}"
            )?;
        }
        Some(_) | None => writeln!(out, "no answers to changes in the last minute")?,
    }
    if !top.waiting.is_empty() {
        let mut rows = table(["STALE", "FOR", "TYPES"]);
        for pb::TopWaiting { sidecar, types, age_ms } in &top.waiting {
            rows.add_row([printable_line(sidecar), age(*age_ms), types.clone()]);
        }
        writeln!(out, "\n{rows}")?;
    }
    if !top.refusals.is_empty() {
        let mut rows = table(["REFUSED BY", "RESOURCE", "WHY"]);
        for pb::TopRefusal { sidecar, resource, error } in &top.refusals {
            rows.add_row([sidecar, resource, error].map(|text| printable_line(text)));
        }
        writeln!(out, "\n{rows}")?;
    }
    if !top.biggest.is_empty() {
        let mut rows = table(["SCOPE", "SEES", "SIDECARS", "RESOURCES", "BYTES EACH"]);
        for pb::TopScope { namespace, what, clients, resources, bytes } in &top.biggest {
            let cells = [
                printable_line(namespace),
                printable_line(what),
                clients.to_string(),
                resources.to_string(),
                bytes.to_string(),
            ];
            rows.add_row(cells);
        }
        writeln!(out, "\n{rows}")?;
    }
    Ok(())
}

fn top_json(top: &pb::TopResponse) -> Value {
    let converged = top.converged.as_ref().filter(|times| times.count > 0).map(|times| {
        json!({"count": times.count, "p50Us": times.p50_us, "p90Us": times.p90_us, "p99Us": times.p99_us, "maxUs": times.max_us})
    });
    let waiting =
        top.waiting.iter().map(|one| json!({"sidecar": one.sidecar, "types": one.types, "ageMs": one.age_ms}));
    let refusals =
        top.refusals.iter().map(|one| json!({"sidecar": one.sidecar, "resource": one.resource, "error": one.error}));
    let biggest = top.biggest.iter().map(|one| {
        json!({
            "namespace": one.namespace, "what": one.what, "sidecars": one.clients, "resources": one.resources,
            "bytes": one.bytes,
        })
    });
    json!({
        "revision": top.revision, "objects": top.objects, "scopes": top.scopes, "connected": top.connected,
        "synced": top.synced, "stale": top.stale, "refusing": top.refusing, "pushes": top.pushes,
        "pushBytes": top.push_bytes, "nacks": top.nacks, "converged": converged,
        "waiting": waiting.collect::<Vec<_>>(), "refusals": refusals.collect::<Vec<_>>(),
        "biggest": biggest.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::testing::sample;
    use super::*;

    #[test]
    fn it_is_printed_once() {
        let mut out = Vec::new();
        print_top(&sample(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        expect![[r#"
            revision 7, 3100 objects, 2 scopes
            14 sidecars: 12 SYNCED, 1 STALE, 1 NACK
            since the start: 1000 pushes, 12 MB, 3 refused
            from a change to the answers of the last minute (40): P50 900 µs, P90 2.3 ms, P99 12.0 ms, at most 1.23 s

             STALE         FOR  TYPES
             stuck-1.shop  61s  cluster, endpoint

             REFUSED BY  RESOURCE                                       WHY
             web-1.shop  cluster outbound|80||a.shop.svc.cluster.local  Invalid path: /nowhere/ca.pem

             SCOPE  SEES        SIDECARS  RESOURCES  BYTES EACH
             shop   everything  12        3004       1234567
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
        let mut nothing = Vec::new();
        print_top(&pb::TopResponse::default(), &mut nothing).unwrap();
        assert!(String::from_utf8(nothing).unwrap().ends_with("no answers to changes in the last minute\n"));
        assert_eq!(top_json(&sample())["biggest"][0]["bytes"], 1_234_567);
    }
}
