//! Chance, reproducible: a counter-based generator, Philox4x32-10 (Salmon et al., SC'11).

use super::Distribution;

/// Where sampling and verification get their chance from.
///
/// A trait, so that tests can walk every branch instead of drawing one.
pub trait Chance {
    /// True with that probability.
    fn bernoulli(&mut self, probability: f64) -> bool;
    /// A token drawn from a law.
    fn categorical(&mut self, law: &Distribution) -> u32;
}

/// A stream of uniform numbers, fixed for all time by its seed and its stream's number.
#[derive(Debug, Clone)]
pub struct Noise {
    key: [u32; 2],
    stream: u64,
    counter: u64,
}

impl Noise {
    /// Stream number `stream` of a seed; different streams are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            stream,
            counter: 0,
        }
    }

    /// The next number, uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let counter = [
            self.counter as u32,
            (self.counter >> 32) as u32,
            self.stream as u32,
            (self.stream >> 32) as u32,
        ];
        self.counter += 1;
        let [low, high, ..] = philox(counter, self.key);
        let bits = u64::from(high) << 32 | u64::from(low);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Chance for Noise {
    fn bernoulli(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    fn categorical(&mut self, law: &Distribution) -> u32 {
        if let Distribution::Point(token) = law {
            return *token;
        }
        let mut total = 0.0;
        law.for_each(|_, probability| total += f64::from(probability));
        let target = self.uniform() * total;
        let mut below = 0.0;
        let mut chosen = None;
        let mut last = 0;
        law.for_each(|token, probability| {
            below += f64::from(probability);
            last = token;
            if chosen.is_none() && target < below {
                chosen = Some(token);
            }
        });
        chosen.unwrap_or(last)
    }
}

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
    use super::*;

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

    #[test]
    fn draws_follow_the_law() {
        let law = Distribution::Sparse(vec![(2, 0.1), (5, 0.6), (7, 0.3)]);
        let mut noise = Noise::new(1, 0);
        let mut counts = [0_u32; 8];
        for _ in 0..100_000 {
            counts[noise.categorical(&law) as usize] += 1;
        }
        // Five standard deviations.
        for (token, expected) in [(2, 10_000_f64), (5, 60_000.0), (7, 30_000.0)] {
            let deviation = (f64::from(counts[token]) - expected).abs();
            assert!(deviation < 5.0 * expected.sqrt(), "{token}: {counts:?}");
        }
        assert_eq!(
            counts.iter().sum::<u32>(),
            counts[2] + counts[5] + counts[7]
        );
    }

    /// Seeds are a promise: what they gave once, they give in every later version.
    #[test]
    fn seeds_keep_their_values() {
        let mut noise = Noise::new(42, 7);
        let drawn: Vec<u32> = (0..4).map(|_| (noise.uniform() * 1e6) as u32).collect();
        assert_eq!(drawn, [895_813, 375_234, 937_510, 493_207]);
    }
}
