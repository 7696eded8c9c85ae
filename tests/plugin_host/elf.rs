//! The check of a library's headers, over libraries of this system and changed ones: no bytes make it panic or run away.

use std::time::{Duration, Instant};

use keylane::plugin::{LoadErrorKind, check_elf};
use proptest::prelude::*;

use crate::plugin_support::good_library;
use crate::support::{Random, stress};

/// Libraries to begin with: the fixture, and what this process has mapped.
fn corpus() -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
    let mut paths: Vec<_> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    let mapped = paths.iter().filter_map(|path| std::fs::read(path).ok());
    let good = std::fs::read(good_library()).expect("built");
    std::iter::once(good).chain(mapped).collect()
}

#[test]
fn libraries_of_the_system_pass() {
    let corpus = corpus();
    assert!(corpus.len() > 2, "libc is mapped at least");
    for library in &corpus {
        check_elf(library).expect("the loader takes it, so does the check");
    }
    let (facts, manifest) = check_elf(&corpus[0]).expect("it passes");
    assert_eq!(facts.entries.len(), 1);
    assert!(manifest.is_some());
}

#[test]
fn every_truncation_is_refused() {
    let good = std::fs::read(good_library()).expect("built");
    for size in 0..good.len() {
        let refused = check_elf(&good[..size]);
        assert!(
            matches!(refused, Err(LoadErrorKind::Truncated { .. } | LoadErrorKind::NotElf { .. })),
            "{size} of {}: {refused:?}",
            good.len()
        );
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let mut random = Random::new(7);
    let corpus = corpus();
    let until = Instant::now() + Duration::from_secs(stress());
    let mut passed = 0;
    let mut tried = 0_u64;
    // The interesting bytes are those of the headers, the tables at the end, and the dynamic section.
    while tried < 200 || Instant::now() < until {
        let original = &corpus[random.below(corpus.len().min(2) as u64) as usize];
        let mut changed = original.clone();
        for _ in 0..=random.below(4) {
            let length = changed.len() as u64;
            let at = match random.below(4) {
                0 => random.below(64),
                1 => 64 + random.below(56 * 12),
                2 => length - 1 - random.below((64 * 32).min(length)),
                _ => random.below(length),
            };
            changed[at as usize] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => 0x7f,
                _ => random.below(256) as u8,
            };
        }
        passed += u64::from(check_elf(&changed).is_ok());
        tried += 1;
    }
    assert!(passed > 0 && passed < tried, "{passed} of {tried} passed");
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(check_elf(&bytes).is_err());
        // Behind a right beginning it gets further.
        let mut framed = std::fs::read(good_library()).expect("built")[..64].to_vec();
        framed.extend(&bytes);
        prop_assert!(check_elf(&framed).is_err());
    }
}
