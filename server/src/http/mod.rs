//! The HTTP server: `routes` is the route table, [`layers`] the middleware of all requests, and every other
//! file handles one group of URLs.

mod albums;
mod answers;
mod ask;
mod ask_all;
mod assets;
mod audit_layer;
mod auth_layer;
mod bench;
mod clip;
mod edit;
pub mod error;
mod events;
mod extract;
mod files;
mod frame;
mod health;
mod household;
mod html;
mod jobs;
pub mod layers;
mod login;
mod mcp;
mod moments;
mod neighbours;
mod openai;
mod openapi;
mod origin;
mod pages;
mod path;
mod playback;
mod replicas;
mod routes;
mod search;
mod similar;
mod system;
mod thumbnail;
mod transcripts;
mod trash;
mod tus;
mod upload;
mod videos;
mod views;

pub use login::link as login_link;
pub use routes::router;
