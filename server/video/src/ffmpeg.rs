//! The one file with `unsafe`: what ffmpeg-next has no safe word for. Knows no plan and no process.
//!
//! Numbers that come out of hostile files are read as integers here, never as Rust enums, and text is
//! never believed to be UTF-8.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

pub(crate) mod nvdec;

use std::{
    ffi::{CStr, c_char, c_int},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    ptr,
};

use ffmpeg_next::{
    Dictionary, Error, Packet, Stream, codec, decoder, ffi,
    format::{
        Pixel,
        context::{Input, StreamIo},
    },
    frame, log,
    software::scaling,
};

/// Containers that are opened at all. None of them can name another file.
const DEMUXERS: &str = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,dv,ogg,gif,mxf,ivf,h264,hevc,m4v,\
                        mjpeg,rm,wtv,obu,h263";

/// Decoders that are opened at all: what cameras, phones, screens and the web have written, and nothing exotic.
const DECODERS: &str = "h264,hevc,libdav1d,vp8,vp9,mpeg1video,mpeg2video,mpegvideo,mpeg4,mjpeg,mjpegb,h261,h263,\
                        h263i,h263p,flv,wmv1,wmv2,wmv3,vc1,msmpeg4v1,msmpeg4v2,msmpeg4,msmpeg4v3,dvvideo,theora,\
                        svq1,svq3,prores,dnxhd,gif,rawvideo,cinepak,indeo3,vp6,vp6a,vp6f,huffyuv,ffvhuff,ffv1,qtrle,\
                        rv10,rv20,rv30,rv40,png,rpza,smc,wrapped_avframe";

/// Decoders of sound that are opened, for renditions.
const SOUND_DECODERS: &str = "aac,aac_latm,mp3,mp3float,mp2,mp2float,ac3,eac3,opus,vorbis,flac,alac,amrnb,amrwb,wmav1,\
                              wmav2,wmapro,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,\
                              pcm_f32le,pcm_f32be,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,adpcm_ima_wav,adpcm_ima_qt,\
                              adpcm_ms,adpcm_swf,nellymoser,dca,qdm2,qcelp,gsm_ms,cook";

/// An open file, read by position, so that the descriptor's own offset (shared with the parent) never matters.
struct Source {
    file: File,
    position: u64,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        crate::worker::progress();
        Ok(read)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let base = match to {
            SeekFrom::Start(position) => {
                self.position = position;
                return Ok(position);
            }
            SeekFrom::Current(_) => self.position,
            SeekFrom::End(_) => self.file.metadata()?.len(),
        };
        let (SeekFrom::Current(offset) | SeekFrom::End(offset)) = to else { return Ok(base) };
        self.position = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Silences ffmpeg and bounds what one of its allocations may take.
pub(crate) fn init(max_alloc: usize) -> Result<(), Error> {
    ffmpeg_next::init()?;
    log::set_level(log::Level::Quiet);
    // SAFETY: sets one global number.
    unsafe { ffi::av_max_alloc(max_alloc) };
    Ok(())
}

/// Refuses every file that a container asks for beside itself.
unsafe extern "C" fn refuse(
    _: *mut ffi::AVFormatContext,
    _: *mut *mut ffi::AVIOContext,
    _: *const c_char,
    _: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    ffi::AVERROR(ffi::EPERM)
}

/// Opens a container that lies in `file` and nowhere else.
///
/// # Errors
/// ffmpeg's, mostly `InvalidData`.
pub(crate) fn open(file: File) -> Result<Input, Error> {
    let mut io = StreamIo::from_read_seek_with_capacity(Source { file, position: 0 }, 256 << 10)?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", DEMUXERS);
    options.set("codec_whitelist", DECODERS);
    options.set("protocol_whitelist", "none");
    options.set("max_streams", "64");
    // SAFETY: the context is freshly made and ours; `io` outlives it, being moved into the `Input` on
    // success and dropped after the context is closed on failure (avformat_open_input frees the context
    // itself when it fails). `options` is handed over and taken back.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(Error::Other { errno: ffi::ENOMEM });
        }
        (*context).pb = io.as_mut_ptr();
        (*context).io_open = Some(refuse);
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
        let mut options = options.disown();
        let opened = ffi::avformat_open_input(&raw mut context, ptr::null(), ptr::null(), &raw mut options);
        Dictionary::own(options);
        if opened < 0 {
            return Err(Error::from(opened));
        }
        let input = Input::wrap_with_custom_io(context, io);
        // AVI has no presentation times; what would be made up for clips with B-frames is wrong.
        if input.format().name() != "avi" {
            (*context).flags |= ffi::AVFMT_FLAG_GENPTS;
        }
        match ffi::avformat_find_stream_info(context, ptr::null_mut()) {
            error if error < 0 => Err(Error::from(error)),
            _ => Ok(input),
        }
    }
}

/// What kind of stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    Video,
    Audio,
    Other,
}

/// What the header says of a stream; nothing of it is trusted.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) index: usize,
    pub(crate) medium: Medium,
    pub(crate) codec: String,
    /// Four characters by which the container names the codec.
    pub(crate) tag: String,
    pub(crate) decodable: bool,
    pub(crate) intra_only: bool,
    pub(crate) pixel_format: String,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) aspect: (i32, i32),
    pub(crate) time_base: (i32, i32),
    pub(crate) rates: [(i32, i32); 2],
    pub(crate) duration: Option<i64>,
    pub(crate) frames: i64,
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
    /// Brightest pixel and brightest light of the screen that it was made on, cd/m².
    pub(crate) lights: [Option<f64>; 2],
    /// Dolby Vision's profile and the standard with which its base is compatible (0: none).
    pub(crate) dolby: Option<(u8, u8)>,
}

/// Reads what the header says of `stream`.
pub(crate) fn facts(stream: &Stream<'_>) -> Facts {
    use codec::packet::side_data::Type;
    let said = |kind| stream.side_data().find(|data| data.kind() == kind);
    let word = |data: &[u8], at: usize| {
        let (words, _) = data.as_chunks::<4>();
        words.get(at).map(|&word| i32::from_ne_bytes(word))
    };
    let matrix = said(Type::DisplayMatrix)
        .and_then(|data| (0..9).map(|at| word(data.data(), at)).collect::<Option<Vec<_>>>()?.try_into().ok());
    // AVContentLightMetadata begins with the brightest pixel; AVMasteringDisplayMetadata has eight fractions,
    // the least light, the most light and two flags, the second of which says that the lights are known.
    let brightest = said(Type::ContentLightLevel).and_then(|data| word(data.data(), 0)).map(f64::from);
    let screen = said(Type::MasteringDisplayMetadata).and_then(|data| {
        let [num, den, known] = [18, 19, 21].map(|at| word(data.data(), at));
        (known? != 0 && den? != 0).then(|| Some(f64::from(num?) / f64::from(den?)))?
    });
    let lights = [brightest, screen];
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
        Facts {
            index: stream.index(),
            medium,
            codec: text(ffi::avcodec_get_name(id)),
            tag: (*parameters).codec_tag.to_le_bytes().into_iter().map(printable).collect(),
            decodable: DECODERS.split(',').any(|name| name == decoder),
            intra_only: !descriptor.is_null() && (*descriptor).props & intra != 0,
            pixel_format: pixel_name((*parameters).format),
            width: (*parameters).width,
            height: (*parameters).height,
            aspect: rational(aspect),
            time_base: rational((*raw).time_base),
            rates: [rational((*raw).avg_frame_rate), rational((*raw).r_frame_rate)],
            duration: ((*raw).duration != ffi::AV_NOPTS_VALUE).then_some((*raw).duration),
            frames: (*raw).nb_frames,
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
            metadata: dictionary((*raw).metadata),
            header: bytes((*parameters).extradata, (*parameters).extradata_size),
            lights,
            dolby,
        }
    }
}

/// Reads the container's own metadata.
pub(crate) fn metadata(input: &Input) -> Vec<(String, String)> {
    // SAFETY: the pointer comes from a live `Input`.
    unsafe { dictionary((*input.as_ptr()).metadata) }
}

/// Tells the demuxer that only stream `wanted(index)` will be read.
pub(crate) fn read_only(input: &mut Input, wanted: impl Fn(usize) -> bool) {
    for mut stream in input.streams_mut() {
        if !wanted(stream.index()) {
            // SAFETY: a live stream, to which we hold the only reference.
            unsafe { (*stream.as_mut_ptr()).discard = ffi::AVDiscard::AVDISCARD_ALL };
        }
    }
}

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

/// Moves the demuxer to the last key frame of stream `index` at or before `ticks`, by its own index.
///
/// # Errors
/// ffmpeg's; the demuxer may then stand anywhere.
pub(crate) fn seek(input: &mut Input, index: usize, ticks: i64) -> Result<(), Error> {
    let index = c_int::try_from(index).map_err(|_| Error::InvalidData)?;
    // SAFETY: a live context, to which we hold the only reference.
    match unsafe { ffi::av_seek_frame(input.as_mut_ptr(), index, ticks, ffi::AVSEEK_FLAG_BACKWARD as c_int) }
    {
        error if error < 0 => Err(Error::from(error)),
        _ => Ok(()),
    }
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

/// Makes limited BT.709 of RGB8, as H.264 wants it.
pub(crate) struct ToYuv(scaling::Context);

// SAFETY: swscale keeps nothing that belongs to a thread, and the context is used by one at a time, through `&mut`.
unsafe impl Send for ToYuv {}

impl ToYuv {
    /// Prepares for pictures of `width` × `height`.
    pub(crate) fn new(width: u32, height: u32) -> Result<Self, Error> {
        let flags = scaling::Flags::BICUBIC | scaling::Flags::ACCURATE_RND | scaling::Flags::FULL_CHR_H_INP;
        let (from, to) = (Pixel::RGB24, Pixel::YUV420P);
        let mut context = scaling::Context::get(from, width, height, to, width, height, flags)?;
        // SAFETY: a live context; the tables are static.
        unsafe {
            let table = ffi::sws_getCoefficients(ffi::SWS_CS_ITU709 as c_int);
            ffi::sws_setColorspaceDetails(context.as_mut_ptr(), table, 1, table, 0, 0, 1 << 16, 1 << 16);
        }
        Ok(Self(context))
    }

    /// Converts `rgb` into a new picture.
    pub(crate) fn run(&mut self, rgb: &frame::Video) -> Result<frame::Video, Error> {
        let mut picture = frame::Video::empty();
        self.0.run(rgb, &mut picture)?;
        Ok(picture)
    }
}

/// What a frame says of its colours, as ITU-T H.273 numbers it (the range as ffmpeg does).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colours {
    pub(crate) format: c_int,
    pub(crate) matrix: c_int,
    pub(crate) range: c_int,
    pub(crate) primaries: c_int,
    pub(crate) transfer: c_int,
}

/// Reads what `frame` says of its colours.
pub(crate) fn colours(frame: &frame::Video) -> Colours {
    // SAFETY: a live frame; enums are read as integers.
    unsafe {
        let raw = frame.as_ptr();
        Colours {
            format: (*raw).format,
            matrix: (&raw const (*raw).colorspace).cast::<c_int>().read(),
            range: (&raw const (*raw).color_range).cast::<c_int>().read(),
            primaries: (&raw const (*raw).color_primaries).cast::<c_int>().read(),
            transfer: (&raw const (*raw).color_trc).cast::<c_int>().read(),
        }
    }
}

/// How pixels of a format lie in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bits per sample, where each component has a plane of its own in this machine's byte order.
    pub(crate) planar_depth: Option<u32>,
    pub(crate) alpha: bool,
}

/// Tells how pixels of `format` lie in memory.
pub(crate) fn layout(format: Pixel) -> Layout {
    let Some(descriptor) = format.descriptor() else { return Layout::default() };
    // SAFETY: descriptors are static; fields are copied out.
    let (flags, components, depth) = unsafe {
        let raw = descriptor.as_ptr();
        ((*raw).flags, (*raw).nb_components, (*raw).comp[0].depth)
    };
    let is = |flag: u32| flags & u64::from(flag) != 0;
    let odd = is(ffi::AV_PIX_FMT_FLAG_PAL as u32)
        || is(ffi::AV_PIX_FMT_FLAG_BITSTREAM as u32)
        || is(ffi::AV_PIX_FMT_FLAG_HWACCEL as u32)
        || is(ffi::AV_PIX_FMT_FLAG_BE as u32) != cfg!(target_endian = "big") && depth > 8;
    let planar = is(ffi::AV_PIX_FMT_FLAG_PLANAR as u32) || components == 1;
    Layout {
        planar_depth: u32::try_from(depth).ok().filter(|depth| planar && !odd && (8..=16).contains(depth)),
        alpha: is(ffi::AV_PIX_FMT_FLAG_ALPHA as u32),
    }
}

/// Tells `context`, whose output is RGB, the matrix (as H.273 numbers it) and range of its input.
pub(crate) fn set_matrix(context: &mut scaling::Context, matrix: c_int, full: bool) {
    let table = match matrix {
        1 => ffi::SWS_CS_ITU709,
        4 => ffi::SWS_CS_FCC,
        7 => ffi::SWS_CS_SMPTE240M,
        9 | 10 => ffi::SWS_CS_BT2020,
        _ => ffi::SWS_CS_ITU601,
    } as c_int;
    // SAFETY: a live context; the tables are static. The call fails for RGB input, which needs no matrix.
    unsafe {
        let from = ffi::sws_getCoefficients(table);
        let to = ffi::sws_getCoefficients(ffi::SWS_CS_DEFAULT as c_int);
        let full = c_int::from(full);
        ffi::sws_setColorspaceDetails(context.as_mut_ptr(), from, full, to, 1, 0, 1 << 16, 1 << 16);
    }
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
unsafe fn text(pointer: *const c_char) -> String {
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
