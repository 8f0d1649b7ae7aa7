//! The files `config.json` and `generation_config.json` beside weights: whatever they hold, loading the model is a short error
//! or a model that answers; never a panic, an abort, a hang, or more than 2 GB.
//!
//! The input is the name of one of the tests' models, and the two files.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{Folder, answer, model, mutate, pair, parts};

thread_local! {
    static FOLDERS: RefCell<HashMap<PathBuf, Folder>> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let [name, config, generation] = parts(input);
    let model = model(name).unwrap_or_else(|| pair("draft"));
    FOLDERS.with_borrow_mut(|folders| {
        let folder = folders.entry(model);
        let folder = folder.or_insert_with_key(|model| Folder::of(model));
        folder.put("config.json", config);
        folder.put("generation_config.json", generation);
        answer(folder.path());
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});
