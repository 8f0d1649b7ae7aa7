//! GGUF files: whatever one holds, loading it is a short error or a model that answers; never a panic, an abort, a hang, or more
//! than 2 GB.
//!
//! The input is a file up to its tensors' data.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use specdec_fuzz::{Folder, answer, catch_panics, filler, reported};

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fuzz_target!(init: catch_panics(), |input: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(Folder::default);
        folder.put("model.gguf", &[input, &filler(usize::MAX)].concat());
        reported(|| answer(&folder.file("model.gguf")));
    });
});
