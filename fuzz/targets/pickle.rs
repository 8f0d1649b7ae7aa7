//! PyTorch's own weights: whatever their description holds, reading them is a short error or tensors within the file; never a
//! panic, an abort, a hang, or more than 2 GB.
//!
//! The input is data.pkl, in an archive that has data under the names 0 and 1.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use specdec_fuzz::{Folder, archive, filler, read_tensors};

thread_local! {
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(Folder::default);
        let data = filler(1 << 16);
        let files = [
            ("a/data.pkl", input),
            ("a/data/0", &data),
            ("a/data/1", &data),
        ];
        folder.put("pytorch_model.bin", &archive(&files));
        read_tensors(folder);
    });
});
