//! Draft heads (EAGLE, DFlash, DSpark, multi-token prediction, distilled ones) beside a fixed target: whatever config.json and the
//! header of the weights hold, loading the head is a short error or a head that drafts; never a panic, an abort, a hang, or more than 2 GB.
//!
//! The input is config.json, and the header of model.safetensors.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use specdec_fuzz::{Folder, check_error, mutate, pair, parts, safetensors};
use specdec_rs::hub::ModelFiles;
use specdec_rs::model::{HeadFiles, LoadOptions, TargetModel, load};
use specdec_rs::{Device, Result};

/// The target, and the head's folder.
struct Fixed {
    target: Box<dyn TargetModel>,
    folder: Folder,
}

impl Fixed {
    fn new() -> Self {
        let options = LoadOptions {
            device: Some(Device::Cpu),
            threads: Some(1),
            ..LoadOptions::default()
        };
        let target = load(&ModelFiles::Folder(pair("target")), &options).unwrap();
        Self {
            target: target.model,
            folder: Folder::default(),
        }
    }
}

thread_local! {
    static FIXED: OnceCell<Fixed> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let [config, header] = parts(input);
    FIXED.with(|fixed| {
        let fixed = fixed.get_or_init(Fixed::new);
        fixed.folder.put("config.json", config);
        fixed.folder.put("model.safetensors", &safetensors(header));
        if let Err(error) = draft(fixed) {
            check_error(&error);
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

/// Loads the head, if it is one, and drafts a few tokens.
fn draft(Fixed { target, folder }: &Fixed) -> Result<()> {
    let files = ModelFiles::Folder(folder.path().to_owned());
    let Some(files) = HeadFiles::open(&files)? else {
        return Ok(());
    };
    let head = target.draft_head(&files)?;
    if let Some(tokens) = head.to_target() {
        let size = target.vocab_size();
        assert!(tokens.iter().all(|token| (*token as usize) < size));
    }
    let mut sequence = head.begin()?;
    let features = vec![0.5; 3 * head.width()];
    sequence.append(&[5, 6, 7], &features)?;
    for token in 0..3 {
        sequence.logits(None)?;
        sequence.confidence()?;
        if sequence.room() == 0 {
            break;
        }
        sequence.draft(token)?;
    }
    sequence.truncate(2);
    sequence.append(&[1], &features[..head.width()])?;
    sequence.logits(None)?;
    Ok(())
}
