//! Between the HTTP implementation and the service: what a request is told about its connection.

use std::sync::Arc;

use ::http::Request;
use hyper::body::Incoming;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tower_service::Service;

use super::connection::Connection;
use crate::event::RequestType;
use crate::http::Peer;

/// A service on one connection.
pub(super) struct Entrance<S> {
    service: TowerToHyperService<S>,
    connection: Arc<Connection>,
    tls: bool,
}

impl<S> Entrance<S> {
    pub(super) fn new(service: S, connection: Arc<Connection>, tls: bool) -> Self {
        Self { service: TowerToHyperService::new(service), connection, tls }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for Entrance<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TowerToHyperServiceFuture<S, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.connection.begin_request(&request);
        let extensions = request.extensions_mut();
        if let Some(peer) = self.connection.peer() {
            extensions.insert(Peer(peer));
        }
        if self.tls {
            extensions.insert(RequestType::TLS);
        }
        self.service.call(request)
    }
}
