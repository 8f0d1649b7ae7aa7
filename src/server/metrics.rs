//! Metrics for Prometheus, under the names that dashboards for vLLM and llama.cpp use, and our own.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::engine::{Generation, Service, Stats};

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

/// Positions of drafts that are counted separately.
const POSITIONS: usize = 16;

/// All metrics of the server.
pub(super) struct Metrics {
    registry: Registry,
    counters: Arc<Counters>,
    running: Gauge,
    waiting: Gauge,
    cache_usage: FloatGauge,
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

/// Registers metrics.
struct Register<'a>(&'a mut Registry);

impl Register<'_> {
    /// Adds a metric under each of its names.
    fn add(&mut self, metric: &(impl Metric + Clone), names: &[&str], help: &str) {
        for name in names {
            self.0.register(*name, help, metric.clone());
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let counters = Arc::new(Counters::default());
        let mut registry = Registry::default();
        counters.register(&mut registry);
        let to = &mut Register(&mut registry);
        let [running, waiting] = <[Gauge; 2]>::default();
        let names = ["vllm:num_requests_running", "llamacpp:requests_processing"];
        to.add(&running, &names, "Requests being computed");
        let names = ["vllm:num_requests_waiting", "llamacpp:requests_deferred"];
        to.add(&waiting, &names, "Requests waiting");
        let cache_usage = FloatGauge::default();
        let names = ["vllm:kv_cache_usage_perc", "llamacpp:kv_cache_usage_ratio"];
        let help = "Used share of the caches' capacity in tokens, 1 is all";
        to.add(&cache_usage, &names, help);
        Self {
            registry,
            counters,
            running,
            waiting,
            cache_usage,
        }
    }

    /// The counters of one request.
    pub(super) fn request(&self) -> RequestMetrics {
        RequestMetrics(Arc::new(RequestState {
            counters: self.counters.clone(),
            start: Instant::now(),
            last: Mutex::new(Vec::new()),
        }))
    }

    /// All metrics as text, with the state of a service now.
    pub(super) fn text(&self, service: &Service) -> String {
        let status = service.status();
        self.running.set(status.running() as i64);
        self.waiting.set(status.waiting() as i64);
        let max = service.cache_capacity().unwrap_or(usize::MAX);
        self.cache_usage
            .set(service.cached_tokens() as f64 / max as f64);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Counters {
    /// The format adds `_total` to the names of counters.
    fn register(&self, registry: &mut Registry) {
        let to = &mut Register(registry);
        self.register_counts(to);
        self.register_families(to);
        self.register_times(to);
    }

    fn register_counts(&self, to: &mut Register<'_>) {
        let names = [
            "specdec_prompt_tokens",
            "vllm:prompt_tokens",
            "llamacpp:prompt_tokens",
        ];
        to.add(&self.prompt_tokens, &names, "Tokens of prompts");
        let names = ["specdec_prompt_cached_tokens", "vllm:prefix_cache_hits"];
        let help = "Tokens of prompts that were in caches of earlier requests";
        to.add(&self.cached_tokens, &names, help);
        let names = [
            "specdec_generation_tokens",
            "vllm:generation_tokens",
            "llamacpp:tokens_predicted",
        ];
        to.add(&self.new_tokens, &names, "Tokens generated");
        let names = [
            "specdec_steps",
            "vllm:spec_decode_num_drafts",
            "llamacpp:n_decode",
        ];
        let help =
            "Steps of requests: forward passes of the target, each request's counted by itself";
        to.add(&self.steps, &names, help);
        let names = [
            "specdec_drafted_tokens",
            "vllm:spec_decode_num_draft_tokens",
            "llamacpp:n_drafted",
        ];
        to.add(&self.drafted, &names, "Tokens drafted");
        let names = [
            "specdec_accepted_tokens",
            "vllm:spec_decode_num_accepted_tokens",
            "llamacpp:n_drafted_accepted",
        ];
        to.add(
            &self.accepted,
            &names,
            "Drafted tokens that the target accepted",
        );
    }

    fn register_families(&self, to: &mut Register<'_>) {
        let help = "Steps that drafted as far as a position, from 0";
        let names = ["specdec_drafted_tokens_per_position"];
        to.add(&self.drafted_per_position, &names, help);
        let help = "Steps that accepted as far as a position, from 0";
        let names = [
            "specdec_accepted_tokens_per_position",
            "vllm:spec_decode_num_accepted_tokens_per_pos",
        ];
        to.add(&self.accepted_per_position, &names, help);
        let help = "Tokens drafted, by source";
        let names = ["specdec_source_drafted_tokens"];
        to.add(&self.drafted_by_source, &names, help);
        let help = "Accepted tokens, by source";
        let names = ["specdec_source_accepted_tokens"];
        to.add(&self.accepted_by_source, &names, help);
        let names = ["specdec_choices_ended", "vllm:request_success"];
        to.add(&self.ended, &names, "Answers, by finish reason");
        let help = "Requests that were rejected or failed, by reason";
        to.add(&self.refused, &["specdec_requests_refused"], help);
    }

    fn register_times(&self, to: &mut Register<'_>) {
        let help = "From requests' arrival to the end of their prefill";
        to.add(&self.prefill_seconds, &["specdec_prefill_seconds"], help);
        let help = "From the end of prefill to the end of the answers";
        to.add(&self.decode_seconds, &["specdec_decode_seconds"], help);
        let help = "Estimated time of the answers by plain steps, one request at a time";
        to.add(&self.plain_seconds, &["specdec_plain_seconds"], help);
        to.add(&self.draft_seconds, &["specdec_draft_seconds"], "Drafting");
        let help = "Passes of the target, each request's counted by itself";
        to.add(&self.verify_seconds, &["specdec_verify_seconds"], help);
        let help = "Speedup over plain steps alone of the newest answer with accepted drafts";
        to.add(&self.speedup, &["specdec_speedup"], help);
        let help = "From a request's arrival to its first token";
        let names = ["vllm:time_to_first_token_seconds"];
        to.add(&self.time_to_first_token.0, &names, help);
        let help = "Between a token and the next; several of one step share its time";
        let names = ["vllm:inter_token_latency_seconds"];
        to.add(&self.inter_token.0, &names, help);
        let help = "From a request's arrival to an answer's end";
        let names = ["vllm:e2e_request_latency_seconds"];
        to.add(&self.request.0, &names, help);
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

/// Counts one request.
#[derive(Clone)]
pub(super) struct RequestMetrics(Arc<RequestState>);

struct RequestState {
    counters: Arc<Counters>,
    start: Instant,
    /// When each choice received its last tokens.
    last: Mutex<Vec<Option<Instant>>>,
}

impl RequestMetrics {
    /// A choice received `tokens` tokens.
    pub(super) fn received(&self, choice: usize, tokens: usize) {
        if tokens == 0 {
            return;
        }
        let (now, counters) = (Instant::now(), &self.0.counters);
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let choices = last.len().max(choice + 1);
        last.resize(choices, None);
        match last[choice].replace(now) {
            None => {
                let seconds = (now - self.0.start).as_secs_f64();
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

    /// A choice ended; `with_prompt` also counts its prompt, once for all choices that share it.
    pub(super) fn ended(&self, generation: &Generation, with_prompt: bool) {
        let seconds = self.0.start.elapsed().as_secs_f64();
        self.0.counters.request.0.observe(seconds);
        self.0.counters.count(generation, with_prompt);
    }

    /// The request was rejected, or failed.
    pub(super) fn refused(&self, reason: &str) {
        let reason = Reason {
            reason: reason.to_owned(),
        };
        self.0.counters.refused.get_or_create(&reason).inc();
    }
}
