//! Changing processors: a shard's part in an [order](super::control).

use super::Worker;
use super::control::{Control, Edit, Filter, Order, Reply};
use super::station::Station;

impl Worker {
    pub(super) fn carry_out(&mut self, control: Control) {
        match control {
            Control::Prepare(order) => {
                let reply = self.prepare(&order);
                order.replies.send(reply);
            }
            Control::Commit(order) => {
                self.commit(&order);
                order.replies.send(Reply::Done);
            }
            Control::Abort(order) => {
                if let Some(staged) = self.staged.take() {
                    staged.close(&self.supervisor);
                }
                order.replies.send(Reply::Done);
            }
            #[cfg(test)]
            Control::Panic => panic!("a fault of the worker's own"),
        }
    }

    fn prepare(&mut self, order: &Order) -> Reply {
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
    fn commit(&mut self, order: &Order) {
        let place = self.stations.iter().position(|station| station.name == order.name);
        let old = match (self.staged.take(), place) {
            (Some(new), Some(place)) => Some(std::mem::replace(&mut self.stations[place], new)),
            (Some(new), None) => {
                self.stations.push(new);
                None
            }
            (None, Some(place)) => Some(self.stations.remove(place)),
            (None, None) => None,
        };
        if let Some(old) = old {
            let cells = old.cells.clone();
            // The old one first: it may count faults to its very end.
            old.close(&self.supervisor);
            if let Some(new) = self.stations.iter().find(|station| station.name == order.name) {
                new.cells.take_over(&cells);
            }
        }
        self.publish_cells();
    }

    pub(super) fn publish_cells(&self) {
        let cells = self.stations.iter().map(|station| station.cells.clone()).collect();
        self.shard().cells.processors.store(std::sync::Arc::new(cells));
    }
}
