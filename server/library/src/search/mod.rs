//! Full-text search over names, places, cameras, descriptions, moments, tags, answers and speech, with the seconds
//! of each match.
//!
//! A video matches when each wanted term occurs in any of its texts and no unwanted one does. Results are ordered by BM25 with
//! a weight per kind of text. What is near in meaning, which the caller finds by the vectors of texts, is merged with that by
//! reciprocal rank fusion ([`fuse`]); [`meaning`] says which videos it may be in.

mod find;
mod fuse;
mod meaning;
mod near;
mod places;
mod query;
mod recall;
pub(crate) mod recent;
mod results;

pub use meaning::{Documents, MeaningQuery};
pub use near::Near;
pub use recall::Recalled;
pub use results::{Filter, Found, Hit, MAX_RANKED, PieceKind, Results, SnippetPart, Why};

#[cfg(test)]
mod near_tests;
#[cfg(test)]
mod tests;
