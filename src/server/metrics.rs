//! Counters for Prometheus, under the names that dashboards for vLLM and llama.cpp know, beside our own.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::app::{App, Shared};
use crate::engine::{Generation, Stats};

type FloatGauge = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Position {
    position: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

/// Positions of drafts that are told apart.
const POSITIONS: usize = 16;

/// All that is counted.
pub(super) struct Metrics {
    registry: Registry,
    counters: Arc<Counters>,
    running: [Gauge; 2],
    waiting: [Gauge; 2],
    cache_usage: [FloatGauge; 2],
}

#[derive(Default)]
struct Counters {
    prompt_tokens: Counter,
    cached_tokens: Counter,
    new_tokens: Counter,
    steps: Counter,
    drafted: Counter,
    accepted: Counter,
    drafted_per_position: Family<Position, Counter>,
    accepted_per_position: Family<Position, Counter>,
    drafted_by_source: Family<Source, Counter>,
    accepted_by_source: Family<Source, Counter>,
    ended: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    decode_seconds: FloatCounter,
    plain_seconds: FloatCounter,
    prefill_seconds: FloatCounter,
    draft_seconds: FloatCounter,
    verify_seconds: FloatCounter,
    speedup: FloatGauge,
    time_to_first_token: Latency,
    inter_token: Latency,
    request: Latency,
}

/// A distribution of seconds.
struct Latency(Histogram);

impl Default for Latency {
    fn default() -> Self {
        // vLLM's bounds, from a millisecond on.
        Self(Histogram::new([
            0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
            5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
        ]))
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let mut registry = Registry::default();
        counters.register(&mut registry);
        let mut gauge = |names: [&str; 2], help: &str| {
            names.map(|name| {
                let gauge = Gauge::default();
                registry.register(name, help, gauge.clone());
                gauge
            })
        };
        let running = gauge(
            ["vllm:num_requests_running", "llamacpp:requests_processing"],
            "Requests that are computed",
        );
        let waiting = gauge(
            ["vllm:num_requests_waiting", "llamacpp:requests_deferred"],
            "Requests that wait for their turn",
        );
        let cache_usage =
            ["vllm:kv_cache_usage_perc", "llamacpp:kv_cache_usage_ratio"].map(|name| {
                let gauge = FloatGauge::default();
                let help = "Share of the tokens that caches may hold which are taken, 1 is all";
                registry.register(name, help, gauge.clone());
                gauge
            });
        Self {
            registry,
            counters,
            running,
            waiting,
            cache_usage,
        }
    }

    /// Watches one request.
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::new(Watched {
            counters: self.counters.clone(),
            began: Instant::now(),
            last: Mutex::new(Vec::new()),
        }))
    }

    fn observe(&self, app: &App) {
        let status = app.service.status();
        for gauge in &self.running {
            gauge.set(status.running() as i64);
        }
        for gauge in &self.waiting {
            gauge.set(status.waiting() as i64);
        }
        let most = app.cache_tokens.unwrap_or(usize::MAX);
        for gauge in &self.cache_usage {
            gauge.set(status.cached_tokens() as f64 / most as f64);
        }
    }
}

impl Counters {
    fn register(&self, registry: &mut Registry) {
        self.register_counts(registry);
        self.register_families(registry);
        self.register_times(registry);
    }

    fn register_counts(&self, registry: &mut Registry) {
        // The format adds `_total` to counters.
        for (counter, names, help) in [
            (
                &self.prompt_tokens,
                &[
                    "specdec_prompt_tokens",
                    "vllm:prompt_tokens",
                    "llamacpp:prompt_tokens",
                ][..],
                "Tokens of prompts",
            ),
            (
                &self.cached_tokens,
                &["specdec_prompt_cached_tokens", "vllm:prefix_cache_hits"],
                "Tokens of prompts that had been read for earlier requests",
            ),
            (
                &self.new_tokens,
                &[
                    "specdec_generation_tokens",
                    "vllm:generation_tokens",
                    "llamacpp:tokens_predicted",
                ],
                "Tokens written",
            ),
            (
                &self.steps,
                &[
                    "specdec_steps",
                    "vllm:spec_decode_num_drafts",
                    "llamacpp:n_decode",
                ],
                "Steps of requests: passes of the target, each request's counted by itself",
            ),
            (
                &self.drafted,
                &[
                    "specdec_drafted_tokens",
                    "vllm:spec_decode_num_draft_tokens",
                    "llamacpp:n_drafted",
                ],
                "Tokens drafted",
            ),
            (
                &self.accepted,
                &[
                    "specdec_accepted_tokens",
                    "vllm:spec_decode_num_accepted_tokens",
                    "llamacpp:n_drafted_accepted",
                ],
                "Drafted tokens that the target accepted",
            ),
        ] {
            for name in names {
                registry.register(*name, help, counter.clone());
            }
        }
    }

    fn register_families(&self, registry: &mut Registry) {
        for (family, name, help) in [
            (
                &self.drafted_per_position,
                "specdec_drafted_tokens_per_position",
                "Steps that drafted as far as a position, from 0",
            ),
            (
                &self.accepted_per_position,
                "specdec_accepted_tokens_per_position",
                "Steps that accepted as far as a position, from 0",
            ),
            (
                &self.accepted_per_position,
                "vllm:spec_decode_num_accepted_tokens_per_pos",
                "Steps that accepted as far as a position, from 0",
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (family, name, help) in [
            (
                &self.drafted_by_source,
                "specdec_source_drafted_tokens",
                "Tokens drafted, by who proposed them",
            ),
            (
                &self.accepted_by_source,
                "specdec_source_accepted_tokens",
                "Accepted tokens, by who proposed them",
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (family, name, help) in [
            (
                &self.ended,
                "specdec_choices_ended",
                "Answers, by why they ended",
            ),
            (
                &self.ended,
                "vllm:request_success",
                "Answers, by why they ended",
            ),
            (
                &self.refused,
                "specdec_requests_refused",
                "Requests that were refused or failed, by why",
            ),
        ] {
            registry.register(name, help, family.clone());
        }
    }

    fn register_times(&self, registry: &mut Registry) {
        for (counter, name, help) in [
            (
                &self.prefill_seconds,
                "specdec_prefill_seconds",
                "From requests' arrival to when their prompts were read",
            ),
            (
                &self.decode_seconds,
                "specdec_decode_seconds",
                "From there to the answers' ends",
            ),
            (
                &self.plain_seconds,
                "specdec_plain_seconds",
                "What the answers would have taken by plain steps, one request at a time",
            ),
            (&self.draft_seconds, "specdec_draft_seconds", "Drafting"),
            (
                &self.verify_seconds,
                "specdec_verify_seconds",
                "Passes of the target, each request's counted by itself",
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "specdec_speedup",
            "How much faster the newest answer was than by plain steps alone",
            self.speedup.clone(),
        );
        for (latency, name, help) in [
            (
                &self.time_to_first_token,
                "vllm:time_to_first_token_seconds",
                "From a request's arrival to its first token",
            ),
            (
                &self.inter_token,
                "vllm:inter_token_latency_seconds",
                "Between a token and the next; several of one step share its time",
            ),
            (
                &self.request,
                "vllm:e2e_request_latency_seconds",
                "From a request's arrival to an answer's end",
            ),
        ] {
            registry.register(name, help, latency.0.clone());
        }
    }

    fn count(&self, generation: &Generation, with_prompt: bool) {
        let stats = &generation.stats;
        if with_prompt {
            self.prompt_tokens.inc_by(stats.prompt_tokens as u64);
            self.cached_tokens.inc_by(stats.cached_tokens as u64);
        }
        self.new_tokens.inc_by(stats.new_tokens as u64);
        self.steps.inc_by(stats.steps as u64);
        self.drafted.inc_by(stats.drafted as u64);
        self.accepted.inc_by(stats.accepted as u64);
        self.count_positions(stats);
        for (source, counts) in &stats.sources {
            let source = Source {
                source: source.to_string(),
            };
            let family = self.drafted_by_source.get_or_create(&source);
            family.inc_by(counts.drafted as u64);
            let family = self.accepted_by_source.get_or_create(&source);
            family.inc_by(counts.accepted as u64);
        }
        let reason = generation.finish_reason.to_string();
        self.ended.get_or_create(&Reason { reason }).inc();
        self.prefill_seconds.inc_by(stats.prefill.as_secs_f64());
        self.decode_seconds.inc_by(stats.decode.as_secs_f64());
        self.draft_seconds.inc_by(stats.draft.as_secs_f64());
        self.verify_seconds.inc_by(stats.verify.as_secs_f64());
        if let Some(plain) = stats.plain {
            self.plain_seconds.inc_by(plain.as_secs_f64());
        }
        if let Some(speedup) = stats.speedup() {
            self.speedup.set(speedup);
        }
    }

    fn count_positions(&self, stats: &Stats) {
        for (family, counts) in [
            (&self.drafted_per_position, &stats.drafted_per_position),
            (&self.accepted_per_position, &stats.accepted_per_position),
        ] {
            for (position, count) in (0..).zip(counts.iter().take(POSITIONS)) {
                let counter = family.get_or_create(&Position { position });
                counter.inc_by(*count as u64);
            }
        }
    }
}

/// A request that is watched.
#[derive(Clone)]
pub(super) struct Watch(Arc<Watched>);

struct Watched {
    counters: Arc<Counters>,
    began: Instant,
    /// When each choice wrote last.
    last: Mutex<Vec<Option<Instant>>>,
}

impl Watch {
    /// A choice wrote so many tokens.
    pub(super) fn wrote(&self, choice: usize, tokens: usize) {
        if tokens == 0 {
            return;
        }
        let (now, counters) = (Instant::now(), &self.0.counters);
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let choices = last.len().max(choice + 1);
        last.resize(choices, None);
        match last[choice].replace(now) {
            None => {
                let seconds = (now - self.0.began).as_secs_f64();
                counters.time_to_first_token.0.observe(seconds);
            }
            Some(before) => {
                let each = (now - before).as_secs_f64() / tokens as f64;
                for _ in 0..tokens {
                    counters.inter_token.0.observe(each);
                }
            }
        }
    }

    /// A choice ended; its prompt counts with the first of several that have it.
    pub(super) fn ended(&self, generation: &Generation, with_prompt: bool) {
        let seconds = self.0.began.elapsed().as_secs_f64();
        self.0.counters.request.0.observe(seconds);
        self.0.counters.count(generation, with_prompt);
    }

    /// The request was refused, or failed.
    pub(super) fn refused(&self, reason: &str) {
        let reason = Reason {
            reason: reason.to_owned(),
        };
        self.0.counters.refused.get_or_create(&reason).inc();
    }
}

/// All of it, as text.
pub(super) async fn show(State(app): Shared) -> impl IntoResponse {
    app.metrics.observe(&app);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &app.metrics.registry);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}
