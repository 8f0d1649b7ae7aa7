//! Word wrap of text that is still being written.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What starts and ends a block of code, which is not wrapped.
const FENCE: &str = "```";
/// Columns between tab stops.
const TAB: usize = 8;
const ESCAPE: char = '\u{1b}';
/// Joins emojis into one.
const JOINER: char = '\u{200d}';

/// Breaks lines between words. A word is held back until its end is known.
#[derive(Default)]
pub(super) struct Wrapper {
    /// The column that the next character is written to.
    column: usize,
    /// The blanks before the word.
    blanks: String,
    /// The word that is not written yet, with its escape sequences.
    word: String,
    /// The word's visible characters.
    visible: String,
    /// Whether an escape sequence has begun.
    in_escape: bool,
    /// The visible characters of the text's own line.
    line: String,
    in_code: bool,
    /// Whether blanks are dropped, as at the start of a line that goes on with a broken one.
    drops_blanks: bool,
}

impl Wrapper {
    /// A wrapper of what follows a text, on a line of its own.
    pub(super) fn after(text: &str) -> Self {
        let mut wrapper = Self::default();
        wrapper.push(text, usize::MAX);
        wrapper.place_word(usize::MAX, &mut String::new());
        wrapper.blanks.clear();
        wrapper.drops_blanks = !wrapper.in_code && wrapper.column > 0;
        wrapper.column = 0;
        wrapper
    }

    /// What a terminal of this many columns shows next, after more of the text.
    pub(super) fn push(&mut self, text: &str, width: usize) -> String {
        let mut out = String::new();
        for letter in text.chars() {
            if self.is_in_escape(letter) {
                self.word.push(letter);
                continue;
            }
            match letter {
                '\n' => self.end_line(width, &mut out),
                ' ' | '\t' if self.drops_blanks => self.line.push(letter),
                ' ' | '\t' => {
                    self.place_word(width, &mut out);
                    self.blanks.push(letter);
                    self.line.push(letter);
                }
                _ => self.push_visible(letter, width, &mut out),
            }
        }
        if self.is_verbatim() {
            self.place_word(width, &mut out);
        }
        out
    }

    /// What is held back, at the text's end.
    pub(super) fn finish(&mut self, width: usize) -> String {
        let mut out = String::new();
        self.place_word(width, &mut out);
        *self = Self::default();
        out
    }

    /// Whether the letter belongs to an escape sequence, such as a colour's: ESC [ ... LETTER.
    fn is_in_escape(&mut self, letter: char) -> bool {
        let belongs = self.in_escape || letter == ESCAPE;
        self.in_escape = belongs && !letter.is_ascii_alphabetic();
        belongs
    }

    fn push_visible(&mut self, letter: char, width: usize, out: &mut String) {
        self.drops_blanks = false;
        // Chinese and Japanese have no blanks: a line may end before and after any wide character.
        let last = self.visible.chars().next_back();
        let is_wide = |letter: char| letter.width() == Some(2);
        let extends = letter.width() == Some(0) || last == Some(JOINER);
        if !extends
            && (is_wide(letter) || last.is_some_and(|last| is_wide(last) || last == '\u{fe0f}'))
        {
            self.place_word(width, out);
        }
        self.word.push(letter);
        self.visible.push(letter);
        self.line.push(letter);
    }

    /// Writes the word, on the next line if it does not fit this one.
    fn place_word(&mut self, width: usize, out: &mut String) {
        if self.visible.is_empty() {
            // Escape sequences alone take no place, whatever comes before them.
            out.push_str(&std::mem::take(&mut self.word));
            return;
        }
        let blanks = std::mem::take(&mut self.blanks);
        let word_width = self.visible.width();
        let start = after_blanks(self.column, &blanks);
        if start + word_width <= width || self.is_verbatim() || self.column == 0 {
            out.push_str(&blanks);
            self.column = start;
        } else {
            out.push('\n');
            self.column = 0;
        }
        if self.column + word_width <= width || self.is_verbatim() {
            out.push_str(&self.word);
            self.column += word_width;
        } else {
            self.break_word(width, out);
        }
        self.word.clear();
        self.visible.clear();
    }

    /// Writes a word that is longer than a line.
    fn break_word(&mut self, width: usize, out: &mut String) {
        let mut in_escape = false;
        for letter in self.word.chars() {
            let belongs = in_escape || letter == ESCAPE;
            in_escape = belongs && !letter.is_ascii_alphabetic();
            let letter_width = if belongs {
                0
            } else {
                letter.width().unwrap_or(0)
            };
            if self.column + letter_width > width && self.column > 0 {
                out.push('\n');
                self.column = 0;
            }
            out.push(letter);
            self.column += letter_width;
        }
    }

    /// Ends a line of the text's own; blanks at its end are dropped, as they would not be seen.
    fn end_line(&mut self, width: usize, out: &mut String) {
        self.place_word(width, out);
        out.push('\n');
        self.drops_blanks = false;
        if self.is_fence() {
            self.in_code = !self.in_code;
        }
        self.blanks.clear();
        self.line.clear();
        self.column = 0;
    }

    /// Whether the line is code, or opens or closes a block of code.
    fn is_verbatim(&self) -> bool {
        self.in_code || self.is_fence()
    }

    /// Whether the line starts with a fence, and not with a word between backticks.
    fn is_fence(&self) -> bool {
        let fenced = self.line.trim_start().strip_prefix(FENCE);
        fenced.is_some_and(|info| !info.trim_start_matches('`').contains('`'))
    }
}

/// A whole text, wrapped.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let mut wrapper = Wrapper::default();
    wrapper.push(text, width) + &wrapper.finish(width)
}

/// The column after blanks.
fn after_blanks(column: usize, blanks: &str) -> usize {
    blanks.chars().fold(column, |column, blank| match blank {
        '\t' => (column / TAB + 1) * TAB,
        _ => column + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text on a terminal of this width, however it is split into chunks.
    fn wrap(text: &str, width: usize) -> String {
        let mut wrapper = Wrapper::default();
        let whole = super::wrap(text, width);
        for size in 1..4 {
            let letters: Vec<char> = text.chars().collect();
            let chunks = letters
                .chunks(size)
                .map(|chunk| chunk.iter().collect::<String>());
            let mut split: String = chunks.map(|chunk| wrapper.push(&chunk, width)).collect();
            split += &wrapper.finish(width);
            assert_eq!(split, whole, "in chunks of {size}");
        }
        whole
    }

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrap("the quick brown fox", 10), "the quick\nbrown fox");
        assert_eq!(wrap("the quick brown fox", 9), "the quick\nbrown fox");
        assert_eq!(wrap("the quick brown fox", 8), "the\nquick\nbrown\nfox");
        assert_eq!(
            wrap("one two\n\n  three four", 8),
            "one two\n\n  three\nfour"
        );
        assert_eq!(wrap("a\tb", 10), "a\tb");
        assert_eq!(wrap("a\tbcd", 10), "a\nbcd");
        assert_eq!(wrap("", 10), "");
    }

    #[test]
    fn a_word_longer_than_the_line_is_broken() {
        assert_eq!(
            wrap("see abcdefghijkl now", 5),
            "see\nabcde\nfghij\nkl\nnow"
        );
        assert_eq!(wrap("abcdef", 1), "a\nb\nc\nd\ne\nf");
    }

    #[test]
    fn width_counts_and_not_letters() {
        assert_eq!(wrap("你好世界", 5), "你好\n世界");
        assert_eq!(wrap("ab 你好", 5), "ab 你\n好");
        // Combining accents take no column.
        assert_eq!(
            wrap("e\u{301}e\u{301}e\u{301} ab", 6),
            "e\u{301}e\u{301}e\u{301} ab"
        );
        let family = "👨\u{200d}👩\u{200d}👧";
        assert_eq!(wrap(&format!("ab{family}c"), 5), format!("ab{family}c"));
    }

    #[test]
    fn code_is_not_wrapped() {
        let code = "```rust\nlet long = \"a line of code\";\n```\n";
        assert_eq!(wrap(code, 8), code);
        let text = format!("{code}one two three");
        assert_eq!(wrap(&text, 8), format!("{code}one two\nthree"));
        assert_eq!(wrap("```a``` bc def", 8), "```a```\nbc def");
    }

    #[test]
    fn a_continued_text_is_wrapped_as_its_beginning() {
        let continued = |before: &str, text: &str, width: usize| {
            let mut wrapper = Wrapper::after(before);
            wrapper.push(text, width) + &wrapper.finish(width)
        };
        assert_eq!(continued("as we", " do now", 4), "do\nnow");
        assert_eq!(continued("as we\n", "  do", 4), "  do");
        assert_eq!(continued("as we", "\n  do", 6), "\n  do");
        let code = " an_argument);\n```\nIt is so";
        let wrapped = " an_argument);\n```\nIt is\nso";
        assert_eq!(continued("```\ncall(", code, 6), wrapped);
    }

    #[test]
    fn colours_take_no_columns() {
        let red = |text: &str| format!("\u{1b}[31m{text}\u{1b}[0m");
        let text = format!("one{} three", red(" two"));
        assert_eq!(wrap(&text, 7), format!("one{}\nthree", red(" two")));
    }
}
