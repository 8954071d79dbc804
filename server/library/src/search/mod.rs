//! Full-text search over names, places, cameras, descriptions, moments, tags, answers and speech, with the seconds
//! of each match.
//!
//! A video matches when each wanted term occurs in any of its texts and no unwanted one does. Results are ordered by BM25 with
//! a weight per kind of text. Another ranking, such as embeddings, would be merged with `find::ranked`.

mod find;
mod places;
mod query;
mod recall;
pub(crate) mod recent;
mod results;

pub use recall::Recalled;
pub use results::{Filter, Found, Hit, MAX_RANKED, PieceKind, Results, SnippetPart};

#[cfg(test)]
mod tests;
