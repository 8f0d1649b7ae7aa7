//! A buffer that mixes the examples of many texts: each is drawn some times, at random times, and then dropped.

use super::examples::Example;
use crate::sampling::NoiseStream;

/// Examples in memory.
pub(super) struct ShuffleBuffer {
    /// Each with how often it is still to be drawn.
    examples: Vec<(Example, usize)>,
    capacity: usize,
    noise: NoiseStream,
}

impl ShuffleBuffer {
    /// An empty buffer for so many examples.
    pub(super) fn new(capacity: usize, noise: NoiseStream) -> Self {
        Self {
            examples: Vec::new(),
            capacity,
            noise,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.examples.len() >= self.capacity
    }

    /// Adds an example that is to be drawn so many times.
    pub(super) fn add(&mut self, example: Example, uses: usize) {
        if uses > 0 {
            self.examples.push((example, uses));
        }
    }

    /// Drops the examples that were drawn for the last time.
    pub(super) fn drop_used(&mut self) {
        self.examples.retain(|(_, uses)| *uses > 0);
    }

    /// Draws examples that are still to be drawn, each at most once; fewer if there are not as many.
    pub(super) fn draw(&mut self, count: usize) -> Vec<&Example> {
        self.drop_used();
        let length = self.examples.len();
        let count = count.min(length);
        for chosen in 0..count {
            let left = length - chosen;
            let other = chosen + (self.noise.uniform() * left as f64) as usize;
            self.examples.swap(chosen, other);
            self.examples[chosen].1 -= 1;
        }
        let drawn = self.examples[..count].iter();
        drawn.map(|(example, _)| example).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Noise;

    fn example(token: u32) -> Example {
        Example {
            tokens: vec![token; 4],
            hidden: Vec::new(),
        }
    }

    #[test]
    fn each_example_is_drawn_as_often_as_it_is_to_be() {
        let mut buffer = ShuffleBuffer::new(10, Noise::new(1).stream(0));
        let mut drawn = [0; 30];
        let mut draw = |buffer: &mut ShuffleBuffer| {
            let batch: Vec<u32> = buffer.draw(3).iter().map(|one| one.tokens[0]).collect();
            let mut different = batch.clone();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), batch.len());
            for token in &batch {
                drawn[*token as usize] += 1;
            }
            batch.len()
        };
        for token in 0..30 {
            buffer.add(example(token), 4);
            while buffer.is_full() {
                assert_eq!(draw(&mut buffer), 3);
                buffer.drop_used();
            }
        }
        while draw(&mut buffer) > 0 {}
        assert_eq!(drawn, [4; 30]);
    }
}
