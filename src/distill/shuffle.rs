//! A buffer that mixes the examples of many texts: each is drawn some times, at random times, and then dropped.

use super::examples::Example;
use crate::sampling::NoiseStream;

/// Examples in memory.
pub(super) struct ShuffleBuffer {
    /// Each with how often it is still to be drawn.
    examples: Vec<(Example, usize)>,
    bytes: usize,
    max_bytes: usize,
    noise: NoiseStream,
}

impl ShuffleBuffer {
    /// An empty buffer, which is full at so many bytes.
    pub(super) fn new(max_bytes: usize, noise: NoiseStream) -> Self {
        Self {
            examples: Vec::new(),
            bytes: 0,
            max_bytes,
            noise,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes
    }

    /// Whether nothing is left to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.examples.iter().all(|(_, uses)| *uses == 0)
    }

    /// Adds an example that is to be drawn so many times.
    pub(super) fn add(&mut self, example: Example, uses: usize) {
        if uses > 0 {
            self.bytes += example.bytes();
            self.examples.push((example, uses));
        }
    }

    /// Draws examples, each at most once; fewer if there are not as many. What was drawn for the last time is dropped with the next
    /// draw.
    pub(super) fn draw(&mut self, count: usize) -> Vec<&Example> {
        self.examples.retain(|(_, uses)| *uses > 0);
        self.bytes = self
            .examples
            .iter()
            .map(|(example, _)| example.bytes())
            .sum();
        let length = self.examples.len();
        let count = count.min(length);
        for chosen in 0..count {
            let left = length - chosen;
            let other = chosen + (self.noise.uniform() * left as f64) as usize;
            self.examples.swap(chosen, other);
            self.examples[chosen].1 -= 1;
        }
        self.examples[..count]
            .iter()
            .map(|(example, _)| example)
            .collect()
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
        let mut buffer = ShuffleBuffer::new(10 * 16, Noise::new(1).stream(0));
        let mut drawn = [0; 30];
        for token in 0..30 {
            buffer.add(example(token), 4);
            while buffer.is_full() {
                let batch: Vec<u32> = buffer.draw(3).iter().map(|one| one.tokens[0]).collect();
                assert!(batch[0] != batch[1] && batch[1] != batch[2] && batch[0] != batch[2]);
                batch.iter().for_each(|token| drawn[*token as usize] += 1);
            }
        }
        loop {
            let batch: Vec<u32> = buffer.draw(3).iter().map(|one| one.tokens[0]).collect();
            if batch.is_empty() {
                break;
            }
            batch.iter().for_each(|token| drawn[*token as usize] += 1);
        }
        assert_eq!(drawn, [4; 30]);
    }
}
