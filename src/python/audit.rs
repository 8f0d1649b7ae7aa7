//! `Audit`: is speculation lossless here?

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::config::SpeculativeConfig;
use super::decoder::SpeculativeDecoder;
use super::detached::detach;
use super::input::Prompts;
use super::record::record;
use super::requests;
use crate::evaluation::audit;

record! {
    /// Batch invariance: the logits of several rows in one forward pass against those of one row per pass.
    BatchInvariance(rows: audit::BatchInvariance) {
        /// Rows that were compared.
        rows: usize = rows.rows,
        /// Whether their logits are bit-identical.
        identical: bool = rows.identical,
        /// The largest difference between two logits.
        largest_difference: f64 = rows.largest_difference,
        /// The largest logit, by its absolute value.
        largest_logit: f64 = rows.largest_logit,
    }
}

record! {
    /// Where two texts that should be identical diverge.
    Divergence(divergence: audit::Divergence) {
        /// Index of the prompt.
        prompt: usize = divergence.prompt,
        /// The seed; None for greedy decoding.
        seed: Option<u64> = divergence.seed,
        /// Number of generated tokens before the divergence.
        position: usize = divergence.position,
        /// The next token without speculation; None if the text ends.
        plain: Option<u32> = divergence.plain,
        /// The next token with speculation; None if the text ends.
        speculative: Option<u32> = divergence.speculative,
        /// By how much the target prefers the one to the other; None if one of them has probability 0.
        margin: Option<f64> = divergence.margin,
        /// Whether the target's own rounding explains it.
        by_rounding: bool = divergence.by_rounding,
    }
}

record! {
    /// Texts that should be identical.
    Identity(identity: audit::Identity) {
        /// Pairs of texts compared.
        texts: usize = identity.texts,
        /// Tokens that were drafted for them; without any, speculation was not tested.
        drafted: usize = identity.drafted,
        /// The pairs that differ.
        divergences: Vec<Divergence> = identity.divergences.iter().cloned().map(Divergence).collect(),
    }
}

record! {
    /// A chi-squared test of whether tokens follow the target's distribution.
    DistributionTest(test: audit::DistributionTest) {
        /// How drafts were verified.
        verification: String = test.verification.to_string(),
        /// Tokens that were drafted for the texts; without any, speculation was not tested.
        drafted: usize = test.drafted,
        /// Tokens whose distribution left a choice.
        tokens: usize = test.uniformity.tokens,
        /// Pearson's statistic.
        chi_squared: f64 = test.uniformity.chi_squared,
        /// Its degrees of freedom; 0 if there are too few tokens to tell.
        degrees: usize = test.uniformity.degrees,
        /// The probability of a larger statistic by chance; 1 if there are too few tokens to tell.
        p_value: f64 = test.uniformity.p_value,
        /// Total variation distance between the tokens' quantiles in their distributions and the uniform distribution.
        total_variation: f64 = test.uniformity.total_variation,
        /// The expected total variation distance if tokens follow their distributions.
        expected_variation: f64 = test.uniformity.expected_variation,
        /// The total variation distance that the test notices with a probability of at least 0.95; None if there are too few tokens to tell.
        detectable: Option<f64> = test.uniformity.detectable,
        /// Whether chance can explain the statistic; None if that was not tested.
        holds: Option<bool> = test.uniformity.holds,
    }
}

record! {
    /// What an audit finds about one draft source.
    SourceReport(source: audit::SourceReport) {
        /// The source, such as "ngram" or "model".
        draft: String = source.draft.to_string(),
        /// Greedy texts against those without speculation.
        greedy: Identity = Identity(source.greedy.clone()),
        /// Sampled texts against those with the same seeds but without speculation; None if the settings are greedy.
        seeded: Option<Identity> = source.seeded.clone().map(Identity),
        /// Whether sampled tokens follow the target's distribution, for each kind of verification.
        distributions: Vec<DistributionTest> = source.distributions.iter().cloned().map(DistributionTest).collect(),
        /// The old name of distributions, kept for one release.
        laws: Vec<DistributionTest> = source.distributions.iter().cloned().map(DistributionTest).collect(),
        /// For each position of a draft, from 0, the steps whose draft reached it.
        drafted_per_position: Vec<usize> = source.drafted_per_position.clone(),
        /// For each position of a draft, the steps that accepted its token.
        accepted_per_position: Vec<usize> = source.accepted_per_position.clone(),
    }
}

record! {
    /// Whether speculation is lossless, and the tests of it.
    AuditReport(report: audit::AuditReport) {
        /// Whether something was tested and every test passed. It vouches only for what was tested: see verdict.
        lossless: bool = report.lossless,
        /// Whether greedy texts are the target's own; None if that was not tested.
        greedy: Option<bool> = report.greedy,
        /// Whether sampled texts with a seed are the target's own; None if that was not tested.
        seeded: Option<bool> = report.seeded,
        /// Whether sampled tokens follow the target's distribution; None if that was not tested.
        distribution: Option<bool> = report.distribution,
        /// The result in words, with what was not tested.
        verdict: String = report.verdict.to_string(),
        /// Whether the target computes the same logits for rows together and one by one.
        rows: BatchInvariance = BatchInvariance(report.rows),
        /// Each draft source that was tested.
        sources: Vec<SourceReport> = report.sources.iter().cloned().map(SourceReport).collect(),
    }
}

/// Tests that speculation with a decoder's models is lossless on this machine.
///
/// Args:
///     decoder: The decoder.
///
/// Example:
///     >>> report = Audit(decoder).run(["You may"], SpeculativeConfig(max_new_tokens=8), samples=1)
///     >>> report.lossless
///     True
#[pyclass(module = "specdec_rs", frozen)]
pub struct Audit(Py<SpeculativeDecoder>);

#[pymethods]
impl Audit {
    #[new]
    fn new(decoder: Py<SpeculativeDecoder>) -> Self {
        Self(decoder)
    }

    /// For the garbage collector.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    /// Tests every draft source, or the one that `config` names.
    ///
    /// Args:
    ///     prompts: Texts or token ids; each is continued greedily with every source.
    ///     config: The settings of the sampled texts; None is the model's defaults.
    ///     samples: Sampled texts for each kind of verification.
    ///
    /// Returns:
    ///     What was found.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or there is no prompt.
    ///
    /// Example:
    ///     >>> report = Audit(decoder).run(["You may"], SpeculativeConfig(max_new_tokens=8), samples=1)
    #[pyo3(signature = (prompts, config=None, samples=32))]
    fn run(
        &self,
        py: Python<'_>,
        prompts: Prompts,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        samples: usize,
    ) -> PyResult<AuditReport> {
        let decoder = &self.0.get().inner;
        let config = SpeculativeConfig::of_call(decoder, config, None)?;
        let audit = audit::Audit::running(decoder.clone(), requests::run);
        detach(py, || audit.run(&prompts.0, &config, samples)).map(AuditReport)
    }

    fn __repr__(&self) -> String {
        format!("<Audit: {}>", self.0.get().described())
    }
}
