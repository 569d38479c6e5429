//! The screen of `rutterctl top`.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};
use rutter_api::pb::rutter::admin::v1 as pb;
use rutter_api::printable_line;

use crate::impact::size;
use crate::sidecars::age;
use crate::trace::time;

/// The number of lines above the tables.
const HEAD: u16 = 5;
/// The width from which the columns are shown that matter less.
const WIDE: u16 = 70;

/// What is shown.
pub(super) struct Shown {
    top: pb::TopResponse,
    /// Pushes and bytes of each second, if two answers are known.
    rates: Option<(f64, f64)>,
    /// Why the last question had no answer.
    error: Option<String>,
    has_colours: bool,
}

impl Shown {
    pub(super) fn new(top: pb::TopResponse, has_colours: bool) -> Self {
        Self { top, rates: None, error: None, has_colours }
    }

    /// Takes in an answer that came so long after the last one. Without scopes it has those of before.
    pub(super) fn update(&mut self, mut top: pb::TopResponse, after: Duration, with_scopes: bool) {
        let seconds = after.as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.rates = Some((rate(top.pushes, self.top.pushes), rate(top.push_bytes, self.top.push_bytes)));
        if !with_scopes {
            top.biggest = std::mem::take(&mut self.top.biggest);
        }
        (self.top, self.error) = (top, None);
    }

    /// Takes in that there was no answer. What is known stays.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        self.error = Some(printable_line(&error.to_string()));
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let [head, body] = Layout::vertical([Constraint::Length(HEAD), Constraint::Min(0)]).areas(area);
        frame.render_widget(Paragraph::new(self.head()), head);
        let tables = self.tables(area.width);
        let heights = tables.iter().map(|(_, rows)| Constraint::Length(u16::try_from(rows + 2).unwrap_or(u16::MAX)));
        let areas: Vec<Rect> = Layout::vertical(heights.collect::<Vec<_>>()).split(body).to_vec();
        for ((table, _), area) in tables.into_iter().zip(areas) {
            frame.render_widget(table, area);
        }
    }

    fn coloured(&self, text: String, color: Color) -> Span<'static> {
        if self.has_colours { Span::styled(text, Style::new().fg(color)) } else { Span::raw(text) }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let top = &self.top;
        let count = |number: u32, word: &str, color: Color| match number {
            0 => Span::raw(format!("{number} {word}")),
            _ => self.coloured(format!("{number} {word}"), color),
        };
        let sidecars = vec![
            Span::raw(format!("{} sidecars: ", top.connected)),
            count(top.synced, "SYNCED", Color::Green),
            Span::raw(", "),
            count(top.stale, "STALE", Color::Yellow),
            Span::raw(", "),
            count(top.refusing, "NACK", Color::Red),
        ];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people to read")]
        let rates = match self.rates {
            Some((pushes, bytes)) => format!("{pushes:.1} pushes/s, {}/s", size(bytes.round() as u64)),
            None => "pushes/s: not known yet".to_owned(),
        };
        let converged = match &top.converged {
            Some(pb::Percentiles { count, p50_us, p99_us, max_us, .. }) if *count > 0 => {
                let [p50, p99, max] = [p50_us, p99_us, max_us].map(|us| time(*us));
                format!("answers: P50 {p50}, P99 {p99}, max {max}")
            }
            Some(_) | None => "answers: none in the last minute".to_owned(),
        };
        let last = match &self.error {
            Some(error) => Line::from(self.coloured(format!("no answer: {error}"), Color::Red)),
            None => Line::from("q ends"),
        };
        vec![
            Line::from(format!("revision {}, {} objects, {} scopes", top.revision, top.objects, top.scopes)),
            Line::from(sidecars),
            Line::from(format!("{rates}, {} refused", top.nacks)),
            Line::from(converged),
            last,
        ]
    }

    /// Returns the tables that have rows, each with their number.
    fn tables(&self, width: u16) -> Vec<(Table<'static>, usize)> {
        let is_wide = width >= WIDE;
        let mut tables = Vec::new();
        let top = &self.top;
        if !top.waiting.is_empty() {
            let rows = top.waiting.iter().map(|pb::TopWaiting { sidecar, types, age_ms }| {
                vec![printable_line(sidecar), age(*age_ms), types.clone()]
            });
            tables.push(self.table(&["STALE", "FOR", "TYPES"], &[3, 1, 3], rows.collect()));
        }
        if !top.refusals.is_empty() {
            let rows = top.refusals.iter().map(|pb::TopRefusal { sidecar, resource, error }| {
                [sidecar, resource, error].map(|text| printable_line(text)).to_vec()
            });
            tables.push(self.table(&["REFUSED BY", "RESOURCE", "WHY"], &[2, 3, 3], rows.collect()));
        }
        if !top.biggest.is_empty() {
            let (heads, parts): (&[&str], &[u16]) = match is_wide {
                true => (&["SCOPE", "SEES", "SIDECARS", "RESOURCES", "BYTES"], &[2, 4, 1, 1, 1]),
                false => (&["SCOPE", "SIDECARS", "BYTES"], &[2, 1, 1]),
            };
            let rows = top.biggest.iter().map(|pb::TopScope { namespace, what, clients, resources, bytes }| {
                let (namespace, clients, bytes) = (printable_line(namespace), clients.to_string(), size(*bytes));
                match is_wide {
                    true => vec![namespace, printable_line(what), clients, resources.to_string(), bytes],
                    false => vec![namespace, clients, bytes],
                }
            });
            tables.push(self.table(heads, parts, rows.collect()));
        }
        tables
    }

    fn table(&self, heads: &[&'static str], parts: &[u16], rows: Vec<Vec<String>>) -> (Table<'static>, usize) {
        let count = rows.len();
        let widths = parts.iter().map(|part| Constraint::Fill(*part));
        let head = Style::new().add_modifier(Modifier::BOLD);
        let head = Row::new(heads.to_vec()).style(if self.has_colours { head } else { Style::new() });
        (Table::new(rows.into_iter().map(Row::new), widths).header(head), count)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::testing::sample;
    use super::*;

    fn drawn(shown: &Shown, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| shown.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |row: u16| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..height).map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn it_fits_wide_and_narrow_terminals() {
        let mut shown = Shown::new(sample(), true);
        expect![[r#"
            revision 7, 3100 objects, 2 scopes
            14 sidecars: 12 SYNCED, 1 STALE, 1 NACK
            pushes/s: not known yet, 3 refused
            answers: P50 900 µs, P99 12.0 ms, max 1.23 s
            q ends
            STALE                                      FOR            TYPES
            stuck-1.shop                               61s            cluster, endpoint

            REFUSED BY                RESOURCE                             WHY
            web-1.shop                cluster outbound|80||a.shop.svc.clus Invalid path: /nowhere/ca.pem

            SCOPE                 SEES                                        SIDECARS    RESOURCES  BYTES
            shop                  everything                                  12          3004       1234 kB



        "#]]
        .assert_eq(&drawn(&shown, 100, 16));
        let mut later = sample();
        (later.pushes, later.push_bytes) = (1_250, 12_500_000);
        later.biggest.clear();
        shown.update(later, Duration::from_secs(2), false);
        expect![[r#"
            revision 7, 3100 objects, 2 scopes
            14 sidecars: 12 SYNCED, 1 STALE, 1 NACK
            125.0 pushes/s, 250 kB/s, 3 refused
            answers: P50 900 µs, P99 12.0 ms, max 1.
            q ends
            STALE            FOR    TYPES
            stuck-1.shop     61s    cluster, endpoin

            REFUSED BY RESOURCE       WHY
            web-1.shop cluster outbou Invalid path:

            SCOPE               SIDECARS   BYTES
            shop                12         1234 kB



        "#]]
        .assert_eq(&drawn(&shown, 40, 16));
        // What does not fit is left out.
        assert_eq!(drawn(&shown, 20, 3).lines().count(), 3);
    }

    #[test]
    fn what_is_known_stays_when_there_is_no_answer() {
        let mut shown = Shown::new(pb::TopResponse { connected: 3, synced: 3, ..Default::default() }, false);
        shown.fail(&anyhow::anyhow!("the server is\x1b[31m gone"));
        expect![[r#"
            revision 0, 0 objects, 0 scopes
            3 sidecars: 3 SYNCED, 0 STALE, 0 NACK
            pushes/s: not known yet, 0 refused
            answers: none in the last minute
            no answer: the server is\u001b[31m gone

        "#]]
        .assert_eq(&drawn(&shown, 60, 6));
    }
}
