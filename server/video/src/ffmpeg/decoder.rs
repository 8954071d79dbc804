//! Opens decoders, and reads the flags of packets.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

use std::ffi::c_int;

use ffmpeg_next::{Error, Packet, Stream, codec, decoder, ffi};

use super::{
    facts::{facts, text},
    nvdec,
};

/// Decoders of sound that are opened, for renditions.
pub(super) const SOUND_DECODERS: &str = "aac,aac_latm,mp3,mp3float,mp2,mp2float,ac3,eac3,opus,vorbis,flac,alac,amrnb,amrwb,wmav1,\
                              wmav2,wmapro,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,\
                              pcm_f32le,pcm_f32be,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,adpcm_ima_wav,adpcm_ima_qt,\
                              adpcm_ms,adpcm_swf,nellymoser,dca,qdm2,qcelp,gsm_ms,cook";

/// Returns whether an edit list hides the packet's frame.
pub(crate) fn hidden(packet: &Packet) -> bool {
    use codec::packet::Ref;
    // SAFETY: a live packet.
    unsafe { (*packet.as_ptr()).flags & ffi::AV_PKT_FLAG_DISCARD != 0 }
}

/// Returns whether a packet brings another codec header, which changes how what follows is decoded.
pub(crate) fn reconfigures(packet: &Packet) -> bool {
    use codec::packet::side_data::Type;
    packet.side_data().any(|data| matches!(data.kind(), Type::NewExtraData | Type::ParamChange))
}

/// Opens the decoder of `stream`; on NVIDIA's chip, if that is wanted, there is one, and it knows the codec.
///
/// # Errors
/// ffmpeg's; `DecoderNotFound` when it is not on the list.
pub(crate) fn decoder(
    stream: &Stream<'_>,
    threads: usize,
    max_pixels: u64,
    chip: bool,
) -> Result<decoder::Video, Error> {
    if !facts(stream).decodable {
        return Err(Error::DecoderNotFound);
    }
    let mut context = codec::Context::from_parameters(stream.parameters())?;
    // SAFETY: a context that is not open yet and is ours.
    unsafe {
        let raw = context.as_mut_ptr();
        (*raw).thread_count = c_int::try_from(threads).unwrap_or(1);
        (*raw).thread_type = (ffi::FF_THREAD_FRAME | ffi::FF_THREAD_SLICE) as c_int;
        (*raw).max_pixels = i64::try_from(max_pixels).unwrap_or(i64::MAX);
        (*raw).pkt_timebase = (*stream.as_ptr()).time_base;
        if chip && nvdec::attach(raw) {
            // The chip decodes; threads would only hold more of its pictures.
            (*raw).thread_count = 1;
        }
    }
    context.decoder().video()
}

/// Name of the decoder that ffmpeg would take for `stream`.
fn decoder_name(stream: &Stream<'_>) -> String {
    // SAFETY: a live stream, whose `codecpar` is never null; names are static strings.
    unsafe {
        let decoder = ffi::avcodec_find_decoder((*(*stream.as_ptr()).codecpar).codec_id);
        if decoder.is_null() { String::new() } else { text((*decoder).name) }
    }
}

/// Opens the decoder of a stream of sound.
///
/// # Errors
/// ffmpeg's; `DecoderNotFound` when it is not on the list.
pub(crate) fn sound_decoder(stream: &Stream<'_>) -> Result<decoder::Audio, Error> {
    let name = decoder_name(stream);
    if !SOUND_DECODERS.split(',').any(|one| one == name) {
        return Err(Error::DecoderNotFound);
    }
    let mut context = codec::Context::from_parameters(stream.parameters())?;
    // SAFETY: a context that is not open yet and is ours.
    unsafe { (*context.as_mut_ptr()).pkt_timebase = (*stream.as_ptr()).time_base };
    context.decoder().audio()
}
