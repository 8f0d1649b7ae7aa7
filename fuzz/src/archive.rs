//! Zip archives of uncompressed files, as `torch.save` writes them.

/// An archive of these files. Sums of their contents are left out: no reader of tensors looks at them.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let start = archive.len() as u32;
        let length = content.len() as u32;
        // Version, flags, method, time, date and sum; then both sizes, and the lengths of the name and of what is added to it.
        let mut described = vec![20, 0];
        described.extend([0; 12]);
        described.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
        described.extend((name.len() as u16).to_le_bytes());
        described.extend([0; 2]);
        archive.extend([b"PK\x03\x04", &described[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &described[..]].concat());
        // A comment's length, the disk, and attributes.
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\x00\x00\x00\x00");
    let count = (files.len() as u16).to_le_bytes();
    archive.extend([count, count].concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0; 2]);
    archive
}
