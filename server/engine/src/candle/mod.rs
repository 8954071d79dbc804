//! The engine on candle: one thread that owns the weights and serves requests in turn. Knows no HTTP.
//!
//! [`engine`] is what the server sees; [`worker`] is the thread; [`generate`] is one answer.

mod cache;
mod constraint;
mod device;
mod engine;
mod generate;
#[cfg(feature = "cuda")]
mod libcuda;
mod queue;
mod sampler;
mod sink;
mod stop;
mod worker;

pub use device::open_device;
pub(crate) use engine::{CandleEngine, CandleOptions};
pub use engine::{DeviceKind, WeightType};
