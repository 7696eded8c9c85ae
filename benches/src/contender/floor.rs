//! What is left when the transport is taken away: draw, hash, route, stamp, build the event.
//!
//! It runs in turn with the others, so that "how far from the floor" is a ratio like every other
//! one and not a figure from a quieter minute.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;

use super::{Card, Role, Stream};
use crate::measure::{Course, Lap};
use crate::workload::{BATCH, Keys, Pace, RivalEvent, Work, hash, shard_of, stamp};

#[derive(Debug)]
pub(crate) struct Floor;

impl Stream for Floor {
    fn card(&self) -> Card {
        Card {
            name: "floor",
            role: Role::Floor,
            package: None,
            settings: "the producers alone: hash, route, stamp and build each event, send nothing",
        }
    }

    fn run(&self, work: &Work, keys: &Arc<Keys>) -> Result<Lap, String> {
        let course = Course::without_consumers(work, keys);
        let shards = work.shape.shards;
        let started = thread::scope(|scope| {
            for index in 0..work.shape.producers {
                let course = &course;
                scope.spawn(move || {
                    course.produce(index, |lane| match course.work.pace {
                        Pace::Single => {
                            for draw in lane {
                                let hash = hash(draw.key);
                                let time = course.work.stamp.take();
                                black_box(shard_of(hash, shards));
                                black_box(&RivalEvent::new(&draw, hash, time));
                            }
                        }
                        Pace::Batch => {
                            while lane.len() > 0 {
                                let time = stamp();
                                for draw in lane.by_ref().take(BATCH) {
                                    let hash = hash(draw.key);
                                    black_box(shard_of(hash, shards));
                                    black_box(&RivalEvent::new(&draw, hash, time));
                                }
                            }
                        }
                    });
                });
            }
            course.time()
        });
        let lap = started.joined(work.events);
        course.check()?;
        Ok(lap)
    }
}
