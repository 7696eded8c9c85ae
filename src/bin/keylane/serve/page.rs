//! `GET /`: the state in a few lines, as text or, for a browser, as a page.

use std::fmt::Write;

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, VARY};
use http::{HeaderMap, HeaderValue};
use indicatif::HumanCount;
use keylane::ingest::printable::plain;

use super::service::{Answer, text};
use super::state::State;
use crate::processors::plugins;
use crate::tables::{duration, table};

/// How many types and keys are shown.
const SHOWN: usize = 10;

/// What a browser may do with the page: show it. The style is the only one that there is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers with the form that the client prefers: browsers say that they take HTML, and others do not.
pub(crate) fn respond(state: &State, headers: &HeaderMap) -> Answer {
    let summary = summary(state);
    let html = headers.get_all(ACCEPT).iter().any(|accept| {
        accept.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"))
    });
    let mut answer = if html {
        let mut answer = text("text/html; charset=utf-8", page(&summary));
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        answer
    } else {
        text("text/plain; charset=utf-8", summary)
    };
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    answer
}

/// The state in lines. What strangers wrote in it is harmless on a terminal.
fn summary(state: &State) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_summary(state, &mut out);
    out
}

fn write_summary(state: &State, out: &mut String) -> std::fmt::Result {
    let word = if state.is_draining() { "draining" } else { "serving" };
    let uptime = state.uptime().as_secs();
    let (hours, minutes, seconds) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
    writeln!(
        out,
        "keylane {}, {word} for {hours}:{minutes:02}:{seconds:02}\n",
        env!("CARGO_PKG_VERSION")
    )?;

    let intake = state.intake.stats();
    let stats = state.stats();
    writeln!(
        out,
        "events    {} accepted, {} refused because the bus was full, {} invalid",
        HumanCount(intake.accepted),
        HumanCount(intake.refused),
        HumanCount(intake.invalid)
    )?;
    writeln!(
        out,
        "bus       {} accepted with the server's own, {} processed, {} waiting, {} faulted",
        HumanCount(stats.accepted),
        HumanCount(stats.processed),
        HumanCount(stats.depth),
        HumanCount(stats.faulted)
    )?;
    writeln!(
        out,
        "latency   p50 {}, p99 {}, max {} (emit to start of processing)",
        duration(stats.latency.quantile(0.5)),
        duration(stats.latency.quantile(0.99)),
        duration(stats.latency.max())
    )?;
    let counts = state.statuses.snapshot();
    let total = state.durations.total();
    let nanos = |quantile| u64::try_from(total.quantile(quantile).as_nanos()).unwrap_or(u64::MAX);
    writeln!(
        out,
        "requests  {}: {} 2xx, {} 3xx, {} 4xx, {} 5xx; p50 {}, p99 {}",
        HumanCount(counts.all),
        HumanCount(counts.status_2xx),
        HumanCount(counts.status_3xx),
        HumanCount(counts.status_4xx),
        HumanCount(counts.status_5xx),
        duration(nanos(0.5)),
        duration(nanos(0.99))
    )?;
    for output in state.processors.written() {
        write!(out, "output    {}: {} written", output.path, HumanCount(output.written))?;
        match &output.error {
            Some(error) => writeln!(out, ", {} not: {error}", HumanCount(output.unwritten))?,
            None => writeln!(out)?,
        }
    }
    if let Some(counts) = state.processors.counts() {
        let counted = counts.types();
        let of_strangers: Vec<_> = {
            let names = state.intake.types();
            counted
                .iter()
                .filter(|(kind, _)| kind.is_user())
                .take(SHOWN)
                .map(|(kind, events)| (names.name(*kind), *events))
                .collect()
        };
        let rows = of_strangers.iter().map(|(name, events)| (name.as_str(), *events));
        table(out, "types", rows, intake.accepted)?;
        let hottest = counts.hottest(SHOWN);
        let rows = hottest.hottest.iter().map(|hot| (hot.key.as_str(), hot.events));
        table(out, "keys", rows, intake.accepted)?;
    }
    if let Some(plugins) = state.processors.plugins() {
        out.push_str(&plugins::summary(&plugins.stats()));
    }
    let listen = state.settings.listen;
    let address = state.local_addr().unwrap_or(listen);
    writeln!(
        out,
        "\nPOST /events takes CloudEvents and NDJSON:\n\n  curl http://{address}/events -H 'content-type: application/x-ndjson' \\\n    \
         -d '{{\"type\":\"order.paid\",\"key\":\"order-17\",\"data\":{{\"amount\":12}}}}'\n\n\
         GET /metrics, /stats.json, /healthz, /readyz",
        address = plain(&address.to_string(), 60)
    )
}

/// The lines as a page that a browser shows as they are.
fn page(summary: &str) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>keylane</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>:root{color-scheme:light dark}body{font:15px/1.5 ui-monospace,monospace;margin:2em}\
         pre{white-space:pre-wrap;overflow-wrap:anywhere}</style></head>\n<body><pre>",
    );
    for c in summary.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            c => html.push(c),
        }
    }
    html.push_str("</pre>\n<p>");
    for path in ["/metrics", "/stats.json", "/healthz", "/readyz"] {
        let _ = write!(html, "<a href=\"{path}\">{path}</a> ");
    }
    html.push_str("</p></body></html>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_summary_is_markup() {
        let html = page("a <script>alert(\"1\")</script> & b");
        assert!(
            html.contains("a &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; b"),
            "{html}"
        );
        assert_eq!(html.matches("<script").count(), 0);
    }
}
