//! Tokenizers and chat templates of real models and of the tiny pair.

mod support;

use std::path::Path;

use base64::Engine;
use proptest::prelude::*;
use serde_json::{Value, json};
use specdec_rs::weights::gguf::{GgufFile, Value as GgufValue};
use specdec_rs::{Message, RenderOptions, Tokenizer};
use support::{pair, real_model, shared};

fn gguf_tokenizer(file: &Path) -> Tokenizer {
    let file = GgufFile::open(file).unwrap();
    Tokenizer::from_gguf(file.metadata(), file.path()).unwrap()
}

/// Both ways: the ids are transformers' own, and decode to the text.
#[test]
#[ignore = "needs SPECDEC_SHARED and the default models"]
fn real_vocabularies_tokenize_as_transformers_does() {
    let shared = shared();
    let golden = std::fs::read(shared.join("golden/tokenization.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for (model, alias) in [("smollm2", "smollm2-135m"), ("gemma3", "gemma3-270m")] {
        let file = real_model(alias);
        let tokenizer = gguf_tokenizer(&file);
        let cases = golden[model].as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ids = tokenizer.encode(text, true).unwrap();
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(ids, expected, "{model}: {text:?}");
            let start =
                usize::from(ids.first() == tokenizer.bos_token_id().as_ref() && model == "gemma3");
            assert_eq!(
                tokenizer.decode(&ids[start..], false).unwrap(),
                text,
                "{model}"
            );
        }
        println!("{model}: {} texts", cases.len());
    }
}

#[test]
#[ignore = "needs SPECDEC_SHARED"]
fn a_gguf_tokenizer_is_its_folder_s_tokenizer() {
    let shared = shared();
    let embedded = gguf_tokenizer(&shared.join("fixtures/gguf/llama-F16.gguf"));
    let folder = Tokenizer::from_folder(&shared.join("fixtures/hf/llama")).unwrap();
    assert!(embedded.same_vocabulary(&folder));
    for text in [
        "Hello, world! It's 1234 o'clock.\n\n  naïve 漢字 🙂",
        "",
        " ",
        "<|endoftext|>a",
    ] {
        let ids = folder.encode(text, true).unwrap();
        assert_eq!(embedded.encode(text, true).unwrap(), ids, "{text:?}");
        assert_eq!(embedded.decode(&ids, false).unwrap(), text);
    }
    assert_eq!(embedded.eos_token_ids(), folder.eos_token_ids());
    assert_eq!(embedded.bos_token_id(), folder.bos_token_id());
}

#[test]
#[ignore = "needs the default models"]
fn eos_tokens_and_templates_of_real_models_are_known() {
    let file = real_model("smollm2-135m");
    let tokenizer = gguf_tokenizer(&file);
    assert_eq!(tokenizer.eos_token_ids(), [0, 2]);
    let messages = [Message::new("user", "Hi")];
    let text = tokenizer
        .chat_template()
        .unwrap()
        .render(&messages, &RenderOptions::default())
        .unwrap();
    let expected = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
    // The template's special tokens are single tokens.
    let ids = tokenizer.encode(&text, false).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == 1).count(), 3);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), expected);
}

#[test]
fn vocabularies_are_compared_token_by_token() {
    let target = pair::tokenizer();
    assert!(target.same_vocabulary(&pair::tokenizer()));
    let other = Tokenizer::from_folder(&pair::folder("draft-other-vocab")).unwrap();
    assert!(!target.same_vocabulary(&other));
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut detokenizer = tokenizer.detokenizer(false, false);
    let mut text: String = ids
        .iter()
        .map(|id| detokenizer.push(*id).unwrap())
        .collect();
    text.push_str(&detokenizer.finish().unwrap());
    text
}

proptest! {
    #[test]
    fn text_survives_tokenizing(text in "\\PC*") {
        let tokenizer = pair::tokenizer();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(streamed(&tokenizer, &ids), text);
    }

    /// Any tokens, half characters included: streamed chunks are what the library's own decoder returns at once.
    #[test]
    fn streamed_text_is_decoded_text(ids in prop::collection::vec(0u32..600, 0..60)) {
        let library = tokenizers::Tokenizer::from_file(pair::folder("target").join("tokenizer.json")).unwrap();
        prop_assert_eq!(streamed(&pair::tokenizer(), &ids), library.decode(&ids, false).unwrap());
    }
}

/// The library writes one U+FFFD for each invalid byte token, this crate one for each invalid sequence.
#[test]
#[ignore = "needs the default models"]
fn streamed_text_is_decoded_text_with_byte_tokens() {
    let file = real_model("gemma3-270m");
    let tokenizer = gguf_tokenizer(&file);
    for text in [
        "  two spaces",
        "日本語 🙂🏽 ﷽ e\u{301}",
        "\u{10FFFF}\u{378}",
        "a\n\n\nb\t\tc",
    ] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(streamed(&tokenizer, &ids), text);
        let mut detokenizer = tokenizer.detokenizer(true, false);
        for id in ids {
            assert!(
                !detokenizer.push(id).unwrap().contains('\u{fffd}'),
                "half a character of {text:?}"
            );
        }
    }
    // The first two bytes of a character, then another character.
    let half = [238 + 0xE2, 238 + 0x82];
    let whole = tokenizer.encode("ok", false).unwrap();
    assert_eq!(
        streamed(&tokenizer, &[&half[..], &whole].concat()),
        "\u{fffd}ok"
    );
    assert_eq!(streamed(&tokenizer, &half), "\u{fffd}");
}

/// A folder with the pair's tokenizer after a change to one of its files.
fn changed(file: &str, change: impl FnOnce(String) -> String) -> specdec_rs::Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(pair::folder("target")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = folder.path().join(file);
    let contents = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(&path, change(contents)).unwrap();
    Tokenizer::from_folder(folder.path())
}

#[test]
fn corrupt_tokenizer_files_are_refused_by_name() {
    let refused = |file: &str, change: &dyn Fn(String) -> String| {
        let message = changed(file, change).err().expect(file).to_string();
        assert!(message.contains(file), "{message}");
    };
    refused("tokenizer.json", &|text| text[..text.len() / 2].to_owned());
    refused("tokenizer.json", &|_| "{}".to_owned());
    refused("tokenizer.json", &|text| {
        let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
        tokenizer["model"]["continuing_subword_prefix"] = "x".into();
        tokenizer.to_string()
    });
    refused("tokenizer.json", &|_| String::new());
    refused("tokenizer_config.json", &|_| "[1,".to_owned());
    refused("generation_config.json", &|_| "nonsense".to_owned());
}

#[test]
fn tokenizers_that_make_much_of_little_are_refused() {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let every = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x".repeat(1000)});
    let prepend = json!({"type": "Prepend", "prepend": "x".repeat(1000)});
    let in_bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let normalizers = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
    let pretokenizers = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let decoders = |steps: Vec<Value>| json!({"type": "Sequence", "decoders": steps});
    let template = |single: Vec<Value>, ids: usize| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {
            "x": {"id": "x", "ids": vec![1; ids], "tokens": vec!["x"; ids]}}})
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let special = json!({"SpecialToken": {"id": "x", "type_id": 0}});
    let unigram = (0..300).map(|length| json!(["a".repeat(length + 1), -1.0]));
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": unigram.collect::<Vec<_>>(), "byte_fallback": false});
    let words = json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a",
        "continuing_subword_prefix": "", "max_input_chars_per_word": 1_u64 << 40});
    let map = base64::engine::general_purpose::STANDARD
        .encode([&[0; 4][..], &[b'x'; 1000], &[0]].concat());
    let map = json!({"type": "Precompiled", "precompiled_charsmap": map});
    for (part, value, message) in [
        (
            "normalizer",
            normalizers(vec![replace("a", &"a".repeat(4000)); 3]),
            "times as long",
        ),
        (
            "normalizer",
            normalizers(vec![replace("a", "aa"); 34]),
            "times as long",
        ),
        ("normalizer", every, "times as long"),
        (
            "normalizer",
            normalizers(vec![prepend; 5]),
            "add 10000 bytes",
        ),
        (
            "normalizer",
            normalizers(vec![json!({"type": "NFKD"}); 100]),
            "101 steps",
        ),
        ("normalizer", map, "1000 bytes of a character"),
        (
            "pre_tokenizer",
            pretokenizers(vec![in_bytes; 34]),
            "times as long",
        ),
        (
            "decoder",
            decoders(vec![replace("a", &"a".repeat(4000)); 3]),
            "times as long",
        ),
        (
            "post_processor",
            template(
                [vec![special.clone(); 300], vec![text.clone()]].concat(),
                300,
            ),
            "tokens",
        ),
        (
            "post_processor",
            template(vec![text.clone(); 1000], 1),
            "1000 times",
        ),
        ("model", unigram, "its longest token has 300"),
        ("model", words, "max_input_chars_per_word is 1099511627776"),
    ] {
        let refused = changed("tokenizer.json", |file| {
            let mut tokenizer: Value = serde_json::from_str(&file).unwrap();
            tokenizer[part] = value;
            tokenizer["added_tokens"] = json!([]);
            tokenizer.to_string()
        });
        let refused = refused.err().expect(message).to_string();
        assert!(
            refused.contains("tokenizer.json") && refused.contains(message),
            "{part}: {refused}"
        );
    }
    let usual = changed("tokenizer.json", |file| {
        let mut tokenizer: Value = serde_json::from_str(&file).unwrap();
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        tokenizer["normalizer"] =
            normalizers(vec![prepend, replace(" ", "▁"), json!({"type": "NFKC"})]);
        tokenizer["post_processor"] = template(vec![special, text], 1);
        tokenizer.to_string()
    });
    usual.unwrap();
}

#[test]
fn settings_are_read_in_every_layout() {
    let eos = |json: &'static str| {
        changed("generation_config.json", move |_| json.to_owned())
            .unwrap()
            .eos_token_ids()
            .to_vec()
    };
    assert_eq!(eos("{\"eos_token_id\": [5, 7]}"), [0, 5, 7]);
    assert_eq!(eos("{\"eos_token_id\": 5}"), [0, 5]);
    assert_eq!(
        eos("{\"eos_token_id\": -1}"),
        changed("x", |_| String::new()).unwrap().eos_token_ids()
    );
    let template = |json: &'static str| {
        let tokenizer = changed("tokenizer_config.json", move |_| json.to_owned()).unwrap();
        tokenizer
            .chat_template()
            .map(|template| template.render(&[], &RenderOptions::default()).unwrap())
    };
    assert_eq!(template("{}"), None);
    assert_eq!(
        template("{\"chat_template\": \"A{{ bos_token }}\", \"bos_token\": {\"content\": \"B\"}}")
            .unwrap(),
        "AB"
    );
    let named = "{\"chat_template\": [{\"name\": \"tool\", \"template\": \"T\"}, {\"name\": \"default\", \"template\": \"D\"}]}";
    assert_eq!(template(named).unwrap(), "D");
    let jinja = changed("chat_template.jinja", |_| "J".to_owned()).unwrap();
    assert_eq!(
        jinja
            .chat_template()
            .unwrap()
            .render(&[], &RenderOptions::default())
            .unwrap(),
        "J"
    );
}

#[test]
fn the_older_layout_of_two_files_gives_the_same_tokens() {
    let new = pair::tokenizer();
    let json = std::fs::read_to_string(pair::folder("target").join("tokenizer.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let merges: Vec<String> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| match merge.as_array() {
            Some(two) => format!("{} {}", two[0].as_str().unwrap(), two[1].as_str().unwrap()),
            None => merge.as_str().unwrap().to_owned(),
        })
        .collect();
    let vocabulary = serde_json::to_string(&json["model"]["vocab"]).unwrap();
    std::fs::write(folder.path().join("vocab.json"), vocabulary).unwrap();
    let merges = format!("#version: 0.2\n{}\n", merges.join("\n"));
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
    let old = Tokenizer::from_folder(folder.path()).unwrap();
    for text in [
        "Once upon a time, there was",
        "<|endoftext|>Hi",
        "naïve 漢字",
    ] {
        assert_eq!(
            old.encode(text, true).unwrap(),
            new.encode(text, true).unwrap()
        );
    }
    let empty = tempfile::tempdir().unwrap();
    let message = Tokenizer::from_folder(empty.path())
        .err()
        .unwrap()
        .to_string();
    assert!(message.contains("save_pretrained"), "{message}");
}

/// "isParis" or "is Paris": a continuation keeps the first space, which a new text would lose.
#[test]
fn a_continuation_keeps_its_first_space() {
    let strings = |texts: &[&str]| {
        let texts = texts
            .iter()
            .map(|text| GgufValue::String((*text).to_owned()));
        GgufValue::Array(texts.collect())
    };
    let tokens = ["<unk>", "<s>", "\u{2581}", "a", "b", "\u{2581}a", "ab"];
    let types = [2, 3, 1, 1, 1, 1, 1].map(GgufValue::Unsigned).to_vec();
    let scores = [0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0]
        .map(GgufValue::Float)
        .to_vec();
    let pairs = [
        (
            "tokenizer.ggml.model",
            GgufValue::String("llama".to_owned()),
        ),
        ("tokenizer.ggml.tokens", strings(&tokens)),
        ("tokenizer.ggml.token_type", GgufValue::Array(types)),
        ("tokenizer.ggml.scores", GgufValue::Array(scores)),
        ("tokenizer.ggml.bos_token_id", GgufValue::Unsigned(1)),
    ];
    let metadata = pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let tokenizer = Tokenizer::from_gguf(&metadata, Path::new("made.gguf")).unwrap();
    assert_eq!(tokenizer.encode("a ab", true).unwrap(), [1, 5, 5, 4]);
    assert_eq!(tokenizer.decode(&[5, 5, 4], true).unwrap(), "a ab");
    let continued = |ids: &[u32]| -> String {
        let mut detokenizer = tokenizer.detokenizer(true, true);
        ids.iter()
            .map(|id| detokenizer.push(*id).unwrap())
            .collect()
    };
    assert_eq!(continued(&[5, 5, 4]), " a ab");
    assert_eq!(continued(&[3, 5]), "a a");
}
