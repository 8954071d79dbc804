//! Values that rows are made of: ids, times and columns of JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::error::LibraryError;

/// Makes an id: 32 hexadecimal digits that sort by time.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// Returns milliseconds since 1970 (UTC).
#[must_use]
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a column of JSON that this program wrote.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, LibraryError> {
    serde_json::from_str(text).map_err(|source| LibraryError::Damaged { column, source })
}

/// Writes a column of JSON.
pub(crate) fn to_json<T: serde::Serialize>(column: &'static str, value: &T) -> Result<String, LibraryError> {
    serde_json::to_string(value).map_err(|source| LibraryError::Damaged { column, source })
}

/// Cuts what a caller sent as an id, so that a message stays short.
pub(crate) fn shorten(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
