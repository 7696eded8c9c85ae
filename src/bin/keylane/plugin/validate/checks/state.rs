//! The state: saved, loaded, saved again; and what is no state.

use keylane_plugin_abi::{Status, flush_reason};

use super::delivery::{Fate, end, flush, give, usual};
use super::{Subject, Talk};
use crate::plugin::raw::{Desk, Library};

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    if !library.is_stateful() {
        return talk.skip("it is not STATEFUL: a swap begins with nothing");
    }
    let version = library.state_version;
    let desk = Desk::new(0);
    let mut instance = match library.create(&desk, &subject.config, (0, 1)) {
        Ok(instance) => instance,
        Err(answer) => return subject.not_created(talk, &answer),
    };
    talk.step("save_state before any event");
    let empty = instance.save(usize::MAX);
    talk.step("process");
    if give(&mut instance, &desk, &usual(64), talk) == Fate::Gone {
        return;
    }
    talk.step("flush for a swap");
    flush(&mut instance, flush_reason::SWAP, talk);
    talk.step("save_state");
    let saved = match (empty, instance.save(usize::MAX)) {
        (Ok(empty), Ok(saved)) => {
            load_and_go_on(&library, subject, &empty, "that of an instance without events", talk);
            saved
        }
        (Err(answer), _) | (_, Err(answer)) => return talk.fail(format!("save_state: {answer}")),
    };
    if let Some(room) = saved.len().checked_sub(1) {
        talk.step("save_state into a writer that fails");
        if instance.save(room).is_ok() {
            talk.fail("save_state returns OK although its writer has failed: a part of the state would pass for all of it");
        }
    }
    end(instance, talk);
    if let Some(again) = load_and_go_on(&library, subject, &saved, "the state", talk)
        && !same(&again, &saved)
    {
        talk.warn(format!(
            "the state is another one after it was loaded and saved: {} bytes, and {} again",
            saved.len(),
            again.len()
        ));
    }
    damaged(&library, subject, &saved, version, talk);
}

/// Whether two states are the same, or the same in another order: tables have none.
fn same(a: &[u8], b: &[u8]) -> bool {
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    a == b || sorted(a) == sorted(b)
}

/// Loads a state that has to be right, and gives what is saved of it again.
fn load_and_go_on(
    library: &Library,
    subject: &Subject,
    state: &[u8],
    what: &str,
    talk: &Talk,
) -> Option<Vec<u8>> {
    let desk = Desk::new(0);
    let mut instance = library.create(&desk, &subject.config, (0, 1)).ok()?;
    talk.step(format!("load_state: {what}"));
    let answer = instance.load(state, library.state_version);
    if answer.status != Status::OK {
        talk.fail(format!("load_state refuses what save_state has written, {what}: {answer}"));
        return None;
    }
    talk.step(format!("save_state behind load_state: {what}"));
    let again = instance.save(usize::MAX);
    talk.step(format!("process behind load_state: {what}"));
    if give(&mut instance, &desk, &usual(64), talk) == Fate::Stays {
        end(instance, talk);
    }
    match again {
        Ok(again) => Some(again),
        Err(answer) => {
            talk.fail(format!("save_state behind load_state: {answer}"));
            None
        }
    }
}

/// States that were cut, changed, or come from elsewhere: to be refused, or at least survived.
fn damaged(library: &Library, subject: &Subject, saved: &[u8], version: u32, talk: &Talk) {
    let mut states: Vec<(String, Vec<u8>, u32)> = vec![
        ("a newer version of it".into(), saved.to_vec(), version + 1),
        ("a version that cannot be".into(), saved.to_vec(), u32::MAX),
        ("nothing".into(), Vec::new(), version),
        ("all bits set".into(), vec![0xff; saved.len().max(16)], version),
        ("zeros".into(), vec![0; saved.len().max(16)], version),
        ("one twice".into(), [saved, saved].concat(), version),
    ];
    for (part, what) in [(1, "the first quarter of it"), (2, "the first half of it")] {
        states.push((what.into(), saved[..saved.len() * part / 4].to_vec(), version));
    }
    if let Some((_, but_one)) = saved.split_last() {
        states.push((
            "all of it but the last byte".into(),
            saved[..but_one.len()].to_vec(),
            version,
        ));
    }
    // Bits here and there, the same ones each time.
    let mut random = 1_u64;
    for flip in 0..64 {
        let mut state = saved.to_vec();
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if let Some(place) = (random >> 20).checked_rem(saved.len() as u64) {
            state[place as usize] ^= 1 << (random >> 61);
            states.push((format!("bit flip number {flip}, at byte {place}"), state, version));
        }
    }
    for (what, state, version) in states {
        let desk = Desk::new(0);
        let Ok(mut instance) = library.create(&desk, &subject.config, (0, 1)) else { return };
        talk.step(format!("load_state with {what}"));
        let answer = instance.load(&state, version);
        match answer.status {
            Status::E_PANIC => {
                talk.fail(format!("load_state panics at {what}: {}", answer.message))
            }
            Status::OK => {
                if what.starts_with("the first") || what.starts_with("a newer") {
                    talk.warn(format!("load_state takes {what} for a state"));
                }
                talk.step(format!("process behind load_state with {what}"));
                if give(&mut instance, &desk, &usual(16), talk) == Fate::Gone {
                    return;
                }
            }
            _ => {}
        }
        talk.step(format!("destroy behind load_state with {what}"));
        drop(instance);
    }
}
