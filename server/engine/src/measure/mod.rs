//! Measures engines and models, without HTTP and without a decoder. `homereel-bench engine` and `probe`, and the
//! example `measure` (which `scripts/gpu-check.sh` runs on machines with a GPU), call the same functions.
//!
//! - [`load`]: requests through an [`Engine`](crate::Engine), as clients send them;
//! - [`network`]: the steps of one question on a [`Model`](crate::qwen3vl::Model);
//! - [`roofline`]: what the device could do at best;
//! - [`device`]: which device that is.

pub mod device;
pub mod load;
pub mod network;
pub mod roofline;
