//! A suffix automaton over a growing text: finds the last earlier occurrence of its longest repeated suffix, and what followed.
//!
//! (Blumer et al., 1985; for drafting: SAM-Decoding, 2411.10666.)

use ahash::AHashMap;

/// The maximum number of suffix links that a search or an update follows: enough for natural text, and a bound for a text that
/// repeats a single token.
const MAX_LINKS: usize = 64;

/// All substrings of a text, and its longest suffix that occurred before. A token takes amortized constant time.
#[derive(Debug, Clone)]
pub struct SuffixAutomaton {
    text: Vec<u32>,
    states: Vec<State>,
    /// By state and token.
    transitions: AHashMap<(u32, u32), u32>,
    /// The tokens of each state's transitions, as linked lists.
    tokens: Vec<Listed>,
    /// The state of the whole text.
    whole: u32,
    /// The longest suffix of the text that also occurs earlier.
    matched: Match,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Length of the longest substring of this state.
    length: u32,
    /// The suffix link: the state of the longest suffix that is in another state; the root's is itself.
    link: u32,
    /// The end of its last occurrence, as a number of tokens.
    last_end: u32,
    /// The end of the occurrence before that; 0: there is none.
    earlier_end: u32,
    /// The list of the tokens that may follow, as the index of its first entry.
    first: Option<u32>,
}

/// A token in a list, and the index of the next entry.
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
    /// The end of its last occurrence.
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
        // Before the token is added, so that the suffix doesn't match itself.
        self.matched = self.advance_within(usize::MAX - 1, self.matched, token);
        self.enter(token);
    }

    /// The longest suffix of the text that also occurs earlier.
    pub fn end(&self) -> Match {
        self.matched
    }

    /// The longest shorter suffix of a match that has more occurrences; `None`: there is none.
    pub fn shorter(&self, matched: Match) -> Option<Match> {
        let state = self.suffix_link(matched.state)?;
        let found = self.states[state as usize];
        // Nothing has followed the text's own end yet.
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

    /// The longest suffix of a match and one more token that occurs in the text.
    ///
    /// Far shorter suffixes are not searched for: the search takes amortized constant time only for the text's own end.
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
            state = self.suffix_link(from);
        }
        // All suffixes of the text now have their last occurrence here.
        let mut state = self.suffix_link(new);
        for _ in 0..MAX_LINKS {
            let Some(suffix) = state.filter(|state| *state != ROOT) else {
                break;
            };
            let found = &mut self.states[suffix as usize];
            found.earlier_end = found.last_end;
            found.last_end = end;
            state = self.suffix_link(suffix);
        }
    }

    /// The state of the substring at the end of a transition: a copy of the transition's state if that also has longer substrings.
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
        while let Some(index) = listed {
            let Listed { token, next: later } = self.tokens[index as usize];
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
            state = self.suffix_link(shorter);
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
    fn suffix_link(&self, state: u32) -> Option<u32> {
        (state != ROOT).then(|| self.states[state as usize].link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The longest suffix of a text that also occurs earlier, and the end of its last occurrence, by brute force.
    fn by_brute_force(text: &[u32]) -> Option<(usize, usize)> {
        (1..text.len()).rev().find_map(|length| {
            let suffix = &text[text.len() - length..];
            let ends = (length..text.len()).rev();
            let end = ends
                .into_iter()
                .find(|end| &text[end - length..*end] == suffix)?;
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
                prop_assert_eq!(found, by_brute_force(&text[..length]), "{}", length);
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
