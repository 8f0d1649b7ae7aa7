use std::fs;
use std::path::Path;

use super::*;

fn cache(folder: &Path) -> Cache {
    Cache {
        folders: Folders {
            path: folder.join("packed"),
        },
        digests: Digests::new(folder.join("digests")),
    }
}

fn opened(file: &Path) -> SourceFile {
    SourceFile::new(file, &fs::metadata(file).unwrap())
}

fn checkpoint(file: &Path, content: &str) -> Checkpoint {
    fs::write(file, content).unwrap();
    Checkpoint {
        source: file.to_owned(),
        files: vec![opened(file)],
        precision: WeightPrecision::Stored,
        bytes: 10,
    }
}

fn folder_of(cache: &Cache, checkpoint: &Checkpoint) -> Option<PathBuf> {
    let is_stopped = AtomicBool::new(false);
    let found = cache
        .folder_to_write(checkpoint, 1000, &is_stopped)
        .unwrap();
    found.map(|found| found.path)
}

#[test]
fn a_folder_is_of_contents_precision_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let original = checkpoint(&folder.path().join("a.gguf"), "weights");
    assert_eq!(cache.existing_folder(&original), None);
    let path = folder_of(&cache, &original).unwrap();
    assert_eq!(cache.existing_folder(&original).as_ref(), Some(&path));
    // Found by its length, then by its content.
    let copy = checkpoint(&folder.path().join("b.gguf"), "weights");
    assert_eq!(cache.existing_folder(&copy).as_ref(), Some(&path));
    let other = checkpoint(&folder.path().join("c.gguf"), "weightz");
    assert_eq!(cache.existing_folder(&other), None);
    assert_ne!(folder_of(&cache, &other).unwrap(), path);
    let precision = WeightPrecision::F32;
    let held_otherwise = Checkpoint { precision, ..copy };
    assert_ne!(folder_of(&cache, &held_otherwise).unwrap(), path);
    let listed = cache.folders.list();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0].precision, "f32");
}

#[cfg(unix)]
#[test]
fn a_file_is_read_again_only_when_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let digests = cache(folder.path()).digests;
    let file = folder.path().join("a.gguf");
    fs::write(&file, "weights").unwrap();
    let is_stopped = AtomicBool::new(false);
    assert_eq!(digests.known(&[opened(&file)]), None);
    let first = digests.of_files(&[opened(&file)], 2, &is_stopped).unwrap();
    assert_eq!(digests.known(&[opened(&file)]), first);
    // As long as before, and with its date.
    let date = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "weightz").unwrap();
    let writable = fs::File::options().write(true).open(&file).unwrap();
    writable.set_modified(date).unwrap();
    assert_eq!(digests.known(&[opened(&file)]), None);
    let second = digests.of_files(&[opened(&file)], 1, &is_stopped).unwrap();
    assert_ne!(second, first);
    fs::write(&file, "weights").unwrap();
    let third = digests.of_files(&[opened(&file)], 3, &is_stopped).unwrap();
    assert_eq!(third, first);
}

#[cfg(unix)]
#[test]
fn files_that_changed_since_they_were_opened_have_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let file = folder.path().join("a.gguf");
    let before = checkpoint(&file, "weights");
    fs::write(folder.path().join("new"), "weightz").unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    assert_eq!(folder_of(&cache, &before), None);
    // Nor where the new contents are known.
    let after = Checkpoint {
        files: vec![opened(&file)],
        ..before.clone()
    };
    assert!(folder_of(&cache, &after).is_some());
    assert_eq!(folder_of(&cache, &before), None);
    assert_eq!(cache.existing_folder(&before), None);
}

#[test]
fn a_digest_that_is_given_up_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let digests = cache(folder.path()).digests;
    let file = folder.path().join("a.gguf");
    fs::write(&file, "weights").unwrap();
    let is_stopped = AtomicBool::new(true);
    let files = [opened(&file)];
    assert_eq!(digests.of_files(&files, 2, &is_stopped).unwrap(), None);
    assert_eq!(digests.known(&files), None);
}

#[test]
fn a_digest_goes_on_where_another_process_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.gguf");
    let large = fs::File::create(&file).unwrap();
    large.set_len(40 << 20).unwrap();
    let files = [opened(&file)];
    let whole = cache(&folder.path().join("other")).digests;
    let is_stopped = AtomicBool::new(false);
    let expected = whole.of_files(&files, 2, &is_stopped).unwrap();
    let digests = cache(folder.path()).digests;
    digests.of_files(&files, 1, &is_stopped).unwrap();
    // As if only the first of three chunks had been read.
    let record = fs::read_dir(folder.path().join("digests")).unwrap().next();
    let record = record.unwrap().unwrap().path();
    let text = fs::read_to_string(&record).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 3);
    fs::write(&record, lines[..2].join("\n")).unwrap();
    assert_eq!(digests.known(&files), None);
    assert_eq!(digests.of_files(&files, 1, &is_stopped).unwrap(), expected);
    fs::write(&record, [&text, "too many lines"].join("\n")).unwrap();
    assert_eq!(digests.of_files(&files, 1, &is_stopped).unwrap(), expected);
    // What is known isn't read again.
    fs::write(&record, [lines[0], "of another content"].join("\n")).unwrap();
    assert_ne!(digests.of_files(&files, 1, &is_stopped).unwrap(), expected);
}
