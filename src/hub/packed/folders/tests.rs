use super::*;

const KEYS: [&str; 4] = [
    "00000000000000000000000000000000",
    "11111111111111111111111111111111",
    "22222222222222222222222222222222",
    "33333333333333333333333333333333",
];

fn folders(root: &Path) -> Folders {
    let path = root.join("packed");
    fs::create_dir(&path).unwrap();
    Folders { path }
}

fn about(bytes: u64) -> About {
    About::new(Path::new("m.gguf"), WeightPrecision::F32, bytes, bytes)
}

/// A folder as a process leaves it that wrote so many bytes.
fn write(folders: &Folders, key: &str, bytes: u64) -> PathBuf {
    let path = folders.lock(key, &about(bytes)).unwrap().unwrap().path;
    fs::write(path.join("weights"), vec![0; bytes as usize]).unwrap();
    path
}

#[test]
fn one_process_writes_to_a_folder_and_none_removes_it_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path());
    let held = folders.lock(KEYS[0], &about(10)).unwrap().unwrap();
    assert!(folders.lock(KEYS[0], &about(10)).unwrap().is_none());
    assert!(!folders.remove(KEYS[0]).unwrap());
    assert!(held.path.is_dir());
    drop(held.lock);
    assert!(folders.lock(KEYS[0], &about(10)).unwrap().is_some());
    assert!(folders.remove(KEYS[0]).unwrap() && !held.path.exists());
    // Of two that remove, the later one finds nothing.
    assert!(folders.remove(KEYS[0]).unwrap());
    assert!(folders.list().is_empty());
}

#[test]
fn what_was_not_used_for_the_longest_makes_room() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path());
    let kept = [0, 1, 2].map(|key| write(&folders, KEYS[key], 30_000));
    let day = std::time::Duration::from_secs(86400);
    for (age, folder) in [3, 1, 2].into_iter().zip(&kept) {
        let about = fs::File::options().append(true).open(folder.join(ABOUT));
        let date = SystemTime::now() - age * day;
        about.unwrap().set_modified(date).unwrap();
    }
    assert_eq!(folders.used(KEYS[0]).as_ref(), Some(&kept[0]));
    assert_eq!(folders.used(KEYS[3]), None);
    assert!(folders.make_room(KEYS[3], 30_000, 100_000).unwrap());
    let is_there: Vec<bool> = kept.iter().map(|folder| folder.is_dir()).collect();
    assert_eq!(is_there, [true, true, false]);
    // What is there counts for what it will take; its own folder does not.
    let about = about(90_000);
    folders.lock(KEYS[2], &about).unwrap().unwrap();
    assert!(folders.make_room(KEYS[2], 40_000, 110_000).unwrap());
    assert_eq!(folders.list().len(), 3);
    assert!(folders.make_room(KEYS[3], 40_000, 110_000).unwrap());
    assert_eq!(folders.list().len(), 2);
    assert_eq!(folders.used(KEYS[2]), None);
}

#[cfg(unix)]
#[test]
fn nothing_is_removed_for_what_does_not_fit_on_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path());
    write(&folders, KEYS[0], 30_000);
    assert!(!folders.make_room(KEYS[1], u64::MAX, u64::MAX).unwrap());
    assert_eq!(folders.list().len(), 1);
}

#[test]
fn remains_are_found_and_strangers_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path());
    for (name, about) in [(KEYS[0], "{}"), (KEYS[1], "no JSON"), ("stranger", "{}")] {
        let folder = folders.path.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(ABOUT), about).unwrap();
    }
    fs::create_dir(folders.path.join(KEYS[2])).unwrap();
    fs::write(folders.path.join(KEYS[3]), "a file").unwrap();
    let interrupted = folders.path.join(format!("{}{REMOVED}", KEYS[3]));
    fs::create_dir(&interrupted).unwrap();
    let listed = folders.list();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|weights| weights.precision == "unknown"));
    for weights in listed {
        assert!(folders.remove(&weights.id).unwrap());
    }
    assert!(folders.list().is_empty() && !interrupted.exists());
    assert!(folders.path.join("stranger").is_dir());
}
