//! Grammar fast-forward tokens: those to which a response format leaves no alternative.

use super::RetrievalDrafter;
use crate::error::Result;
use crate::sampling::Processors;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// Proposes the tokens that the response format forces: another tokenization of the same text is possible, but rare.
pub struct GrammarDrafter {
    processors: Processors,
    prompt_length: usize,
    /// The fast-forward tokens.
    chain: Vec<u32>,
    /// The index in them of the text's end.
    current: usize,
    seen: usize,
    /// The same for each node; `None`: it departs from them.
    nodes: Vec<Option<usize>>,
}

impl GrammarDrafter {
    /// For one request with a response format, after a prompt of `prompt_length` tokens.
    pub fn new(processors: Processors, prompt_length: usize) -> Self {
        Self {
            processors,
            prompt_length,
            chain: Vec::new(),
            current: 0,
            seen: 0,
            nodes: Vec::new(),
        }
    }

    fn position(&self, node: Option<usize>) -> Option<usize> {
        node.map_or(Some(self.current), |node| self.nodes[node])
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
        // Computed again only if the text departs from the tokens or reaches their end.
        if self.chain.len() > self.current + new.len()
            && self.chain[self.current..].starts_with(new)
        {
            self.current += new.len();
        } else {
            self.chain = self.processors.forced(text);
            self.current = 0;
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
