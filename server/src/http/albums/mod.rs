//! Albums and tags: their pages, the forms of pages, and `/api/albums`.

pub(super) mod api;
pub(super) mod forms;
pub(super) mod pages;
