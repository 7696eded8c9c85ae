//! One making of a certificate, for all who wait for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustls::sign::CertifiedKey;

use super::CertificateError;

type Outcome = Result<Arc<CertifiedKey>, CertificateError>;

/// What those wait for who ask for a certificate that somebody else is making.
#[derive(Debug, Default)]
pub(super) struct Flight {
    landed: Mutex<Option<Outcome>>,
    wake: Condvar,
}

/// The duty to land a flight. A maker that panics lands it, too.
#[derive(Debug)]
pub(super) struct Pilot {
    flight: Arc<Flight>,
}

impl Flight {
    pub(super) fn wait(&self) -> Outcome {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        let landed = self.wake.wait_while(landed, |landed| landed.is_none());
        let landed = landed.unwrap_or_else(PoisonError::into_inner);
        landed.clone().expect("it has landed")
    }

    /// Whether it has landed without a certificate: the next one who asks tries again.
    pub(super) fn has_failed(&self) -> bool {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*landed, Some(Err(_)))
    }

    fn land(&self, outcome: Outcome) {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        self.wake.notify_all();
    }
}

impl Pilot {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self { flight }
    }

    pub(super) fn land(self, outcome: Outcome) {
        self.flight.land(outcome);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        // Without effect when it has landed.
        self.flight.land(Err(CertificateError::Closed));
    }
}
