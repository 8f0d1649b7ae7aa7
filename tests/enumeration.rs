//! Verification is lossless, by walking every branch that chance can take.

use std::collections::HashMap;

use specdec_rs::sampling::{Chance, Distribution};
use specdec_rs::speculation::{Draft, TokenSource, Verdict, verify};

/// Takes the branches that a script names, the first where it names none, and remembers their probability.
#[derive(Default)]
struct Walk {
    script: Vec<usize>,
    /// For each choice made: the branch, and how many there were.
    taken: Vec<(usize, usize)>,
    probability: f64,
}

impl Walk {
    fn choose(&mut self, probabilities: &[f64]) -> usize {
        let branch = self.script.get(self.taken.len()).copied().unwrap_or(0);
        self.taken.push((branch, probabilities.len()));
        self.probability *= probabilities[branch];
        branch
    }

    /// The script of the next walk; `None` after the last.
    fn next_script(mut self) -> Option<Vec<usize>> {
        while let Some((branch, count)) = self.taken.pop() {
            if branch + 1 < count {
                let mut script: Vec<usize> = self.taken.iter().map(|choice| choice.0).collect();
                script.push(branch + 1);
                return Some(script);
            }
        }
        None
    }
}

impl Chance for Walk {
    fn bernoulli(&mut self, probability: f64) -> bool {
        self.choose(&[probability, 1.0 - probability]) == 0
    }

    fn categorical(&mut self, law: &Distribution) -> u32 {
        let mut outcomes = Vec::new();
        law.for_each(|token, probability| outcomes.push((token, f64::from(probability))));
        let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.1).collect();
        outcomes[self.choose(&probabilities)].0
    }
}

/// The law of what `experiment` returns.
fn law_of(experiment: impl Fn(&mut Walk) -> Vec<u32>) -> HashMap<Vec<u32>, f64> {
    let mut law = HashMap::new();
    let mut script = Some(Vec::new());
    while let Some(branches) = script {
        let mut walk = Walk {
            script: branches,
            probability: 1.0,
            ..Walk::default()
        };
        let outcome = experiment(&mut walk);
        *law.entry(outcome).or_default() += walk.probability;
        script = walk.next_script();
    }
    law
}

/// A law over three tokens that depends on what was written before.
fn law(seed: u32, written: &[u32]) -> Distribution {
    let mut state = seed;
    let mut weight = |token: u32| {
        for part in written.iter().chain([&token]) {
            state = state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223 + part);
        }
        // Some tokens are impossible, as after top-k.
        f64::from((state >> 16) % 8)
    };
    let weights = [weight(0), weight(1), weight(2) + 1.0];
    let total: f64 = weights.iter().sum();
    let probabilities = weights.iter().map(|weight| (weight / total) as f32);
    let sparse = (0..3)
        .zip(probabilities)
        .filter(|entry| entry.1 > 0.0)
        .collect();
    Distribution::Sparse(sparse)
}

type Verifier = fn(&Draft, &dyn Fn(usize) -> Distribution, &mut Walk) -> Verdict;

fn rejection(draft: &Draft, target: &dyn Fn(usize) -> Distribution, chance: &mut Walk) -> Verdict {
    verify::rejection(draft, |row| Ok::<_, ()>(target(row)), chance).unwrap()
}

/// Accepts too readily: a mistake that the enumeration must notice.
fn lenient(draft: &Draft, target: &dyn Fn(usize) -> Distribution, chance: &mut Walk) -> Verdict {
    for (row, token) in draft.tokens().iter().enumerate() {
        let law = target(row);
        if law.probability(*token) == 0.0 {
            return Verdict {
                accepted: row,
                next: chance.categorical(&law),
            };
        }
    }
    Verdict {
        accepted: draft.len(),
        next: chance.categorical(&target(draft.len())),
    }
}

/// Draws from the target instead of from what it has beyond the draft.
fn no_residual(
    draft: &Draft,
    target: &dyn Fn(usize) -> Distribution,
    chance: &mut Walk,
) -> Verdict {
    for (row, (token, q)) in draft.tokens().iter().zip(draft.laws()).enumerate() {
        let p = target(row);
        let ratio = f64::from(p.probability(*token)) / f64::from(q.probability(*token));
        if ratio < 1.0 && !chance.bernoulli(ratio) {
            return Verdict {
                accepted: row,
                next: chance.categorical(&p),
            };
        }
    }
    Verdict {
        accepted: draft.len(),
        next: chance.categorical(&target(draft.len())),
    }
}

/// Total variation between what a verifier makes the first `gamma + 1` tokens follow and the target's law.
fn distance(verifier: Verifier, gamma: usize, p: u32, q: u32) -> f64 {
    let found = law_of(|chance| {
        let mut draft = Draft::empty(TokenSource::Model);
        for _ in 0..gamma {
            let law = law(q, draft.tokens());
            let token = chance.categorical(&law);
            draft.push(token, law);
        }
        let target = |row: usize| law(p, &draft.tokens()[..row]);
        let verdict = verifier(&draft, &target, chance);
        let mut written = draft.tokens()[..verdict.accepted].to_vec();
        written.push(verdict.next);
        while written.len() <= gamma {
            let next = chance.categorical(&law(p, &written));
            written.push(next);
        }
        written
    });
    let plain = law_of(|chance| {
        let mut written = Vec::new();
        while written.len() <= gamma {
            let next = chance.categorical(&law(p, &written));
            written.push(next);
        }
        written
    });
    let outcomes: std::collections::HashSet<_> = found.keys().chain(plain.keys()).collect();
    let at = |law: &HashMap<Vec<u32>, f64>, outcome| law.get(outcome).copied().unwrap_or(0.0);
    outcomes
        .into_iter()
        .map(|outcome| (at(&found, outcome) - at(&plain, outcome)).abs())
        .sum::<f64>()
        / 2.0
}

/// Laws are kept in 32 bits: so close, and no closer.
const ROUNDING: f64 = 1e-6;

#[test]
fn rejection_sampling_writes_the_targets_law() {
    for gamma in 0..=3 {
        for (p, q) in [(1, 2), (3, 4), (5, 5), (6, 7), (8, 9), (10, 11)] {
            let distance = distance(rejection, gamma, p, q);
            assert!(
                distance < ROUNDING,
                "gamma {gamma}, laws {p} and {q}: {distance}"
            );
        }
    }
}

#[test]
fn a_biased_verifier_is_noticed() {
    for biased in [lenient as Verifier, no_residual as Verifier] {
        let worst = (0..6)
            .map(|pair| distance(biased, 2, 1 + 2 * pair, 2 + 2 * pair))
            .fold(0.0, f64::max);
        assert!(worst > 0.01, "{worst}");
    }
}
