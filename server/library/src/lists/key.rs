//! Where a page of a list begins, and a page with the keys of its neighbours.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{error::LibraryError, values::is_id, video::Video};

/// The position of a video in a list: what the list is sorted by, and the id, which decides between equal values. As text
/// `1562112000000_` and the id; without an id, it is before all videos with this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListKey {
    /// Local time in milliseconds since 1970 as if it were UTC, time of adding in milliseconds since 1970 (UTC), or position.
    pub value: i64,
    /// Id of the video, or empty.
    pub id: String,
}

impl fmt::Display for ListKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.value, self.id)
    }
}

impl Serialize for ListKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ListKey {
    type Err = LibraryError;

    fn from_str(text: &str) -> Result<Self, LibraryError> {
        let (value, id) = text.split_once('_').unwrap_or((text, ""));
        let value = value.parse().ok();
        let id = Some(id).filter(|id| id.is_empty() || is_id(id));
        let (Some(value), Some(id)) = (value, id) else {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(LibraryError::Invalid(format!(
                "the key of a page is {shown:?}; one that a page links to would fit, such as 1562112000000_"
            )));
        };
        Ok(Self { value, id: id.into() })
    }
}

/// Where a page of a list begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cursor {
    /// At the list's beginning.
    #[default]
    Start,
    /// With the largest keys that are smaller.
    Before(ListKey),
    /// With the smallest keys that are larger.
    After(ListKey),
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VideoList {
    /// The videos, without their texts.
    pub videos: Vec<Video>,
    /// For [`Cursor::Before`]; `None` means that no video has a smaller key.
    pub before: Option<ListKey>,
    /// For [`Cursor::After`]; `None` means that no video has a larger key.
    pub after: Option<ListKey>,
}
