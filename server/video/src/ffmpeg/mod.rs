//! The interface to ffmpeg, for everything that ffmpeg-next has no safe function for.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

mod colour;
mod decoder;
mod facts;
pub(crate) mod nvdec;
mod open;

use ffmpeg_next::{Error, ffi, log};

pub(crate) use self::{
    colour::{Colours, ToYuv, colours, layout, set_matrix},
    decoder::{decoder, hidden, reconfigures, sound_decoder},
    facts::{Medium, StreamFacts, clock_restarts, facts, metadata},
    open::{open, open_sound, read_only, seek},
};

/// Silences ffmpeg and bounds what one of its allocations may take.
pub(crate) fn init(max_alloc: usize) -> Result<(), Error> {
    ffmpeg_next::init()?;
    log::set_level(log::Level::Quiet);
    // SAFETY: sets one global number.
    unsafe { ffi::av_max_alloc(max_alloc) };
    Ok(())
}
