//! vLLM servers as an engine: our frames and our prompt's rules, their kernels. Knows no files of video and no HTTP of
//! ours.
//!
//! [`engine`] is the face; [`pool`] all upstreams together, each a [`replica`] that [`watch`] looks after; [`choose`]
//! which of them gets a request, [`deliver`] its way there and elsewhere; [`front`] what is known of their model;
//! [`carry`] and [`times`] how frames and their times travel; [`pictures`] and [`avi`] their bytes; [`body`] the request;
//! [`client`] the connection; [`sse`] and [`answer`] what comes back; [`failure`] what goes wrong; [`gauges`] what an
//! upstream tells of itself.

mod answer;
mod avi;
mod body;
mod carry;
mod choose;
mod client;
mod deliver;
mod engine;
mod failure;
mod front;
mod gauges;
mod pictures;
mod pool;
mod replica;
mod sse;
mod times;
mod watch;

pub(crate) use engine::{UpstreamEngine, UpstreamOptions};
