//! How byte-level BPE tokenizers split text into words before merging, by the tag in GGUF files.
//!
//! A GGUF file names its rule (`tokenizer.ggml.pre`); tokenizer.json spells it out. The patterns are those of the
//! models' own tokenizer.json files, the tags those that llama.cpp's converter writes.

/// A rule that splits text into words, and what else the tag implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pretokenizer {
    tags: &'static [&'static str],
    /// Applied in order; each splits every word so far into its matches and the text between them.
    pub(super) patterns: &'static [&'static str],
    /// Text is normalized to Unicode's composed form (NFC) first.
    pub(super) nfc: bool,
    /// A word that is itself a token is used as it is, without merges.
    pub(super) ignore_merges: bool,
    /// The default for files that do not say whether text starts with the BOS token.
    pub(super) add_bos: bool,
}

const BASE: Pretokenizer = Pretokenizer {
    tags: &[],
    patterns: &[],
    nfc: false,
    ignore_merges: false,
    add_bos: false,
};

/// A single digit or other numeric character of any script.
const DIGIT: &str = r"\p{N}";
const UP_TO_THREE_DIGITS: &str = r"\p{N}{1,3}";
/// Groups of three, counted from the right, as people write large numbers.
const DIGITS_FROM_THE_RIGHT: &str = r"\d{1,3}(?=(?:\d{3})*(?!\d))";
const GPT2: &str = concat!(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+",
    r"|\s+(?!\S)|\s+"
);
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const IDEOGRAPHS_AND_KANA: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
const IDEOGRAPHS_AND_HANGUL: &str = "[一-龥\u{800}-一가-\u{d7ff}]+";
const DEEPSEEK3_WORDS: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
const DIGIT_TRIPLE: &str = "[0-9][0-9][0-9]";

const PRETOKENIZERS: &[Pretokenizer] = &[
    Pretokenizer {
        tags: &["default"],
        patterns: &[PUNCTUATION, GPT2, r"\p{N}+", DIGIT_TRIPLE],
        ..BASE
    },
    Pretokenizer {
        tags: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
        ],
        patterns: &[GPT2],
        ..BASE
    },
    Pretokenizer {
        tags: &["olmo"],
        patterns: &[GPT2],
        nfc: true,
        ..BASE
    },
    Pretokenizer {
        tags: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        patterns: &[DIGIT, GPT2],
        ..BASE
    },
    Pretokenizer {
        tags: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..BASE
    },
    Pretokenizer {
        tags: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        patterns: &[LLAMA3],
        ..BASE
    },
    Pretokenizer {
        tags: &[
            "qwen2",
            "megrez",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "solar-open",
        ],
        patterns: &[QWEN2],
        nfc: true,
        ..BASE
    },
    Pretokenizer {
        tags: &["stablelm2", "hunyuan", "grok-2"],
        patterns: &[QWEN2],
        ..BASE
    },
    Pretokenizer {
        tags: &["qwen35"],
        patterns: &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
            r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        nfc: true,
        ..BASE
    },
    Pretokenizer {
        tags: &["tekken"],
        patterns: &[concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        ignore_merges: true,
        add_bos: true,
        ..BASE
    },
    Pretokenizer {
        tags: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        patterns: &[GPT4O],
        ..BASE
    },
    Pretokenizer {
        tags: &["tiny_aya", "cohere2moe"],
        patterns: &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
        ..BASE
    },
    Pretokenizer {
        tags: &["kimi-k2"],
        patterns: &[concat!(
            r"\p{Han}+",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        ..BASE
    },
    Pretokenizer {
        tags: &["deepseek-llm"],
        patterns: &[
            r"[\r\n]",
            r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
            r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
            r"\s+$",
            IDEOGRAPHS_AND_HANGUL,
            DIGIT,
        ],
        ..BASE
    },
    Pretokenizer {
        tags: &["deepseek-coder"],
        patterns: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            IDEOGRAPHS_AND_HANGUL,
            DIGIT,
        ],
        ..BASE
    },
    Pretokenizer {
        tags: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        patterns: &[UP_TO_THREE_DIGITS, IDEOGRAPHS_AND_KANA, DEEPSEEK3_WORDS],
        ..BASE
    },
    Pretokenizer {
        tags: &["afmoe"],
        patterns: &[
            DIGITS_FROM_THE_RIGHT,
            "[一-\u{9fff}㐀-䶿豈-\u{faff}\u{3040}-ゟ゠-ヿ･-ﾟ⼀-⿟เ-\u{e7f}\u{e80}-\u{eff}ក-\u{17ff}က-႟ꩠ-ꩿꧠ-\u{a9ff}가-\u{d7af}ᄀ-ᇿ]+",
            DEEPSEEK3_WORDS,
        ],
        ..BASE
    },
    Pretokenizer {
        tags: &["falcon"],
        patterns: &[PUNCTUATION, GPT2, DIGIT_TRIPLE],
        ..BASE
    },
    Pretokenizer {
        tags: &["bloom", "poro-chat", "gpt3-finnish"],
        patterns: &[BLOOM],
        ..BASE
    },
    Pretokenizer {
        tags: &["viking"],
        patterns: &[BLOOM, DIGIT],
        ..BASE
    },
    Pretokenizer {
        tags: &["superbpe"],
        patterns: &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
        ..BASE
    },
    Pretokenizer {
        tags: &["bailingmoe", "bailingmoe2", "llada-moe"],
        patterns: &[concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
        ..BASE
    },
    Pretokenizer {
        tags: &["seed-coder"],
        patterns: &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
        ..BASE
    },
    Pretokenizer {
        tags: &["exaone-moe"],
        patterns: &[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
        ..BASE
    },
    Pretokenizer {
        tags: &["chameleon"],
        patterns: &[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ],
        add_bos: true,
        ..BASE
    },
];

/// The rule of a tag; `None` if the tag is unknown.
pub(super) fn find(tag: &str) -> Option<&'static Pretokenizer> {
    let known = |rule: &&Pretokenizer| rule.tags.contains(&tag);
    PRETOKENIZERS.iter().find(known)
}

#[cfg(test)]
mod tests {
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;
    use crate::text::splits;

    fn words(tag: &str, text: &str) -> Vec<String> {
        let mut splits = PreTokenizedString::from(text);
        for pattern in find(tag).unwrap().patterns {
            for step in splits::isolate(pattern).unwrap() {
                step.pre_tokenize(&mut splits).unwrap();
            }
        }
        let splits = splits.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .map(|(word, ..)| word.to_owned())
            .collect()
    }

    #[test]
    fn every_rule_keeps_the_whole_text() {
        let text = "It's 1234567 o'clock\t\n\n  naïve 漢字かな ñ é Ǆ — ‘ok’… x=y+1; <|a|>   end  ";
        for rule in PRETOKENIZERS {
            for tag in rule.tags {
                assert_eq!(words(tag, text).concat(), text, "{tag}");
            }
        }
    }

    /// In quadratic time, each would take minutes.
    #[test]
    fn long_runs_are_split() {
        let runs = [
            "1", " ", "a", "A", "aA", "!", "\n", " \n", "'", "漢", "\u{301}", "é1",
        ];
        for rule in PRETOKENIZERS {
            for run in runs {
                let text = run.repeat(100_000 / run.len()) + "x";
                let words = words(rule.tags[0], &text);
                assert_eq!(
                    words.concat().len(),
                    text.len(),
                    "{} of {run:?}",
                    rule.tags[0]
                );
            }
        }
    }

    #[test]
    fn tags_are_unique() {
        let mut tags: Vec<_> = PRETOKENIZERS.iter().flat_map(|rule| rule.tags).collect();
        let all = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), all);
        assert_eq!(find("no-such-tag"), None);
    }

    #[test]
    fn digits_are_grouped_as_each_family_does() {
        for (tag, expected) in [
            ("gpt-2", &["1234567"][..]),
            ("llama-bpe", &["123", "456", "7"]),
            ("qwen2", &["1", "2", "3", "4", "5", "6", "7"]),
            ("smollm", &["1", "2", "3", "4", "5", "6", "7"]),
            ("falcon", &["123", "456", "7"]),
            ("superbpe", &["1", "234", "567"]),
            ("afmoe", &["1", "234", "567"]),
            ("tiny_aya", &["1", "234", "567"]),
            ("deepseek-llm", &["1", "2", "3", "4", "5", "6", "7"]),
            ("deepseek-v3", &["123", "456", "7"]),
        ] {
            assert_eq!(words(tag, "1234567"), expected, "{tag}");
        }
    }

    #[test]
    fn words_are_split_as_each_family_does() {
        for (tag, text, expected) in [
            (
                "gpt-2",
                "I'm  here, OK?",
                &["I", "'m", " ", " here", ",", " OK", "?"][..],
            ),
            ("gpt-2", "I'M", &["I", "'", "M"]),
            (
                "llama-bpe",
                "I'M (ok)\n\nx",
                &["I", "'M", " (", "ok", ")\n\n", "x"],
            ),
            ("tekken", "HTTPServer isOK", &["HTTPServer", " is", "OK"]),
            (
                "gpt-4o",
                "we'll see a/b/\n",
                &["we'll", " see", " a", "/b", "/\n"],
            ),
            ("kimi-k2", "say 漢字now", &["say", " ", "漢字", "now"]),
            (
                "deepseek-llm",
                "Hi, 漢字\n",
                &["Hi", ",", " ", "漢字", "\n"],
            ),
            ("bloom", "one, two", &["one", ",", " two"]),
        ] {
            assert_eq!(words(tag, text), expected, "{tag}");
        }
    }
}
