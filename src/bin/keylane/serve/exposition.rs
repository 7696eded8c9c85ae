//! The text format of Prometheus, version 0.0.4.
//!
//! Written by hand because it is small, and because numbers are read where they are kept: nothing is registered or stored twice.

use std::fmt::{Display, Write};

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// Metrics as text.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// One metric, to which samples are added.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric. All samples of a name belong together, so each name is begun once.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.text, name }
    }

    /// All that was written.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub(crate) fn sample(
        &mut self,
        labels: &[(&str, &dyn Display)],
        value: impl Display,
    ) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// Adds a sample whose name has a suffix, such as `_sum`.
    pub(crate) fn suffixed(
        &mut self,
        suffix: &str,
        labels: &[(&str, &dyn Display)],
        value: impl Display,
    ) -> &mut Self {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"");
            escape(&text.to_string(), self.text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Writes the value of a label, which may be a stranger's: backslash, quote and line feed are escaped, as the format has it.
fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_as_the_format_has_it() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "What it is.").sample(&[], 3);
        text.family("b", Kind::Gauge, "Another.")
            .sample(&[("x", &"1"), ("y", &2)], 0.5)
            .sample(&[("x", &"say \"hi\"\\\n")], 1e-7);
        assert_eq!(
            text.finish(),
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Another.\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 0.5\nb{x=\"say \\\"hi\\\"\\\\\\n\"} 0.0000001\n"
        );
    }
}
