//! Weight files: exact values from every storage type, and corrupt or inconsistent files.

mod support;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{LoadOptions, load};
use specdec_rs::weights::gguf::GgufFile;
use specdec_rs::weights::safetensors::SafetensorsCheckpoint;
use specdec_rs::weights::{Checkpoint, StorageType, StoredTensor, dequantize};
use specdec_rs::{Error, Extend, Logits, Parents, Result, SequenceId};
use support::pair;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

#[test]
fn every_storage_type_is_read_exactly() {
    let file = fs::read(data("blocks.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&file).unwrap();
    for storage in StorageType::ALL {
        let blocks = golden.tensor(&format!("{storage}.blocks")).unwrap();
        let expected: Vec<f32> = golden
            .tensor(&format!("{storage}.values"))
            .unwrap()
            .data()
            .chunks(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let tensor = |data| StoredTensor {
            storage,
            shape: vec![2, 256],
            data,
        };
        let values = dequantize(&tensor(Cow::Borrowed(blocks.data()))).unwrap();
        assert_eq!(values, expected, "{storage}");
        let short = Cow::Borrowed(&blocks.data()[1..]);
        let message = dequantize(&tensor(short)).unwrap_err().to_string();
        assert!(message.contains(storage.name()), "{message}");
    }
}

#[test]
fn the_documentation_names_every_storage_type() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/models.md");
    let page = fs::read_to_string(page).unwrap();
    for storage in StorageType::ALL {
        assert!(page.contains(storage.name()), "{storage}");
    }
}

/// Opens a file, loads the model in it and computes a token with it.
fn use_model(files: &ModelFiles) -> Result<()> {
    let mut model = load(files, &LoadOptions::default())?.model;
    let (sequence, tokens) = (SequenceId(0), &[3, 4][..]);
    let batch = [Extend {
        sequence,
        tokens,
        parents: Parents::Chain,
        rows: 1,
    }];
    let mut logits = Logits::new(model.vocab_size());
    model.extend(&batch, &mut logits)
}

/// Uses a GGUF file of these bytes.
fn use_gguf(bytes: &[u8]) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    fs::write(&file, bytes).unwrap();
    use_model(&ModelFiles::Gguf(file))
}

/// A folder with the pair's target, writable.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(pair::folder("target")).unwrap() {
        let path = entry.unwrap().path();
        fs::write(
            folder.path().join(path.file_name().unwrap()),
            fs::read(&path).unwrap(),
        )
        .unwrap();
    }
    folder
}

/// Uses the pair's target with one file changed.
fn use_changed(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<()> {
    let folder = folder();
    let file = folder.path().join(name);
    fs::write(&file, change(fs::read(&file).unwrap())).unwrap();
    use_model(&ModelFiles::Folder(folder.path().to_owned()))
}

/// A corrupt file is an error that names it, or loads; it never panics.
fn harmless_or_named(result: &Result<()>) {
    if let Err(error) = result {
        let message = error.to_string();
        assert!(message.len() > 20 && message.len() < 2000, "{message}");
    }
}

#[test]
fn truncated_files_are_refused() {
    let whole = fs::read(data("gguf/llama-Q4_0.gguf")).unwrap();
    use_gguf(&whole).unwrap();
    let ends = [
        0,
        1,
        3,
        4,
        8,
        16,
        24,
        25,
        100,
        1000,
        10_000,
        whole.len() / 2,
        whole.len() - 1,
    ];
    for end in ends {
        let error = use_gguf(&whole[..end]).unwrap_err();
        assert!(
            matches!(error, Error::CorruptModel { .. }),
            "{end}: {error}"
        );
        assert!(error.to_string().contains("model.gguf"), "{error}");
    }
    use_changed("model.safetensors", |bytes| bytes).unwrap();
    for divisor in [1, 2, 1000] {
        let error = use_changed("model.safetensors", |bytes| {
            bytes[..(bytes.len() - 1) / divisor].to_vec()
        });
        let error = error.unwrap_err();
        assert!(matches!(error, Error::CorruptModel { .. }), "{error}");
        assert!(error.to_string().contains("incomplete"), "{error}");
    }
}

#[test]
fn absurd_header_sizes_are_refused() {
    let whole = fs::read(data("gguf/llama-Q4_0.gguf")).unwrap();
    // Offsets of the counts of tensors and of metadata entries, and of the first key's length.
    for offset in [8, 16, 24] {
        for size in [u64::MAX, u64::MAX / 2, 1 << 40, 1 << 31] {
            let mut bytes = whole.clone();
            bytes[offset..offset + 8].copy_from_slice(&size.to_le_bytes());
            assert!(
                matches!(use_gguf(&bytes), Err(Error::CorruptModel { .. })),
                "{offset}, {size}"
            );
        }
    }
    for size in [u64::MAX, 1 << 60, 200_000_000, 0] {
        let error = use_changed("model.safetensors", |mut bytes| {
            bytes[..8].copy_from_slice(&size.to_le_bytes());
            bytes
        });
        assert!(
            matches!(error, Err(Error::CorruptModel { .. })),
            "{size}: {error:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_gguf_header_with_flipped_bits_does_no_harm(flips in prop::collection::vec((0usize..20_000, 0u8..8), 1..4)) {
        let mut bytes = fs::read(data("gguf/llama-Q4_0.gguf")).unwrap();
        for (index, bit) in flips {
            bytes[index] ^= 1 << bit;
        }
        harmless_or_named(&use_gguf(&bytes));
    }

    #[test]
    fn a_safetensors_header_with_flipped_bits_does_no_harm(flips in prop::collection::vec((0usize..4000, 0u8..8), 1..4)) {
        harmless_or_named(&use_changed("model.safetensors", |mut bytes| {
            for (index, bit) in flips {
                bytes[index] ^= 1 << bit;
            }
            bytes
        }));
    }

    #[test]
    fn a_configuration_with_other_numbers_does_no_harm(
        key in prop::sample::select(vec![
            "hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size",
            "intermediate_size", "head_dim", "max_position_embeddings", "rms_norm_eps", "model_type", "hidden_act",
        ]),
        value in prop::sample::select(vec![
            "0", "1", "-1", "3", "129", "4294967296", "1e308", "null", "\"gelu\"", "[]", "{}", "true", "0.5",
        ]),
    ) {
        harmless_or_named(&use_changed("config.json", |bytes| {
            let mut config: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            config[key] = serde_json::from_str(value).unwrap();
            serde_json::to_vec(&config).unwrap()
        }));
    }
}

#[test]
fn a_configuration_that_contradicts_the_tensors_is_refused() {
    let set = |key: &'static str, value: u64| {
        use_changed("config.json", move |bytes| {
            let mut config: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            config[key] = value.into();
            serde_json::to_vec(&config).unwrap()
        })
    };
    for (key, value) in [
        ("hidden_size", 256),
        ("intermediate_size", 64),
        ("num_hidden_layers", 5),
        ("num_hidden_layers", 1),
        ("vocab_size", 513),
    ] {
        let message = set(key, value).unwrap_err().to_string();
        assert!(message.contains("tensor"), "{key}: {message}");
    }
}

#[test]
fn layers_beyond_the_count_are_refused_unless_they_predict_further_tokens() {
    let use_with = |further: u64| {
        use_changed("config.json", move |bytes| {
            let mut config: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let layers = config["num_hidden_layers"].as_u64().unwrap();
            config["num_hidden_layers"] = (layers - 1).into();
            config["num_nextn_predict_layers"] = further.into();
            serde_json::to_vec(&config).unwrap()
        })
    };
    let refused = use_with(0).unwrap_err().to_string();
    assert!(refused.contains("tensor `model.layers."), "{refused}");
    assert!(refused.contains("of a layer beyond the"), "{refused}");
    use_with(1).unwrap();
}

#[test]
fn a_gguf_file_with_more_layers_than_it_says_is_refused() {
    let bytes = fs::read(data("gguf/llama-Q4_0.gguf")).unwrap();
    let key = b"llama.block_count";
    let position = bytes.windows(key.len()).position(|part| part == key);
    let value = position.unwrap() + key.len() + 4;
    let count = u32::from_le_bytes(bytes[value..value + 4].try_into().unwrap());
    let mut fewer = bytes.clone();
    fewer[value..value + 4].copy_from_slice(&(count - 1).to_le_bytes());
    use_gguf(&bytes).unwrap();
    let refused = use_gguf(&fewer).unwrap_err().to_string();
    let name = format!("tensor `blk.{}.", count - 1);
    assert!(refused.contains(&name), "{refused}");
}

#[test]
fn an_unsupported_architecture_is_refused_with_those_that_work() {
    let error = use_changed("config.json", |bytes| {
        String::from_utf8(bytes)
            .unwrap()
            .replace("\"llama\"", "\"mamba\"")
            .into_bytes()
    });
    let message = error.unwrap_err().to_string();
    let supported = [
        "gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt_neox",
        "olmo2", "smollm3",
    ];
    assert!(
        message.contains("mamba") && supported.iter().all(|name| message.contains(name)),
        "{message}"
    );
}

/// The pair's target as `model-0000N-of-00002.safetensors` under an index.
fn sharded() -> tempfile::TempDir {
    let folder = folder();
    let single = folder.path().join("model.safetensors");
    let bytes = fs::read(&single).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = tensors.names().into_iter().map(str::to_owned).collect();
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let mut shard_of = serde_json::Map::new();
    for (shard, names) in [
        ("model-00001-of-00002.safetensors", first),
        ("model-00002-of-00002.safetensors", second),
    ] {
        let views = names
            .iter()
            .map(|name| (name.clone(), tensors.tensor(name).unwrap()));
        fs::write(
            folder.path().join(shard),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
        shard_of.extend(names.iter().map(|name| (name.clone(), shard.into())));
    }
    fs::remove_file(single).unwrap();
    let index = serde_json::json!({ "metadata": {}, "weight_map": shard_of });
    fs::write(
        folder.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    folder
}

#[test]
fn shards_hold_the_same_tensors() {
    let folder = sharded();
    let shards = SafetensorsCheckpoint::open(folder.path()).unwrap();
    let single = SafetensorsCheckpoint::open(pair::folder("target")).unwrap();
    assert_eq!(shards.names().len(), single.names().len());
    for name in single.names() {
        let (a, b) = (shards.tensor(name).unwrap(), single.tensor(name).unwrap());
        assert_eq!(
            (a.storage, a.shape, a.data),
            (b.storage, b.shape, b.data),
            "{name}"
        );
    }
    use_model(&ModelFiles::Folder(folder.path().to_owned())).unwrap();
}

#[test]
fn a_missing_shard_or_a_hostile_index_is_refused() {
    let missing = sharded();
    let shard = "model-00002-of-00002.safetensors";
    fs::remove_file(missing.path().join(shard)).unwrap();
    let message = SafetensorsCheckpoint::open(missing.path())
        .unwrap_err()
        .to_string();
    assert!(message.contains(shard), "{message}");
    for hostile in [
        "../secret.safetensors",
        "/etc/passwd",
        "a/../../b",
        "..",
        "",
    ] {
        let folder = sharded();
        let index = serde_json::json!({ "weight_map": { "x": hostile } });
        fs::write(
            folder.path().join("model.safetensors.index.json"),
            index.to_string(),
        )
        .unwrap();
        let message = SafetensorsCheckpoint::open(folder.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains("weight_map"), "{hostile:?}: {message}");
    }
}

/// JSON with a member before those of the first object.
fn with_first(json: &[u8], member: &str) -> Vec<u8> {
    let mut changed = format!("{{{member},").into_bytes();
    changed.extend(&json[json.iter().position(|byte| *byte == b'{').unwrap() + 1..]);
    changed
}

/// A safetensors file whose header has one more member.
fn changed_header(file: &[u8], member: &str) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = with_first(header, member);
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, data].concat()
}

#[test]
fn names_that_are_there_twice_are_refused() {
    let header_with =
        |member: &str| use_changed("model.safetensors", |bytes| changed_header(&bytes, member));
    let tensor = |name: &str| {
        format!(r#""{name}": {{"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}"#)
    };
    let name = "model.norm.weight";
    for member in [
        tensor(name),
        tensor("model.norm.\\u0077eight"),
        format!("{}, {}", tensor("x"), tensor("x")),
        r#""a": {"dtype": "U8", "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#.into(),
        r#""__metadata__": {}, "__metadata__": {}"#.into(),
    ] {
        let message = header_with(&member).unwrap_err().to_string();
        assert!(message.contains("is there twice"), "{member}: {message}");
        assert!(message.contains("model.safetensors"), "{message}");
    }
    let folder = sharded();
    let file = folder.path().join("model.safetensors.index.json");
    let index = fs::read(&file).unwrap();
    let map = r#""weight_map": {"a": "b.safetensors"}"#;
    fs::write(&file, with_first(&index, map)).unwrap();
    let message = SafetensorsCheckpoint::open(folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("\"weight_map\" is there twice"),
        "{message}"
    );
    let config = |bytes: Vec<u8>| with_first(&bytes, r#""hidden_size": 1"#);
    let message = use_changed("config.json", config).unwrap_err().to_string();
    assert!(
        message.contains("\"hidden_size\" is there twice"),
        "{message}"
    );
}

#[test]
fn other_files_are_refused_by_their_kind() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let message = use_gguf(pointer.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("git lfs pull"), "{message}");
    let message = use_gguf(b"PK\x03\x04 a zip archive")
        .unwrap_err()
        .to_string();
    assert!(message.contains("GGUF"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.json"),
        fs::read(pair::folder("target").join("config.json")).unwrap(),
    )
    .unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), b"pickle").unwrap();
    let message = use_model(&ModelFiles::Folder(folder.path().to_owned()))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("pytorch_model.bin") && message.contains("PyTorch 1.6"),
        "{message}"
    );
    let message = GgufFile::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains(&*folder.path().to_string_lossy()),
        "{message}"
    );
}

/// Opens a file as the weights of a folder.
fn open_pickled(file: &[u8]) -> Result<(tempfile::TempDir, SafetensorsCheckpoint)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), file).unwrap();
    let checkpoint = SafetensorsCheckpoint::open(folder.path())?;
    Ok((folder, checkpoint))
}

#[test]
fn pickled_weights_are_those_of_safetensors() {
    let file = fs::read(data("pickled/pytorch_model.bin")).unwrap();
    let (_folder, pickled) = open_pickled(&file).unwrap();
    let stored = SafetensorsCheckpoint::open(data("hf/gpt2")).unwrap();
    assert!(!stored.names().is_empty());
    for name in stored.names() {
        let [ours, expected] = [&pickled, &stored].map(|checkpoint| {
            let tensor = checkpoint.tensor(name).unwrap();
            (tensor.shape.clone(), dequantize(&tensor).unwrap())
        });
        assert_eq!(ours, expected, "{name}");
    }
    assert_eq!(pickled.names().len(), stored.names().len());
    let table = pickled.integers("a.table").unwrap();
    assert_eq!(table, Some(vec![-2, -1, 0, 1, 2, 3, 4]));
    // The same in two files under an index.
    let folder = tempfile::tempdir().unwrap();
    for part in ["1.bin", "2.bin"] {
        fs::write(folder.path().join(part), &file).unwrap();
    }
    let names = stored.names().into_iter().enumerate();
    let map: serde_json::Map<_, _> = names
        .map(|(index, name)| (name.to_owned(), format!("{}.bin", 1 + index % 2).into()))
        .collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    let split = SafetensorsCheckpoint::open(folder.path()).unwrap();
    assert_eq!(split.names().len(), stored.names().len());
}

#[test]
fn damaged_pickled_weights_are_refused() {
    let transposed = fs::read(data("pickled/transposed.bin")).unwrap();
    let refused = open_pickled(&transposed).map(drop);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("tensor \"a\": its rows do not follow"),
        "{message}"
    );
    for length in (0..transposed.len()).step_by(7) {
        assert!(open_pickled(&transposed[..length]).is_err(), "{length}");
    }
    for position in 0..transposed.len() {
        for bit in [0, 3, 7] {
            let mut damaged = transposed.clone();
            damaged[position] ^= 1 << bit;
            if let Ok((_folder, checkpoint)) = open_pickled(&damaged) {
                for name in checkpoint.names() {
                    dequantize(&checkpoint.tensor(name).unwrap()).unwrap();
                }
            }
        }
    }
}

/// Names that are not UTF-8 are legal on Unix.
#[cfg(unix)]
#[test]
fn a_file_whose_name_is_not_utf_8_loads() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder
        .path()
        .join(std::ffi::OsStr::from_bytes(b"mod\xFFel.gguf"));
    fs::copy(data("gguf/llama-Q4_0.gguf"), &file).unwrap();
    use_model(&ModelFiles::Gguf(file)).unwrap();
}

#[test]
fn long_names_are_refused_and_not_quoted_whole() {
    let long = "x".repeat(100_000);
    let gguf = |tensors: u64, pairs: u64, name: &str| {
        let length = name.len() as u64;
        let counts = [tensors, pairs, length].map(u64::to_le_bytes).concat();
        let value = 99_u32.to_le_bytes().repeat(20);
        use_gguf(&[b"GGUF\x03\0\0\0", &counts[..], name.as_bytes(), &value].concat())
    };
    for (tensors, pairs) in [(0, 1), (1, 0)] {
        let message = gguf(tensors, pairs, &long).unwrap_err().to_string();
        assert!(message.contains("at most 256 bytes"), "{message}");
        assert!(message.contains("found 100000"), "{message}");
        // A name of 256 bytes is read, and quoted.
        let message = gguf(tensors, pairs, &long[..256]).unwrap_err().to_string();
        assert!(message.contains(&long[..256]), "{message}");
    }
    let member = format!(r#""{long}": {{"dtype": "U8", "shape": [4], "data_offsets": [0, 5]}}"#);
    let result = use_changed("model.safetensors", |bytes| changed_header(&bytes, &member));
    assert!(result.is_err());
    harmless_or_named(&result);
}
