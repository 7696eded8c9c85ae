//! axum-prometheus, which counts and measures and logs nothing.

use std::sync::OnceLock;

use axum_prometheus::{PrometheusMetricLayer, metrics_exporter_prometheus::PrometheusHandle};
use tokio::runtime::Builder;

use super::{Observer, Outcome, Start};

pub(super) struct Prometheus {
    handle: PrometheusHandle,
    before: u64,
}

impl Prometheus {
    pub(super) fn start() -> Start<(Self, PrometheusMetricLayer<'static>)> {
        // The recorder is one for the process, and can be installed only once.
        static PAIR: OnceLock<(PrometheusMetricLayer<'static>, PrometheusHandle)> = OnceLock::new();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        // It wants a runtime for its upkeep every five seconds; a round is shorter, and reading the counters does the same.
        let inside = runtime.enter();
        let (layer, handle) = PAIR.get_or_init(PrometheusMetricLayer::pair).clone();
        drop(inside);
        let before = counted(&handle);
        Ok((Self { handle, before }, layer))
    }
}

/// All requests in the exposition.
fn counted(handle: &PrometheusHandle) -> u64 {
    let text = handle.render();
    let lines = text.lines().filter(|line| line.starts_with("axum_http_requests_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

impl Observer for Prometheus {
    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        let counted = counted(&self.handle) - self.before;
        if counted != requests {
            return Err(format!("{counted} requests were counted instead of {requests}"));
        }
        Ok(Outcome::default())
    }
}
