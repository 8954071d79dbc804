//! The engine that proxies to vLLM servers ("replicas"), with our frames and our prompt format.
//!
//! - [`engine`]: implements [`Engine`](crate::Engine); [`options`]: its configuration
//! - [`pool`]: all replicas; [`replica`]: one of them; [`health_check`]: whether it serves; [`balancer`]: which one is next
//! - [`dispatch`]: one request, with retries; [`served_model`]: id, context, prompt builder of the model
//! - [`transport`] and [`times`]: how frames and their times reach vLLM; [`encode`] and [`avi`]: as bytes
//! - [`request_body`], [`client`], [`sse`], [`response`], [`errors`]: the HTTP exchange; [`metrics`]: vLLM's `/metrics`

mod avi;
mod balancer;
mod capacity;
mod client;
mod dispatch;
mod encode;
mod engine;
mod errors;
mod health_check;
mod metrics;
mod options;
mod pool;
mod replica;
mod request_body;
mod response;
mod served_model;
mod sse;
mod times;
mod transport;

pub(crate) use engine::VllmEngine;
pub(crate) use options::VllmOptions;
