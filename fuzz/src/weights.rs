//! Weight files out of their headers: the tensors' data are the same for all inputs, so that only what is parsed changes.

use serde_json::Value;
use specdec_rs::weights::safetensors::SafetensorsCheckpoint;
use specdec_rs::weights::{Checkpoint, dequantize};

use crate::{Folder, check_error};

/// The most data that a file has.
const MAX_DATA: usize = 1 << 20;

/// A byte that gives small numbers in every type of floating point: 0.0115 as f32 and bf16, 1.06 as f16.
const FILLER: u8 = 0x3c;

/// Data for tensors.
pub fn filler(length: usize) -> Vec<u8> {
    vec![FILLER; length.min(MAX_DATA)]
}

/// A safetensors file of a header, with as many bytes of data as that asks for.
pub fn safetensors(header: &[u8]) -> Vec<u8> {
    let parsed: Value = serde_json::from_slice(header).unwrap_or_default();
    let tensors = parsed.as_object().into_iter().flatten();
    let ends = tensors.filter_map(|(_, tensor)| tensor["data_offsets"][1].as_u64());
    let length = ends.max().and_then(|end| usize::try_from(end).ok());
    let data = filler(length.unwrap_or(0));
    [&(header.len() as u64).to_le_bytes(), header, &data].concat()
}

/// Reads every tensor of a folder.
pub fn read_tensors(folder: &Folder) {
    let checkpoint = match SafetensorsCheckpoint::open(folder.path()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return check_error(&error),
    };
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).expect("a tensor of each name");
        let count: usize = tensor.shape.iter().product();
        let values = dequantize(&tensor).expect("data of the shape's size");
        assert_eq!(values.len(), count, "{name}");
        checkpoint.integers(name).expect("no error for other types");
    }
}
