//! An audit's result in words: what was found, how much would have been noticed, and what was not tested.

use std::fmt;

use serde::Serialize;

use super::source::{DistributionTest, Identity, SourceReport};
use super::uniformity::MIN_TOKENS;

/// An audit's result in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    /// All promises together.
    pub summary: String,
    /// Greedy texts.
    pub greedy: String,
    /// Sampled texts with a seed.
    pub seeded: String,
    /// The distribution of sampled tokens.
    pub distribution: String,
}

/// What was found of one promise, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    /// No source was tested.
    Untested,
    /// Some sources were not tested, the others are lossless.
    Partial,
    Lossless,
    /// Differences that the target's own rounding explains.
    Rounding,
    Broken,
}

const NOTHING_DRAFTED: &str = "nothing was drafted";

impl Verdict {
    /// The result of these sources' tests.
    pub(super) fn of(sources: &[SourceReport]) -> Self {
        let greedy: Vec<&Identity> = sources.iter().map(|source| &source.greedy).collect();
        let seeded: Vec<&Identity> = sources
            .iter()
            .filter_map(|source| source.seeded.as_ref())
            .collect();
        let tests: Vec<&DistributionTest> = sources
            .iter()
            .flat_map(|source| &source.distributions)
            .collect();
        let findings = [
            finding(greedy.iter().map(|identity| found(identity))),
            finding(seeded.iter().map(|identity| found(identity))),
            finding(tests.iter().map(|test| followed(test))),
        ];
        Self {
            summary: summary(findings).to_owned(),
            greedy: identity(findings[0], &greedy),
            seeded: identity(findings[1], &seeded),
            distribution: distribution(findings[2], &tests),
        }
    }
}

fn found(identity: &Identity) -> Finding {
    match identity.holds() {
        None => Finding::Untested,
        Some(false) => Finding::Broken,
        Some(true) if identity.divergences.is_empty() => Finding::Lossless,
        Some(true) => Finding::Rounding,
    }
}

fn followed(test: &DistributionTest) -> Finding {
    match test.uniformity.holds {
        None => Finding::Untested,
        Some(false) => Finding::Broken,
        Some(true) => Finding::Lossless,
    }
}

/// Several findings together.
fn finding(all: impl Iterator<Item = Finding> + Clone) -> Finding {
    let worst = all.clone().max().unwrap_or(Finding::Untested);
    let complete = !all.into_iter().any(|one| one <= Finding::Partial);
    match worst {
        Finding::Lossless if !complete => Finding::Partial,
        worst => worst,
    }
}

fn summary(findings: [Finding; 3]) -> &'static str {
    match finding(findings.into_iter()) {
        Finding::Untested => "NOT TESTED",
        Finding::Partial => "lossless as far as tested",
        Finding::Lossless => "lossless",
        Finding::Rounding => "lossless except for rounding",
        Finding::Broken => "NOT LOSSLESS",
    }
}

/// What was found of texts that should be identical.
fn identity(finding: Finding, identities: &[&Identity]) -> String {
    let texts: usize = identities.iter().map(|identity| identity.texts).sum();
    match finding {
        Finding::Untested if texts == 0 => "not tested: nothing was sampled".into(),
        Finding::Untested => format!("not tested: {NOTHING_DRAFTED}"),
        Finding::Partial => {
            format!(
                "every text is the target's own; some sources were not tested: {NOTHING_DRAFTED}"
            )
        }
        Finding::Lossless => "every text is the target's own".into(),
        Finding::Rounding => {
            "texts differ only where the target's own rounding flips a choice".into()
        }
        Finding::Broken => "NOT the target's own texts".into(),
    }
}

/// What was found of the distribution of tokens.
fn distribution(finding: Finding, tests: &[&DistributionTest]) -> String {
    let untested = tests.iter().find(|test| test.uniformity.holds.is_none());
    let reason = untested.map_or("nothing was sampled".into(), |test| test.untested_reason());
    if finding == Finding::Untested {
        return format!("not tested: {reason}");
    }
    if finding == Finding::Broken {
        return "NOT the target's distribution".into();
    }
    let tested = tests.iter().map(|test| &test.uniformity);
    let tested = tested.filter(|uniformity| uniformity.holds.is_some());
    let tokens = tested.clone().map(|uniformity| uniformity.tokens).min();
    let detectable = tested.filter_map(|uniformity| uniformity.detectable);
    let text = format!(
        "no deviation found in {} tokens (a total variation above {:.2} would have been noticed with high probability); more samples would notice smaller ones",
        tokens.unwrap_or_default(),
        detectable.fold(0.0, f64::max),
    );
    match finding {
        Finding::Partial => format!("{text}; some tests were not made: {reason}"),
        _ => text,
    }
}

impl DistributionTest {
    /// Why nothing was tested, where `holds` is `None`.
    pub(crate) fn untested_reason(&self) -> String {
        match self.drafted {
            0 => NOTHING_DRAFTED.into(),
            _ => format!(
                "{} tokens are too few, {MIN_TOKENS} are needed",
                self.uniformity.tokens
            ),
        }
    }
}

/// One line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            summary,
            greedy,
            seeded,
            distribution,
        } = self;
        write!(
            f,
            "{summary}: greedy: {greedy}; seeded: {seeded}; distribution: {distribution}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::audit::Uniformity;
    use crate::settings::{DraftKind, Verification};

    fn texts(drafted: usize) -> Identity {
        Identity {
            texts: 3,
            drafted,
            ..Identity::default()
        }
    }

    fn test(tokens: usize, holds: Option<bool>) -> DistributionTest {
        let uniformity = Uniformity {
            tokens,
            chi_squared: 1.0,
            degrees: 2,
            p_value: 0.5,
            total_variation: 0.07,
            expected_variation: 0.06,
            detectable: holds.map(|_| 0.43),
            holds,
        };
        DistributionTest::new(Verification::Block, 5, uniformity)
    }

    fn source(
        greedy: Identity,
        seeded: Option<Identity>,
        tests: Vec<DistributionTest>,
    ) -> SourceReport {
        SourceReport {
            greedy,
            seeded,
            distributions: tests,
            ..SourceReport::new(DraftKind::NGRAM)
        }
    }

    #[test]
    fn a_verdict_names_its_power() {
        let tests = vec![test(90, Some(true)), test(64, Some(true))];
        let verdict = Verdict::of(&[source(texts(9), Some(texts(9)), tests)]);
        assert_eq!(verdict.summary, "lossless");
        assert_eq!(verdict.seeded, "every text is the target's own");
        let expected = "no deviation found in 64 tokens (a total variation above 0.43 would have been noticed with high probability); more samples would notice smaller ones";
        assert_eq!(verdict.distribution, expected);
    }

    #[test]
    fn what_was_not_tested_is_named() {
        let verdict = Verdict::of(&[source(texts(9), None, Vec::new())]);
        assert_eq!(verdict.summary, "lossless as far as tested");
        assert_eq!(verdict.seeded, "not tested: nothing was sampled");
        assert_eq!(verdict.distribution, "not tested: nothing was sampled");
        let verdict = Verdict::of(&[source(texts(9), Some(texts(0)), vec![test(16, None)])]);
        assert_eq!(verdict.seeded, "not tested: nothing was drafted");
        let expected = "not tested: 16 tokens are too few, 40 are needed";
        assert_eq!(verdict.distribution, expected);
        let verdict = Verdict::of(&[source(texts(0), None, Vec::new())]);
        assert_eq!(verdict.summary, "NOT TESTED");
    }

    #[test]
    fn one_source_that_was_tested_does_not_stand_for_others() {
        let sources = [texts(9), texts(0)].map(|greedy| source(greedy, None, Vec::new()));
        let verdict = Verdict::of(&sources);
        let expected =
            "every text is the target's own; some sources were not tested: nothing was drafted";
        assert_eq!(verdict.greedy, expected);
    }

    #[test]
    fn a_broken_promise_outweighs_all_else() {
        let tests = vec![test(64, Some(false)), test(64, Some(true))];
        let verdict = Verdict::of(&[source(texts(9), None, tests)]);
        assert_eq!(verdict.summary, "NOT LOSSLESS");
        assert_eq!(verdict.distribution, "NOT the target's distribution");
    }
}
