//! How many tokens to draft.

/// Longest draft: bounds the memory that a step's logits take. Drafts that long never pay.
const MOST_DRAFTED: usize = 256;

/// Length of the first draft of a request, before anything is known.
const FIRST_LENGTH: usize = 4;

/// Chooses each step's draft length.
#[derive(Debug, Clone)]
pub struct Controller {
    gamma: usize,
    adaptive: bool,
    length: usize,
}

impl Controller {
    /// Exactly `gamma` tokens a step; or, if `adaptive`, at most so many: two more after a draft that
    /// was accepted whole, one fewer after a rejection (the rule of transformers' assisted generation).
    /// A `gamma` above 256 counts as 256.
    pub fn new(gamma: usize, adaptive: bool) -> Self {
        let gamma = gamma.min(MOST_DRAFTED);
        Self {
            gamma,
            adaptive,
            length: FIRST_LENGTH.min(gamma),
        }
    }

    /// The length to draft now.
    pub fn choose(&self) -> usize {
        if self.adaptive {
            self.length
        } else {
            self.gamma
        }
    }

    /// Learns how much of a draft was accepted.
    pub fn observe(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        self.length = if accepted == drafted {
            (self.length + 2).min(self.gamma)
        } else {
            (self.length - 1).max(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(controller: &mut Controller, accepted: usize) -> usize {
        let drafted = controller.choose();
        controller.observe(drafted, accepted.min(drafted));
        controller.choose()
    }

    #[test]
    fn length_follows_success_within_its_bounds() {
        let mut controller = Controller::new(7, true);
        let lengths: Vec<usize> = [9, 9, 9, 0, 0].map(|n| after(&mut controller, n)).to_vec();
        assert_eq!(lengths, [6, 7, 7, 6, 5]);
        for _ in 0..20 {
            after(&mut controller, 0);
        }
        assert_eq!(controller.choose(), 1);
    }

    #[test]
    fn fixed_and_zero_lengths_stay() {
        let mut fixed = Controller::new(5, false);
        assert_eq!([after(&mut fixed, 0), after(&mut fixed, 5)], [5, 5]);
        let mut off = Controller::new(0, true);
        assert_eq!([after(&mut off, 0), after(&mut off, 0)], [0, 0]);
    }
}
