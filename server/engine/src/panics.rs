//! Errors made of panics on a model's thread.

use std::any::Any;

use crate::EngineError;

/// Returns the error for a panic of `whose` thread, with the panic's message. `when` says during what.
pub(crate) fn panicked(whose: &str, when: &str, panic: &(dyn Any + Send)) -> EngineError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    EngineError::Failed(format!("{whose} thread panicked {when}: {text}"))
}
