//! Stop strings, found wherever tokens happen to cut them.

/// Passes text through until one of some stop strings appears in it.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that may be the prefix of a stop string.
    held: String,
    stopped: bool,
}

impl StopMatcher {
    /// Looks for these strings, none of them empty.
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.to_vec(),
            ..Self::default()
        }
    }

    /// Takes more text; returns what can no longer be part of a stop string.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min();
        if let Some(start) = found {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let keep = self.possible_prefix();
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

    /// Length of the longest end of the held text that some stop string begins with.
    fn possible_prefix(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len())
            .filter(|start| self.held.is_char_boundary(*start))
            .find(|start| {
                self.stops
                    .iter()
                    .any(|stop| stop.starts_with(&self.held[*start..]))
            })
            .map_or(0, |start| self.held.len() - start)
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

    proptest! {
        #[test]
        fn chunks_give_what_the_whole_text_gives(
            chunks in prop::collection::vec("[abé]{0,4}", 0..12),
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
        ) {
            let whole = chunks.concat();
            let first = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            let mut matcher = StopMatcher::new(&stops);
            let mut text: String = chunks.iter().map(|chunk| matcher.push(chunk)).collect();
            text.push_str(&matcher.finish());
            // A longer stop that began earlier may be completed later than a shorter one inside it.
            let found = matcher.stopped();
            prop_assert_eq!(found, first.is_some());
            if found {
                prop_assert!(whole.starts_with(&text));
                prop_assert!(stops.iter().any(|stop| whole[text.len()..].starts_with(stop.as_str())));
            } else {
                prop_assert_eq!(text, whole);
            }
        }
    }
}
