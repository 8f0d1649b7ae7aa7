//! What a controller would have drafted for a text that is known already: its steps, without a model.

use super::Controller;
use crate::error::Result;

/// Steps that were gone through.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Replay {
    /// Tokens that the steps wrote.
    pub tokens: usize,
    /// The steps.
    pub steps: usize,
    /// Tokens that they drafted.
    pub drafted: usize,
    /// What they cost, in plain steps.
    pub cost: f64,
}

/// Goes through the output behind a prompt in the steps that a controller would take.
pub fn replay(controller: &mut Controller, prompt: &[u32], output: &[u32], mut passed: impl FnMut(usize, usize)) -> Result<Replay> {
    let text = [prompt, output].concat();
    let mut replay = Replay::default();
    let mut length = prompt.len();
    controller.read(prompt)?;
    while length < text.len() {
        let room = text.len() - length - 1;
        let draft = controller.propose(&text[..length], room, true, |_| Ok(true))?;
        replay.cost += controller.cost(&text[..length], draft.len());
        let mut accepted = 0;
        let mut node = None;
        while let Some(child) = draft
            .children(node)
            .find(|child| draft.tokens()[*child] == text[length + accepted])
        {
            accepted += 1;
            node = Some(child);
        }
        let new = (accepted + 1).min(text.len() - length);
        length += new;
        replay.tokens += new;
        replay.steps += 1;
        passed(length - new, length);
        replay.drafted += draft.len();
        controller.learn(&text[..length], new, &draft, accepted)?;
    }
    Ok(replay)
}
