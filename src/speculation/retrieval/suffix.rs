//! A suffix automaton over growing text: where did the longest end of it stand before, and what followed?
//!
//! (Blumer et al., 1985; for drafting: SAM-Decoding, 2411.10666.)

use ahash::AHashMap;

/// The states' links that are followed to remember where a text last stood: enough for natural text, and a bound for a text
/// of one token over and over.
const MAX_LINKS: usize = 64;

/// All substrings of a text, and how the text's end continues earlier ones. A token takes constant time, amortized.
#[derive(Debug, Clone)]
pub struct SuffixAutomaton {
    text: Vec<u32>,
    states: Vec<State>,
    /// By state and token.
    transitions: AHashMap<(u32, u32), u32>,
    /// The tokens of each state's transitions, as lists.
    tokens: Vec<Listed>,
    /// The state of the whole text.
    whole: u32,
    /// The longest end of the text that also stands earlier.
    matched: Match,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Length of the longest substring of this state.
    length: u32,
    /// The state of the longest suffix that is in another one; the root's is itself.
    link: u32,
    /// Where it last ended, as a number of tokens.
    last_end: u32,
    /// Where it ended before that; 0: nowhere.
    earlier_end: u32,
    /// The first of the tokens that may follow.
    first: Option<u32>,
}

/// A token in a list, and the next one's place.
#[derive(Debug, Clone, Copy)]
struct Listed {
    token: u32,
    next: Option<u32>,
}

/// A substring of the text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Match {
    state: u32,
    length: u32,
    /// Where it last ended.
    end: u32,
}

impl Match {
    /// How many tokens it has; 0: nothing matches.
    pub fn length(self) -> usize {
        self.length as usize
    }

    /// The position after its last occurrence.
    pub fn end(self) -> usize {
        self.end as usize
    }
}

const ROOT: u32 = 0;

impl Default for SuffixAutomaton {
    fn default() -> Self {
        let root = State {
            length: 0,
            link: ROOT,
            last_end: 0,
            earlier_end: 0,
            first: None,
        };
        Self {
            text: Vec::new(),
            states: vec![root],
            transitions: AHashMap::new(),
            tokens: Vec::new(),
            whole: ROOT,
            matched: Match::default(),
        }
    }
}

impl SuffixAutomaton {
    /// The text.
    pub fn text(&self) -> &[u32] {
        &self.text
    }

    /// Appends a token.
    pub fn push(&mut self, token: u32) {
        // Before the token is entered, so that the text's end doesn't find itself.
        self.matched = self.advance_within(usize::MAX - 1, self.matched, token);
        self.enter(token);
    }

    /// The longest end of the text that also stood before.
    pub fn end(&self) -> Match {
        self.matched
    }

    /// The longest shorter end of a match that stood in other places too; `None`: there is none.
    pub fn shorter(&self, matched: Match) -> Option<Match> {
        let state = self.above(matched.state)?;
        let found = self.states[state as usize];
        // The text's own end is not a place where something followed.
        let own = found.last_end as usize == self.text.len();
        Some(Match {
            state,
            length: found.length,
            end: if own {
                found.earlier_end
            } else {
                found.last_end
            },
        })
    }

    /// The longest end that the text has of a match and one more token.
    ///
    /// For a match that is not the text's own end, far shorter ones are not looked for: only those are paid for by the tokens
    /// before.
    pub fn advance(&self, matched: Match, token: u32) -> Match {
        self.advance_within(MAX_LINKS, matched, token)
    }

    fn advance_within(&self, links: usize, mut matched: Match, token: u32) -> Match {
        for _ in 0..=links {
            if let Some(next) = self.transitions.get(&(matched.state, token)) {
                return Match {
                    state: *next,
                    length: matched.length + 1,
                    end: self.states[*next as usize].last_end,
                };
            }
            if matched.state == ROOT {
                return Match::default();
            }
            matched.state = self.states[matched.state as usize].link;
            matched.length = self.states[matched.state as usize].length;
        }
        Match::default()
    }

    fn enter(&mut self, token: u32) {
        self.text.push(token);
        let end = self.text.len() as u32;
        let new = self.add(State {
            length: end,
            link: ROOT,
            last_end: end,
            earlier_end: 0,
            first: None,
        });
        let mut state = Some(self.whole);
        self.whole = new;
        while let Some(from) = state {
            if let Some(next) = self.transitions.get(&(from, token)) {
                let link = self.split(from, token, *next);
                self.states[new as usize].link = link;
                break;
            }
            self.connect(from, token, new);
            state = self.above(from);
        }
        // All that the text now ends with has last stood here.
        let mut state = self.above(new);
        for _ in 0..MAX_LINKS {
            let Some(suffix) = state.filter(|state| *state != ROOT) else {
                break;
            };
            let found = &mut self.states[suffix as usize];
            found.earlier_end = found.last_end;
            found.last_end = end;
            state = self.above(suffix);
        }
    }

    /// The state of the substring that ends a transition: a state of its own, if the transition's state has longer ones.
    fn split(&mut self, from: u32, token: u32, next: u32) -> u32 {
        let length = self.states[from as usize].length + 1;
        let whole = self.states[next as usize];
        if whole.length == length {
            return next;
        }
        let copy = self.add(State {
            length,
            first: None,
            ..whole
        });
        let mut listed = whole.first;
        while let Some(place) = listed {
            let Listed { token, next: later } = self.tokens[place as usize];
            let target = self.transitions[&(next, token)];
            self.connect(copy, token, target);
            listed = later;
        }
        self.states[next as usize].link = copy;
        if self.matched.state == next && self.matched.length <= length {
            self.matched.state = copy;
        }
        let mut state = Some(from);
        while let Some(shorter) = state {
            match self.transitions.get_mut(&(shorter, token)) {
                Some(target) if *target == next => *target = copy,
                _ => break,
            }
            state = self.above(shorter);
        }
        copy
    }

    fn add(&mut self, state: State) -> u32 {
        self.states.push(state);
        self.states.len() as u32 - 1
    }

    fn connect(&mut self, from: u32, token: u32, to: u32) {
        self.transitions.insert((from, token), to);
        let first = &mut self.states[from as usize].first;
        self.tokens.push(Listed {
            token,
            next: *first,
        });
        *first = Some(self.tokens.len() as u32 - 1);
    }

    /// The state of the longest suffix in another state; the root has none.
    fn above(&self, state: u32) -> Option<u32> {
        (state != ROOT).then(|| self.states[state as usize].link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The longest end of a text that also stands earlier, and the last place where, by trying all.
    fn by_trying(text: &[u32]) -> Option<(usize, usize)> {
        (1..text.len()).rev().find_map(|length| {
            let wanted = &text[text.len() - length..];
            let ends = (length..text.len()).rev();
            let end = ends
                .into_iter()
                .find(|end| &text[end - length..*end] == wanted)?;
            Some((end, length))
        })
    }

    proptest! {
        #[test]
        fn the_longest_match_is_found(text in prop::collection::vec(0_u32..4, 0..120)) {
            let mut automaton = SuffixAutomaton::default();
            for length in 1..=text.len() {
                automaton.push(text[length - 1]);
                let Match { length: matched, end, .. } = automaton.end();
                let found = (matched > 0).then_some((end as usize, matched as usize));
                prop_assert_eq!(found, by_trying(&text[..length]), "{}", length);
            }
            prop_assert!(automaton.states.len() <= 2 * text.len().max(1));
        }
    }

    #[test]
    fn a_text_of_one_token_takes_linear_time() {
        let mut automaton = SuffixAutomaton::default();
        (0..200_000).for_each(|_| automaton.push(7));
        assert_eq!(automaton.end().length(), 199_999);
    }
}
