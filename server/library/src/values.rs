//! Values that rows consist of: ids, times and JSON columns.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use crate::error::LibraryError;

const ID_DIGITS: usize = 32;
const HASH_DIGITS: usize = 64;

/// Creates an id: 32 hexadecimal digits that sort by time.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// Returns whether `text` is an id as [`new_id`] makes it.
pub(crate) fn is_id(text: &str) -> bool {
    is_lower_hex(text, ID_DIGITS)
}

/// Returns whether `text` is a SHA-256 as the library writes it.
pub(crate) fn is_hash(text: &str) -> bool {
    is_lower_hex(text, HASH_DIGITS)
}

/// Reads an id. It becomes part of paths and URLs, so a damaged or crafted one is an error.
pub(crate) fn id(row: &SqliteRow, column: &'static str) -> Result<String, sqlx::Error> {
    lower_hex(row, column, ID_DIGITS)
}

/// Reads the SHA-256 of an original, with the same check.
pub(crate) fn hash(row: &SqliteRow, column: &'static str) -> Result<String, sqlx::Error> {
    lower_hex(row, column, HASH_DIGITS)
}

fn lower_hex(row: &SqliteRow, column: &'static str, digits: usize) -> Result<String, sqlx::Error> {
    let value: String = row.try_get(column)?;
    if is_lower_hex(&value, digits) {
        return Ok(value);
    }
    Err(sqlx::Error::Decode(Box::new(LibraryError::Malformed { column, value: shorten(&value), digits })))
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the current time in milliseconds since 1970 (UTC).
#[must_use]
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Parses a JSON column.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, LibraryError> {
    serde_json::from_str(text).map_err(|source| LibraryError::Damaged { column, source })
}

/// Serializes a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(column: &'static str, value: &T) -> Result<String, LibraryError> {
    serde_json::to_string(value).map_err(|source| LibraryError::Damaged { column, source })
}

/// Truncates an id from a caller for an error message.
pub(crate) fn shorten(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
