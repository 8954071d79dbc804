//! A vLLM server as an engine: our frames and our prompt's rules, its kernels. Knows no files of video and no HTTP
//! of ours.
//!
//! [`engine`] is the face and watches over the upstream; [`front`] what is known of its model; [`carry`] and
//! [`times`] how the frames and their times travel; [`pictures`] and [`avi`] their bytes; [`body`] the request;
//! [`client`] the connection; [`sse`] and [`answer`] what comes back; [`failure`] what goes wrong.

mod answer;
mod avi;
mod body;
mod carry;
mod client;
mod engine;
mod failure;
mod front;
mod pictures;
mod sse;
mod times;

pub(crate) use engine::{UpstreamEngine, UpstreamOptions};
