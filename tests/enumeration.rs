//! Verification is lossless: these tests walk every branch that a random choice can take.
//!
//! `tests/mutations.py` puts each of these bugs into the product, and these tests, or those of losslessness.rs,
//! speculation.rs and structured.rs, fail:
//!
//! - raw q (the draft's distribution before its processors); no residual, per token or per path;
//! - the wrong row after a rejection, or the wrong row of logits; an early break in block verification; block verification
//!   that ignores the acceptance of earlier tokens;
//! - stale penalties; a first drafted token that is never verified; one noise for all positions of a step;
//! - an end-of-text token ignored inside a draft; `max_new_tokens` exceeded; stop strings searched only within each step's
//!   text;
//! - a wrong token in the cache after a rejection; the wrong branch of a tree accepted; a grammar mask reused for another
//!   text.

use std::collections::{BTreeMap, BTreeSet};

use specdec_rs::DraftKind;
use specdec_rs::sampling::{Distribution, Rng, Weighted};
use specdec_rs::speculation::{Draft, Verdict, verify};

/// Takes the branches that a script names, then the first ones, and multiplies their probabilities.
#[derive(Default)]
struct Walk {
    script: Vec<usize>,
    /// For each choice: the branch taken, and the number of branches.
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

impl Rng for Walk {
    fn bernoulli(&mut self, probability: f64) -> bool {
        assert!((0.0..=1.0).contains(&probability), "{probability}");
        // Branches of probability 0 are not walked.
        if probability <= 0.0 || probability >= 1.0 {
            return probability >= 1.0;
        }
        self.choose(&[probability, 1.0 - probability]) == 0
    }

    fn categorical(&mut self, distribution: &Distribution<'_>) -> u32 {
        let mut outcomes = Vec::new();
        distribution.for_each(|token, probability| outcomes.push((token, probability)));
        let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.1).collect();
        outcomes[self.choose(&probabilities)].0
    }
}

/// The probability of each outcome.
type Probabilities = BTreeMap<Vec<u32>, f64>;

/// The distribution of the outcomes of `experiment`.
fn distribution_of(experiment: impl Fn(&mut Walk) -> Vec<u32>) -> Probabilities {
    let mut distribution = Probabilities::new();
    let mut script = Some(Vec::new());
    while let Some(branches) = script {
        let mut walk = Walk {
            script: branches,
            probability: 1.0,
            ..Walk::default()
        };
        let outcome = experiment(&mut walk);
        *distribution.entry(outcome).or_default() += walk.probability;
        script = walk.next_script();
    }
    distribution
}

/// Total variation distance between two distributions.
fn distance(a: &Probabilities, b: &Probabilities) -> f64 {
    let outcomes: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let at =
        |distribution: &Probabilities, outcome| distribution.get(outcome).copied().unwrap_or(0.0);
    let differences = outcomes
        .into_iter()
        .map(|outcome| (at(a, outcome) - at(b, outcome)).abs());
    differences.sum::<f64>() / 2.0
}

/// A model whose distributions depend on all earlier tokens.
#[derive(Clone, Copy)]
struct Toy {
    vocab_size: u32,
    seed: u32,
    /// About one in `gaps` weights is 0, as after top-k; 0 for none.
    gaps: u32,
}

impl Toy {
    fn distribution(self, prefix: &[u32]) -> Distribution<'static> {
        let mut state = self.seed;
        let mut weight = |token: u32| {
            for part in prefix.iter().chain([&token]) {
                state = state
                    .wrapping_mul(1_664_525)
                    .wrapping_add(1_013_904_223 + part);
            }
            let impossible = self.gaps > 0 && (state >> 16).is_multiple_of(self.gaps);
            // The last token stays possible.
            if impossible && token + 1 < self.vocab_size {
                0.0
            } else {
                f64::from((state >> 16) % 97 + 1)
            }
        };
        let weights = (0..self.vocab_size)
            .map(|token| (token, weight(token)))
            .collect();
        Weighted::new(weights).unwrap().into()
    }

    fn argmax(self, prefix: &[u32]) -> u32 {
        let mut best = (0, 0.0);
        self.distribution(prefix).for_each(|token, p| {
            if p > best.1 {
                best = (token, p);
            }
        });
        best.0
    }
}

/// The shape of a draft: the parent of each node.
type Shape = &'static [Option<usize>];

/// Chains up to gamma = 3, and trees up to 5 nodes.
const SHAPES: [Shape; 12] = [
    &[],
    &[None],
    &[None, Some(0)],
    &[None, Some(0), Some(1)],
    &[None, None],
    &[None, None, None],
    &[None, Some(0), Some(0)],
    &[None, None, Some(0), Some(1)],
    &[None, Some(0), None, Some(2)],
    &[None, Some(0), Some(0), Some(2)],
    &[None, Some(0), Some(1), Some(0), None],
    &[None, None, Some(0), Some(0), Some(1)],
];

/// How a draft's tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Drawing {
    /// Sampled from the draft's distribution, siblings without replacement.
    Sampled,
    /// The argmax of the draft, and other tokens as siblings, with probability 1 each, as in prompt lookup.
    Certain,
}

/// The tokens of the path to a node and including it (`None` for the root).
fn tokens_to(draft: &Draft, node: Option<usize>) -> Vec<u32> {
    node.map_or_else(Vec::new, |node| draft.path(node))
}

fn draw(shape: Shape, drawing: Drawing, toy: Toy, rng: &mut Walk) -> Draft {
    let mut draft = Draft::default();
    // If siblings have used up all tokens of the distribution, a node and its descendants are left out.
    let mut numbers: Vec<Option<usize>> = Vec::new();
    for parent in shape {
        let parent = parent.map(|parent| numbers[parent]);
        if parent == Some(None) {
            numbers.push(None);
            continue;
        }
        let parent = parent.flatten();
        let prefix = tokens_to(&draft, parent);
        let earlier_siblings: Vec<u32> = draft
            .children(parent)
            .map(|node| draft.tokens()[node])
            .collect();
        let number = match drawing {
            Drawing::Certain => {
                let token = (toy.argmax(&prefix) + earlier_siblings.len() as u32) % toy.vocab_size;
                Some((token, Distribution::Point(token)))
            }
            Drawing::Sampled => {
                let whole = Some(toy.distribution(&prefix));
                let left = earlier_siblings
                    .iter()
                    .fold(whole, |distribution, sibling| {
                        distribution?.without(*sibling)
                    });
                left.map(|distribution| (rng.categorical(&distribution), distribution))
            }
        };
        numbers.push(number.map(|(token, distribution)| {
            draft.push_child(parent, token, distribution, DraftKind::MODEL)
        }));
    }
    draft
}

/// A verifier, given the target's distribution after the nodes of a path.
type Verifier = fn(&Draft, &dyn Fn(&[usize]) -> Distribution<'static>, &mut Walk) -> Verdict;

fn matching(
    draft: &Draft,
    distribution: &dyn Fn(&[usize]) -> Distribution<'static>,
    rng: &mut Walk,
) -> Verdict {
    verify::matching(draft, |path| {
        Ok::<_, ()>(rng.categorical(&distribution(path)))
    })
    .unwrap()
}

fn rejection(
    draft: &Draft,
    distribution: &dyn Fn(&[usize]) -> Distribution<'static>,
    rng: &mut Walk,
) -> Verdict {
    verify::rejection(draft, |path| Ok::<_, ()>(distribution(path)), rng).unwrap()
}

fn traversal(
    draft: &Draft,
    distribution: &dyn Fn(&[usize]) -> Distribution<'static>,
    rng: &mut Walk,
) -> Verdict {
    verify::traversal(draft, |path| Ok::<_, ()>(distribution(path)), rng).unwrap()
}

/// Accepts too many tokens: a bug that the enumeration must detect.
fn lenient(
    draft: &Draft,
    distribution: &dyn Fn(&[usize]) -> Distribution<'static>,
    rng: &mut Walk,
) -> Verdict {
    let mut accepted = Vec::new();
    loop {
        let p = distribution(&accepted);
        let mut children = draft.children(accepted.last().copied());
        let Some(child) = children.find(|child| p.probability(draft.tokens()[*child]) > 0.0) else {
            let next = rng.categorical(&p);
            return Verdict { accepted, next };
        };
        accepted.push(child);
    }
}

/// Draws from the target instead of from the residual: a bug that the enumeration must detect.
fn no_residual(
    draft: &Draft,
    distribution: &dyn Fn(&[usize]) -> Distribution<'static>,
    rng: &mut Walk,
) -> Verdict {
    let mut accepted = Vec::new();
    loop {
        let p = distribution(&accepted);
        let mut children = draft.children(accepted.last().copied());
        let passes = |child: &usize| {
            let token = draft.tokens()[*child];
            let ratio = p.probability(token) / draft.distribution(*child).probability(token);
            rng.bernoulli(ratio.min(1.0))
        };
        let Some(child) = children.find(passes) else {
            let next = rng.categorical(&p);
            return Verdict { accepted, next };
        };
        accepted.push(child);
    }
}

/// The first `length` tokens of a step followed by plain decoding, and how many tokens the step accepted.
fn generated(
    verifier: Verifier,
    target: Toy,
    draft: &Draft,
    length: usize,
    rng: &mut Walk,
) -> (Vec<u32>, usize) {
    let distribution =
        |path: &[usize]| target.distribution(&tokens_to(draft, path.last().copied()));
    let verdict = verifier(draft, &distribution, rng);
    let mut tokens = tokens_to(draft, verdict.accepted.last().copied());
    tokens.push(verdict.next);
    while tokens.len() < length {
        tokens.push(rng.categorical(&target.distribution(&tokens)));
    }
    tokens.truncate(length);
    (tokens, verdict.accepted.len())
}

/// Targets and drafts with vocabularies of 3 and 4, without and with tokens that are impossible to either.
fn pairs() -> impl Iterator<Item = (Toy, Toy)> {
    (0..24).map(|pair| {
        let toy = |seed, gaps| Toy {
            vocab_size: 3 + pair % 2,
            seed,
            gaps,
        };
        let same = pair % 8 == 7;
        let target = toy(1 + 2 * pair, [0, 3][pair as usize / 2 % 2]);
        (
            target,
            if same {
                target
            } else {
                toy(2 + 2 * pair, [0, 2][pair as usize / 4 % 2])
            },
        )
    })
}

/// The largest total variation distance between a verifier's output and the target's distribution.
fn worst_distance(verifier: Verifier, drawing: Drawing, shape: Shape) -> f64 {
    // The joint distribution of as many tokens as the deepest draft can give, plus one.
    let length = 1 + shape.len().min(3);
    let distances = pairs().map(|(target, toy)| {
        let speculative = distribution_of(|rng| {
            let draft = draw(shape, drawing, toy, rng);
            generated(verifier, target, &draft, length, rng).0
        });
        let plain =
            distribution_of(|rng| generated(verifier, target, &Draft::default(), length, rng).0);
        distance(&speculative, &plain)
    });
    distances.fold(0.0, f64::max)
}

#[test]
fn every_verifier_keeps_the_targets_distribution() {
    for (name, verifier) in [
        ("rejection", rejection as Verifier),
        ("traversal", traversal),
    ] {
        for shape in SHAPES {
            for drawing in [Drawing::Sampled, Drawing::Certain] {
                let worst = worst_distance(verifier, drawing, shape);
                assert!(worst < 1e-12, "{name}, {shape:?}, {drawing:?}: {worst}");
            }
        }
    }
    // Matching treats every draft as certain.
    for shape in SHAPES {
        let worst = worst_distance(matching, Drawing::Certain, shape);
        assert!(worst < 1e-12, "matching, {shape:?}: {worst}");
    }
}

#[test]
fn a_biased_verifier_is_detected() {
    for biased in [lenient as Verifier, no_residual] {
        for shape in &SHAPES[1..] {
            for drawing in [Drawing::Sampled, Drawing::Certain] {
                let worst = worst_distance(biased, drawing, shape);
                assert!(worst > 0.01, "{shape:?}, {drawing:?}: {worst}");
            }
        }
    }
}

/// Tokens that a step accepts, on average.
fn accepted(verifier: Verifier, target: Toy, toy: Toy, shape: Shape) -> f64 {
    let counts = distribution_of(|rng| {
        let draft = draw(shape, Drawing::Sampled, toy, rng);
        vec![generated(verifier, target, &draft, 1, rng).1 as u32]
    });
    counts
        .iter()
        .map(|(count, p)| f64::from(count[0]) * p)
        .sum()
}

/// Of a single token, rejection accepts the overlap of the distributions; of more, verifying whole paths accepts at least
/// as many as verifying token by token.
#[test]
fn verifying_whole_paths_accepts_at_least_as_many_tokens() {
    let mut gains = 0;
    for (target, toy) in pairs() {
        let mut overlap = 0.0;
        target
            .distribution(&[])
            .for_each(|token, p| overlap += p.min(toy.distribution(&[]).probability(token)));
        let single = accepted(rejection, target, toy, &[None]);
        assert!((single - overlap).abs() < 1e-12, "{single}, {overlap}");
        for shape in SHAPES {
            let [tokens, paths] = [rejection as Verifier, traversal]
                .map(|verifier| accepted(verifier, target, toy, shape));
            // A leaf that is verified before its deeper sibling can cost more than it gains.
            let leaf_first = shape == [None, Some(0), Some(0), Some(2)];
            assert!(
                leaf_first || paths > tokens - 1e-12,
                "{shape:?}: {paths} < {tokens}"
            );
            gains += usize::from(paths > tokens + 1e-3);
        }
    }
    assert!(gains > 20, "{gains}");
}

/// The published rule for chains, prefix out (2403.10444, algorithm 2): `tau` is the last i with `u_i <= h_i`.
#[test]
fn traversal_of_a_chain_is_block_verification() {
    for (target, toy) in pairs() {
        let accepts = |tau: u32| {
            accepted_by_block(target, toy, 3)
                .get(&vec![tau])
                .copied()
                .unwrap_or(0.0)
        };
        let found = distribution_of(|rng| {
            let draft = draw(SHAPES[3], Drawing::Sampled, toy, rng);
            vec![generated(traversal, target, &draft, 1, rng).1 as u32]
        });
        for tau in 0..=3 {
            let p = found.get(&vec![tau]).copied().unwrap_or(0.0);
            assert!(
                (p - accepts(tau)).abs() < 1e-12,
                "{tau}: {p}, {}",
                accepts(tau)
            );
        }
    }
}

/// The distribution of the number of tokens that block verification accepts of a chain of `gamma`.
fn accepted_by_block(target: Toy, toy: Toy, gamma: usize) -> Probabilities {
    distribution_of(|rng| {
        let mut tokens = Vec::new();
        let mut p = 1.0;
        let mut tau = 0;
        for i in 0..=gamma {
            let (distribution, q) = (target.distribution(&tokens), toy.distribution(&tokens));
            let h = if i == gamma {
                p
            } else {
                let mut z = 0.0;
                distribution.for_each(|token, own| z += (p * own - q.probability(token)).max(0.0));
                if z + 1.0 - p > 0.0 {
                    z / (z + 1.0 - p)
                } else {
                    1.0
                }
            };
            if i > 0 && rng.bernoulli(h.min(1.0)) {
                tau = i;
            }
            if i < gamma {
                let token = rng.categorical(&q);
                p = f64::min(
                    1.0,
                    p * distribution.probability(token) / q.probability(token),
                );
                tokens.push(token);
            }
        }
        vec![tau as u32]
    })
}
