//! Is speculation lossless with these models, on this machine? An audit finds out by the promises' own words: greedy and
//! seeded texts against those without speculation, and sampled tokens against the target's law.

mod identity;
mod report;
mod request;
mod target;
mod uniformity;

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::{Error, Result};
use crate::sampling::Noise;
use crate::settings::{DraftKind, SpeculativeConfig, Verification};

pub use report::{AuditReport, Divergence, Identity, LawTest, RowInvariance, SourceReport};
pub use uniformity::Uniformity;

use request::Request;
use uniformity::Places;

/// The stream of noise that tests draw from; requests use streams of small numbers.
const TEST_STREAM: u16 = u16::MAX;

/// Tests a decoder's promises.
pub struct Audit {
    decoder: SpeculativeDecoder,
    run: Box<dyn Fn(Stream) -> Result<Generation> + Send + Sync>,
}

impl Audit {
    /// An audit of that decoder.
    pub fn new(decoder: SpeculativeDecoder) -> Self {
        Self::running(decoder, Stream::run)
    }

    /// An audit that runs each request with `run` in place of [`Stream::run`], for a caller that watches.
    pub fn running(
        decoder: SpeculativeDecoder,
        run: impl Fn(Stream) -> Result<Generation> + Send + Sync + 'static,
    ) -> Self {
        Self {
            decoder,
            run: Box::new(run),
        }
    }

    /// How many requests [`Self::run`] runs.
    pub fn requests(&self, prompts: usize, config: &SpeculativeConfig, samples: usize) -> usize {
        let samples = samples_of(config, samples);
        let a_source = Verification::ALL.len() * (prompts + samples);
        prompts + samples + self.sources(config).len() * a_source
    }

    /// Tests every draft source, or the one that `config` names, with each kind of verification: on every prompt greedily,
    /// and with `samples` requests, which take the prompts in turn, with the configuration's own sampling.
    ///
    /// The configuration's verification is not looked at, and its seed is the first one.
    pub fn run(
        &self,
        prompts: &[Prompt],
        config: &SpeculativeConfig,
        samples: usize,
    ) -> Result<AuditReport> {
        config.validate()?;
        if prompts.is_empty() {
            return Err(Error::invalid("prompts", "[]", "at least one prompt"));
        }
        if config.max_new_tokens == 0 {
            return Err(Error::invalid("max_new_tokens", 0, "at least 1"));
        }
        if config.gamma == 0 || config.draft == Some(DraftKind::None) {
            let expected =
                "at least 1, with a draft: without speculation there is nothing to verify";
            return Err(Error::invalid("gamma", config.gamma, expected));
        }
        let prompts = prompts.iter().cloned();
        let prompts: Vec<Vec<u32>> = prompts
            .map(|prompt| self.decoder.prompt_tokens(prompt))
            .collect::<Result<_>>()?;
        let greedy = Request::greedy(&prompts, config);
        let sampled = Request::sampled(&prompts, config, samples_of(config, samples));
        let greedy = self.without_speculation(greedy)?;
        let sampled = self.without_speculation(sampled)?;
        let (first, text) = &greedy[0];
        let text = [&first.tokens[..], text].concat();
        let rows = target::row_invariance(&self.decoder, &text)?;
        let sources = self.sources(config).into_iter();
        let sources: Vec<SourceReport> = sources
            .map(|draft| self.source(draft, &greedy, &sampled, rows))
            .collect::<Result<_>>()?;
        Ok(AuditReport {
            lossless: sources.iter().all(SourceReport::holds),
            rows,
            sources,
        })
    }

    fn sources(&self, config: &SpeculativeConfig) -> Vec<DraftKind> {
        match config.draft {
            // Each by itself, and all together.
            Some(DraftKind::Auto) | None => {
                let mut sources = self.decoder.draft_sources();
                sources.push(DraftKind::Auto);
                sources
            }
            Some(draft) => vec![draft],
        }
    }

    /// Requests with the tokens that are written for them without speculation.
    fn without_speculation(&self, requests: Vec<Request>) -> Result<Vec<(Request, Vec<u32>)>> {
        let plain = |request: Request| {
            let config = request.with(DraftKind::None, Verification::Coupled);
            let written = self.generate(&request, &config)?.token_ids();
            Ok((request, written))
        };
        requests.into_iter().map(plain).collect()
    }

    fn source(
        &self,
        draft: DraftKind,
        greedy: &[(Request, Vec<u32>)],
        sampled: &[(Request, Vec<u32>)],
        rows: RowInvariance,
    ) -> Result<SourceReport> {
        let mut report = SourceReport::new(draft);
        for verification in Verification::ALL {
            for (request, plain) in greedy {
                let written = self.speculate(request, verification, &mut report)?;
                let found = identity::divergence(&self.decoder, request, plain, &written, rows)?;
                report.greedy.count(found);
            }
        }
        if sampled.is_empty() {
            return Ok(report);
        }
        for verification in Verification::ALL {
            let mut places = Places::new(Noise::new(0).stream(TEST_STREAM));
            for (request, plain) in sampled {
                let written = self.speculate(request, verification, &mut report)?;
                if verification == Verification::Coupled {
                    let found =
                        identity::divergence(&self.decoder, request, plain, &written, rows)?;
                    report.seeded.get_or_insert_default().count(found);
                }
                self.enter(&mut places, request, &written, rows)?;
            }
            let uniformity = places.test();
            report.laws.push(LawTest {
                verification,
                uniformity,
            });
        }
        Ok(report)
    }

    /// What is written for a request with a report's draft, which is counted there.
    fn speculate(
        &self,
        request: &Request,
        verification: Verification,
        report: &mut SourceReport,
    ) -> Result<Vec<u32>> {
        let config = request.with(report.draft, verification);
        let generation = self.generate(request, &config)?;
        report.count_drafts(&generation.stats);
        Ok(generation.token_ids())
    }

    fn generate(&self, request: &Request, config: &SpeculativeConfig) -> Result<Generation> {
        (self.run)(self.decoder.stream(&request.tokens[..], config)?)
    }

    /// Enters a text's tokens with the laws that they should have been drawn from.
    fn enter(
        &self,
        places: &mut Places,
        request: &Request,
        written: &[u32],
        rows: RowInvariance,
    ) -> Result<()> {
        let config = &request.config;
        let mut processors = self.decoder.processors(config, request.tokens.len())?;
        target::replay(
            &self.decoder,
            rows,
            &request.tokens,
            written,
            |history, token, logits| {
                places.enter(token, &processors.distribution(logits, history, &[])?);
                Ok(())
            },
        )
    }
}

/// Greedy settings leave nothing to sample.
fn samples_of(config: &SpeculativeConfig, samples: usize) -> usize {
    match config.is_greedy() {
        true => 0,
        false => samples,
    }
}
