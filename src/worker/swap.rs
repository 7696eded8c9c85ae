//! Changing processors: a shard's part in an [order](super::control).

use super::Worker;
use super::control::{Control, Edit, Filter, Order, Reply};
use super::station::Station;
use crate::processor::Make;

/// How a switch is taken back.
pub(super) enum Former {
    /// By the instance that was replaced.
    Kept(Station),
    /// By a new instance of the old factory: the old one had no state to give and was shut down at once.
    Gone { filter: Filter, make: Make, generation: u64 },
}

impl Worker {
    pub(super) fn carry_out(&mut self, control: Control) {
        match control {
            Control::Prepare(order) => {
                let reply = self.prepare(&order);
                order.replies.send(reply);
            }
            Control::Commit(order) => {
                let reply = self.commit(&order);
                order.replies.send(reply);
            }
            Control::Finish(order) => {
                self.finish(&order);
                order.replies.send(Reply::Done);
            }
            Control::Undo(order) => {
                let reply = self.undo(&order);
                order.replies.send(reply);
            }
            Control::Flush(name) => {
                if let Some(station) = self.stations.iter_mut().find(|known| *known.name == *name) {
                    station.want_flush();
                    station.flush(&self.supervisor);
                }
            }
            #[cfg(test)]
            Control::Panic => panic!("a fault of the worker's own"),
        }
    }

    fn prepare(&mut self, order: &Order) -> Reply {
        self.former = None;
        let (filter, make) = match &order.edit {
            Edit::Add(filter, make) => (filter.clone(), make),
            Edit::Replace(make) => {
                let old = self.stations.iter().find(|station| station.name == order.name);
                (old.map_or(Filter::All, |old| old.filter.clone()), make)
            }
            Edit::Remove => return Reply::Done,
        };
        let opened =
            Station::open(&self.supervisor, &order.name, filter, make.clone(), order.generation);
        match opened {
            Ok(station) => {
                self.staged = Some(station);
                Reply::Done
            }
            Err(message) => Reply::Failed { shard: self.index, message },
        }
    }

    /// Switches at a batch boundary: the old instance has seen exactly what came before, the new one sees the rest.
    fn commit(&mut self, order: &Order) -> Reply {
        let place = self.stations.iter().position(|station| station.name == order.name);
        let reply = match (self.staged.take(), place) {
            (Some(new), Some(place)) => self.switch(order, place, new),
            (Some(new), None) => {
                self.stations.push(new);
                Reply::Done
            }
            (None, Some(place)) => {
                self.stations.remove(place).close(&self.supervisor);
                Reply::Done
            }
            (None, None) => Reply::Done,
        };
        self.publish_cells();
        reply
    }

    fn switch(&mut self, order: &Order, place: usize, mut new: Station) -> Reply {
        let old = &mut self.stations[place];
        old.flush(&self.supervisor);
        let handed = match old.hand_over_to(&mut new) {
            Ok(handed) => handed,
            Err(message) => {
                new.close(&self.supervisor);
                return Reply::Failed { shard: self.index, message };
            }
        };
        let mut old = std::mem::replace(old, new);
        if handed || order.keep_old {
            let cells = old.renew_cells();
            self.stations[place].cells.take_over(&cells);
            self.former = Some(Former::Kept(old));
            return Reply::Kept;
        }
        let (make, generation) = old.origin();
        self.former = Some(Former::Gone { filter: old.filter.clone(), make, generation });
        let cells = old.cells.clone();
        // The old one first: it may count faults to its very end.
        old.close(&self.supervisor);
        self.stations[place].cells.take_over(&cells);
        Reply::Done
    }

    fn finish(&mut self, order: &Order) {
        if let Some(Former::Kept(old)) = self.former.take() {
            let cells = old.cells.clone();
            old.close(&self.supervisor);
            if let Some(new) = self.stations.iter().find(|station| station.name == order.name) {
                new.cells.take_over(&cells);
            }
        }
    }

    /// Puts things back as they were before the order.
    fn undo(&mut self, order: &Order) -> Reply {
        if let Some(staged) = self.staged.take() {
            staged.close(&self.supervisor);
        }
        let place = self.stations.iter().position(|station| station.name == order.name);
        let (Some(former), Some(place)) = (self.former.take(), place) else { return Reply::Done };
        let mut old = match former {
            Former::Kept(old) => old,
            Former::Gone { filter, make, generation } => {
                match Station::open(&self.supervisor, &order.name, filter, make, generation) {
                    Ok(station) => station,
                    // The new instance stays: it works, and nothing else is there.
                    Err(message) => return Reply::Failed { shard: self.index, message },
                }
            }
        };
        let new = &mut self.stations[place];
        new.flush(&self.supervisor);
        // What the new instance has learnt is not lost if the old one understands it.
        if let Err(message) = new.hand_over_to(&mut old) {
            tracing::warn!(
                shard = self.index,
                processor = order.name,
                message,
                "the instance that came back does not know what its successor saw"
            );
        }
        let new = std::mem::replace(new, old);
        let cells = new.cells.clone();
        new.close(&self.supervisor);
        self.stations[place].cells.take_over(&cells);
        self.publish_cells();
        Reply::Done
    }

    pub(super) fn publish_cells(&self) {
        let cells = self.stations.iter().map(|station| station.cells.clone()).collect();
        self.shard().cells.processors.store(std::sync::Arc::new(cells));
    }
}
