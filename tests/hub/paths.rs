//! Models named by their path.

use crate::{Machine, write};

#[test]
fn folders_and_files_are_found() {
    let machine = Machine::new();
    let home = machine.home.path();
    write(
        home,
        &[
            ("hf/config.json", b"{}"),
            ("one/a.gguf", b"GGUF"),
            ("one/notes.txt", b""),
            ("blob", b"GGUF\x03"),
        ],
    );
    let home = home.canonicalize().unwrap();
    let folder = |name: &str| {
        home.join(machine.locate(name).folder())
            .canonicalize()
            .unwrap()
    };
    assert_eq!(folder("hf"), home.join("hf"));
    assert_eq!(folder("./hf/"), home.join("hf"));
    assert_eq!(folder("~/hf"), home.join("hf"));
    assert_eq!(folder(home.join("hf").to_str().unwrap()), home.join("hf"));
    let file = |name: &str| {
        home.join(machine.locate(name).gguf())
            .canonicalize()
            .unwrap()
    };
    assert_eq!(file("one/a.gguf"), home.join("one/a.gguf"));
    assert_eq!(file("one"), home.join("one/a.gguf"));
    assert_eq!(file("blob"), home.join("blob"));
}

#[test]
fn split_files_are_one_model() {
    let machine = Machine::new();
    write(
        machine.home.path(),
        &[
            ("m/x-00002-of-00002.gguf", b""),
            ("m/x-00001-of-00002.gguf", b""),
        ],
    );
    assert!(
        machine
            .locate("m")
            .gguf()
            .ends_with("m/x-00001-of-00002.gguf")
    );
}

#[test]
fn missing_paths_are_not_looked_up_on_the_hub() {
    let machine = Machine::new().with("HF_ENDPOINT", "http://127.0.0.1:1");
    for path in [
        "./x",
        "../x",
        "/x/y",
        "~/x",
        "x.gguf",
        "a/b/c.gguf",
        "~",
        ".",
    ] {
        let outcome = machine.locate(path);
        let message = outcome.last();
        assert!(
            message.starts_with("error ModelNotFound"),
            "{path}: {outcome:?}"
        );
        assert!(!message.contains("127.0.0.1"), "{path}: {message}");
    }
    machine
        .locate("./x")
        .error("ModelNotFound", &["no such folder or file"]);
}

#[test]
fn folders_and_files_without_a_model_are_reported() {
    let machine = Machine::new();
    write(
        machine.home.path(),
        &[
            ("empty/readme", b""),
            ("two/a.gguf", b""),
            ("two/b.gguf", b""),
            ("model.safetensors", b"GGU"),
        ],
    );
    machine
        .locate("empty")
        .error("ModelNotFound", &["config.json", ".gguf"]);
    machine
        .locate("two")
        .error("ModelNotFound", &["a.gguf, b.gguf"]);
    machine
        .locate("model.safetensors")
        .error("UnsupportedModel", &["folder"]);
}

#[cfg(unix)]
#[test]
fn unusual_entries_are_reported() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let machine = Machine::new();
    let folder = machine.home.path().join("odd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(b"\xff\xfe.gguf")), "").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("dangling.gguf")).unwrap();
    std::os::unix::fs::symlink("loop", machine.home.path().join("loop")).unwrap();
    machine.locate("odd").error("ModelNotFound", &[]);
    machine
        .locate("odd/dangling.gguf")
        .error("ModelNotFound", &["link to nothing"]);
    machine
        .locate("./loop")
        .error("ModelNotFound", &["link to nothing"]);
    machine
        .locate("/dev/null")
        .error("ModelNotFound", &["neither a folder nor a file"]);
}
