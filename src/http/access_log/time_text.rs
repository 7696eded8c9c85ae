//! Times as the log prints them, in UTC, to the second.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::timestamp::civil_from_days;

/// A notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// `02/Jan/2006:15:04:05 +0000`
    Apache,
    /// `1136214245`
    Epoch,
    /// `2006-01-02T15:04:05Z`
    Iso8601,
}

/// Writes times, and keeps the text of the last second: most requests of a busy server end in the same one.
#[derive(Debug, Default)]
pub(super) struct TimeText {
    apache: Cached,
    iso8601: Cached,
}

#[derive(Debug, Default)]
struct Cached {
    second: i64,
    text: Vec<u8>,
}

impl Cached {
    fn get(&mut self, second: i64, print: fn(i64, &mut Vec<u8>)) -> &[u8] {
        if self.text.is_empty() || self.second != second {
            self.second = second;
            self.text.clear();
            print(second, &mut self.text);
        }
        &self.text
    }
}

impl TimeText {
    pub(super) fn write(&mut self, time: SystemTime, notation: Notation, out: &mut Vec<u8>) {
        let second = epoch_second(time);
        let text = match notation {
            Notation::Epoch => {
                return write!(out, "{second}").expect("writing to memory does not fail");
            }
            Notation::Apache => self.apache.get(second, print_apache),
            Notation::Iso8601 => self.iso8601.get(second, print_iso8601),
        };
        out.extend_from_slice(text);
    }
}

/// The second that a time lies in.
fn epoch_second(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        // Cut off towards the past on this side too.
        Err(before) => -(before.duration().as_nanos().div_ceil(1_000_000_000) as i64),
    }
}

/// Year, month, day, hour, minute and second.
fn civil(second: i64) -> (i64, i64, i64, i64, i64, i64) {
    const PER_DAY: i64 = 86_400;
    let (year, month, day) = civil_from_days(second.div_euclid(PER_DAY));
    let of_day = second.rem_euclid(PER_DAY);
    (year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn print_apache(second: i64, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second) = civil(second);
    let month = MONTHS[month as usize - 1];
    write!(out, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
        .expect("writing to memory does not fail");
}

fn print_iso8601(second: i64, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = civil(second);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
        .expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn written(times: &mut TimeText, time: SystemTime, notation: Notation) -> String {
        let mut out = Vec::new();
        times.write(time, notation, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_second_that_is_known() {
        let time = UNIX_EPOCH + Duration::from_millis(1_136_214_245_999);
        let mut times = TimeText::default();
        assert_eq!(written(&mut times, time, Notation::Apache), "02/Jan/2006:15:04:05 +0000");
        assert_eq!(written(&mut times, time, Notation::Iso8601), "2006-01-02T15:04:05Z");
        assert_eq!(written(&mut times, time, Notation::Epoch), "1136214245");
        let before = UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(written(&mut times, before, Notation::Iso8601), "1969-12-31T23:59:59Z");
        assert_eq!(written(&mut times, before, Notation::Epoch), "-1");
    }

    #[test]
    fn the_text_follows_the_time_in_both_directions() {
        let mut times = TimeText::default();
        for second in [0, 1, 1, 0, 86_399, 86_400, 951_782_400, 4_102_444_799, 5] {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            let oracle = Timestamp::from_second(second as i64).expect("in range");
            assert_eq!(written(&mut times, time, Notation::Iso8601), oracle.to_string());
            let apache = oracle.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
            assert_eq!(written(&mut times, time, Notation::Apache), apache);
        }
    }
}
