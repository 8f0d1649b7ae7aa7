//! Reproducible random numbers: a counter-based generator, Philox4x32-10 (Salmon et al., SC'11).
//!
//! A draw depends only on the seed and on what it is for, so sampling gives the same tokens whatever was drafted: the
//! token at a position is the winner of a race that this position's noise decides.

use std::f64::consts::LN_2;

use super::distribution::Distribution;
use crate::backend::largest;

/// Where verification gets its random numbers from.
///
/// A trait, so that tests can walk every branch instead of drawing one.
pub trait Rng {
    /// True with the given probability.
    fn bernoulli(&mut self, probability: f64) -> bool;
    /// A token drawn from a distribution.
    fn categorical(&mut self, distribution: &Distribution<'_>) -> u32;
}

/// All the random numbers of a request, determined by its seed.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    key: [u32; 2],
}

/// A sequence of draws from a request's noise.
#[derive(Debug, Clone)]
pub struct NoiseStream {
    noise: Noise,
    domain: Domain,
    counter: u64,
}

/// What noise is used for; the noise of different domains is independent.
#[derive(Debug, Clone, Copy)]
struct Domain(u32);

impl Domain {
    const POSITIONS: Self = Self(0);

    fn stream(number: u16) -> Self {
        Self(1 + u32::from(number))
    }

    /// The last word of the generator's counter; each domain has two, for the two halves of a number.
    fn word(self, half: u32) -> u32 {
        2 * self.0 + half
    }
}

impl Noise {
    /// The noise of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// The token of a distribution that this noise chooses for a position: the first to arrive, where each token's time is
    /// exponential with its probability as rate (this is equivalent to the Gumbel-max trick).
    ///
    /// The chosen token follows the distribution. A token's time depends on the seed, the position and the token alone, so
    /// similar distributions mostly give the same token (2408.07978), and equal ones always do.
    pub fn choose(&self, position: usize, distribution: &Distribution<'_>) -> u32 {
        self.race(Domain::POSITIONS, position as u64, distribution)
    }

    /// The Gumbel noise of a token at a position: [`Self::choose`] takes the token with the largest sum of this and the
    /// logarithm of its probability.
    pub fn gumbel(&self, position: usize, token: u32) -> f64 {
        let words = [0, 1].map(|half| {
            let domain = Domain::POSITIONS.word(half);
            let [words] = self.words([token / 4], position as u64, domain);
            words[(token % 4) as usize]
        });
        -libm::log(exponential(words[0], words[1]))
    }

    /// A stream of independent draws; different numbers are independent of one another and of the positions' noise.
    pub fn stream(&self, number: u16) -> NoiseStream {
        NoiseStream {
            noise: *self,
            domain: Domain::stream(number),
            counter: 0,
        }
    }

    fn race(self, domain: Domain, position: u64, distribution: &Distribution<'_>) -> u32 {
        let mut race = Race::new(self, domain, position);
        match distribution {
            Distribution::Point(token) => return *token,
            Distribution::Softmax(all) => {
                for (index, logits) in (0..).zip(all.logits().chunks(CHUNK)) {
                    race.enter_chunk(index, logits, |logit| all.score(logit));
                }
            }
            Distribution::Weighted(some) => {
                for (token, weight) in some.entries() {
                    let [words] = self.words([*token / 4], position, domain.word(0));
                    race.enter(*token, words[(*token % 4) as usize], libm::log(*weight));
                }
            }
        }
        race.winner
    }

    /// The random words of the generator's `blocks`, four each.
    fn words<const N: usize>(self, blocks: [u32; N], position: u64, domain: u32) -> [[u32; 4]; N] {
        let mut words = [[0; 4]; N];
        // Side by side, so that the computation is vectorized.
        for (words, block) in words.iter_mut().zip(blocks) {
            let counter = [block, position as u32, (position >> 32) as u32, domain];
            *words = philox(counter, self.key);
        }
        words
    }
}

/// Blocks of the generator that are computed side by side, and the tokens whose words they are.
const BLOCKS: usize = 8;
const CHUNK: usize = 4 * BLOCKS;

/// The first arrival so far.
struct Race {
    noise: Noise,
    domain: Domain,
    position: u64,
    winner: u32,
    /// The winner's score less the logarithm of its time.
    best: f64,
}

impl Race {
    fn new(noise: Noise, domain: Domain, position: u64) -> Self {
        Self {
            noise,
            domain,
            position,
            winner: 0,
            best: f64::NEG_INFINITY,
        }
    }

    /// Enters a chunk of consecutive tokens.
    fn enter_chunk(&mut self, index: u32, logits: &[f32], score: impl Fn(f32) -> f64) {
        let first = index * BLOCKS as u32;
        let blocks = std::array::from_fn(|block| first + block as u32);
        let words: [_; BLOCKS] = self.noise.words(blocks, self.position, self.domain.word(0));
        let words = words.as_flattened();
        let smallest = words.iter().copied().fold(u32::MAX, u32::min);
        if self.is_beaten(smallest, score(largest(logits))) {
            return;
        }
        for (token, (logit, high)) in (4 * first..).zip(logits.iter().zip(words)) {
            self.enter(token, *high, score(*logit));
        }
    }

    /// Enters a token, at a rate whose logarithm is `score`; `high` is the upper half of its random number.
    fn enter(&mut self, token: u32, high: u32, score: f64) {
        if self.is_beaten(high, score) {
            return;
        }
        let domain = self.domain.word(1);
        let [low] = self.noise.words([token / 4], self.position, domain);
        let time = exponential(high, low[(token % 4) as usize]);
        let arrival = score - libm::log(time);
        if arrival > self.best {
            (self.winner, self.best) = (token, arrival);
        }
    }

    /// Whether a token loses whatever the lower half of its number is. This takes no logarithm: its time is at least
    /// `high / 2^32`.
    fn is_beaten(&self, high: u32, score: f64) -> bool {
        let zeros = high.leading_zeros() + if high == 0 { 33 } else { 1 };
        score + f64::from(zeros) * LN_2 <= self.best
    }
}

/// An exponentially distributed number with rate 1, from 64 random bits. Small numbers, which win races, are the most
/// precise.
fn exponential(high: u32, low: u32) -> f64 {
    let bits = u64::from(high) << 32 | u64::from(low);
    let uniform = (bits as f64 + 0.5) / 2.0_f64.powi(64);
    -libm::log1p(-uniform.min(1.0 - f64::EPSILON))
}

impl NoiseStream {
    /// The next number, uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        // A block that no token uses.
        let block = [u32::MAX];
        let counter = self.next();
        let [[low, high, ..]] = self.noise.words(block, counter, self.domain.word(0));
        let bits = u64::from(high) << 32 | u64::from(low);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter - 1
    }
}

impl Rng for NoiseStream {
    fn bernoulli(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    fn categorical(&mut self, distribution: &Distribution<'_>) -> u32 {
        let counter = self.next();
        self.noise.race(self.domain, counter, distribution)
    }
}

#[expect(
    clippy::inline_always,
    reason = "inlined blocks are vectorized; a call for each takes twice as long"
)]
#[inline(always)]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key[0] = key[0].wrapping_add(0x9E37_79B9);
        key[1] = key[1].wrapping_add(0xBB67_AE85);
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::super::distribution::{Softmax, Weighted};
    use super::*;
    use crate::sampling::Rng;
    use proptest::prelude::*;

    /// The known answers published with the generator (Random123, `kat_vectors`).
    #[test]
    fn philox_gives_its_known_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    fn distribution() -> Distribution<'static> {
        Weighted::new(vec![(2, 0.1), (5, 0.6), (7, 0.3)])
            .unwrap()
            .into()
    }

    /// Fails if counts are more than five standard deviations off a distribution.
    fn check_counts(counts: &[u32], distribution: &Distribution<'_>) {
        let samples: f64 = counts.iter().copied().map(f64::from).sum();
        for (token, count) in (0..).zip(counts) {
            let p = distribution.probability(token);
            let deviation = (f64::from(*count) - samples * p).abs();
            let spread = (samples * p * (1.0 - p)).sqrt();
            assert!(deviation <= 5.0 * spread, "{token}: {counts:?}");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let mut stream = Noise::new(1).stream(0);
        let mut counts = [0; 8];
        for _ in 0..100_000 {
            counts[stream.categorical(&distribution()) as usize] += 1;
        }
        check_counts(&counts, &distribution());
    }

    /// Over positions, over seeds, and for two positions together.
    #[test]
    fn choices_follow_the_distribution_and_are_independent() {
        let mut positions = [0; 8];
        let mut seeds = [0; 8];
        let mut pairs = [0; 64];
        for n in 0..100_000 {
            let choose =
                |seed: usize, position| Noise::new(seed as u64).choose(position, &distribution());
            positions[choose(7, n) as usize] += 1;
            seeds[choose(n, 7) as usize] += 1;
            pairs[(8 * choose(n, 0) + choose(n, 1)) as usize] += 1;
        }
        check_counts(&positions, &distribution());
        check_counts(&seeds, &distribution());
        let mut products = Vec::new();
        distribution()
            .for_each(|a, p| distribution().for_each(|b, q| products.push((8 * a + b, p * q))));
        check_counts(&pairs, &Weighted::new(products).unwrap().into());
    }

    #[test]
    fn exponential_times_have_their_mean_and_tail() {
        let mut times = Vec::new();
        for position in 0..25_000 {
            let [high, low] = [0, 1].map(|word| Noise::new(3).words([9], position, word)[0]);
            times.extend((0..4).map(|index| exponential(high[index], low[index])));
        }
        let samples = times.len() as f64;
        let mean = times.iter().sum::<f64>() / samples;
        assert!((mean - 1.0).abs() < 5.0 / samples.sqrt(), "{mean}");
        for limit in [0.001, 0.1, 1.0, 5.0] {
            let below = times.iter().filter(|time| **time < limit).count() as f64 / samples;
            let p: f64 = 1.0 - f64::exp(-limit);
            assert!(
                (below - p).abs() < 5.0 * (p * (1.0 - p) / samples).sqrt(),
                "{limit}"
            );
        }
        for extreme in [exponential(0, 0), exponential(u32::MAX, u32::MAX)] {
            assert!(extreme > 0.0 && extreme.is_finite());
        }
    }

    /// The race without shortcuts.
    fn first(noise: Noise, position: usize, scores: &[(u32, f64)]) -> u32 {
        let mut best = (0, f64::NEG_INFINITY);
        for (token, score) in scores {
            let arrival = score + noise.gumbel(position, *token);
            if arrival > best.1 {
                best = (*token, arrival);
            }
        }
        best.0
    }

    proptest! {
        #[test]
        fn shortcuts_change_no_winner(
            seed in any::<u64>(), position in 0_usize..1 << 40,
            logits in prop::collection::vec(prop_oneof![-40.0_f32..0.0, Just(f32::NEG_INFINITY), Just(f32::NAN)], 0..300),
        ) {
            let logits = [&logits[..], &[0.0]].concat();
            let scores: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|l| f64::from(*l) / 0.7)).collect();
            let distribution = Distribution::Softmax(Softmax::new(logits.into(), 0.0, 0.7));
            let noise = Noise::new(seed);
            prop_assert_eq!(noise.choose(position, &distribution), first(noise, position, &scores));
        }
    }

    /// Tokens beyond the end of a smaller vocabulary change no token's noise: a draft's distributions couple with the target's.
    #[test]
    fn noise_is_the_tokens_own() {
        let noise = Noise::new(11);
        let softmax =
            |logits: Vec<f32>| Distribution::Softmax(Softmax::new(logits.into(), 0.0, 1.0));
        for position in 0..1000 {
            let short = noise.choose(position, &softmax(vec![0.0; 10]));
            let long = noise.choose(position, &softmax([[0.0; 10], [-1e9; 10]].concat()));
            let some = (0..10).map(|token| (token, 0.1)).collect();
            let some = noise.choose(position, &Weighted::new(some).unwrap().into());
            assert_eq!([long, some], [short, short]);
        }
    }

    /// A seed gives the same values in every later version.
    #[test]
    fn seeds_keep_their_values() {
        let noise = Noise::new(42);
        let mut stream = noise.stream(7);
        let drawn: Vec<u32> = (0..4).map(|_| (stream.uniform() * 1e6) as u32).collect();
        assert_eq!(drawn, [767_450, 205_474, 385_258, 971_199]);
        let logits: Vec<f32> = (0..100_u8).map(|i| -f32::from(i % 10)).collect();
        let distribution = Distribution::Softmax(Softmax::new(logits.into(), 0.0, 1.0));
        let chosen: Vec<u32> = (0..8)
            .map(|position| noise.choose(position, &distribution))
            .collect();
        assert_eq!(chosen, [30, 20, 61, 70, 34, 0, 53, 70]);
        let drawn: Vec<u32> = (0..4).map(|_| stream.categorical(&distribution)).collect();
        assert_eq!(drawn, [1, 81, 90, 41]);
    }
}
