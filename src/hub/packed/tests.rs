use super::*;

fn cache(folder: &Path) -> Cache {
    Cache {
        folder: folder.join("packed"),
        digests: Digests::new(folder.join("digests")),
    }
}

fn checkpoint(file: &Path, content: &str, bytes: u64) -> Checkpoint {
    fs::write(file, content).unwrap();
    Checkpoint {
        source: file.to_owned(),
        files: vec![file.to_owned()],
        precision: WeightPrecision::Stored,
        bytes,
    }
}

/// The folder of a checkpoint, as if a process had written so many bytes to it.
fn written(cache: &Cache, checkpoint: &Checkpoint, limit: u64) -> PathBuf {
    let is_stopped = AtomicBool::new(false);
    let found = cache
        .folder_to_write(checkpoint, limit, &is_stopped)
        .unwrap();
    let path = found.unwrap().path;
    fs::write(path.join("weights"), vec![0; checkpoint.bytes as usize]).unwrap();
    path
}

#[test]
fn a_folder_is_of_contents_precision_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let original = checkpoint(&folder.path().join("a.gguf"), "weights", 10);
    let path = written(&cache, &original, 1000);
    let copy = checkpoint(&folder.path().join("b.gguf"), "weights", 10);
    assert_eq!(written(&cache, &copy, 1000), path);
    let other = checkpoint(&folder.path().join("c.gguf"), "weightz", 10);
    assert_ne!(written(&cache, &other, 1000), path);
    let precision = WeightPrecision::F32;
    let held_otherwise = Checkpoint { precision, ..copy };
    assert_ne!(written(&cache, &held_otherwise, 1000), path);
    let listed = cache.list();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0].precision, "f32");
    assert!(listed.iter().all(|weights| weights.bytes >= 10));
}

#[test]
fn a_file_is_read_again_only_when_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let file = folder.path().join("a.gguf");
    let Checkpoint { files, .. } = checkpoint(&file, "weights", 10);
    let is_stopped = AtomicBool::new(false);
    assert_eq!(cache.digests.known(&files), None);
    let first = cache.digests.of_files(&files, 2, &is_stopped).unwrap();
    assert_eq!(cache.digests.known(&files), first);
    // As long as before, and with its date.
    let date = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "weightz").unwrap();
    let opened = fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(date).unwrap();
    if cfg!(unix) {
        assert_eq!(cache.digests.known(&files), None);
        assert_ne!(
            cache.digests.of_files(&files, 2, &is_stopped).unwrap(),
            first
        );
    }
    fs::write(&file, "weights").unwrap();
    assert_eq!(
        cache.digests.of_files(&files, 2, &is_stopped).unwrap(),
        first
    );
}

#[test]
fn a_digest_that_is_given_up_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let Checkpoint { files, .. } = checkpoint(&folder.path().join("a.gguf"), "weights", 10);
    let is_stopped = AtomicBool::new(true);
    assert_eq!(
        cache.digests.of_files(&files, 2, &is_stopped).unwrap(),
        None
    );
    assert_eq!(cache.digests.known(&files), None);
}

#[test]
fn one_process_writes_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let checkpoint = checkpoint(&folder.path().join("a.gguf"), "weights", 10);
    let is_stopped = AtomicBool::new(false);
    let find = || {
        cache
            .folder_to_write(&checkpoint, 1000, &is_stopped)
            .unwrap()
    };
    let held = find().unwrap();
    assert!(find().is_none());
    drop(held);
    assert!(find().is_some());
}

#[test]
fn what_was_not_used_for_the_longest_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let path = |name: &str| folder.path().join(name);
    let limit = 100_000;
    let kept: Vec<PathBuf> = ["a", "b", "c"]
        .map(|name| written(&cache, &checkpoint(&path(name), name, 30_000), limit))
        .into();
    let day = std::time::Duration::from_secs(86400);
    for (age, folder) in [3, 1, 2].into_iter().zip(&kept) {
        let about = fs::File::options()
            .append(true)
            .open(folder.join(ABOUT))
            .unwrap();
        about.set_modified(SystemTime::now() - age * day).unwrap();
    }
    mark_as_used(&kept[0]);
    written(&cache, &checkpoint(&path("d"), "d", 30_000), limit);
    let is_there: Vec<bool> = kept.iter().map(|folder| folder.is_dir()).collect();
    assert_eq!(is_there, [true, true, false]);
    // More than the disk has.
    assert!(
        !cache.make_room("e", u64::MAX, u64::MAX).unwrap() || free_bytes(&cache.folder).is_none()
    );
    cache
        .remove(kept[0].file_name().unwrap().to_str().unwrap())
        .unwrap();
    assert!(!kept[0].exists());
}

#[test]
fn strangers_folders_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    assert!(cache.list().is_empty());
    for (name, about) in [("a", "{}"), ("b", "not JSON"), ("c", "{\"source\":3}")] {
        let stranger = cache.folder.join(name);
        fs::create_dir_all(&stranger).unwrap();
        fs::write(stranger.join(ABOUT), about).unwrap();
    }
    fs::write(cache.folder.join("file"), "").unwrap();
    assert!(cache.list().is_empty());
}
