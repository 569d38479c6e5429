//! The command that says what becomes of a request, and why.

use anyhow::{Result, bail};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable_line;
use rutter_core::walk::{Arrival, End, Entry, HttpRequest, Outcome, Step, TlsHello, walk};
use serde_json::{Value, json};

use crate::args::{Explain, Output};
use crate::client::Admin;
use crate::config_dump::ConfigDump;
use crate::files::read;
use crate::output::{Out, print, table, width};
use crate::usage::usage;

/// The width of a terminal below which steps are no table.
const TABLE_WIDTH: u16 = 72;
/// The number of addresses of a config dump that are told.
const ADDRESSES_TOLD: usize = 5;
/// The number of endpoints that are shown. JSON has more.
const ENDPOINTS_SHOWN: usize = 20;

/// Says what becomes of a request.
pub(crate) async fn explain(admin: &mut Admin, wanted: &Explain, namespace: &str, out: Out<'_>) -> Result<()> {
    if wanted.from.is_none() && wanted.via.is_none() && wanted.to.is_none() {
        return Err(usage("want --from POD, --via POD or --to POD"));
    }
    let (method, url) = match &wanted.request[..] {
        [] => (String::new(), String::new()),
        [url] => (String::new(), url.clone()),
        [method, url] => (method.clone(), url.clone()),
        more => return Err(usage(format!("want METHOD URL, got {} words", more.len()))),
    };
    let dump = wanted.config_dump.as_deref().map(ConfigDump::read).transpose()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let request = pb::ExplainRequest {
        from: text(&wanted.from),
        to: text(&wanted.to),
        via: text(&wanted.via),
        namespace: namespace.to_owned(),
        method,
        url,
        headers: wanted.header.clone(),
        tcp: text(&wanted.tcp),
        sni: text(&wanted.sni),
        sources: if wanted.files.is_empty() { Vec::new() } else { read(&wanted.files)? },
    };
    let mut explained = admin.explain(request).await?.into_inner();
    let actual = match &dump {
        Some(dump) => Some(actual(dump, &explained)?),
        None => None,
    };
    if let Some(actual) = actual {
        // What the proxy has comes after what it should have.
        explained.proxies.insert(1, actual);
    }
    if wanted.output != Output::Short {
        return print(&explained_json(&explained), wanted.output, out);
    }
    print_explained(&explained, out)
}

/// Returns what the first proxy does with the resources of a dump.
fn actual(dump: &ConfigDump, explained: &pb::ExplainResponse) -> Result<pb::ExplainedProxy> {
    let first = explained.proxies.first();
    let Some((first, arrival)) = first.and_then(|proxy| Some((proxy, proxy.arrival.as_ref()?))) else {
        bail!("--config-dump: the control plane does not say where the request arrives (see rutterctl version)");
    };
    let walk = walk(dump, &arrival_of(arrival));
    let step = |step: &Step| pb::ExplainedStep {
        kind: step.kind.name().to_owned(),
        name: step.name.clone(),
        text: step.text.clone(),
        ..Default::default()
    };
    let end = |end: &End| {
        let text = outcome_text(&end.outcome);
        pb::ExplainedEnd { share: end.share, steps: end.steps.iter().map(step).collect(), text, ..Default::default() }
    };
    Ok(pb::ExplainedProxy {
        sidecar: first.sidecar.clone(),
        side: format!("{}, by its config dump", first.side),
        arrives: first.arrives.clone(),
        steps: walk.steps.iter().map(step).collect(),
        ends: walk.ends.iter().map(end).collect(),
        arrival: None,
    })
}

fn outcome_text(outcome: &Outcome) -> String {
    if let Outcome::Endpoints { endpoints, .. } = outcome
        && endpoints.len() > 1
    {
        let first = endpoints.iter().take(ADDRESSES_TOLD).map(|endpoint| endpoint.address.as_str());
        let more = if endpoints.len() > ADDRESSES_TOLD { ", …" } else { "" };
        return format!("{outcome}: {}{more}", first.collect::<Vec<_>>().join(", "));
    }
    outcome.to_string()
}

fn arrival_of(arrival: &pb::ExplainedArrival) -> Arrival {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let entry = match (some(&arrival.redirected_to), some(&arrival.asked_for)) {
        (Some(listener), _) => Entry::Redirected(listener),
        (None, Some(listener)) => Entry::Named(listener),
        (None, None) => Entry::Bound,
    };
    let headers = arrival.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
    let request = HttpRequest {
        method: arrival.method.clone(),
        scheme: arrival.scheme.clone(),
        authority: arrival.authority.clone(),
        path: arrival.path.clone(),
        headers: headers.collect(),
    };
    let tls = TlsHello { server_name: some(&arrival.server_name), protocols: arrival.protocols.clone() };
    Arrival {
        entry,
        address: arrival.address.parse().ok(),
        port: u16::try_from(arrival.port).unwrap_or_default(),
        tls: arrival.is_tls.then_some(tls),
        request: arrival.has_request.then_some(request),
    }
}

fn print_explained(explained: &pb::ExplainResponse, out: Out<'_>) -> Result<()> {
    for (number, proxy) in explained.proxies.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        let pb::ExplainedProxy { sidecar, side, arrives, steps, ends, arrival: _ } = proxy;
        writeln!(out, "{sidecar}, {side}: {arrives}")?;
        print_steps(steps, out)?;
        for end in ends {
            print_end(end, ends.len() > 1, out)?;
        }
    }
    for note in &explained.notes {
        writeln!(out, "\nnote: {}", printable_line(note))?;
    }
    Ok(())
}

fn print_steps(steps: &[pb::ExplainedStep], out: Out<'_>) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    if width().is_some_and(|width| width < TABLE_WIDTH) {
        return print_list(steps, out);
    }
    let has_states = steps.iter().any(|step| !step.state.is_empty());
    let has_objects = steps.iter().any(|step| !step.made_by.is_empty());
    let mut heads = vec!["STEP", "NAME", "WHAT"];
    heads.extend(has_states.then_some("STATE"));
    heads.extend(has_objects.then_some("MADE BY"));
    let mut rows = table(heads);
    for step in steps {
        let pb::ExplainedStep { kind, name, text, made_by, state, error } = step;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable_line(text) };
        let mut row = vec![kind.clone(), or_dash(name), or_dash(text)];
        if has_states {
            let error = error.trim();
            row.push(if error.is_empty() { or_dash(state) } else { printable_line(&format!("{state}: {error}")) });
        }
        if has_objects {
            row.push(or_dash(&made_by.join(", ")));
        }
        rows.add_row(row);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

/// Prints steps one below the other, for narrow terminals.
fn print_list(steps: &[pb::ExplainedStep], out: Out<'_>) -> Result<()> {
    for pb::ExplainedStep { kind, name, text, made_by, state, error } in steps {
        writeln!(out, "{kind} {}", printable_line(name))?;
        let state = if error.is_empty() { state.clone() } else { format!("{state}: {}", error.trim()) };
        let made_by = if made_by.is_empty() { String::new() } else { format!("made by {}", made_by.join(", ")) };
        let texts = [text, &state, &made_by].into_iter().filter(|text| !text.is_empty());
        texts.into_iter().try_for_each(|text| writeln!(out, "  {}", printable_line(text)))?;
    }
    Ok(())
}

fn print_end(end: &pb::ExplainedEnd, is_one_of_several: bool, out: Out<'_>) -> Result<()> {
    let share = if is_one_of_several { format!("{}: ", percent(end.share)) } else { String::new() };
    writeln!(out, "\n{share}{}", printable_line(&end.text))?;
    print_steps(&end.steps, out)?;
    if end.endpoints.is_empty() {
        return Ok(());
    }
    let mut rows = table(["ENDPOINT", "SHARE", "HEALTH", "LOCALITY", "PRIORITY", "MADE BY"]);
    for endpoint in end.endpoints.iter().take(ENDPOINTS_SHOWN) {
        let pb::ExplainedEndpoint { address, share, health, locality, priority, made_by } = endpoint;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable_line(text) };
        let cells = [
            or_dash(address),
            percent(*share),
            or_dash(health),
            or_dash(locality),
            priority.to_string(),
            or_dash(made_by),
        ];
        rows.add_row(cells);
    }
    writeln!(out, "{rows}")?;
    let more = end.endpoints.len().saturating_sub(ENDPOINTS_SHOWN) + end.endpoints_left_out as usize;
    if more > 0 {
        writeln!(out, "{more} more endpoints are not shown (-o json has the first {})", end.endpoints.len())?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1_000.0).round() / 10.0)
}

fn explained_json(explained: &pb::ExplainResponse) -> Value {
    let step = |step: &pb::ExplainedStep| {
        json!({
            "kind": step.kind, "name": step.name, "text": step.text, "madeBy": step.made_by, "state": step.state,
            "error": step.error,
        })
    };
    let endpoint = |endpoint: &pb::ExplainedEndpoint| {
        json!({
            "address": endpoint.address, "share": endpoint.share, "health": endpoint.health, "locality": endpoint.locality,
            "priority": endpoint.priority, "madeBy": endpoint.made_by,
        })
    };
    let end = |end: &pb::ExplainedEnd| {
        json!({
            "share": end.share, "steps": end.steps.iter().map(step).collect::<Vec<_>>(), "outcome": end.outcome,
            "text": end.text, "status": end.status, "grpcStatus": end.grpc_status, "flag": end.flag, "location": end.location,
            "cluster": end.cluster, "endpoints": end.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "authority": end.authority, "path": end.path, "endpointsLeftOut": end.endpoints_left_out,
        })
    };
    let proxy = |proxy: &pb::ExplainedProxy| {
        json!({
            "sidecar": proxy.sidecar, "side": proxy.side, "arrives": proxy.arrives,
            "steps": proxy.steps.iter().map(step).collect::<Vec<_>>(), "ends": proxy.ends.iter().map(end).collect::<Vec<_>>(),
        })
    };
    json!({
        "revision": explained.revision, "proxies": explained.proxies.iter().map(proxy).collect::<Vec<_>>(),
        "notes": explained.notes,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn step(kind: &str, name: &str, state: &str) -> pb::ExplainedStep {
        pb::ExplainedStep {
            kind: kind.into(),
            name: name.into(),
            text: "/a*".into(),
            made_by: vec!["virtualService shop/a spec.http[0]".into()],
            state: state.into(),
            error: if state == "REFUSED" { "no\n".into() } else { String::new() },
        }
    }

    fn lines(out: Vec<u8>) -> String {
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn the_steps_and_every_end_are_shown() {
        let endpoint = |number: u32| pb::ExplainedEndpoint {
            address: format!("10.0.0.{number}:80"),
            share: 0.04,
            health: "UNKNOWN".into(),
            ..Default::default()
        };
        let end = |share: f64, text: &str| pb::ExplainedEnd { share, text: text.into(), ..Default::default() };
        let to_endpoints = pb::ExplainedEnd {
            steps: vec![step("cluster", "outbound|80||a.shop", "REFUSED")],
            endpoints: (0..25).map(endpoint).collect(),
            endpoints_left_out: 5,
            ..end(0.75, "sent to one of 30 endpoints")
        };
        let proxy = pb::ExplainedProxy {
            sidecar: "web-1.shop".into(),
            side: "outbound".into(),
            arrives: "a connection to 10.9.0.1:80 is redirected to the proxy".into(),
            steps: vec![step("route", "", "ACKED")],
            ends: vec![end(0.25, "the proxy answers 500 FI: a fault is injected"), to_endpoints],
            arrival: None,
        };
        let explained = pb::ExplainResponse { revision: 7, proxies: vec![proxy], notes: vec!["something".into()] };
        let mut out = Vec::new();
        print_explained(&explained, &mut out).unwrap();
        let text = lines(out);
        let endpoints = text.lines().filter(|line| line.contains("10.0.0.")).count();
        assert_eq!(endpoints, ENDPOINTS_SHOWN);
        let rest: Vec<&str> = text.lines().filter(|line| !line.contains("10.0.0.")).collect();
        expect![[r#"
            web-1.shop, outbound: a connection to 10.9.0.1:80 is redirected to the proxy
             STEP   NAME  WHAT  STATE  MADE BY
             route  -     /a*   ACKED  virtualService shop/a spec.http[0]

            25 %: the proxy answers 500 FI: a fault is injected

            75 %: sent to one of 30 endpoints
             STEP     NAME                 WHAT  STATE        MADE BY
             cluster  outbound|80||a.shop  /a*   REFUSED: no  virtualService shop/a spec.http[0]
             ENDPOINT      SHARE  HEALTH   LOCALITY  PRIORITY  MADE BY
            10 more endpoints are not shown (-o json has the first 25)

            note: something
        "#]]
        .assert_eq(&(rest.join("\n") + "\n"));
        assert_eq!(explained_json(&explained)["proxies"][0]["ends"][1]["endpointsLeftOut"], 5);
    }

    #[test]
    fn a_narrow_terminal_has_a_list() {
        let mut out = Vec::new();
        print_list(&[step("route", "api", "REFUSED")], &mut out).unwrap();
        expect![[r#"
            route api
              /a*
              REFUSED: no
              made by virtualService shop/a spec.http[0]
        "#]]
        .assert_eq(&lines(out));
    }
}
