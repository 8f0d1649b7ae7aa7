//! Downloads under faults: broken connections, busy servers, corrupt files, full disks, concurrent processes.

use crate::repositories::hub_with_model;
use crate::support::hub::{COMMIT, Fault, git_object, sha256};
use crate::{Machine, outcome};

const WEIGHTS: &str = "/cdn/owner/model/model.safetensors";

fn cut_after(bytes: usize, times: usize) -> Fault {
    Fault {
        cut: Some(bytes),
        times: Some(times),
        ..Fault::default()
    }
}

fn status(status: u16, times: Option<usize>) -> Fault {
    Fault {
        status: Some(status),
        times,
        ..Fault::default()
    }
}

#[test]
fn a_broken_connection_is_resumed() {
    let (_root, hub, weights) = hub_with_model();
    hub.break_path(WEIGHTS, cut_after(100_000, 2));
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
    let starts: Vec<Option<usize>> = hub
        .hits()
        .iter()
        .filter(|hit| hit.path == WEIGHTS)
        .map(|hit| hit.start)
        .collect();
    assert_eq!(starts, [Some(0), Some(100_000), Some(200_000)]);
}

#[test]
fn an_interrupted_download_is_resumed_by_the_next_process() {
    let (_root, hub, weights) = hub_with_model();
    hub.break_path(
        WEIGHTS,
        Fault {
            cut: Some(0),
            ..Fault::default()
        },
    );
    let machine = Machine::with_hub(&hub);
    let blobs = machine.hub_cache().join("models--owner--model/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights)));
    std::fs::write(&partial, &weights[..70_000]).unwrap();
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["is not available now", "go online"]);
    assert_eq!(std::fs::read(&partial).unwrap(), weights[..70_000]);
    let snapshot = blobs.parent().unwrap().join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists());

    hub.mend();
    hub.take_hits();
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
    let hits = hub.hits();
    let starts: Vec<_> = hits
        .iter()
        .filter(|hit| hit.path == WEIGHTS)
        .map(|hit| hit.start)
        .collect();
    assert_eq!(starts, [Some(70_000)]);
    assert!(!partial.exists());
}

#[test]
fn a_wrong_partial_file_is_discarded() {
    let (_root, hub, weights) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let blobs = machine.hub_cache().join("models--owner--model/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(
        blobs.join(format!("{}.incomplete", sha256(&weights))),
        vec![7; 1000],
    )
    .unwrap();
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
}

#[test]
fn small_files_are_checked_too() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let blobs = machine.hub_cache().join("models--owner--model/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let config = b"{\"model_type\": \"tiny\"}";
    let blob = blobs.join(git_object(config));
    // What a crash may leave: the length without the bytes.
    std::fs::write(blob.with_extension("incomplete"), [0; 10]).unwrap();
    let folder = machine.locate("owner/model").folder();
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), config);
    // In the cache, where others may have put it.
    std::fs::write(&blob, vec![0; config.len()]).unwrap();
    let folder = machine.locate("owner/model").folder();
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), config);
}

#[test]
fn a_small_file_with_other_contents_is_refused() {
    let (_root, hub, _) = hub_with_model();
    let content = Some(b"{\"model_type\": \"evil\"}".to_vec());
    hub.break_path(
        "/config.json",
        Fault {
            content,
            ..Fault::default()
        },
    );
    Machine::with_hub(&hub)
        .locate("owner/model")
        .error("ModelNotFound", &["config.json has the git object id"]);
}

#[test]
fn a_small_file_of_any_size_is_not_downloaded() {
    let (root, hub, _) = hub_with_model();
    let file = root.path().join("owner/model/tokenizer.json");
    let file = std::fs::File::create(file).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    Machine::with_hub(&hub).locate("owner/model").error(
        "ModelNotFound",
        &["tokenizer.json has 67108865 bytes: expected at most 67108864"],
    );
    assert!(
        hub.hits()
            .iter()
            .all(|hit| hit.method == "HEAD" || !hit.path.contains("tokenizer"))
    );
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let (_root, hub, weights) = hub_with_model();
    hub.break_path(
        WEIGHTS,
        Fault {
            no_ranges: true,
            ..cut_after(100_000, 1)
        },
    );
    hub.break_path(
        "/model/model.safetensors",
        Fault {
            no_ranges: true,
            ..Fault::default()
        },
    );
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
}

#[test]
fn requests_to_busy_servers_are_retried() {
    let (_root, hub, weights) = hub_with_model();
    hub.break_path("/revision/main", status(503, Some(2)));
    hub.break_path("/config.json", status(500, Some(1)));
    hub.break_path(WEIGHTS, status(429, Some(1)));
    let machine = Machine::with_hub(&hub);
    let folder = machine.locate("owner/model").folder();
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        weights
    );
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let (_root, hub, _) = hub_with_model();
    hub.break_path("/revision/main", status(500, None));
    let machine = Machine::with_hub(&hub);
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["status 500", hub.endpoint()]);
    assert_eq!(hub.take_hits().len(), 4);
}

#[test]
fn wrong_contents_never_reach_the_cache() {
    let (_root, hub, weights) = hub_with_model();
    let wrong = vec![0; weights.len()];
    let longer = [weights.as_slice(), b"more"].concat();
    for content in [wrong, longer, weights[..1000].to_vec()] {
        hub.break_path(
            WEIGHTS,
            Fault {
                content: Some(content),
                ..Fault::default()
            },
        );
        let machine = Machine::with_hub(&hub);
        let outcome = machine.locate("owner/model");
        assert!(
            outcome.last().starts_with("error ModelNotFound"),
            "{outcome:?}"
        );
        let repository = machine.hub_cache().join("models--owner--model");
        assert!(!repository.join("blobs").join(sha256(&weights)).exists());
        assert!(!repository.join("refs/main").exists());
    }
}

#[test]
fn a_corrupt_file_is_downloaded_again() {
    let (_root, hub, weights) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let file = machine
        .locate("owner/model")
        .folder()
        .join("model.safetensors");
    let mut corrupt = weights.clone();
    corrupt[1234] ^= 1;
    for content in [&corrupt[..], &weights[..5000], b""] {
        std::fs::write(&file, content).unwrap();
        machine.locate("owner/model").folder();
        assert!(std::fs::read(&file).unwrap() == weights);
    }
}

#[test]
fn two_processes_download_one_file_once() {
    let (_root, hub, weights) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    let children: Vec<_> = (0..3)
        .map(|_| machine.command("owner/model").spawn().unwrap())
        .collect();
    for child in children {
        let folder = outcome(&child.wait_with_output().unwrap()).folder();
        assert_eq!(
            std::fs::read(folder.join("model.safetensors")).unwrap(),
            weights
        );
    }
    let downloads = hub.hits().iter().filter(|hit| hit.path == WEIGHTS).count();
    assert_eq!(downloads, 1);
}

#[test]
fn a_full_disk_is_reported() {
    let (_root, hub, _) = hub_with_model();
    let machine = Machine::with_hub(&hub);
    // A limit on a file's size, with the signal for it ignored, acts like a full disk: 64 blocks of 512 bytes.
    let direct = machine.command("owner/model");
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .env_clear()
        .envs(
            direct
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(machine.home.path());
    outcome(&limited.output().unwrap())
        .error("OutOfMemory", &["no room", ".incomplete", "HF_HOME"]);
    machine.locate("owner/model").folder();
}

#[test]
fn an_unwritable_cache_is_reported() {
    let (root, hub, _) = hub_with_model();
    let blocked = root.path().join("owner/model/config.json");
    let machine = Machine::with_hub(&hub).with("HF_HOME", &blocked);
    machine.locate("owner/model").error("Io", &["config.json"]);
}

#[test]
fn an_unreachable_hub_is_given_up() {
    // An address that routers are to drop (RFC 5737): without timeouts, this test would not end.
    let machine = Machine::new().with("HF_ENDPOINT", "http://192.0.2.1");
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["192.0.2.1"]);
}

#[test]
fn a_listed_file_that_is_missing_is_named() {
    let (_root, hub, _) = hub_with_model();
    hub.break_path("/tokenizer.json", status(404, None));
    let machine = Machine::with_hub(&hub);
    machine
        .locate("owner/model")
        .error("ModelNotFound", &["the hub lists tokenizer.json"]);
}
