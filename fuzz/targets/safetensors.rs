//! Weights in safetensors, and their index file: whatever they hold, loading them is a short error or a model that answers;
//! never a panic, an abort, a hang, or more than 2 GB.
//!
//! The input is "header" and a file's header, or "file" and the whole file, or an index file and the headers of two files, by
//! the names 1.safetensors and 2.safetensors.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{Folder, answer, mutate, pair, parts, read_tensors, safetensors};

const INDEX: &str = "model.safetensors.index.json";

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| Folder::of(&pair("draft")));
        let [kind, file] = parts(input);
        let (single, index, first, second) = match kind {
            b"header" => (safetensors(file), &[][..], Vec::new(), Vec::new()),
            b"file" => (file.to_vec(), &[][..], Vec::new(), Vec::new()),
            index => {
                let [first, second] = parts(file);
                (Vec::new(), index, safetensors(first), safetensors(second))
            }
        };
        folder.put("model.safetensors", &single);
        folder.put(INDEX, index);
        folder.put("1.safetensors", &first);
        folder.put("2.safetensors", &second);
        read_tensors(folder);
        answer(folder.path());
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});
