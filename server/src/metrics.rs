//! What the server counts, in the text form that Prometheus reads.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};

use crate::gate::GateMetrics;

/// Counts of one process; all start at zero.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Event streams that are open.
    pub streams_open: Gauge,
    /// Events sent over streams.
    pub events_sent: Counter,
    /// Uploads and roll-backs that were accepted, those that changed nothing among them.
    pub uploads_accepted: Counter,
    /// Uploads and roll-backs that were not, for whatever reason.
    pub uploads_refused: Counter,
    /// Flags evaluated on the server.
    pub evaluations: Counter,
    /// Requests that no token or no valid one came with.
    pub unauthenticated: Counter,
    /// Requests over a limit of their token or their address.
    pub rate_limited: Counter,
    /// Connections that are open.
    pub connections_open: Gauge,
    /// Connections that were accepted.
    pub connections_accepted: Counter,
    /// What the gate's control plane counts.
    pub gate: GateMetrics,
    routes: RwLock<HashMap<Method, HashMap<String, Arc<Route>>>>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number, or takes from it.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency classes, in seconds.
const BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Statuses from 100 on that are told apart.
const STATUSES: usize = 500;

/// How long things took.
#[derive(Debug, Default)]
pub struct Durations {
    classes: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let class = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Writes the samples of a histogram of that name.
    pub(crate) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let mut sum = 0;
        let separator = if labels.is_empty() { "" } else { "," };
        for (at, count) in self.classes.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let bound = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            line(text, &format!("{name}_bucket"), &format!("{labels}{separator}le=\"{bound}\""), sum);
        }
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        line(text, &format!("{name}_sum"), labels, seconds);
        line(text, &format!("{name}_count"), labels, sum);
    }
}

#[derive(Debug)]
struct Route {
    statuses: [AtomicU64; STATUSES],
    durations: Durations,
}

impl Default for Route {
    fn default() -> Self {
        Self { statuses: std::array::from_fn(|_| AtomicU64::new(0)), durations: Durations::default() }
    }
}

impl Metrics {
    /// Counts a request that was answered. The route is its template, of which there are few.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let route = self.route(method, route);
        if let Some(count) = route.statuses.get(usize::from(status.as_u16()).wrapping_sub(100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        route.durations.add(took);
    }

    fn route(&self, method: &Method, route: &str) -> Arc<Route> {
        // A method is what the client says it is; those that no route has share a name.
        let method = if METHODS.contains(method) { method } else { &Method::TRACE };
        let held = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = held.get(method).and_then(|routes| routes.get(route)) {
            return Arc::clone(route);
        }
        drop(held);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let routes = routes.entry(method.clone()).or_default();
        Arc::clone(routes.entry(route.to_owned()).or_default())
    }

    /// Writes everything in the text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(8 * 1_024);
        for (name, help, value) in [
            ("events_sent_total", "Events sent over streams.", &self.events_sent),
            ("uploads_accepted_total", "Uploads and roll-backs that were accepted.", &self.uploads_accepted),
            ("uploads_refused_total", "Uploads and roll-backs that were refused.", &self.uploads_refused),
            ("evaluations_total", "Flags evaluated on the server.", &self.evaluations),
            ("unauthenticated_total", "Requests without a valid token.", &self.unauthenticated),
            ("rate_limited_total", "Requests over a limit.", &self.rate_limited),
            ("connections_accepted_total", "Connections accepted.", &self.connections_accepted),
        ] {
            family(&mut text, name, help, "counter");
            line(&mut text, name, "", value.value());
        }
        for (name, help, value) in [
            ("streams_open", "Event streams that are open.", &self.streams_open),
            ("connections_open", "Connections that are open.", &self.connections_open),
        ] {
            family(&mut text, name, help, "gauge");
            line(&mut text, name, "", value.value());
        }
        self.gate.write(&mut text);
        self.write_routes(&mut text);
        text
    }

    fn write_routes(&self, text: &mut String) {
        let held = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<(String, Arc<Route>)> = held
            .iter()
            .flat_map(|(method, routes)| {
                let method = if *method == Method::TRACE { "other" } else { method.as_str() };
                routes.iter().map(move |(path, route)| {
                    // Templates are ours, so that nothing in them has to be escaped.
                    (format!("method=\"{method}\",route=\"{path}\""), Arc::clone(route))
                })
            })
            .collect();
        drop(held);
        routes.sort_by(|a, b| a.0.cmp(&b.0));
        family(text, "requests_total", "Requests answered, by route and status.", "counter");
        for (labels, route) in &routes {
            for (status, count) in (100..).zip(&route.statuses) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    line(text, "requests_total", &format!("{labels},status=\"{status}\""), count);
                }
            }
        }
        family(text, "request_seconds", "Seconds until the head of the answer, by route.", "histogram");
        for (labels, route) in &routes {
            route.durations.write(text, "request_seconds", labels);
        }
    }
}

/// The methods that routes have; `TRACE`, which none has, stands for all others.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

pub(crate) fn family(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP leverframe_{name} {help}\n# TYPE leverframe_{name} {kind}");
}

pub(crate) fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "leverframe_{name} {value}")
    } else {
        writeln!(text, "leverframe_{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_status_and_time() {
        let metrics = Metrics::default();
        metrics.answered(&Method::GET, "/a/{b}", StatusCode::OK, Duration::from_millis(3));
        metrics.answered(&Method::GET, "/a/{b}", StatusCode::OK, Duration::from_secs(60));
        metrics.answered(&Method::GET, "/a/{b}", StatusCode::NOT_FOUND, Duration::ZERO);
        metrics.streams_open.add(2);
        metrics.streams_open.add(-1);

        let text = metrics.text();

        for expected in [
            "leverframe_requests_total{method=\"GET\",route=\"/a/{b}\",status=\"200\"} 2\n",
            "leverframe_requests_total{method=\"GET\",route=\"/a/{b}\",status=\"404\"} 1\n",
            "leverframe_request_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"0.0025\"} 1\n",
            "leverframe_request_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"0.005\"} 2\n",
            "leverframe_request_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"+Inf\"} 3\n",
            "leverframe_request_seconds_sum{method=\"GET\",route=\"/a/{b}\"} 60.003\n",
            "leverframe_streams_open 1\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn methods_that_nobody_knows_share_a_name() {
        let metrics = Metrics::default();
        for name in ["BREW", "PROPFIND", "TRACE"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            metrics.answered(&method, "unmatched", StatusCode::NOT_FOUND, Duration::ZERO);
        }

        let text = metrics.text();

        assert!(text.contains("{method=\"other\",route=\"unmatched\",status=\"404\"} 3\n"), "{text}");
        assert!(!text.contains("BREW"));
    }
}
