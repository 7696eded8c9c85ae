//! Instances that come and go, thousands of them.

use std::time::{Duration, Instant};

use super::{Subject, Talk};
use crate::plugin::raw::{Desk, Library};
use crate::plugin::validate::subject::Holdings;

/// How many instances, and how long at most.
const TURNS: i64 = 2000;
const LONGEST: Duration = Duration::from_secs(5);

/// How many before anything is measured: what is allocated once is no leak.
const WARM_UP: i64 = 100;

pub(super) fn run(subject: &Subject, talk: &Talk) {
    let Some(library) = subject.library(talk) else { return };
    let desk = Desk::new(0);
    talk.step("create and destroy an instance");
    if let Err(answer) = library.create(&desk, &subject.config, (0, 1)) {
        return subject.not_created(talk, &answer);
    }
    talk.step("create and destroy 100 instances");
    if turns(&library, &desk, subject, WARM_UP, talk).is_none() {
        return;
    }
    let before = Holdings::now();
    talk.step(format!("create and destroy up to {TURNS} instances"));
    let Some(turns) = turns(&library, &desk, subject, TURNS, talk) else { return };
    let mut after = Holdings::now();
    if let Some(bytes) = after.leaked_since(&before, turns) {
        talk.fail(format!(
            "it leaks: {turns} instances left {bytes} bytes behind, {} each",
            bytes / turns
        ));
    }
    let until = Instant::now() + Duration::from_secs(2);
    while after.threads > before.threads && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        after = Holdings::now();
    }
    if after.threads > before.threads {
        talk.fail(format!(
            "{turns} instances left {} threads behind",
            after.threads - before.threads
        ));
    }
    if after.files > before.files {
        talk.fail(format!(
            "{turns} instances left {} open files behind",
            after.files - before.files
        ));
    }
    talk.step("create 16 instances beside one another, destroyed in the order of their creation");
    let many: Vec<_> = (0..16)
        .filter_map(|shard| library.create(&desk, &subject.config, (shard, 16)).ok())
        .collect();
    if many.len() < 16 {
        talk.fail(format!(
            "of 16 instances beside one another, for 16 shards, only {} were created",
            many.len()
        ));
    }
    for instance in many {
        drop(instance);
    }
}

/// How many turns there was time for.
fn turns(library: &Library, desk: &Desk, subject: &Subject, most: i64, talk: &Talk) -> Option<i64> {
    let began = Instant::now();
    for turn in 0..most {
        let shard = (turn % 4) as u32;
        if let Err(answer) = library.create(desk, &subject.config, (shard, 4)) {
            talk.fail(format!("instance number {turn} was not created: {answer}"));
            return None;
        }
        if began.elapsed() > LONGEST {
            return Some(turn + 1);
        }
    }
    Some(most)
}
