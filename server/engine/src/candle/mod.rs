//! The engine on candle: one thread owns the weights and serves requests one after the other.
//!
//! [`engine`] implements [`Engine`](crate::Engine); [`worker`] is the thread; [`generate`] generates one answer.

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
