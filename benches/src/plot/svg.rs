//! An SVG document, written by hand: a few shapes and text are all that the plots need.

use std::fmt::Write;

/// Text and axes.
pub(super) const INK: &str = "#1b1f24";
/// Text of less weight.
pub(super) const FADED: &str = "#57606a";
pub(super) const GRID: &str = "#d8dee4";
/// keylane.
pub(super) const OURS: &str = "#0550ae";

/// Where text begins, ends, or has its middle.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A document under construction.
#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

impl Svg {
    /// A white page with a headline and a line below it that says how to read the plot.
    pub(super) fn page(width: f64, height: f64, title: &str, reading: &str) -> Self {
        let mut svg = Self { width, height, title: title.to_owned(), body: String::new() };
        svg.bold(24.0, 34.0, Anchor::Start, 18.0, INK, title);
        for (line, text) in reading.lines().enumerate() {
            svg.text(24.0, 56.0 + 17.0 * line as f64, Anchor::Start, 13.0, FADED, text);
        }
        svg
    }

    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), fill: &str) {
        let ((x, y), (width, height)) = (at, size);
        self.push(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, dash: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}" stroke-dasharray="{dash}"/>"#
        ));
    }

    pub(super) fn curve(&mut self, points: &[(f64, f64)], stroke: &str, width: f64, dash: &str) {
        let mut path = String::new();
        for (x, y) in points {
            // Writing to a string does not fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        self.push(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-dasharray="{dash}" stroke-linejoin="round"/>"#,
            path.trim_end()
        ));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), fill: &str) {
        self.push(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{fill}"/>"#));
    }

    pub(super) fn text(
        &mut self,
        x: f64,
        y: f64,
        anchor: Anchor,
        size: f64,
        fill: &str,
        text: &str,
    ) {
        self.write_text((x, y), anchor, (size, "normal"), fill, text, "");
    }

    pub(super) fn bold(
        &mut self,
        x: f64,
        y: f64,
        anchor: Anchor,
        size: f64,
        fill: &str,
        text: &str,
    ) {
        self.write_text((x, y), anchor, (size, "bold"), fill, text, "");
    }

    /// Text that runs upwards.
    pub(super) fn upright(&mut self, x: f64, y: f64, size: f64, fill: &str, text: &str) {
        let turn = format!(r#" transform="rotate(-90 {x:.1} {y:.1})""#);
        self.write_text((x, y), Anchor::Middle, (size, "normal"), fill, text, &turn);
    }

    fn write_text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        (size, weight): (f64, &str),
        fill: &str,
        text: &str,
        transform: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}"{transform}>{}</text>"#,
            escape(text)
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The document, with a line about the machine at its foot.
    pub(super) fn finish(mut self, foot: &str) -> String {
        let (width, height) = (self.width, self.height);
        self.text(24.0, height - 14.0, Anchor::Start, 11.0, FADED, foot);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">\n\
             <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            escape(&self.title),
            self.body
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
