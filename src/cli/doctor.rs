//! `specdec doctor`: what this machine and its settings are, as far as speed depends on them, and what will be slow, and why.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use indicatif::BinaryBytes;
use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::profile;
use crate::backend::cpu::Tier;
use crate::device::Device;
use crate::error::Result;
use crate::hub::{self, packed};
use crate::model::memory;
use crate::threads;

const EXAMPLES: &str = "\
Examples:
  specdec doctor
  specdec doctor --json

It measures for a quarter of a second, changes nothing, and asks no server.";

/// Show what this machine has, and what will be slow on it and why
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print JSON instead of the list
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    processor: String,
    /// How many threads the process may run at once.
    cores: usize,
    /// How many compute.
    threads: usize,
    /// The instructions that the kernels use.
    kernels: &'static str,
    device: String,
    /// Bytes that are available, where the system tells.
    memory: Option<u64>,
    /// Bytes a second that all threads together read.
    bandwidth: f64,
    /// The system's policy: "always", "madvise" or "never"; `None`: it has none.
    huge_pages: Option<String>,
    hub: hub::Place,
    packed_weights: PackedWeights,
    profiles: Option<PathBuf>,
    /// What will be slow or fail, and why.
    advice: Vec<String>,
}

/// Weights that were packed for the kernels.
#[derive(Serialize)]
struct PackedWeights {
    folder: PathBuf,
    bytes: u64,
    /// The maximum number of bytes.
    limit: u64,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let report = Report::new()?;
    if args.json {
        return write_json(&report);
    }
    write!(io::stdout().lock(), "{report}")?;
    Ok(())
}

impl Report {
    fn new() -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = threads::from_environment()?.unwrap_or(cores);
        let packed_weights = PackedWeights {
            folder: packed::folder(),
            bytes: packed::list().iter().map(|weights| weights.bytes).sum(),
            limit: packed::limit()?,
        };
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            cores,
            threads,
            kernels: Tier::choose()?.name(),
            device: Device::auto()?.to_string(),
            memory: memory::available(),
            bandwidth: bandwidth(threads.min(cores)),
            huge_pages: huge_pages(),
            hub: hub::Place::of_environment(),
            packed_weights,
            profiles: profile::folder(),
            advice: Vec::new(),
        };
        report.advice = report.advice();
        Ok(report)
    }

    fn advice(&self) -> Vec<String> {
        /// Models of half a billion parameters fit.
        const LITTLE: u64 = 1 << 30;
        let unset = |variable| format!("unset {variable}");
        let (cores, threads) = (self.cores, self.threads);
        let possible = [
            (
                cfg!(debug_assertions),
                "This is a debug build, which is many times slower: build with --release.".to_owned(),
            ),
            (
                self.kernels == "scalar",
                "The kernels use no vector instructions: the processor has none of those that they are made for \
                 (x86-64: AVX2; Arm: dotprod), or SPECDEC_CPU_TIER says so."
                    .to_owned(),
            ),
            (
                self.kernels == "avx2",
                "The processor has no VNNI: each further token that a step verifies costs more than on newer ones, so \
                 speculation gains less."
                    .to_owned(),
            ),
            (
                threads < cores,
                format!("{threads} of {cores} cores compute: {}.", unset("SPECDEC_NUM_THREADS")),
            ),
            (
                threads > cores,
                format!(
                    "{threads} threads share {cores} cores, and wait for each other: {}.",
                    unset("SPECDEC_NUM_THREADS")
                ),
            ),
            (
                self.huge_pages.as_deref() == Some("never"),
                "The system gives no huge pages, which costs some percent: \
                 echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
                    .to_owned(),
            ),
            (
                self.memory.is_some_and(|bytes| bytes < LITTLE),
                "Little memory is available: close other programs, or use a smaller or more quantized model.".to_owned(),
            ),
            (
                self.hub.offline,
                "HF_HUB_OFFLINE is set: only models that are on this machine are found.".to_owned(),
            ),
            (
                self.packed_weights.limit == 0,
                "SPECDEC_PACKED_WEIGHTS_GIB is 0: weights are packed again at each start.".to_owned(),
            ),
        ];
        let applies = possible.into_iter().filter(|(applies, _)| *applies);
        applies.map(|(_, advice)| advice).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |bytes: Option<u64>| match bytes {
            Some(bytes) => format!("{} available", BinaryBytes(bytes)),
            None => "unknown".to_owned(),
        };
        let shown = |path: &Option<PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "none: neither XDG_CACHE_HOME nor HOME is set".to_owned(),
        };
        let token = if self.hub.has_token {
            "with"
        } else {
            "without"
        };
        writeln!(f, "version         {}", self.version)?;
        writeln!(
            f,
            "processor       {}, {} cores",
            self.processor, self.cores
        )?;
        writeln!(
            f,
            "kernels         {}, on {} threads",
            self.kernels, self.threads
        )?;
        writeln!(f, "device          {}", self.device)?;
        writeln!(
            f,
            "memory          {}, read at {:.0} GB/s",
            known(self.memory),
            self.bandwidth / 1e9
        )?;
        if let Some(policy) = &self.huge_pages {
            writeln!(f, "huge pages      {policy}")?;
        }
        writeln!(f, "hub             {}, {token} a token", self.hub.endpoint)?;
        writeln!(f, "models          {}", self.hub.cache.display())?;
        writeln!(f, "                {}", self.hub.own_cache.display())?;
        let packed = &self.packed_weights;
        let (used, limit) = (BinaryBytes(packed.bytes), BinaryBytes(packed.limit));
        let folder = packed.folder.display();
        writeln!(f, "packed weights  {folder}, {used} of at most {limit}")?;
        writeln!(f, "profiles        {}", shown(&self.profiles))?;
        let tokens = self.bandwidth / 1e9;
        writeln!(
            f,
            "\nEach token takes reading all weights: with 1 GB of them, plain decoding reaches at most {tokens:.0}\n\
             tokens a second here. Speculation reads them once for several tokens."
        )?;
        for advice in &self.advice {
            writeln!(f, "\n{advice}")?;
        }
        Ok(())
    }
}

/// The processor's name, where the system tells; else its architecture.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The policy that the system marks: `always [madvise] never`.
fn huge_pages() -> Option<String> {
    let policies = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, chosen) = policies.split_once('[')?;
    let (chosen, _) = chosen.split_once(']')?;
    Some(chosen.to_owned())
}

/// Bytes a second that so many threads read together, of more memory than caches hold: the best of some rounds.
fn bandwidth(threads: usize) -> f64 {
    const WORDS: usize = (256 << 20) / size_of::<u64>();
    const ROUNDS: usize = 3;
    let words = vec![1_u64; WORDS];
    let read = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for share in words.chunks(WORDS.div_ceil(threads)) {
                scope.spawn(move || black_box(share.iter().fold(0, |sum, word| sum ^ word)));
            }
        });
        start.elapsed().as_secs_f64()
    };
    let best = (0..ROUNDS).map(|_| read()).fold(f64::INFINITY, f64::min);
    size_of_val(&words[..]) as f64 / best
}
