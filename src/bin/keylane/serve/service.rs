//! The endpoints: which there are, and what each answers to.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use keylane::http::{CurrentRequest, text_error};
use keylane::ingest::printable::quoted;
use tower_service::Service;

use super::state::State;
use super::{events, exposition, metrics, page, stats};

/// What every endpoint answers with.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The endpoints as a service.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    state: Arc<State>,
}

/// What is behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Page,
    Events,
    Metrics,
    Stats,
    Health,
    Readiness,
}

/// Each path with what is behind it.
const PATHS: [(&str, Endpoint); 6] = [
    ("/", Endpoint::Page),
    ("/events", Endpoint::Events),
    ("/metrics", Endpoint::Metrics),
    ("/stats.json", Endpoint::Stats),
    ("/healthz", Endpoint::Health),
    ("/readyz", Endpoint::Readiness),
];

impl Endpoint {
    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Events => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }

    fn allowed(self) -> &'static str {
        if self == Self::Events { "POST" } else { "GET, HEAD" }
    }
}

impl Endpoints {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

impl<B> Service<Request<B>> for Endpoints
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = self.state.clone();
        Box::pin(async move { Ok(answer(&state, request).await) })
    }
}

async fn answer<B>(state: &State, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let path = request.uri().path();
    let Some((route, endpoint)) = PATHS.into_iter().find(|(known, _)| *known == path) else {
        let text = format!(
            "there is no {} here; there are POST /events, and GET /, /metrics, /stats.json, /healthz and /readyz",
            quoted(path)
        );
        return text_error(StatusCode::NOT_FOUND, text);
    };
    if let Some(current) = request.extensions().get::<CurrentRequest>() {
        current.set_route(route);
    }
    let method = request.method();
    if !endpoint.allows(method) {
        let (allowed, said) = (endpoint.allowed(), quoted(method.as_str()));
        let text = format!("{said} does nothing at {route}; use {allowed}");
        let mut response: Answer = text_error(StatusCode::METHOD_NOT_ALLOWED, text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return response;
    }
    match endpoint {
        Endpoint::Page => page::respond(state, request.headers()),
        Endpoint::Events => events::post(state, request).await,
        Endpoint::Metrics => text(exposition::CONTENT_TYPE, metrics::text(state)),
        Endpoint::Stats => text("application/json", stats::json(state)),
        Endpoint::Health => text("text/plain; charset=utf-8", "ok\n".to_owned()),
        Endpoint::Readiness if state.is_draining() => {
            let mut response = text("text/plain; charset=utf-8", "draining\n".to_owned());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        Endpoint::Readiness => text("text/plain; charset=utf-8", "ready\n".to_owned()),
    }
}

/// A response that is true now and not later.
pub(crate) fn text(content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
