//! Verification is lossless, by walking every branch that chance can take.
//!
//! `tests/mutations.py` makes each of these mistakes in the product, and these tests, or those of losslessness.rs,
//! speculation.rs and structured.rs, fail:
//!
//! - raw q (the draft's law before its processors); no residual, token by token or of whole paths;
//! - the wrong row after a rejection, or of logits at all; an early break in block; block forgets what came before;
//! - stale penalties; the first drafted token is never verified; one noise for all positions of a step;
//! - an end-of-text token within a draft is passed over; `max_new_tokens` overshot; a stop string is looked for in each
//!   step's text alone;
//! - a wrong token in the cache after a rejection; the wrong branch of a tree is kept; a mask outlives the text that it was
//!   made for.

use std::collections::{BTreeMap, BTreeSet};

use specdec_rs::sampling::{Distribution, Rng, Weighted};
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

impl Rng for Walk {
    fn bernoulli(&mut self, probability: f64) -> bool {
        assert!((0.0..=1.0).contains(&probability), "{probability}");
        // Branches that can't be are not walked.
        if probability <= 0.0 || probability >= 1.0 {
            return probability >= 1.0;
        }
        self.choose(&[probability, 1.0 - probability]) == 0
    }

    fn categorical(&mut self, law: &Distribution<'_>) -> u32 {
        let mut outcomes = Vec::new();
        law.for_each(|token, probability| outcomes.push((token, probability)));
        let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.1).collect();
        outcomes[self.choose(&probabilities)].0
    }
}

type Law = BTreeMap<Vec<u32>, f64>;

/// The law of what `experiment` returns.
fn law_of(experiment: impl Fn(&mut Walk) -> Vec<u32>) -> Law {
    let mut law = Law::new();
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

/// Total variation between two laws.
fn distance(a: &Law, b: &Law) -> f64 {
    let outcomes: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let at = |law: &Law, outcome| law.get(outcome).copied().unwrap_or(0.0);
    let differences = outcomes
        .into_iter()
        .map(|outcome| (at(a, outcome) - at(b, outcome)).abs());
    differences.sum::<f64>() / 2.0
}

/// A model that writes by laws which depend on all that was written.
#[derive(Clone, Copy)]
struct Toy {
    vocab_size: u32,
    seed: u32,
    /// Every so many-th weight is 0, as after top-k; 0: none.
    gaps: u32,
}

impl Toy {
    fn distribution(self, written: &[u32]) -> Distribution<'static> {
        let mut state = self.seed;
        let mut weight = |token: u32| {
            for part in written.iter().chain([&token]) {
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

    fn top_k(self, written: &[u32]) -> u32 {
        let mut best = (0, 0.0);
        self.distribution(written).for_each(|token, p| {
            if p > best.1 {
                best = (token, p);
            }
        });
        best.0
    }
}

/// The shape of a draft: for each node its parent.
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

/// How a draft's tokens come about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Drawing {
    /// Siblings without replacement from the draft's law.
    Sampled,
    /// The likeliest token of the draft, its next tokens for siblings; certain, as those of prompt lookup.
    Certain,
}

/// The tokens on the way to a node (`None`: the root), itself included.
fn tokens_to(draft: &Draft, node: Option<usize>) -> Vec<u32> {
    node.map_or_else(Vec::new, |node| draft.path(node))
}

fn draw(shape: Shape, drawing: Drawing, toy: Toy, chance: &mut Walk) -> Draft {
    let mut draft = Draft::default();
    // Where siblings have used up the law's tokens, a node and all behind it are left out.
    let mut numbers: Vec<Option<usize>> = Vec::new();
    for parent in shape {
        let parent = parent.map(|parent| numbers[parent]);
        if parent == Some(None) {
            numbers.push(None);
            continue;
        }
        let parent = parent.flatten();
        let written = tokens_to(&draft, parent);
        let elders: Vec<u32> = draft
            .children(parent)
            .map(|node| draft.tokens()[node])
            .collect();
        let number = match drawing {
            Drawing::Certain => {
                let token = (toy.top_k(&written) + elders.len() as u32) % toy.vocab_size;
                Some((token, Distribution::Point(token)))
            }
            Drawing::Sampled => {
                let whole = Some(toy.distribution(&written));
                let left = elders.iter().fold(whole, |law, elder| law?.without(*elder));
                left.map(|law| (chance.categorical(&law), law))
            }
        };
        numbers.push(
            number.map(|(token, law)| draft.push_child(parent, token, law, TokenSource::Model)),
        );
    }
    draft
}

/// A verifier, given the target's law behind the nodes of a path.
type Verifier = fn(&Draft, &dyn Fn(&[usize]) -> Distribution<'static>, &mut Walk) -> Verdict;

fn matching(
    draft: &Draft,
    law: &dyn Fn(&[usize]) -> Distribution<'static>,
    chance: &mut Walk,
) -> Verdict {
    verify::matching(draft, |path| Ok::<_, ()>(chance.categorical(&law(path)))).unwrap()
}

fn rejection(
    draft: &Draft,
    law: &dyn Fn(&[usize]) -> Distribution<'static>,
    chance: &mut Walk,
) -> Verdict {
    verify::rejection(draft, |path| Ok::<_, ()>(law(path)), chance).unwrap()
}

fn traversal(
    draft: &Draft,
    law: &dyn Fn(&[usize]) -> Distribution<'static>,
    chance: &mut Walk,
) -> Verdict {
    verify::traversal(draft, |path| Ok::<_, ()>(law(path)), chance).unwrap()
}

/// Accepts too readily: a mistake that the enumeration must notice.
fn lenient(
    draft: &Draft,
    law: &dyn Fn(&[usize]) -> Distribution<'static>,
    chance: &mut Walk,
) -> Verdict {
    let mut accepted = Vec::new();
    loop {
        let p = law(&accepted);
        let mut children = draft.children(accepted.last().copied());
        let Some(child) = children.find(|child| p.probability(draft.tokens()[*child]) > 0.0) else {
            let next = chance.categorical(&p);
            return Verdict { accepted, next };
        };
        accepted.push(child);
    }
}

/// Draws from the target instead of from what it has beyond the draft.
fn no_residual(
    draft: &Draft,
    law: &dyn Fn(&[usize]) -> Distribution<'static>,
    chance: &mut Walk,
) -> Verdict {
    let mut accepted = Vec::new();
    loop {
        let p = law(&accepted);
        let mut children = draft.children(accepted.last().copied());
        let passes = |child: &usize| {
            let token = draft.tokens()[*child];
            let ratio = p.probability(token) / draft.distribution(*child).probability(token);
            chance.bernoulli(ratio.min(1.0))
        };
        let Some(child) = children.find(passes) else {
            let next = chance.categorical(&p);
            return Verdict { accepted, next };
        };
        accepted.push(child);
    }
}

/// Of the tokens that a step and plain decoding behind it write, the first `length`; and how many the step accepted.
fn written(
    verifier: Verifier,
    target: Toy,
    draft: &Draft,
    length: usize,
    chance: &mut Walk,
) -> (Vec<u32>, usize) {
    let law = |path: &[usize]| target.distribution(&tokens_to(draft, path.last().copied()));
    let verdict = verifier(draft, &law, chance);
    let mut tokens = tokens_to(draft, verdict.accepted.last().copied());
    tokens.push(verdict.next);
    while tokens.len() < length {
        tokens.push(chance.categorical(&target.distribution(&tokens)));
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

/// The most that what a verifier makes of drafts is off the target's law.
fn worst_distance(verifier: Verifier, drawing: Drawing, shape: Shape) -> f64 {
    // The joint law of all tokens that the deepest draft can bring, and one.
    let length = 1 + shape.len().min(3);
    let distances = pairs().map(|(target, toy)| {
        let speculative = law_of(|chance| {
            let draft = draw(shape, drawing, toy, chance);
            written(verifier, target, &draft, length, chance).0
        });
        let plain = law_of(|chance| written(verifier, target, &Draft::default(), length, chance).0);
        distance(&speculative, &plain)
    });
    distances.fold(0.0, f64::max)
}

#[test]
fn every_verifier_writes_the_targets_law() {
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
    // Matching takes the draft for certain, however it came about.
    for shape in SHAPES {
        let worst = worst_distance(matching, Drawing::Certain, shape);
        assert!(worst < 1e-12, "matching, {shape:?}: {worst}");
    }
}

#[test]
fn a_biased_verifier_is_noticed() {
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
    let counts = law_of(|chance| {
        let draft = draw(shape, Drawing::Sampled, toy, chance);
        vec![written(verifier, target, &draft, 1, chance).1 as u32]
    });
    counts
        .iter()
        .map(|(count, p)| f64::from(count[0]) * p)
        .sum()
}

/// Of one token, rejection accepts the overlap of the laws; of more, judging whole paths accepts no less than judging
/// tokens.
#[test]
fn judging_whole_paths_accepts_at_least_as_much() {
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
            // A leaf that is judged before its deeper younger sibling can cost more than it brings.
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

/// The published rule for chains, written out (2403.10444, algorithm 2): `tau` is the last i with `u_i <= h_i`.
#[test]
fn of_a_chain_traversal_is_block_verification() {
    for (target, toy) in pairs() {
        let accepts = |tau: u32| {
            law_of_block(target, toy, 3)
                .get(&vec![tau])
                .copied()
                .unwrap_or(0.0)
        };
        let found = law_of(|chance| {
            let draft = draw(SHAPES[3], Drawing::Sampled, toy, chance);
            vec![written(traversal, target, &draft, 1, chance).1 as u32]
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

/// How many tokens of a chain of `gamma` block verification accepts.
fn law_of_block(target: Toy, toy: Toy, gamma: usize) -> Law {
    law_of(|chance| {
        let mut tokens = Vec::new();
        let mut p = 1.0;
        let mut tau = 0;
        for i in 0..=gamma {
            let (law, q) = (target.distribution(&tokens), toy.distribution(&tokens));
            let h = if i == gamma {
                p
            } else {
                let mut z = 0.0;
                law.for_each(|token, own| z += (p * own - q.probability(token)).max(0.0));
                if z + 1.0 - p > 0.0 {
                    z / (z + 1.0 - p)
                } else {
                    1.0
                }
            };
            if i > 0 && chance.bernoulli(h.min(1.0)) {
                tau = i;
            }
            if i < gamma {
                let token = chance.categorical(&q);
                p = f64::min(1.0, p * law.probability(token) / q.probability(token));
                tokens.push(token);
            }
        }
        vec![tau as u32]
    })
}
