//! Giving events to an instance as a shard does; and batches of every size.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keylane_plugin_abi::{Status, flush_reason, shutdown_reason};

use super::{Subject, Talk};
use crate::plugin::raw::{Desk, Instance, Library, Sample, Value};

/// How long an instance may say that it takes nothing for now.
const STALLED: Duration = Duration::from_secs(3);

/// What became of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is of no more use.
    Gone,
}

/// Gives a batch, and what remains of it, until all is done; tells what is wrong on the way. Its memory is taken away behind it.
pub(super) fn give(
    instance: &mut Instance<'_>,
    desk: &Desk,
    samples: &[Sample],
    talk: &Talk,
) -> Fate {
    let samples = &*instance.fit(samples);
    let mut lent = instance.lend(samples);
    let (mut from, mut since) = (0, Instant::now());
    let fate = loop {
        let answer = instance.process(&mut lent, from);
        let left = samples.len() - from;
        let blamed = samples.get(from + answer.processed);
        let blamed = blamed.map_or("an event behind the last", |sample| sample.what.as_str());
        if answer.processed > left {
            talk.fail(format!(
                "process says that it has processed {} of {left} events, with {answer}",
                answer.processed
            ));
            break Fate::Gone;
        }
        match answer.status {
            Status::OK => break Fate::Stays,
            Status::AGAIN => {
                if answer.processed > 0 {
                    since = Instant::now();
                }
                from += answer.processed;
                if from == samples.len() {
                    break Fate::Stays;
                }
                if since.elapsed() > STALLED {
                    talk.fail(format!("it has taken no event for {STALLED:?}, saying {answer}; the first that it does not take is {}", blamed));
                    break Fate::Gone;
                }
                desk.advance(10_000_000);
                std::thread::sleep(Duration::from_millis(1));
            }
            Status::E_EVENT | Status::E_PANIC if answer.processed == left => {
                talk.fail(format!("process blames an event behind the last: {answer}"));
                break Fate::Gone;
            }
            Status::E_EVENT => {
                from += answer.processed + 1;
                if from == samples.len() {
                    break Fate::Stays;
                }
            }
            Status::E_PANIC => {
                talk.fail(format!("it panics at {}: {}", blamed, answer.message));
                break Fate::Gone;
            }
            Status::E_FATAL => {
                talk.warn(format!("it gives itself up at {}: {}", blamed, answer.message));
                break Fate::Gone;
            }
            _ => {
                talk.fail(format!(
                    "process returns {answer}; there are OK, AGAIN, E_EVENT, E_FATAL and E_PANIC"
                ));
                break Fate::Gone;
            }
        }
    };
    Instance::take_back(lent);
    fate
}

/// Ends an instance in order.
pub(super) fn end(mut instance: Instance<'_>, talk: &Talk) {
    talk.step("flush, where the memory of earlier batches is gone");
    flush(&mut instance, flush_reason::SHUTDOWN, talk);
    talk.step("shutdown");
    instance.shutdown(shutdown_reason::BUS);
    talk.step("destroy");
    drop(instance);
}

/// Flushes, until there is nothing held back.
pub(super) fn flush(instance: &mut Instance<'_>, reason: u32, talk: &Talk) {
    let since = Instant::now();
    loop {
        let answer = instance.flush(reason);
        match answer.status {
            Status::OK => return,
            Status::AGAIN if since.elapsed() < STALLED => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Status::AGAIN => return talk.fail(format!("flush has returned AGAIN for {STALLED:?}")),
            Status::E_PANIC => return talk.fail(format!("flush panics: {}", answer.message)),
            status if status.name().is_none() => {
                return talk.fail(format!("flush returns {answer}"));
            }
            _ => return talk.warn(format!("flush: {answer}")),
        }
    }
}

/// Numbers, texts and JSON under a few keys and types, as programs send them.
pub(super) fn usual(count: usize) -> Vec<Sample> {
    use keylane_plugin_abi::value_kind as kind;
    let sample = |n: usize| {
        let value = match n % 4 {
            0 => Value::Word(kind::U64, n as u64),
            1 => Value::Bytes(kind::UTF8, format!("text {n}").into_bytes()),
            2 => Value::Bytes(kind::JSON, format!("{{\"data\":{{\"n\":{n}}}}}").into_bytes()),
            _ => Value::Word(kind::NONE, 0),
        };
        Sample::new(format!("event {n}"), 256 + (n % 3) as u32, value)
            .key(&format!("key-{}", n % 7))
    };
    (0..count).map(sample).collect()
}

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    let desk = Desk::new(0);
    let mut instance = match library.create(&desk, &subject.config, (0, 1)) {
        Ok(instance) => instance,
        Err(answer) => return subject.not_created(talk, &answer),
    };
    for size in [0, 1, 2, 16, 255, 256, 1024, 0, 1] {
        talk.step(format!("process a batch of {size} events"));
        let began = Instant::now();
        if give(&mut instance, &desk, &usual(size), talk) == Fate::Gone {
            return;
        }
        let took = began.elapsed();
        if took > Duration::from_millis(500) {
            talk.warn(format!(
                "{size} events took {took:.0?}; all events of the shard wait meanwhile"
            ));
        }
    }
    end(instance, talk);
    let (Some(single), Some(together)) =
        (counters(&library, subject, 1, talk), counters(&library, subject, 256, talk))
    else {
        return;
    };
    for (name, one) in &single {
        let other = together.get(name).copied().unwrap_or(0);
        if other != *one {
            talk.warn(format!("the counter {name} is {one} after 512 events one at a time, and {other} after the same in batches of 256"));
        }
    }
}

/// What an instance counts of the same events, in batches of one size.
fn counters(
    library: &Library,
    subject: &Subject,
    size: usize,
    talk: &Talk,
) -> Option<BTreeMap<String, u64>> {
    let desk = Desk::new(0);
    let mut instance = library.create(&desk, &subject.config, (0, 1)).ok()?;
    talk.step(format!("process 512 events in batches of {size}"));
    for batch in usual(512).chunks(size) {
        if give(&mut instance, &desk, batch, talk) == Fate::Gone {
            return None;
        }
    }
    end(instance, talk);
    Some(desk.counters())
}
