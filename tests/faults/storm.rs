//! All kinds of faults at once.

use crate::support::{LONG, Random, mute_deliberate_panics, within};
use keylane::{Bus, FaultPolicy};

use crate::KIND;
use crate::shaky::*;

#[test]
fn a_storm_of_faults() {
    mute_deliberate_panics();
    for policy in [FaultPolicy::Skip, FaultPolicy::Restart] {
        within(120, move || {
            let faults = Faults::default();
            let bad = |number: u64| Random::new(number).below(9) == 0;
            let mut plan = Plan::new(bad);
            (plan.shutdown, plan.drop) = (true, true);
            let bus = faults
                .watch(Bus::builder().shards(3).capacity(32).fault_policy(policy))
                .processor("shaky", plan.factory())
                .build()
                .expect("it builds");
            std::thread::scope(|scope| {
                for thread in 0..4u64 {
                    let (emitter, mut producer) = (bus.emitter(), bus.producer());
                    scope.spawn(move || {
                        for number in thread * 1000..(thread + 1) * 1000 {
                            if number % 2 == 0 {
                                emitter.emit_blocking(KIND, number, number).expect("open");
                            } else {
                                producer.emit_blocking(KIND, number, number).expect("open");
                            }
                        }
                    });
                }
            });
            let report = bus.shutdown(LONG);
            let (mut lost, mut kept): (Vec<u64>, Vec<u64>) = (0..4000).partition(|&n| bad(n));
            assert_counts(&report, kept.len() as u64, lost.len() as u64);
            let (mut seen, mut panicked) = (plan.log.processed(), faults.numbers());
            for list in [&mut lost, &mut kept, &mut seen, &mut panicked] {
                list.sort_unstable();
            }
            assert_eq!(seen, kept);
            assert_eq!(panicked, lost);
            assert_eq!(plan.log.made(), plan.log.count(&Step::ShutDown));
        });
    }
}
