//! Grammar fast-forward tokens: those that a response format leaves no choice about.

use super::RetrievalDrafter;
use crate::error::Result;
use crate::sampling::Processors;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// Proposes what the response format forces: another spelling of the same text is possible, but rare.
pub struct GrammarDrafter {
    processors: Processors,
    prompt_length: usize,
    /// What is forced.
    chain: Vec<u32>,
    /// Where in it the text ends.
    here: usize,
    seen: usize,
    /// Where in it each node is; `None`: elsewhere.
    nodes: Vec<Option<usize>>,
}

impl GrammarDrafter {
    /// For one request with a response format, after a prompt of so many tokens.
    pub fn new(processors: Processors, prompt_length: usize) -> Self {
        Self {
            processors,
            prompt_length,
            chain: Vec::new(),
            here: 0,
            seen: 0,
            nodes: Vec::new(),
        }
    }

    fn position(&self, node: Option<usize>) -> Option<usize> {
        node.map_or(Some(self.here), |node| self.nodes[node])
    }
}

impl RetrievalDrafter for GrammarDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        if text.len() < self.prompt_length {
            return Ok(());
        }
        let new = &text[self.seen..];
        self.seen = text.len();
        // Asked anew only where the text leaves what was forced, or reaches its end.
        if self.chain.len() > self.here + new.len() && self.chain[self.here..].starts_with(new) {
            self.here += new.len();
        } else {
            self.chain = self.processors.forced(text)?;
            self.here = 0;
        }
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        let position = self.position(parent);
        let agrees = position.filter(|position| self.chain.get(*position) == Some(&token));
        self.nodes.push(agrees.map(|position| position + 1));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let token = self
            .position(node)
            .and_then(|position| self.chain.get(position));
        if let Some(token) = token {
            found.push(Candidate {
                token: *token,
                source: DraftKind::GRAMMAR,
                feature: 0,
                prior: 0.95,
            });
        }
    }
}
