//! Reads the time of creation of ASF (WMV), which counts from 1601 in UTC.

use std::{fs::File, os::unix::fs::FileExt};

use jiff::Timestamp;

use super::FileDates;

/// Bytes from the start of the file that hold the header.
const HEADER: usize = 64 << 10;

/// The identifier of the object with the properties of the file.
const PROPERTIES: [u8; 16] = *b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";

/// Bytes from the identifier to the time: object size, identifier of the file, file size.
const CREATED: usize = 16 + 8 + 16 + 8;

/// Seconds from 1601 to 1970.
const SINCE_1601: i64 = 11_644_473_600;

pub(super) fn read(file: &File) -> FileDates {
    let mut head = vec![0; HEADER];
    let read = file.read_at(&mut head, 0).unwrap_or(0);
    let created = created(&head[..read]).into_iter().map(|time| vec![time]);
    FileDates { texts: Vec::new(), headers: created.collect() }
}

fn created(head: &[u8]) -> Option<Timestamp> {
    let at = head.windows(PROPERTIES.len()).position(|bytes| bytes == PROPERTIES)?;
    let raw = u64::from_le_bytes(*head.get(at + CREATED..)?.first_chunk()?);
    if raw == 0 {
        return None;
    }
    Timestamp::from_second(i64::try_from(raw / 10_000_000).ok()?.checked_sub(SINCE_1601)?).ok()
}
