//! Finding: words over everything that is known of the videos, with the places where they are said.
//!
//! A video is found when each wanted term occurs somewhere in it (its name, place, camera, description, moments,
//! tags, answers) and no unwanted one does. Videos are ordered by BM25 over these, weighed by what kind of text it is.
//! A list by another measure, such as embeddings, would be merged with `find::ranked`. Knows no HTTP.

mod find;
mod places;
mod query;
mod recall;
pub(crate) mod recent;
mod results;

pub use recall::Recalled;
pub use results::{Filter, Found, Hit, MAX_RANKED, Part, PieceKind, Results};

#[cfg(test)]
mod tests;
