//! The engine on candle: one thread owns the weights and serves requests in a batch that they join and leave at any step.
//!
//! [`engine`] implements [`Engine`](crate::Engine); [`worker`] is the thread; [`scheduler`] chooses what each step works on;
//! [`sequence`] is one request in progress.

mod answer;
mod batch;
mod cache;
mod constraint;
mod device;
mod engine;
mod generation;
#[cfg(feature = "cuda")]
mod libcuda;
mod logit_rules;
mod queue;
mod sampler;
mod scheduler;
mod sequence;
mod sink;
mod stop;
mod tools;
mod worker;

pub use device::open_device;
pub(crate) use engine::{CandleEngine, CandleOptions};
pub use engine::{DeviceKind, WeightType};
pub(crate) use scheduler::Limits;
