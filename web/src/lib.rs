//! The pages of Homereel: templates, the stylesheet, the script, and the structs that fill them.
//!
//! A page is a struct of formatted strings. `render()` (askama's [`Template`]) turns it into HTML and escapes every
//! string, because file names and the model's answers are untrusted. This crate depends on neither HTTP, nor the
//! library, nor the engine: the server's handlers fill the structs.
//!
//! `templates/*.html` has one template per page on top of `base.html`; `static/` has the files that [`assets`] embeds. [`pages`] has
//! the structs of entire pages, [`views`] those of their parts; [`mod@format`] and [`times`] format numbers and times.
//! `words/` has their texts, which [`Words`] formats. [`bench_result`] and [`plot`] are benchmark results and their plots, which the benchmark program uses, too.

pub mod assets;
pub mod bench_result;
pub mod chart;
pub mod format;
pub mod pages;
pub mod plot;
pub mod times;
pub mod views;
mod words;

pub use askama::Template;
pub use words::Words;

/// Version of this build, shown in the footer.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
