//! What a store holds, and what is being made for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::sign::CertifiedKey;

use super::CertificateError;
use super::flight::{Flight, Pilot};
use super::host::Host;

#[derive(Debug, Default)]
pub(super) struct Table {
    held: HashMap<Arc<str>, Held>,
    in_flight: HashMap<Arc<str>, Arc<Flight>>,
    /// Counts uses, so that each has its place in an order.
    uses: u64,
    /// A time before which nothing expires.
    next_expiry: Option<Instant>,
    closed: bool,
}

/// A certificate in the store.
#[derive(Debug)]
pub(super) struct Held {
    certificate: Arc<CertifiedKey>,
    serial: u128,
    begin: Instant,
    /// `None`: never.
    expiry: Option<Instant>,
    last_use: u64,
}

/// What there is for a host.
pub(super) enum Found {
    Held(Arc<CertifiedKey>),
    InFlight(Arc<Flight>),
    /// It is the caller's turn to make it.
    Nothing(Pilot),
}

impl Held {
    pub(super) fn new(
        certificate: Arc<CertifiedKey>,
        serial: u128,
        begin: Instant,
        ttl: Duration,
    ) -> Self {
        Self { certificate, serial, begin, expiry: begin.checked_add(ttl), last_use: 0 }
    }

    pub(super) fn serial(&self) -> u128 {
        self.serial
    }

    pub(super) fn age(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl Table {
    pub(super) fn find(&mut self, host: &Host) -> Result<Found, CertificateError> {
        if self.closed {
            return Err(CertificateError::Closed);
        }
        let name = host.name();
        if let Some(held) = self.held.get_mut(name) {
            self.uses += 1;
            held.last_use = self.uses;
            return Ok(Found::Held(held.certificate.clone()));
        }
        if let Some(flight) = self.in_flight.get(name).filter(|flight| !flight.has_failed()) {
            return Ok(Found::InFlight(flight.clone()));
        }
        let flight = Arc::<Flight>::default();
        self.in_flight.insert(name.clone(), flight.clone());
        Ok(Found::Nothing(Pilot::new(flight)))
    }

    /// Nothing is being made for the host any more.
    pub(super) fn forget_flight(&mut self, host: &Host) {
        self.in_flight.remove(host.name());
    }

    /// Takes a certificate in and returns the one that it replaces. A closed table returns what it is given.
    pub(super) fn hold(&mut self, host: &Host, mut new: Held) -> Result<Option<Held>, Held> {
        if self.closed {
            return Err(new);
        }
        self.uses += 1;
        new.last_use = self.uses;
        self.next_expiry = [self.next_expiry, new.expiry].into_iter().flatten().min();
        Ok(self.held.insert(host.name().clone(), new))
    }

    /// The same for what was [found](Self::find) missing.
    pub(super) fn hold_landed(&mut self, host: &Host, new: Held) -> Result<Option<Held>, Held> {
        self.forget_flight(host);
        self.hold(host, new)
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn take_least_used(&mut self) -> Option<(Arc<str>, Held)> {
        // Looks at all of them. That is less work than making the certificate that needs the place.
        let name = self.held.iter().min_by_key(|(_, held)| held.last_use)?.0.clone();
        self.held.remove_entry(&name)
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Option<(Arc<str>, Held)> {
        if self.next_expiry.is_none_or(|expiry| now < expiry) {
            return None;
        }
        let is_over = |held: &Held| held.expiry.is_some_and(|expiry| expiry <= now);
        let over = self.held.iter().find(|(_, held)| is_over(held)).map(|(name, _)| name.clone());
        if over.is_none() {
            self.next_expiry = self.held.values().filter_map(|held| held.expiry).min();
        }
        over.and_then(|name| self.held.remove_entry(&name))
    }

    /// Closes the table and returns what it held.
    pub(super) fn close(&mut self) -> impl Iterator<Item = (Arc<str>, Held)> + use<> {
        self.closed = true;
        std::mem::take(&mut self.held).into_iter()
    }
}
