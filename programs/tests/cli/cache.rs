//! `specdec cache`, and the packed weights that it lists.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::pair;
use crate::{copy, error, json as json_of, specdec, stdout};

const HIDDEN: u64 = 512;
const INTERMEDIATE: u64 = 5632;

/// A model with random weights that are just large enough to be kept, and the pair's tokenizer.
fn large_model() -> TempDir {
    let folder = copy("target");
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INTERMEDIATE),
        ("num_hidden_layers", 2),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 8),
        ("head_dim", 64),
    ] {
        config[key] = json!(value);
    }
    config["tie_word_embeddings"] = json!(true);
    fs::write(&path, config.to_string()).unwrap();
    let vocabulary = config["vocab_size"].as_u64().unwrap();
    let mut tensors = vec![
        ("model.embed_tokens".to_owned(), vec![vocabulary, HIDDEN]),
        ("model.norm".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..2 {
        let mut add = |name: &str, shape: &[u64]| {
            tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        for projection in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{projection}"), &[HIDDEN, HIDDEN]);
        }
        add("mlp.gate_proj", &[INTERMEDIATE, HIDDEN]);
        add("mlp.up_proj", &[INTERMEDIATE, HIDDEN]);
        add("mlp.down_proj", &[HIDDEN, INTERMEDIATE]);
        add("input_layernorm", &[HIDDEN]);
        add("post_attention_layernorm", &[HIDDEN]);
    }
    write_safetensors(&folder.path().join("model.safetensors"), &tensors);
    folder
}

/// Writes single-precision weights that look random.
fn write_safetensors(file: &Path, tensors: &[(String, Vec<u64>)]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<u64>();
        let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(format!("{name}.weight"), tensor);
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(file).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let mut state = 1_u32;
    for _ in 0..end / 4 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let weight = (state >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05;
        file.write_all(&weight.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

/// A user with a home for models.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self, args: &[&str]) -> Command {
        let mut command = specdec(args);
        command.env("HF_HOME", self.home.path());
        command
    }

    /// A process that has the time to write its packed weights.
    fn generate(&self, model: &Path) -> Command {
        let mut command = self.run(&["generate", "You may", "--target"]);
        command
            .arg(model)
            .args(["--temperature", "0", "--draft", "none"]);
        command.args(["-n", "400", "--ignore-eos"]);
        command
    }

    fn list(&self) -> Vec<Value> {
        let listed = json_of(self.run(&["cache", "list", "--json"]));
        listed["packed_weights"].as_array().unwrap().clone()
    }

    /// Runs the model until all of its weights are kept; returns its text.
    fn keep_all(&self, model: &Path, bytes: u64) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let text = stdout(self.generate(model));
            let kept = self.list();
            if kept
                .iter()
                .any(|one| one["bytes"].as_u64().unwrap() >= bytes)
            {
                return text;
            }
            assert!(Instant::now() < deadline, "{kept:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The file with the packed weights of this identifier.
    fn weights(&self, id: &str) -> PathBuf {
        let folder = self.home.path().join("specdec/packed");
        folder.join(id).join("weights")
    }
}

#[test]
fn packed_weights_are_kept_listed_checked_and_removed() {
    let (user, model) = (User::new(), large_model());
    assert!(user.list().is_empty());
    let mut without = user.generate(model.path());
    without.env("SPECDEC_PACKED_WEIGHTS_GIB", "0");
    let expected = stdout(without);
    assert!(user.list().is_empty());

    let stored = fs::metadata(model.path().join("model.safetensors"))
        .unwrap()
        .len();
    let bytes = stored - stored / 20;
    assert_eq!(user.keep_all(model.path(), bytes), expected);
    // Mapped, and the same.
    assert_eq!(stdout(user.generate(model.path())), expected);
    let kept = user.list();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["model"].as_str(), model.path().to_str());
    assert_eq!(kept[0]["precision"], "stored");

    // Held otherwise, they are others.
    let mut quantized = user.generate(model.path());
    quantized.args(["--quantize", "q8_0"]);
    let in_8_bits = stdout(quantized);
    assert_ne!(in_8_bits, "");
    assert!(
        user.list()
            .iter()
            .any(|one| one["model"] == kept[0]["model"])
    );

    // A bit falls over.
    let id = kept[0]["id"].as_str().unwrap();
    let path = user.weights(id);
    let mut damaged = fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    fs::write(&path, damaged).unwrap();
    let output = user.generate(model.path()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("are corrupt"), "{warning}");
    assert_eq!(user.keep_all(model.path(), bytes), expected);

    let table = stdout(user.run(&["cache", "list"]));
    assert!(
        table.contains("HELD AS") && table.contains(&id[..8]),
        "{table}"
    );
    let unknown = error(user.run(&["cache", "remove", "xyz"]), 2);
    assert!(unknown.contains(&id[..8]), "{unknown}");
    let removed = stdout(user.run(&["cache", "remove", &id[..8]]));
    assert!(removed.starts_with("removed "), "{removed}");
    assert!(!path.exists());
    stdout(user.run(&["cache", "remove", "--all"]));
    assert!(user.list().is_empty());
}

#[test]
fn the_index_of_a_corpus_is_kept_listed_and_removed() {
    let (user, texts) = (User::new(), tempfile::tempdir().unwrap());
    fs::write(texts.path().join("a.txt"), "You may copy and distribute").unwrap();
    let mut generate = user.run(&["generate", "You may", "-n", "4", "--corpus"]);
    generate
        .arg(texts.path())
        .arg("--target")
        .arg(pair::folder("target"));
    stdout(generate);
    let listed = json_of(user.run(&["cache", "list", "--json"]));
    let corpora = listed["corpora"].as_array().unwrap();
    let folder = fs::canonicalize(texts.path()).unwrap();
    assert_eq!(corpora.len(), 1);
    assert_eq!(corpora[0]["folder"].as_str(), folder.to_str());
    assert!(corpora[0]["bytes"].as_u64().unwrap() > 0);
    let table = stdout(user.run(&["cache", "list"]));
    assert!(
        table.contains("CORPUS") && table.contains(folder.to_str().unwrap()),
        "{table}"
    );
    let id = corpora[0]["id"].as_str().unwrap();
    let removed = stdout(user.run(&["cache", "remove", &id[..8]]));
    assert!(
        removed.ends_with(&format!("{}\n", folder.display())),
        "{removed}"
    );
    let listed = json_of(user.run(&["cache", "list", "--json"]));
    assert_eq!(listed["corpora"], json!([]));
    let left = fs::read_dir(user.home.path().join("specdec/corpora"))
        .unwrap()
        .flatten();
    let left: Vec<_> = left.map(|entry| entry.path()).collect();
    assert!(
        left.iter().all(|path| path.extension().unwrap() == "lock"),
        "{left:?}"
    );
}

#[test]
fn another_checkpoint_under_the_same_name_is_another() {
    let (user, model) = (User::new(), large_model());
    let file = model.path().join("model.safetensors");
    let bytes = fs::metadata(&file).unwrap().len() * 9 / 10;
    let before = user.keep_all(model.path(), bytes);
    // As long as before, and with its date: some of the embeddings, which come first, are negated.
    let date = fs::metadata(&file).unwrap().modified().unwrap();
    let mut content = fs::read(&file).unwrap();
    let header = u64::from_le_bytes(content[..8].try_into().unwrap()) as usize;
    let embeddings = &mut content[8 + header..][..1 << 20];
    for weight in embeddings[1 << 18..1 << 19].chunks_exact_mut(4) {
        weight[3] ^= 0x80;
    }
    fs::write(&file, content).unwrap();
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(date)
        .unwrap();
    let mut without = user.generate(model.path());
    without.env("SPECDEC_PACKED_WEIGHTS_GIB", "0");
    let expected = stdout(without);
    assert_ne!(expected, before);
    assert_eq!(stdout(user.generate(model.path())), expected);
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let (user, model) = (User::new(), large_model());
    let mut without = user.generate(model.path());
    without.env("SPECDEC_PACKED_WEIGHTS_GIB", "0");
    let expected = stdout(without);
    fs::write(
        user.home.path().join("specdec"),
        "a file where a folder belongs",
    )
    .unwrap();
    assert_eq!(stdout(user.generate(model.path())), expected);
    assert!(user.list().is_empty());
    let mut wrong = user.generate(model.path());
    wrong.env("SPECDEC_PACKED_WEIGHTS_GIB", "a lot");
    let message = error(wrong, 2);
    assert!(message.contains("SPECDEC_PACKED_WEIGHTS_GIB"), "{message}");
}
