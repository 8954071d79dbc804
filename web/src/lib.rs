//! The pages of Homereel: templates, the stylesheet, the script, and the structs that fill them.
//!
//! A page is a struct of strings that are ready to be shown; `render()` (askama's [`Template`]) makes
//! the HTML and escapes every one of them, for file names and the model's words are hostile. This
//! crate knows neither HTTP, nor the library, nor the engine: the server's handlers fill the structs.
//!
//! Where to find what: `templates/*.html` one page each on top of `base.html`, `static/` the files
//! that [`assets`] embeds, [`pages`] the structs of whole pages, [`views`] their parts, [`mod@format`]
//! and [`times`] the words for lengths, sizes and times.

pub mod assets;
pub mod format;
pub mod pages;
pub mod plot;
pub mod times;
pub mod views;

pub use askama::Template;

/// Version of this build, for the foot of each page.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
