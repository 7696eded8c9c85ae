//! The progress line on a terminal.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::readers::Glance;

/// How often the line changes.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A progress line for an input of `size` bytes, if that is known.
///
/// It is drawn on standard error, and not at all when that is no terminal or when it is not `wanted`.
pub(crate) fn line(wanted: bool, size: Option<u64>) -> ProgressBar {
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(size, target);
    let template = match size {
        Some(_) => "{percent:>3}% [{bar:24}] {msg}",
        None => "{spinner} {msg}",
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Draws how far the reading is, `elapsed` after its beginning.
pub(crate) fn draw(bar: &ProgressBar, glance: Glance, elapsed: Duration) {
    let Glance { bytes, events, bad } = glance;
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = HumanCount((events as f64 / seconds) as u64);
    let mut message = format!("{} events  {rate}/s  {}", HumanCount(events), HumanBytes(bytes));
    if bad > 0 {
        message.push_str(&format!("  {} bad lines", HumanCount(bad)));
    }
    bar.set_position(bytes);
    bar.set_message(message);
}
