//! The tests of gohm 1.6.1's `counter_test.go`, by name, and that no reset loses or doubles a request.

mod http_support;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::Empty;
use keylane::Bus;
use keylane::http::{EventLayer, StatusCounters, StatusCounts};
use tower::{Layer, Service, service_fn};

use http_support::{TestBody, fixed, soon};

/// Counts one response with this status. Statuses below 200 cannot be sent as responses, so the service is called directly.
async fn count(status: Option<StatusCode>) -> StatusCounters {
    let counters = StatusCounters::new();
    let bus = bus(1, &counters);
    let handler = service_fn(move |_| {
        let mut response = Response::new(fixed("some response"));
        if let Some(status) = status {
            *response.status_mut() = status;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    ask(&mut EventLayer::new(&bus).layer(handler)).await;
    assert!(bus.shutdown_async(Duration::from_secs(60)).await.is_clean());
    assert_eq!(counters.get_all(), 1);
    counters
}

fn bus(shards: usize, counters: &StatusCounters) -> Bus {
    let builder = Bus::builder().shards(shards).capacity(1 << 16);
    let builder = builder.processor_for("counters", StatusCounters::EVENTS, counters.clone());
    builder.build().expect("valid")
}

/// Calls a service and reads the response.
async fn ask<S, B>(service: &mut S)
where
    S: Service<http::Request<Empty<bytes::Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let response = service.call(http::Request::new(Empty::new())).await.expect("infallible");
    http_body_util::BodyExt::collect(response.into_body()).await.map(drop).expect("a whole body");
}

fn classes(counters: &StatusCounters) -> [u64; 5] {
    [
        counters.get_1xx(),
        counters.get_2xx(),
        counters.get_3xx(),
        counters.get_4xx(),
        counters.get_5xx(),
    ]
}

#[tokio::test]
async fn status_counters_1xx() {
    assert_eq!(classes(&count(Some(StatusCode::CONTINUE)).await), [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn status_counters_2xx_without_handler_writing_status() {
    assert_eq!(classes(&count(None).await), [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn status_counters_2xx() {
    assert_eq!(classes(&count(Some(StatusCode::CREATED)).await), [0, 1, 0, 0, 0]);
}

#[tokio::test]
async fn status_counters_3xx() {
    assert_eq!(classes(&count(Some(StatusCode::FOUND)).await), [0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn status_counters_4xx() {
    assert_eq!(classes(&count(Some(StatusCode::FORBIDDEN)).await), [0, 0, 0, 1, 0]);
}

#[tokio::test]
async fn status_counters_5xx() {
    assert_eq!(classes(&count(Some(StatusCode::BAD_GATEWAY)).await), [0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn a_status_without_a_class_counts_among_all() {
    let odd = StatusCode::from_u16(777).expect("three digits");
    assert_eq!(classes(&count(Some(odd)).await), [0; 5]);
}

/// The equivalent of the deprecated `Status2xxCounter` and its like, which count one class into a variable: one getter.
#[tokio::test]
async fn status_2xx_counter_handler_ignore_counter() {
    assert_eq!(count(Some(StatusCode::PROCESSING)).await.get_2xx(), 0);
}

#[tokio::test]
async fn resets_do_not_touch_each_other() {
    let counters = count(Some(StatusCode::NOT_FOUND)).await;
    assert_eq!(counters.get_and_reset_4xx(), 1);
    assert_eq!((counters.get_4xx(), counters.get_all()), (0, 1));
    assert_eq!(counters.get_and_reset_all(), 1);
    let resets = [
        counters.get_and_reset_1xx(),
        counters.get_and_reset_2xx(),
        counters.get_and_reset_3xx(),
        counters.get_and_reset_4xx(),
        counters.get_and_reset_5xx(),
        counters.get_and_reset_all(),
    ];
    assert_eq!(resets, [0; 6]);
    let counters = count(Some(StatusCode::NOT_FOUND)).await;
    let counts = counters.snapshot_and_reset();
    assert_eq!((counts.status_4xx, counts.all), (1, 1));
    assert_eq!(counters.snapshot(), StatusCounts::default());
}

/// Eight threads that call a service, eight shards that count, and one that resets all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_of_the_resets_is_the_number_of_requests() {
    const WRITERS: u64 = 8;
    const REQUESTS: u64 = 2_000;
    let counters = StatusCounters::new();
    let bus = bus(8, &counters);
    let events = EventLayer::new(&bus);
    let done = AtomicBool::new(false);
    let (sum_2xx, sum_all) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut sum_2xx, mut sum_all) = (0, 0);
            while !done.load(Ordering::Acquire) {
                let counts: StatusCounts = counters.snapshot_and_reset();
                assert_eq!(counts.all, counts.status_2xx + counts.status_5xx, "{counts:?}");
                sum_2xx += counts.status_2xx;
                sum_all += counts.all;
                std::thread::yield_now();
            }
            (sum_2xx, sum_all)
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let layer = &events;
                scope.spawn(move || {
                    let mut number = 0;
                    let mut service = layer.layer(service_fn(move |_| {
                        number += 1;
                        let mut response = Response::new(TestBody::default());
                        if number % 4 == 0 {
                            *response.status_mut() = StatusCode::BAD_GATEWAY;
                        }
                        std::future::ready(Ok::<_, Infallible>(response))
                    }));
                    let runtime = tokio::runtime::Builder::new_current_thread().build();
                    runtime.expect("a runtime").block_on(async {
                        for _ in 0..REQUESTS {
                            ask(&mut service).await;
                        }
                    });
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        done.store(true, Ordering::Release);
        reader.join().expect("no panic")
    });
    assert!(soon(bus.shutdown_async(Duration::from_secs(60))).await.is_clean());
    assert_eq!(events.losses(), Default::default());
    let last = counters.snapshot_and_reset();
    assert_eq!(sum_all + last.all, WRITERS * REQUESTS);
    assert_eq!(sum_2xx + last.status_2xx, WRITERS * REQUESTS * 3 / 4);
}
