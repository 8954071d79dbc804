//! Values that rows consist of: ids, times and JSON columns.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::error::LibraryError;

/// Creates an id: 32 hexadecimal digits that sort by time.
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
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
