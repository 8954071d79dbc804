//! Reads the facts in the headers of a file and its streams.
//!
//! Numbers from hostile files are read as integers, never as Rust enums, and text is not assumed to be UTF-8.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
};

use ffmpeg_next::{Stream, codec, ffi, format::context::Input};

use super::{decoder::SOUND_DECODERS, open::DECODERS};

/// What kind of stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    Video,
    Audio,
    Other,
}

/// What the header says of a stream; nothing of it is trusted.
#[derive(Debug, Clone)]
pub(crate) struct StreamFacts {
    pub(crate) index: usize,
    pub(crate) medium: Medium,
    pub(crate) codec: String,
    /// Four characters by which the container names the codec.
    pub(crate) tag: String,
    pub(crate) decodable: bool,
    /// How its packets are encrypted.
    pub(crate) encryption: Option<&'static str>,
    pub(crate) intra_only: bool,
    pub(crate) pixel_format: String,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) aspect: (i32, i32),
    pub(crate) time_base: (i32, i32),
    pub(crate) rates: [(i32, i32); 2],
    pub(crate) duration: Option<i64>,
    pub(crate) frames: i64,
    /// Pictures by which output lags behind input.
    pub(crate) delay: i32,
    pub(crate) matrix: Option<[i32; 9]>,
    pub(crate) cover_art: bool,
    pub(crate) still: bool,
    pub(crate) default: bool,
    pub(crate) transfer: Option<String>,
    pub(crate) interlaced: bool,
    pub(crate) channels: u32,
    pub(crate) sample_rate: u32,
    pub(crate) metadata: Vec<(String, String)>,
    /// The codec's header, which the container keeps beside the packets.
    pub(crate) header: Vec<u8>,
    /// Dolby Vision's profile and the standard with which its base is compatible (0: none).
    pub(crate) dolby: Option<(u8, u8)>,
}

/// Reads what the header says of `stream`.
pub(crate) fn facts(stream: &Stream<'_>) -> StreamFacts {
    use codec::packet::side_data::Type;
    let said = |kind| stream.side_data().find(|data| data.kind() == kind);
    let word = |data: &[u8], at: usize| {
        let (words, _) = data.as_chunks::<4>();
        words.get(at).map(|&word| i32::from_ne_bytes(word))
    };
    let matrix = said(Type::DisplayMatrix)
        .and_then(|data| (0..9).map(|at| word(data.data(), at)).collect::<Option<Vec<_>>>()?.try_into().ok());
    // AVDOVIDecoderConfigurationRecord is bytes: two of version, profile, level, three flags, compatibility.
    let dolby = said(Type::DOVI_CONF).and_then(|data| Some((*data.data().get(2)?, *data.data().get(7)?)));
    // SAFETY: the pointers come from a live `Stream`, whose `codecpar` is never null; fields are copied
    // out, enums through integers; the names are static strings or null.
    unsafe {
        let raw = stream.as_ptr().cast_mut();
        let parameters = (*raw).codecpar;
        let id = (*parameters).codec_id;
        let decoder = ffi::avcodec_find_decoder(id);
        let decoder = if decoder.is_null() { String::new() } else { text((*decoder).name) };
        let descriptor = ffi::avcodec_descriptor_get(id);
        let intra = ffi::AV_CODEC_PROP_INTRA_ONLY as c_int;
        let medium = match (&raw const (*parameters).codec_type).cast::<c_int>().read() {
            0 => Medium::Video,
            1 => Medium::Audio,
            _ => Medium::Other,
        };
        let transfer = (&raw const (*parameters).color_trc).cast::<c_int>().read();
        let field_order = (&raw const (*parameters).field_order).cast::<c_int>().read();
        let aspect = ffi::av_guess_sample_aspect_ratio(ptr::null_mut(), raw, ptr::null_mut());
        let rational = |r: ffi::AVRational| (r.num, r.den);
        let disposition = (*raw).disposition;
        let decoders = if medium == Medium::Audio { SOUND_DECODERS } else { DECODERS };
        let metadata = dictionary((*raw).metadata);
        let tag = (*parameters).codec_tag.to_le_bytes();
        let encryption = encryption(tag, &metadata);
        StreamFacts {
            index: stream.index(),
            medium,
            codec: text(ffi::avcodec_get_name(id)),
            encryption,
            tag: tag.into_iter().map(printable).collect(),
            decodable: encryption.is_none() && decoders.split(',').any(|name| name == decoder),
            intra_only: !descriptor.is_null() && (*descriptor).props & intra != 0,
            pixel_format: pixel_name((*parameters).format),
            width: (*parameters).width,
            height: (*parameters).height,
            aspect: rational(aspect),
            time_base: rational((*raw).time_base),
            rates: [rational((*raw).avg_frame_rate), rational((*raw).r_frame_rate)],
            duration: ((*raw).duration != ffi::AV_NOPTS_VALUE).then_some((*raw).duration),
            frames: (*raw).nb_frames,
            delay: (*parameters).video_delay,
            matrix,
            cover_art: disposition & (ffi::AV_DISPOSITION_ATTACHED_PIC as c_int) != 0,
            still: disposition
                & (ffi::AV_DISPOSITION_STILL_IMAGE | ffi::AV_DISPOSITION_TIMED_THUMBNAILS) as c_int
                != 0,
            default: disposition & (ffi::AV_DISPOSITION_DEFAULT as c_int) != 0,
            transfer: transfer_name(transfer),
            interlaced: (2..=5).contains(&field_order),
            channels: u32::try_from((*parameters).ch_layout.nb_channels).unwrap_or(0),
            sample_rate: u32::try_from((*parameters).sample_rate).unwrap_or(0),
            metadata,
            header: bytes((*parameters).extradata, (*parameters).extradata_size),
            dolby,
        }
    }
}

/// Returns how a stream is encrypted by the sample entry of MP4, or by the key that Matroska's demuxer reports.
fn encryption(tag: [u8; 4], metadata: &[(String, String)]) -> Option<&'static str> {
    match &tag {
        b"encv" | b"enca" => Some("common encryption"),
        b"drmi" | b"drms" => Some("FairPlay"),
        _ => metadata.iter().any(|(key, _)| key == "enc_key_id").then_some("common encryption"),
    }
}

/// Returns whether the clock of a container may restart: it was made for broadcasts.
pub(crate) fn clock_restarts(input: &Input) -> bool {
    // SAFETY: the pointer comes from a live `Input`, whose format is static.
    unsafe { (*(*input.as_ptr()).iformat).flags & ffi::AVFMT_TS_DISCONT as c_int != 0 }
}

/// Reads the container's own metadata.
pub(crate) fn metadata(input: &Input) -> Vec<(String, String)> {
    // SAFETY: the pointer comes from a live `Input`.
    unsafe { dictionary((*input.as_ptr()).metadata) }
}

fn transfer_name(transfer: c_int) -> Option<String> {
    let name = match transfer {
        1 => "bt709",
        4 => "gamma22",
        5 => "gamma28",
        6 => "smpte170m",
        7 => "smpte240m",
        8 => "linear",
        11 => "iec61966-2-4",
        13 => "iec61966-2-1",
        14 => "bt2020-10",
        15 => "bt2020-12",
        16 => "smpte2084",
        18 => "arib-std-b67",
        _ => return None,
    };
    Some(name.into())
}

fn pixel_name(format: c_int) -> String {
    // SAFETY: returns null for numbers that name no format.
    unsafe {
        let descriptor = (0..ffi::AVPixelFormat::AV_PIX_FMT_NB as c_int).contains(&format).then(|| {
            // SAFETY: the number lies within the enum, which has no holes.
            std::mem::transmute::<c_int, ffi::AVPixelFormat>(format)
        });
        descriptor.map_or_else(String::new, |format| text(ffi::av_get_pix_fmt_name(format)))
    }
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() { char::from(byte) } else { '.' }
}

/// Copies a C string; null is empty.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the callers pass ffmpeg's own null-terminated strings.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Copies `size` bytes, at most 64 KiB.
unsafe fn bytes(data: *const u8, size: c_int) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(0).min(64 << 10);
    if data.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: the callers pass a buffer of ffmpeg's with at least its size.
    unsafe { std::slice::from_raw_parts(data, size) }.to_vec()
}

/// Copies a dictionary, at most 256 entries of at most 1024 characters.
unsafe fn dictionary(dictionary: *const ffi::AVDictionary) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut entry: *mut ffi::AVDictionaryEntry = ptr::null_mut();
    while entries.len() < 256 {
        // SAFETY: the dictionary is live or null; `entry` is the one that it returned last.
        entry =
            unsafe { ffi::av_dict_get(dictionary, c"".as_ptr(), entry, ffi::AV_DICT_IGNORE_SUFFIX as c_int) };
        if entry.is_null() {
            break;
        }
        // SAFETY: an entry holds two null-terminated strings.
        let (key, value) = unsafe { (text((*entry).key), text((*entry).value)) };
        entries.push((key.chars().take(1024).collect(), value.chars().take(1024).collect()));
    }
    entries
}
