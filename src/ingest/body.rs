//! Bodies taken apart into events: one, an array of them, or one a line.

use serde_json::value::RawValue;

use super::event::{Forms, Parsed, json_refusal, not_utf8, parse};
use super::record::offset_within;
use super::refusal::{Defect, Refusal};
use super::rejected::{BadEvent, ENOUGH, NAMED, Place, Rejected};

/// Where the text of an event comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// It is a line of the body, with this number.
    Line(u64),
    /// It is the body.
    Whole(&'a [u8]),
    /// It is an element of the array in the body, and begins at this byte.
    Element { body: &'a [u8], index: usize, at: usize },
    /// It was made from headers.
    Headers,
}

impl Origin<'_> {
    /// What is wrong with the text, and where that is for whoever sent it.
    pub(super) fn bad(self, mut refusal: Refusal) -> BadEvent {
        let mut line_of = |body: &[u8], at: usize| {
            let (line, column) = line_and_column(body, at + refusal.column - 1);
            refusal.column = column;
            line
        };
        let place = match self {
            Self::Line(line) => Place::Line(line),
            Self::Whole(body) => Place::Line(line_of(body, 0)),
            Self::Element { body, index, at } => Place::Element { index, line: line_of(body, at) },
            Self::Headers => Place::Headers,
        };
        BadEvent { place, refusal }
    }
}

/// The events of a body under examination: all of them if all are good, or else what is wrong with the bad ones.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    good: Vec<(Origin<'a>, Parsed<'a>)>,
    bad: Vec<BadEvent>,
    bad_count: usize,
    events: usize,
    /// The most bytes of an event.
    max_event: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(max_event: usize) -> Self {
        Self { good: Vec::new(), bad: Vec::new(), bad_count: 0, events: 0, max_event }
    }

    /// Reads one event.
    pub(super) fn read(&mut self, origin: Origin<'a>, text: &'a [u8], forms: Forms) {
        self.events += 1;
        if self.bad_count == ENOUGH {
            return;
        }
        let parsed = if text.len() > self.max_event {
            Err(Refusal { column: 1, defect: Defect::TooLong(self.max_event) })
        } else {
            parse(text, forms)
        };
        match parsed {
            // Nothing will be emitted once there is a bad one.
            Ok(_) if self.bad_count > 0 => {}
            Ok(parsed) => self.good.push((origin, parsed)),
            Err(refusal) => {
                self.good.clear();
                self.bad_count += 1;
                if self.bad.len() < NAMED {
                    self.bad.push(origin.bad(refusal));
                }
            }
        }
    }

    /// The good events, if there are no bad ones.
    pub(super) fn finish(self) -> Result<Vec<(Origin<'a>, Parsed<'a>)>, Rejected> {
        if self.bad_count > 0 {
            return Err(Rejected::invalid(self.bad, self.bad_count, self.events));
        }
        Ok(self.good)
    }
}

/// The line of `body` in which byte `at` is, counted from 1, and its column there.
fn line_and_column(body: &[u8], at: usize) -> (u64, usize) {
    let before = &body[..at.min(body.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    (line, at - start + 1)
}

/// One CloudEvent.
pub(super) fn structured<'a>(
    body: &'a [u8],
    mut findings: Findings<'a>,
) -> Result<Findings<'a>, Rejected> {
    if body.trim_ascii().is_empty() {
        return Err(Rejected::empty("the body is empty; send one CloudEvent as a JSON object"));
    }
    findings.read(Origin::Whole(body), body, Forms::CloudEvents);
    Ok(findings)
}

/// An array of CloudEvents.
pub(super) fn batched<'a>(
    body: &'a [u8],
    mut findings: Findings<'a>,
) -> Result<Findings<'a>, Rejected> {
    let whole = |refusal| Rejected::invalid(vec![Origin::Whole(body).bad(refusal)], 1, 1);
    let text = std::str::from_utf8(body).map_err(|error| whole(not_utf8(body, &error)))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_ascii_start().starts_with('[') {
        return Err(Rejected::empty(
            "the body is no array; a batch is a JSON array of CloudEvents, and a single one has \
             content-type application/cloudevents+json",
        ));
    }
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| whole(json_refusal(body, text, &error)))?;
    if elements.is_empty() {
        return Err(Rejected::empty("the batch is empty; send at least one CloudEvent"));
    }
    let shift = body.len() - text.len();
    for (index, element) in elements.into_iter().enumerate() {
        let json = element.get();
        let at = shift + offset_within(text, json).unwrap_or(0);
        findings.read(Origin::Element { body, index, at }, json.as_bytes(), Forms::CloudEvents);
    }
    Ok(findings)
}

/// An event a line; blank lines are no events.
pub(super) fn ndjson<'a>(
    body: &'a [u8],
    mut findings: Findings<'a>,
) -> Result<Findings<'a>, Rejected> {
    for (number, line) in (1..).zip(body.split(|&byte| byte == b'\n')) {
        if !line.trim_ascii().is_empty() {
            findings.read(Origin::Line(number), line, Forms::Both);
        }
    }
    if findings.events == 0 {
        return Err(Rejected::empty("the body has no event; send one JSON object a line"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"a","source":"s","type":"t"}"#;

    fn keys(findings: Result<Findings<'_>, Rejected>) -> Result<Vec<String>, String> {
        let good = findings.and_then(Findings::finish).map_err(|rejected| rejected.to_string())?;
        Ok(good.into_iter().map(|(_, parsed)| parsed.record.key().to_owned()).collect())
    }

    #[test]
    fn places_are_lines_and_columns() {
        let body = b"ab\ncd\n\ne";
        for (at, expected) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (1, 3)),
            (3, (2, 1)),
            (6, (3, 1)),
            (7, (4, 1)),
            (8, (4, 2)),
        ] {
            assert_eq!(line_and_column(body, at), expected, "{at}");
        }
    }

    #[test]
    fn a_pretty_printed_event_becomes_one_line() {
        let body = EVENT.replace(',', ",\r\n  ");
        let findings = structured(body.as_bytes(), Findings::new(1000)).expect("not empty");
        let good = findings.finish().expect("one event");
        assert!(!good[0].1.record.json().contains(['\r', '\n']));
        let bad = body.replace("\"a\"", "7");
        assert_eq!(
            keys(structured(bad.as_bytes(), Findings::new(1000))).expect_err("an id of 7"),
            "the event is invalid and was not accepted; line 2, column 8: \"id\" must be a string, not the number 7"
        );
        let cut = &body[..body.len() - 8];
        let said = keys(structured(cut.as_bytes(), Findings::new(1000))).expect_err("cut");
        assert!(said.contains("line 4, column 6: not JSON: EOF"), "{said}");
    }

    #[test]
    fn a_batch_names_the_index() {
        let body = format!("[{EVENT},\n {}, 7]", EVENT.replace("id", "ix"));
        assert_eq!(
            keys(batched(body.as_bytes(), Findings::new(1000))).expect_err("the second is bad"),
            "2 of 3 events are invalid; none was accepted; index 1 (line 2, column 2): \
             \"id\" is missing; a CloudEvent has specversion, id, source and type"
        );
        let good = format!("\u{feff} [{EVENT} , {}]", EVENT.replace("\"s\"", "\"t\""));
        assert_eq!(keys(batched(good.as_bytes(), Findings::new(1000))).expect("two"), ["s", "t"]);
    }

    #[test]
    fn a_batch_is_an_array_of_some() {
        let said = |body: &[u8]| keys(batched(body, Findings::new(1000))).expect_err("no batch");
        assert!(said(b"[]").starts_with("the batch is empty"));
        assert!(said(b"").starts_with("the body is no array"));
        assert!(said(EVENT.as_bytes()).contains("content-type application/cloudevents+json"));
        assert!(said(b"[{}\n,").contains("line 2, column 2: not JSON: EOF"));
        assert!(said(b"[\"\xff\"]").contains("line 1, column 3: invalid UTF-8: byte 0xff"));
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(keys(batched(deep.as_bytes(), Findings::new(1 << 20))).is_err());
    }

    #[test]
    fn lines_are_counted_with_the_blank_ones() {
        let body = format!("\n{EVENT}\r\n \n{{\"type\":\"t\",\"key\":\"k\"}}");
        assert_eq!(keys(ndjson(body.as_bytes(), Findings::new(1000))).expect("two"), ["s", "k"]);
        let bad = format!("\n{EVENT}\nx");
        let said = keys(ndjson(bad.as_bytes(), Findings::new(1000))).expect_err("the third line");
        assert!(
            said.contains("1 of 2 events is invalid; none was accepted; line 3, column 1"),
            "{said}"
        );
        assert!(keys(ndjson(b" \n\n", Findings::new(9))).expect_err("blank").contains("no event"));
    }

    #[test]
    fn behind_a_thousand_bad_events_nobody_looks() {
        let said = |bad: usize| {
            let body = "x\n".repeat(bad) + EVENT;
            keys(ndjson(body.as_bytes(), Findings::new(1000))).expect_err("bad lines")
        };
        assert!(
            said(999).starts_with("999 of 1000 events are invalid; none was accepted; line 1,")
        );
        assert!(
            said(1000).starts_with("at least 1000 of 1001 events are invalid; none was accepted")
        );
        assert!(
            said(5000).starts_with("at least 1000 of 5001 events are invalid; none was accepted")
        );
    }

    #[test]
    fn an_event_has_a_length() {
        let said = keys(ndjson(EVENT.as_bytes(), Findings::new(10))).expect_err("too long");
        assert!(said.ends_with("the event is longer than 10 bytes; make it smaller"), "{said}");
    }
}
