//! Stop strings, found wherever tokens happen to cut them.

use ahash::AHashMap;

/// Passes text through until one of some stop strings ends in it.
///
/// All strings are looked for at once, byte by byte (Aho and Corasick, CACM 18:6, 1975): how many there are, and how long they
/// are, does not matter to a token.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    /// The prefixes of the stop strings, the empty one first.
    prefixes: Vec<Prefix>,
    /// The prefix that is a byte longer than another.
    longer: AHashMap<(u32, u8), u32>,
    /// The longest prefix that the text ends with.
    current: u32,
    /// The text of that prefix.
    held: String,
    stopped: bool,
    /// Prefixes that were tried.
    #[cfg(test)]
    work: usize,
}

/// The start of a stop string.
#[derive(Debug, Clone, Copy, Default)]
struct Prefix {
    length: u32,
    /// The longest other prefix that it ends with.
    shorter: u32,
    /// The length of the longest stop string that it ends with; 0: of none.
    stop: u32,
}

const EMPTY: u32 = 0;

impl StopMatcher {
    /// Looks for these strings, none of them empty.
    pub fn new(stops: &[String]) -> Self {
        let mut matcher = Self {
            prefixes: vec![Prefix::default()],
            longer: AHashMap::new(),
            current: EMPTY,
            held: String::new(),
            stopped: false,
            #[cfg(test)]
            work: 0,
        };
        for stop in stops {
            matcher.add(stop.as_bytes());
        }
        matcher.link();
        matcher
    }

    fn add(&mut self, stop: &[u8]) {
        let mut prefix = EMPTY;
        for (length, byte) in (1..).zip(stop) {
            prefix = *self.longer.entry((prefix, *byte)).or_insert_with(|| {
                self.prefixes.push(Prefix {
                    length,
                    ..Prefix::default()
                });
                self.prefixes.len() as u32 - 1
            });
        }
        self.prefixes[prefix as usize].stop = stop.len() as u32;
    }

    /// Links each prefix to the longest other one that it ends with: shorter prefixes first, since theirs are needed.
    fn link(&mut self) {
        let mut edges: Vec<(u32, u8, u32)> = Vec::with_capacity(self.longer.len());
        edges.extend(
            self.longer
                .iter()
                .map(|((from, byte), to)| (*from, *byte, *to)),
        );
        edges.sort_unstable_by_key(|(from, ..)| self.prefixes[*from as usize].length);
        for (from, byte, to) in edges {
            let shorter = match from {
                EMPTY => EMPTY,
                from => self.advance(self.prefixes[from as usize].shorter, byte),
            };
            let stop = self.prefixes[shorter as usize].stop;
            let prefix = &mut self.prefixes[to as usize];
            prefix.shorter = shorter;
            prefix.stop = prefix.stop.max(stop);
        }
    }

    /// The longest prefix that the text ends with, once a byte follows one that ends with `prefix`.
    fn advance(&mut self, mut prefix: u32, byte: u8) -> u32 {
        loop {
            #[cfg(test)]
            {
                self.work += 1;
            }
            if let Some(next) = self.longer.get(&(prefix, byte)) {
                return *next;
            }
            if prefix == EMPTY {
                return EMPTY;
            }
            prefix = self.prefixes[prefix as usize].shorter;
        }
    }

    /// Takes more text; returns what can no longer be part of a stop string.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (index, byte) in text.bytes().enumerate() {
            self.current = self.advance(self.current, byte);
            let stop = self.prefixes[self.current as usize].stop as usize;
            if stop > 0 {
                self.stopped = true;
                self.held.truncate(before + index + 1 - stop);
                return std::mem::take(&mut self.held);
            }
        }
        let keep = self.prefixes[self.current as usize].length as usize;
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop string was found.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text still held back, at the end of generation.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], chunks: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut text: String = chunks.iter().map(|chunk| matcher.push(chunk)).collect();
        text.push_str(&matcher.finish());
        (text, matcher.stopped())
    }

    #[test]
    fn stops_are_found_across_chunks() {
        assert_eq!(
            run(&["\n\nQ"], &["a\n", "b\n", "\n", "Qc"]),
            ("a\nb".into(), true)
        );
        assert_eq!(run(&["END", "EN"], &["xE", "ND"]), ("x".into(), true));
        assert_eq!(run(&["END"], &["xE", "N"]), ("xEN".into(), false));
        assert_eq!(run(&["é!"], &["caf", "é", "é!"]), ("café".into(), true));
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), false));
    }

    #[test]
    fn the_first_to_end_counts_and_of_those_the_longest() {
        assert_eq!(run(&["b", "abc"], &["xabc"]), ("xa".into(), true));
        assert_eq!(run(&["bc", "abc"], &["xa", "bc"]), ("x".into(), true));
        assert_eq!(run(&["aab"], &["aaa", "b"]), ("a".into(), true));
    }

    #[test]
    fn the_work_for_a_text_does_not_depend_on_the_stop_strings() {
        let text = "a".repeat(3000);
        for stops in [
            vec!["b".to_owned()],
            vec!["a".repeat(4000)],
            (0..200)
                .map(|stop| format!("{}{stop}", "a".repeat(900)))
                .collect(),
        ] {
            let mut matcher = StopMatcher::new(&stops);
            matcher.work = 0;
            for _ in 0..text.len() {
                matcher.push("a");
            }
            // Each byte lengthens the prefix by one at most, and each further attempt shortens it.
            assert!(matcher.work <= 2 * text.len(), "{}", matcher.work);
        }
    }

    proptest! {
        #[test]
        fn stops_are_found_where_the_text_is_searched_anew(
            chunks in prop::collection::vec("[abé]{0,4}", 0..12),
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
        ) {
            let whole = chunks.concat();
            let ends = (0..=whole.len()).filter(|end| whole.is_char_boundary(*end));
            let found = ends.filter_map(|end| {
                let ending = stops.iter().filter(|stop| whole[..end].ends_with(stop.as_str()));
                ending.map(|stop| end - stop.len()).min()
            });
            let first = found.into_iter().next();
            let mut matcher = StopMatcher::new(&stops);
            let mut text = String::new();
            for chunk in &chunks {
                text.push_str(&matcher.push(chunk));
                // Nothing is held back that can't become a stop string.
                let held = matcher.held.as_str();
                let starts = |stop: &String| stop.starts_with(held);
                prop_assert!(matcher.stopped() || stops.iter().any(starts) || held.is_empty());
            }
            text.push_str(&matcher.finish());
            prop_assert_eq!(matcher.stopped(), first.is_some());
            prop_assert_eq!(text, &whole[..first.unwrap_or(whole.len())]);
        }
    }
}
