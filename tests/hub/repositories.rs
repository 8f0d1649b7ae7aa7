//! Which files of a hub's repository are downloaded, and where they are stored.

use std::path::Path;

use tempfile::TempDir;

use crate::support::hub::{COMMIT, Fault, Hub, sha256};
use crate::{Machine, weights, write};

/// A hub with one model, `owner/model`, and that model's weights.
pub fn hub_with_model() -> (TempDir, Hub, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    let weights = weights(300_000);
    write(
        &root.path().join("owner/model"),
        &[
            ("config.json", b"{\"model_type\": \"tiny\"}"),
            ("tokenizer.json", b"{}"),
            ("README.md", b"not needed"),
            ("model.safetensors", &weights),
        ],
    );
    let hub = Hub::serve(root.path());
    (root, hub, weights)
}

#[test]
fn a_model_is_downloaded_into_the_shared_cache() {
    let (_root, hub, weights) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let outcome = machine.locate("owner/model");
    let folder = outcome.folder();
    let repository = machine.hub_cache().join("models--owner--model");
    assert_eq!(folder, repository.join("snapshots").join(COMMIT));
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(std::fs::read(folder.join("tokenizer.json")).unwrap(), b"{}");
    assert!(!folder.join("README.md").exists());
    assert_eq!(
        std::fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let link = std::fs::read_link(folder.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(sha256(&weights)));
    let begun = "begin owner/model model.safetensors Some(300000)";
    assert!(
        outcome.lines.iter().any(|line| line == begun),
        "{outcome:?}"
    );
    let count = |what: &str| {
        outcome
            .lines
            .iter()
            .filter(|line| line.starts_with(what))
            .count()
    };
    assert_eq!((count("begin"), count("end")), (3, 3));
}

#[test]
fn a_downloaded_model_costs_one_request() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let first = machine.locate("owner/model").folder();
    hub.take_hits();
    assert_eq!(machine.locate("owner/model").folder(), first);
    let paths: Vec<String> = hub.take_hits().into_iter().map(|hit| hit.path).collect();
    assert_eq!(paths, ["/api/models/owner/model/revision/main"]);
}

#[test]
fn old_names_and_the_cdn_redirect() {
    for relative in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let weights = weights(10_000);
        let files: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", &weights)];
        write(&root.path().join("legacy/gpt2"), &files);
        let hub = Hub::serve(root.path());
        if relative {
            hub.redirect_relatively();
        }
        let machine = Machine::with_hub(&hub);
        let folder = machine.locate("gpt2").folder();
        assert!(
            folder.starts_with(machine.hub_cache().join("models--gpt2")),
            "{folder:?}"
        );
        assert_eq!(
            std::fs::read(folder.join("model.safetensors")).unwrap(),
            weights
        );
    }
}

#[test]
fn shards_are_downloaded_by_their_index() {
    let root = tempfile::tempdir().unwrap();
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    write(
        &root.path().join("owner/model"),
        &[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index),
            ("model-00001-of-00002.safetensors", b"one"),
            ("model-00002-of-00002.safetensors", b"two"),
        ],
    );
    let hub = Hub::serve(root.path());
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model-00002-of-00002.safetensors")).unwrap(),
        b"two"
    );
    let offline = machine.with("HF_HUB_OFFLINE", "1");
    assert_eq!(offline.locate("owner/model").folder(), folder);
    std::fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
    offline
        .locate("owner/model")
        .error("ModelNotFound", &["some of its weights", "HF_HUB_OFFLINE"]);
}

#[test]
fn an_adapter_is_downloaded_with_its_base_model() {
    let (root, hub, _) = hub_with_model();
    let adapter = |base: &str| {
        format!("{{\"base_model_name_or_path\": {base:?}, \"revision\": null}}").into_bytes()
    };
    write(
        &root.path().join("owner/adapter"),
        &[
            ("adapter_config.json", &adapter("owner/model")),
            ("adapter_model.bin", b"not needed"),
            ("adapter_model.safetensors", b"the adapter"),
            ("checkpoint-8/adapter_model.safetensors", b"not needed"),
            ("tokenizer.json", b"{}"),
        ],
    );
    let of_itself = [
        ("adapter_config.json", &adapter("owner/of-itself")[..]),
        ("adapter_model.safetensors", b"the adapter"),
    ];
    write(&root.path().join("owner/of-itself"), &of_itself);
    let machine = Machine::with_hub(&hub);
    let located = machine.locate("owner/adapter");
    let found = located.last().to_owned();
    assert!(found.starts_with("adapted "), "{found}");
    for part in [
        "models--owner--model",
        "models--owner--adapter",
        "tokenizer: Some",
    ] {
        assert!(found.contains(part), "{found}");
    }
    let began = |name: &str| {
        let begin = format!("begin {name} ");
        located.lines.iter().any(|line| line.starts_with(&begin))
    };
    assert!(began("owner/adapter adapter_model.safetensors"));
    assert!(began("owner/model model.safetensors"));
    assert!(!began("owner/adapter adapter_model.bin"));
    let advice = "name the base model as the target";
    let refused = machine.locate("owner/of-itself");
    refused.error(
        "UnsupportedModel",
        &["owner/of-itself", "is an adapter", advice],
    );
    let offline = machine.with("HF_HUB_OFFLINE", "1");
    assert_eq!(offline.locate("owner/adapter").last(), found);
}

#[test]
fn hostile_shards_are_refused() {
    for hostile in ["../../../escaped", "/etc/passwd", "absent.safetensors"] {
        let root = tempfile::tempdir().unwrap();
        let index = serde_json::json!({"weight_map": {"a": hostile}}).to_string();
        write(
            &root.path().join("owner/model"),
            &[
                ("config.json", b"{}"),
                ("model.safetensors.index.json", index.as_bytes()),
            ],
        );
        let hub = Hub::serve(root.path());
        hub.list_also(hostile);
        let outcome = Machine::with_hub(&hub).locate("owner/model");
        assert!(outcome.last().starts_with("error "), "{outcome:?}");
        assert!(
            !hub.hits()
                .iter()
                .any(|hit| hit.path.contains("passwd") || hit.path.contains("escaped"))
        );
    }
}

#[test]
fn a_gguf_repository_offers_its_quantizations() {
    let root = tempfile::tempdir().unwrap();
    write(
        &root.path().join("owner/model-GGUF"),
        &[
            ("config.json", b"{}"),
            ("model-Q4_K_M.gguf", b"GGUF4"),
            ("model-Q8_0-00001-of-00002.gguf", b"GGUF8a"),
            ("model-Q8_0-00002-of-00002.gguf", b"GGUF8b"),
        ],
    );
    let hub = Hub::serve(root.path());
    let machine = Machine::with_hub(&hub);
    let file = machine.locate("owner/model-GGUF").gguf();
    assert!(file.ends_with("model-Q4_K_M.gguf"), "{file:?}");
    let file = machine.locate("owner/model-GGUF:q8_0").gguf();
    assert_eq!(std::fs::read(&file).unwrap(), b"GGUF8a");
    let second = file.with_file_name("model-Q8_0-00002-of-00002.gguf");
    assert_eq!(std::fs::read(second).unwrap(), b"GGUF8b");
    machine
        .locate("owner/model-GGUF:Q2_K")
        .error("ModelNotFound", &["Q2_K", "model-Q4_K_M.gguf"]);
    let file = machine.locate("owner/model-GGUF:model-Q4_K_M.gguf").gguf();
    assert_eq!(std::fs::read(file).unwrap(), b"GGUF4");
}

#[test]
fn names_that_steer_a_terminal_are_no_files() {
    let root = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[("model-Q4_K_M.gguf", b"GGUF4")];
    write(&root.path().join("owner/model-GGUF"), files);
    let hub = Hub::serve(root.path());
    hub.list_also("evil\u{1b}[2J-Q2_K.gguf");
    hub.list_also("evil\nspecdec: all is well-Q3_K.gguf");
    let refused = Machine::with_hub(&hub)
        .locate("owner/model-GGUF:Q2_K")
        .error("ModelNotFound", &["Q2_K", "model-Q4_K_M.gguf"]);
    assert!(!refused.contains("evil"), "{refused:?}");
}

#[test]
fn pytorchs_own_weights_are_pulled_where_there_are_no_others() {
    let root = tempfile::tempdir().unwrap();
    write(
        &root.path().join("owner/model"),
        &[("config.json", b"{}"), ("pytorch_model.bin", b"x")],
    );
    write(
        &root.path().join("owner/other"),
        &[("config.json", b"{}"), ("consolidated.00.pth", b"x")],
    );
    let hub = Hub::serve(root.path());
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    assert!(folder.join("pytorch_model.bin").is_file());
    machine
        .locate("owner/other")
        .error("UnsupportedModel", &["pickled", "safetensors"]);
}

#[test]
fn a_head_beside_a_file_is_pulled_with_it() {
    let root = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[
        ("model-Q4_K_M.gguf", b"GGUF4"),
        ("model-Q8_0.gguf", b"GGUF8"),
        ("mtp-model-Q8_0.gguf", b"GGUFm"),
        ("mtp-model-F16.gguf", b"GGUFn"),
    ];
    write(&root.path().join("owner/model-GGUF"), files);
    let hub = Hub::serve(root.path());
    let machine = Machine::with_hub(&hub);
    let file = machine.locate("owner/model-GGUF").gguf();
    assert!(file.ends_with("model-Q4_K_M.gguf"), "{}", file.display());
    let is_there = |name: &str| file.with_file_name(name).is_file();
    assert!(is_there("mtp-model-Q8_0.gguf"));
    assert!(!is_there("mtp-model-F16.gguf") && !is_there("model-Q8_0.gguf"));
}

#[test]
fn a_head_that_cannot_be_pulled_keeps_no_model_from_its_user() {
    let root = tempfile::tempdir().unwrap();
    let files: &[(&str, &[u8])] = &[("model-Q4_K_M.gguf", b"GGUF4")];
    write(&root.path().join("owner/model-GGUF"), files);
    let hub = Hub::serve(root.path());
    // It is listed, and not there.
    hub.list_also("mtp-model-Q8_0.gguf");
    let machine = Machine::with_hub(&hub);
    let file = machine.locate("owner/model-GGUF").gguf();
    assert!(file.ends_with("model-Q4_K_M.gguf"), "{}", file.display());
    // Without the network, too.
    let machine = machine.with("HF_HUB_OFFLINE", "1");
    assert_eq!(machine.locate("owner/model-GGUF").gguf(), file);
}

#[test]
fn revisions_are_separate() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub).with("LOCATE_REVISION", "refs/pr/1");
    let folder = machine.locate("owner/model").folder();
    let refs = machine.hub_cache().join("models--owner--model/refs");
    assert_eq!(
        std::fs::read_to_string(refs.join("refs/pr/1")).unwrap(),
        COMMIT
    );
    assert!(!refs.join("main").exists());
    let asked = hub.hits().remove(0).path;
    assert_eq!(asked, "/api/models/owner/model/revision/refs/pr/1");
    let offline = machine
        .with("HF_HUB_OFFLINE", "1")
        .with("LOCATE_REVISION", COMMIT);
    assert_eq!(offline.locate("owner/model").folder(), folder);
    let other = offline.with("LOCATE_REVISION", "v2");
    other
        .locate("owner/model")
        .error("ModelNotFound", &["\"v2\"", "HF_HUB_OFFLINE"]);
    let hostile = other.with("LOCATE_REVISION", "../../../x");
    hostile
        .locate("owner/model")
        .error("InvalidConfig", &["revision"]);
}

#[test]
fn environment_variables_move_the_cache() {
    let (_root, hub, _) = hub_with_model();
    for (variable, inside) in [
        ("HF_HOME", "hub"),
        ("HF_HUB_CACHE", ""),
        ("TRANSFORMERS_CACHE", ""),
    ] {
        let elsewhere = tempfile::tempdir().unwrap();
        let machine = Machine::with_hub(&hub).with(variable, elsewhere.path());
        let folder = machine.locate("owner/model").folder();
        let expected = elsewhere.path().join(inside).join("models--owner--model");
        assert!(folder.starts_with(&expected), "{variable}: {folder:?}");
    }
}

#[test]
fn only_the_hub_gets_the_token() {
    let (_root, hub, _) = hub_with_model();
    hub.require_token("hf_secret");
    let machine = Machine::with_hub(&hub);
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["401", "HF_TOKEN", "gated"]);
    let wrong = Machine::with_hub(&hub).with("HF_TOKEN", "hf_wrong");
    wrong
        .locate("owner/model")
        .error("ModelNotFound", &["401", "refuses it to your token"]);
    let right = Machine::with_hub(&hub).with("HF_TOKEN", "hf_secret");
    right.locate("owner/model").folder();

    // A CDN on another host gets no token.
    let (other_root, cdn, _) = hub_with_model();
    hub.redirect_to(cdn.endpoint());
    let fresh = Machine::with_hub(&hub).with("HF_TOKEN", "hf_secret");
    fresh.locate("owner/model").folder();
    let hits = cdn.hits();
    assert!(
        !hits.is_empty() && hits.iter().all(|hit| hit.authorization.is_none()),
        "{hits:?}"
    );
    drop(other_root);
}

#[test]
fn missing_repositories_and_revisions_are_reported() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    machine
        .locate("owner/other")
        .error("ModelNotFound", &["no repository", "owner/other"]);
    let revision = machine.with("LOCATE_REVISION", "v9");
    hub.break_path(
        "/revision/v9",
        Fault {
            status: Some(404),
            ..Fault::default()
        },
    );
    revision
        .locate("owner/model")
        .error("ModelNotFound", &["\"v9\""]);
    assert_eq!(hub.hits().len(), 2);
}

#[test]
fn offline_only_the_cache_is_used() {
    let (_root, hub, _) = hub_with_model();
    let offline = Machine::with_hub(&hub).with("HF_HUB_OFFLINE", "1");
    offline
        .locate("owner/model")
        .error("ModelNotFound", &["HF_HUB_OFFLINE", "unset"]);
    assert_eq!(hub.hits().len(), 0);
    let online = offline.with("HF_HUB_OFFLINE", "0");
    let folder = online.locate("owner/model").folder();
    hub.take_hits();
    let offline = online.with("HF_HUB_OFFLINE", "yes");
    assert_eq!(offline.locate("owner/model").folder(), folder);
    assert_eq!(hub.hits().len(), 0);
}

#[test]
fn without_a_hub_the_cache_is_used() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    let unreachable = machine.with("HF_ENDPOINT", "http://127.0.0.1:1");
    assert_eq!(unreachable.locate("owner/model").folder(), folder);
    unreachable
        .locate("owner/other")
        .error("ModelNotFound", &["cannot be reached", "127.0.0.1:1"]);
}

#[test]
fn a_cache_that_python_filled_is_used() {
    // As `huggingface_hub` lays it out, small files named by their git object ids.
    let machine = Machine::new().with("HF_HUB_OFFLINE", "1");
    let repository = machine.hub_cache().join("models--owner--model");
    let weights = weights(1000);
    let blob = sha256(&weights);
    write(
        &repository,
        &[
            ("refs/main", COMMIT.as_bytes()),
            ("blobs/0a1b", b"{}"),
            (&format!("blobs/{blob}"), &weights),
        ],
    );
    let snapshot = repository.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::os::unix::fs::symlink("../../blobs/0a1b", snapshot.join("config.json")).unwrap();
    let link = Path::new("../../blobs").join(&blob);
    std::os::unix::fs::symlink(link, snapshot.join("model.safetensors")).unwrap();
    assert_eq!(machine.locate("owner/model").folder(), snapshot);

    std::fs::write(repository.join("blobs").join(&blob), "corrupt").unwrap();
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["corrupt", "HF_HUB_OFFLINE"]);
}

#[test]
fn hostile_answers_are_refused() {
    let answers: [&[u8]; 6] = [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{\"sha\": \"..\", \"siblings\": []}",
        b"<html>",
    ];
    for answer in answers {
        let (_root, hub, _) = hub_with_model();
        let content = Some(answer.to_vec());
        hub.break_path(
            "/revision/main",
            Fault {
                content,
                ..Fault::default()
            },
        );
        let machine = Machine::with_hub(&hub);
        machine
            .locate("owner/model")
            .error("ModelNotFound", &["sent an invalid answer", "HF_ENDPOINT"]);
        assert_eq!(std::fs::read_dir(machine.hub_cache()).unwrap().count(), 0);
    }
    for (status, message) in [(302, "redirects to no address"), (418, "status 418")] {
        let (_root, hub, _) = hub_with_model();
        let status = Some(status);
        hub.break_path(
            "/model.safetensors",
            Fault {
                status,
                ..Fault::default()
            },
        );
        Machine::with_hub(&hub)
            .locate("owner/model")
            .error("ModelNotFound", &["sent an invalid answer", message]);
    }
    for word in ["../../escaped", "..", "", "a b", ".x"] {
        let (_root, hub, _) = hub_with_model();
        hub.set_etag(word);
        Machine::with_hub(&hub)
            .locate("owner/model")
            .error("ModelNotFound", &["ETag"]);
        let (_root, hub, _) = hub_with_model();
        hub.set_commit(word);
        Machine::with_hub(&hub)
            .locate("owner/model")
            .error("ModelNotFound", &["commit"]);
    }
}

#[test]
fn invalid_names_are_refused() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    for name in [
        "owner/../../x",
        "a b",
        "http://x/y",
        "-x",
        "owner/model?",
        "\u{e9}/x",
        "a/b/c",
        "",
        ":",
        "owner/model:",
    ] {
        machine
            .locate(name)
            .error("ModelNotFound", &["neither a path"]);
    }
    assert_eq!(hub.hits().len(), 0);
}
