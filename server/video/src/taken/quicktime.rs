//! Reads dates in the boxes of QuickTime and MP4 that ffmpeg does not report: Exif and XMP in user data, Sony's XML, and the
//! headers' times as they are.

use std::{fs::File, os::unix::fs::FileExt};

use jiff::Timestamp;

use super::FileDates;

/// Maximum number of boxes that are looked at.
const MAX_BOXES: u32 = 10_000;

/// Maximum bytes of a header or a short text that are read.
const MAX_SHORT: u64 = 128;

/// Maximum bytes of a box of XML that are read.
const MAX_XML: u64 = 256 << 10;

/// Maximum number of boxes of XML that are read.
const MAX_XMLS: u32 = 8;

/// Maximum depth of boxes in boxes.
const MAX_DEPTH: u32 = 6;

/// Seconds from 1904, when QuickTime's clock begins, to 1970.
const SINCE_1904: i64 = 2_082_844_800;

/// 2016-01-01. Cameras that counted from 1970 are older; today's count from 1904.
const NO_MORE_UNIX: i64 = 1_451_606_400;

/// The identifier of a box of XMP.
const XMP: [u8; 16] = *b"\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac";

/// What was found, in the order of trust.
#[derive(Default)]
struct Found {
    is_3gp: bool,
    /// User data `date`, which Apple and exiftool write.
    original: Vec<String>,
    xml: Vec<String>,
    movie: Vec<u64>,
    media: Vec<u64>,
    track: Vec<u64>,
    boxes: u32,
    xmls: u32,
}

pub(super) fn read(file: &File) -> FileDates {
    let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return FileDates::default() };
    let mut found = Found::default();
    walk(file, 0, size, 0, &mut found);
    let Found { is_3gp, original, xml, movie, media, track, .. } = found;
    let headers = movie.into_iter().chain(media).chain(track).map(|raw| readings(raw, is_3gp));
    let headers = headers.filter(|readings| !readings.is_empty()).collect();
    FileDates { texts: original.into_iter().chain(xml).collect(), headers }
}

/// Visits the boxes between two offsets.
fn walk(file: &File, mut at: u64, end: u64, depth: u32, found: &mut Found) {
    while end.saturating_sub(at) >= 8 && found.boxes < MAX_BOXES {
        found.boxes += 1;
        let mut head = [0u8; 16];
        let have = file.read_at(&mut head, at).unwrap_or(0);
        if have < 8 {
            return;
        }
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (header, size) = match word(0) {
            0 => (8, end - at),
            1 if have == 16 => (16, u64::from(word(8)) << 32 | u64::from(word(12))),
            size => (8, u64::from(size)),
        };
        if size < header {
            return;
        }
        let next = at.saturating_add(size).min(end);
        let kind = [head[4], head[5], head[6], head[7]];
        visit(file, kind, at + header, next, depth, found);
        at = next;
    }
}

fn visit(file: &File, kind: [u8; 4], body: u64, end: u64, depth: u32, found: &mut Found) {
    let bytes = |from: u64| bytes(file, from, end, MAX_SHORT);
    match &kind {
        b"ftyp" => {
            let brand = bytes(body);
            found.is_3gp = brand.starts_with(b"3gp") || brand.starts_with(b"3g2");
        }
        b"moov" | b"trak" | b"mdia" | b"udta" if depth < MAX_DEPTH => walk(file, body, end, depth + 1, found),
        // A version and flags first, except in QuickTime.
        b"meta" if depth < MAX_DEPTH => {
            let is_full = bytes(body).get(4..8) != Some(b"hdlr");
            walk(file, if is_full { body + 4 } else { body }, end, depth + 1, found);
        }
        b"mvhd" => found.movie.extend(created(&bytes(body))),
        b"mdhd" => found.media.extend(created(&bytes(body))),
        b"tkhd" => found.track.extend(created(&bytes(body))),
        b"date" => found.original.push(String::from_utf8_lossy(&bytes(body)).chars().take(80).collect()),
        b"uuid" if bytes(body).starts_with(&XMP) => xml(file, body, end, found),
        b"XMP_" | b"xml " => xml(file, body, end, found),
        _ => {}
    }
}

fn xml(file: &File, body: u64, end: u64, found: &mut Found) {
    if found.xmls < MAX_XMLS {
        found.xmls += 1;
        found.xml.extend(in_xml(&bytes(file, body, end, MAX_XML)));
    }
}

fn bytes(file: &File, from: u64, end: u64, max: u64) -> Vec<u8> {
    let length = usize::try_from(end.saturating_sub(from).min(max)).unwrap_or(0);
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, from).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// The time of creation in a header box, in seconds of its clock; 0 means that it is unknown.
fn created(header: &[u8]) -> Option<u64> {
    let raw = match header.first()? {
        0 => u64::from(u32::from_be_bytes(*header.get(4..)?.first_chunk()?)),
        1 => u64::from_be_bytes(*header.get(4..)?.first_chunk()?),
        _ => return None,
    };
    Some(raw).filter(|raw| *raw != 0)
}

/// What a time in a header may mean, best first. The clock of the standard begins in 1904; that of some old cameras and
/// phones began in 1970, so that a small number is of a film from before 1970, or of such a device.
fn readings(raw: u64, is_3gp: bool) -> Vec<Timestamp> {
    let Ok(raw) = i64::try_from(raw) else { return Vec::new() };
    let (standard, unix) = (raw.saturating_sub(SINCE_1904), raw);
    let order = match standard {
        0.. => vec![standard],
        _ if is_3gp || unix < NO_MORE_UNIX => vec![unix, standard],
        _ => vec![standard],
    };
    order.into_iter().filter_map(|seconds| Timestamp::from_second(seconds).ok()).collect()
}

/// The dates in XMP, or in the XML of Sony's cameras, best first.
fn in_xml(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let value = |name: &str| {
        let after = text.split_once(name)?.1;
        // An attribute `name="value"`, an element `<name>value`, or Sony's `<CreationDate value="value"`.
        let after = after.trim_start_matches([' ', '=', '>', '"', '\'']);
        let after = after.strip_prefix("value").unwrap_or(after).trim_start_matches([' ', '=', '"', '\'']);
        let end = after.find(['<', '"', '\''])?;
        Some(after[..end].chars().take(80).collect())
    };
    ["exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate", "<CreationDate"]
        .into_iter()
        .filter_map(value)
        .collect()
}
