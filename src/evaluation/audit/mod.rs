//! Is speculation lossless with these models, on this machine?
//!
//! An audit checks both guarantees: greedy and seeded texts must equal those without speculation token for token, and
//! sampled tokens must follow the target's distribution.
//!
//! ```no_run
//! use specdec_rs::{Audit, SpeculativeConfig, SpeculativeDecoder};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "auto", None)?;
//! let config = SpeculativeConfig { max_new_tokens: 64, ..Default::default() };
//! let report = Audit::new(decoder).run(&["Why is the sky blue?".into()], &config, 32)?;
//! assert!(report.lossless);
//! # Ok::<(), specdec_rs::Error>(())
//! ```

mod divergence;
mod replay;
mod report;
mod request;
mod source;
mod uniformity;
mod verdict;

use super::runner::{Runner, check};
use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::{Error, Result};
use crate::sampling::Noise;
use crate::settings::{DraftKind, SpeculativeConfig, Verification};

pub use report::{AuditReport, BatchInvariance};
pub use source::{DistributionTest, Divergence, Identity, SourceReport};
pub use uniformity::Uniformity;
pub use verdict::Verdict;

use request::Request;
use uniformity::Quantiles;

/// The noise stream that tests draw from; requests use streams of small numbers.
const TEST_STREAM: u16 = u16::MAX;

/// Tests that a decoder's speculation is lossless.
pub struct Audit {
    decoder: SpeculativeDecoder,
    run: Box<dyn Fn(Stream) -> Result<Generation> + Send + Sync>,
}

impl Audit {
    /// An audit of that decoder.
    pub fn new(decoder: SpeculativeDecoder) -> Self {
        Self::running(decoder, Stream::run)
    }

    /// An audit that runs each request with `run` in place of [`Stream::run`], so that a caller can count or interrupt it.
    pub fn running(
        decoder: SpeculativeDecoder,
        run: impl Fn(Stream) -> Result<Generation> + Send + Sync + 'static,
    ) -> Self {
        Self {
            decoder,
            run: Box::new(run),
        }
    }

    /// The number of requests that [`Self::run`] runs.
    pub fn requests(&self, prompts: usize, config: &SpeculativeConfig, samples: usize) -> usize {
        let samples = effective_samples(config, samples);
        let per_source = Verification::ALL.len() * (prompts + samples);
        prompts + samples + self.sources(config).len() * per_source
    }

    /// Tests every draft source, or the one that `config` names, with each kind of verification: on every prompt greedily,
    /// and with `samples` requests, which take the prompts in turn, with the sampling settings of `config`.
    ///
    /// `config.verification` is ignored, and `config.seed` is the first seed.
    pub fn run(
        &self,
        prompts: &[Prompt],
        config: &SpeculativeConfig,
        samples: usize,
    ) -> Result<AuditReport> {
        config.validate()?;
        check(prompts.len(), config)?;
        if config.draft == Some(DraftKind::NONE) {
            let expected = "another source: without drafts there is nothing to verify";
            return Err(Error::invalid("draft", DraftKind::NONE, expected));
        }
        if config.gamma == 0 {
            let expected = "an integer >= 1: without drafts there is nothing to verify";
            return Err(Error::invalid("gamma", config.gamma, expected));
        }
        let prompts = prompts.iter().cloned();
        let prompts: Vec<Vec<u32>> = prompts
            .map(|prompt| self.decoder.prompt_tokens(prompt))
            .collect::<Result<_>>()?;
        let greedy = Request::greedy(&prompts, config);
        let sampled = Request::sampled(&prompts, config, effective_samples(config, samples));
        let greedy = self.baselines(greedy)?;
        let sampled = self.baselines(sampled)?;
        let (first, baseline) = &greedy[0];
        let text = [&first.tokens[..], baseline].concat();
        let rows = replay::batch_invariance(&self.decoder, &text)?;
        let sources = self.sources(config).into_iter();
        let sources: Vec<SourceReport> = sources
            .map(|draft| self.test_source(draft, &greedy, &sampled, rows))
            .collect::<Result<_>>()?;
        Ok(AuditReport::new(rows, sources))
    }

    fn runner(&self) -> Runner<'_> {
        Runner::new(&*self.run)
    }

    fn sources(&self, config: &SpeculativeConfig) -> Vec<DraftKind> {
        match config.draft {
            // Each source by itself, and all together.
            Some(DraftKind::AUTO) | None => {
                let mut sources = self.decoder.draft_sources();
                sources.push(DraftKind::AUTO);
                sources
            }
            Some(draft) => vec![draft],
        }
    }

    /// Requests with the tokens that they generate without speculation.
    fn baselines(&self, requests: Vec<Request>) -> Result<Vec<(Request, Vec<u32>)>> {
        let baseline = |request: Request| {
            let config = request.with(DraftKind::NONE, Verification::Coupled);
            let generation = self
                .runner()
                .baseline(&self.decoder, &request.prompt(), &config)?;
            Ok((request, generation.token_ids()))
        };
        requests.into_iter().map(baseline).collect()
    }

    fn test_source(
        &self,
        draft: DraftKind,
        greedy: &[(Request, Vec<u32>)],
        sampled: &[(Request, Vec<u32>)],
        rows: BatchInvariance,
    ) -> Result<SourceReport> {
        let mut report = SourceReport::new(draft);
        for verification in Verification::ALL {
            for (request, baseline) in greedy {
                let (tokens, drafted) = self.speculate(request, verification, &mut report)?;
                let found = divergence::find(&self.decoder, request, baseline, &tokens, rows)?;
                report.greedy.count(drafted, found);
            }
        }
        if sampled.is_empty() {
            return Ok(report);
        }
        for verification in Verification::ALL {
            let mut quantiles = Quantiles::new(Noise::new(0).stream(TEST_STREAM));
            let mut drafted_tokens = 0;
            for (request, baseline) in sampled {
                let (tokens, drafted) = self.speculate(request, verification, &mut report)?;
                drafted_tokens += drafted;
                if verification == Verification::Coupled {
                    let found = divergence::find(&self.decoder, request, baseline, &tokens, rows)?;
                    report.seeded.get_or_insert_default().count(drafted, found);
                }
                self.add_quantiles(&mut quantiles, request, &tokens, rows)?;
            }
            let test = DistributionTest::new(verification, drafted_tokens, quantiles.test());
            report.distributions.push(test);
        }
        Ok(report)
    }

    /// The tokens that a request generates with a report's draft source, and how many were drafted for them; the report counts
    /// the drafts.
    fn speculate(
        &self,
        request: &Request,
        verification: Verification,
        report: &mut SourceReport,
    ) -> Result<(Vec<u32>, usize)> {
        let config = request.with(report.draft, verification);
        let generation = self
            .runner()
            .generate(&self.decoder, &request.prompt(), &config)?;
        report.count_drafts(&generation.stats);
        Ok((generation.token_ids(), generation.stats.drafted))
    }

    /// Adds the quantiles of a text's tokens in the distributions that they should have been drawn from.
    fn add_quantiles(
        &self,
        quantiles: &mut Quantiles,
        request: &Request,
        tokens: &[u32],
        rows: BatchInvariance,
    ) -> Result<()> {
        let config = &request.config;
        let mut processors = self.decoder.processors(config, request.tokens.len())?;
        replay::replay(
            &self.decoder,
            rows,
            &request.tokens,
            tokens,
            |history, token, logits| {
                quantiles.add(token, &processors.distribution(logits, history, &[])?);
                Ok(())
            },
        )
    }
}

/// Greedy settings leave nothing to sample.
fn effective_samples(config: &SpeculativeConfig, samples: usize) -> usize {
    match config.is_greedy() {
        true => 0,
        false => samples,
    }
}
