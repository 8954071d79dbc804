//! Measures engines and models, without HTTP and without a decoder. `homereel-bench engine` and `probe`, and the
//! example `measure` (which `scripts/gpu-check.sh` runs on machines with a GPU), call the same functions.
//!
//! - [`load`]: requests through an [`Engine`](crate::Engine), as clients send them;
//! - [`network`]: the steps of one question on a [`Model`](crate::qwen3vl::Model);
//! - [`roofline`]: the limits of the device, memory bandwidth and matrix throughput;
//! - [`device`]: the device's name, and the memory in use.

pub mod device;
pub mod load;
pub mod network;
pub mod roofline;
