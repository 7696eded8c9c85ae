//! Promise 1: all events with one key go to one instance on one thread, and any machine can compute which.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keylane::{Bus, EventType, Key, ShardContext};
use proptest::prelude::*;
use support::{LONG, Random, Recorded, Recorder, within};

/// SeaHash as its specification says it, one block at a time, written without a look at the crate's code path.
///
/// Four lanes take turns: each 8-byte block (little end first, the last one padded with zeroes) is mixed into the lane whose
/// turn it is. The hash diffuses the exclusive or of all lanes and the length.
fn seahash_by_the_book(bytes: &[u8]) -> u64 {
    fn diffuse(x: u64) -> u64 {
        const P: u64 = 0x6eed_0e9d_a4d9_4a4f;
        let x = x.wrapping_mul(P);
        let x = x ^ ((x >> 32) >> (x >> 60));
        x.wrapping_mul(P)
    }
    let mut lanes: [u64; 4] = [
        0x16f1_1fe8_9b0d_677c,
        0xb480_a793_d8e6_c86c,
        0x6fe2_e5aa_f078_ebc9,
        0x14f9_94a4_c525_9381,
    ];
    for (turn, block) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..block.len()].copy_from_slice(block);
        let lane = &mut lanes[turn % 4];
        *lane = diffuse(*lane ^ u64::from_le_bytes(word));
    }
    diffuse(lanes.iter().fold(bytes.len() as u64, |all, lane| all ^ lane))
}

/// The numbers of shards of the vectors below.
const SHARDS: [usize; 6] = [1, 2, 3, 8, 64, 1000];

/// Key, hash, and its shard for each of [`SHARDS`]. Part of the contract: other programs route by this table.
#[rustfmt::skip]
const VECTORS: &[(&[u8], u64, [usize; 6])] = &[
    (b"",                                0xc920_ca43_256f_dcb9, [0, 1, 2, 6, 50, 785]),
    (b"a",                               0x29c4_01b2_6a16_e94d, [0, 0, 0, 1, 10, 163]),
    (b"order-17",                        0xbb14_2dd4_2d81_5b17, [0, 1, 2, 5, 46, 730]),
    (b"to be or not to be",              0x1b99_3a82_6f4a_e575, [0, 0, 0, 0,  6, 107]),
    (b"\0",                              0x78d3_db1f_028a_c5fd, [0, 0, 1, 3, 30, 471]),
    (b"\0\0\0\0\0\0\0\0",                0x1cde_e552_a46d_795f, [0, 0, 0, 0,  7, 112]),
    (b"\x11\0\0\0\0\0\0\0",              0x191f_0098_435e_bf97, [0, 0, 0, 0,  6,  98]),
    (b"\xff\xff\xff\xff\xff\xff\xff\xff", 0x65a4_beb7_32c7_3be7, [0, 0, 1, 3, 25, 397]),
    (b"12345678",                        0x7947_6d25_d4c6_dfc4, [0, 0, 1, 3, 30, 473]),
    (b"123456789",                       0xb902_0583_efde_7ff9, [0, 1, 2, 5, 46, 722]),
    ("ключ".as_bytes(),                  0xf5a4_0aa0_14e9_9479, [0, 1, 2, 7, 61, 959]),
    (b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0x258c_e40a_e1a9_611c, [0, 0, 0, 1,  9, 146]),
];

#[test]
fn published_vectors() {
    for &(bytes, hash, shards) in VECTORS {
        assert_eq!(seahash_by_the_book(bytes), hash, "{bytes:?}");
        assert_eq!(seahash::hash(bytes), hash, "{bytes:?}");
        let key = Key::from(bytes);
        assert_eq!(key.hash(), Some(hash), "{bytes:?}");
        for (count, shard) in SHARDS.into_iter().zip(shards) {
            assert_eq!(key.shard(count), Some(shard), "{bytes:?} on {count} shards");
            assert_eq!(((u128::from(hash) * count as u128) >> 64) as usize, shard);
        }
    }
    // The vector that the authors of SeaHash publish, in their own notation.
    assert_eq!(seahash_by_the_book(b"to be or not to be"), 1_988_685_042_348_123_509);
}

#[test]
fn text_bytes_and_numbers_are_the_same_bytes() {
    assert_eq!(Key::from("order-17"), Key::from(b"order-17".as_slice()));
    assert_eq!(Key::from(String::from("order-17")), Key::from("order-17"));
    assert_eq!(Key::from(17), Key::from(b"\x11\0\0\0\0\0\0\0"));
    assert_eq!(Key::from(u64::MAX), Key::from(&[0xff; 8]));
    assert_ne!(Key::from(17), Key::from("17"));
    assert_ne!(Key::from(""), Key::NONE);
    assert_eq!((Key::NONE.hash(), Key::NONE.shard(8)), (None, None));
    assert_eq!(Key::from_hash(5), Key::from_hash(5));
}

proptest! {
    #[test]
    fn any_key_goes_where_the_specification_says(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        number: u64,
        shards in 1usize..=1024,
    ) {
        let hash = seahash_by_the_book(&bytes);
        prop_assert_eq!(Key::from(bytes.as_slice()).hash(), Some(hash));
        prop_assert_eq!(Key::from(number).hash(), Some(seahash_by_the_book(&number.to_le_bytes())));
        let shard = Key::from(bytes.as_slice()).shard(shards);
        prop_assert_eq!(shard, Some(((u128::from(hash) * shards as u128) >> 64) as usize));
        prop_assert!(shard < Some(shards));
    }
}

type List = Arc<Mutex<Vec<Recorded>>>;

fn recording_bus(shards: usize) -> (Bus, List) {
    let list = List::default();
    let bus = Bus::builder()
        .shards(shards)
        .processor("record", {
            let list = list.clone();
            move |cx: &ShardContext| Recorder::new(cx, &list)
        })
        .build()
        .expect("it builds");
    (bus, list)
}

#[test]
fn the_bus_follows_the_table() {
    within(60, || {
        for shards in [1, 2, 3, 8] {
            let (bus, list) = recording_bus(shards);
            let emitter = bus.emitter();
            for (number, &(bytes, ..)) in VECTORS.iter().enumerate() {
                emitter.emit_blocking(EventType::user(0), number as u64, bytes).expect("open");
            }
            assert!(bus.shutdown(LONG).is_clean());
            let list = list.lock().expect("unpoisoned");
            assert_eq!(list.len(), VECTORS.len());
            for event in &*list {
                let (bytes, hash, _) = VECTORS[event.number as usize];
                assert_eq!(event.key_hash, hash);
                assert_eq!(Some(event.shard), Key::from(bytes).shard(shards), "{bytes:?}");
            }
        }
    });
}

#[test]
fn one_key_is_one_instance_on_one_thread() {
    within(60, || {
        let (bus, list) = recording_bus(3);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let emitter = bus.emitter();
                let mut producer = bus.producer();
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    for number in 0..500u64 {
                        let key = random.below(40);
                        if number % 2 == 0 {
                            emitter.emit_blocking(EventType::user(0), number, key).expect("open");
                        } else {
                            producer.emit_blocking(EventType::user(0), number, key).expect("open");
                        }
                    }
                });
            }
        });
        assert!(bus.shutdown(LONG).is_clean());
        let mut homes = HashMap::new();
        let list = list.lock().expect("unpoisoned");
        assert_eq!(list.len(), 2000);
        for event in &*list {
            let home = (event.shard, event.thread);
            assert_eq!(*homes.entry(event.key_hash).or_insert(home), home);
        }
        let shards: HashMap<_, _> = homes.values().copied().collect();
        assert_eq!(shards.len(), 3, "forty keys reach every shard");
    });
}

/// Fails when a count is further from the mean than chance explains: over six standard deviations of a fair draw.
#[track_caller]
fn assert_even(counts: &[u64]) {
    let total: u64 = counts.iter().sum();
    let mean = total as f64 / counts.len() as f64;
    let deviation = (mean * (1.0 - 1.0 / counts.len() as f64)).sqrt();
    for &count in counts {
        assert!((count as f64 - mean).abs() <= 6.0 * deviation, "uneven: {counts:?}");
    }
}

fn counts(list: &List, shards: usize) -> Vec<u64> {
    let mut counts = vec![0; shards];
    for event in &*list.lock().expect("unpoisoned") {
        counts[event.shard] += 1;
    }
    counts
}

#[test]
fn events_without_a_key_spread_from_one_sender() {
    within(60, || {
        for shards in [2, 3, 7] {
            let (bus, list) = recording_bus(shards);
            let (emitter, mut producer) = (bus.emitter(), bus.producer());
            for number in 0..10_000u64 {
                emitter.emit_blocking(EventType::user(0), number, Key::NONE).expect("open");
                producer.emit_blocking(EventType::user(0), number, Key::NONE).expect("open");
            }
            producer
                .emit_batch((0..10_000u64).map(|n| (EventType::user(0), n.into(), Key::NONE)))
                .expect("open");
            assert!(bus.shutdown(LONG).is_clean());
            assert_even(&counts(&list, shards));
        }
    });
}

#[test]
fn events_without_a_key_spread_from_many_senders_of_one_event() {
    within(60, || {
        let shards = 4;
        let (bus, list) = recording_bus(shards);
        for number in 0..1000u64 {
            bus.producer().emit_blocking(EventType::user(0), number, Key::NONE).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        assert_even(&counts(&list, shards));
    });
}

#[test]
fn events_without_a_key_spread_from_senders_that_share_a_ring() {
    within(60, || {
        let shards = 4;
        let list = List::default();
        let bus = Bus::builder()
            .shards(shards)
            .max_rings(0)
            .processor("record", {
                let list = list.clone();
                move |cx: &ShardContext| Recorder::new(cx, &list)
            })
            .build()
            .expect("it builds");
        let emitter = bus.emitter();
        for number in 0..2000u64 {
            emitter.emit_blocking(EventType::user(0), number, Key::NONE).expect("open");
        }
        assert!(bus.shutdown(LONG).is_clean());
        assert_even(&counts(&list, shards));
    });
}

#[test]
fn a_refused_event_without_a_key_still_has_none() {
    within(60, || {
        let (bus, _) = recording_bus(2);
        let emitter = bus.emitter();
        bus.shutdown(LONG);
        let error = emitter.try_emit(EventType::user(0), 1u64, Key::NONE).expect_err("closed");
        assert_eq!(error.into_event().key(), Key::NONE);
        let error = emitter.try_emit(EventType::user(0), 1u64, "k").expect_err("closed");
        assert_eq!(error.into_event().key(), Key::from("k"));
    });
}
