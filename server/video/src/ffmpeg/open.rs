//! Opens a container from a file descriptor, with the allow-listed demuxers and protocols.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

use std::{
    ffi::{c_char, c_int},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    ptr,
};

use ffmpeg_next::{
    Dictionary, Error, ffi,
    format::context::{Input, StreamIo},
};

use super::decoder::SOUND_DECODERS;

/// Containers that are opened at all. None of them can name another file.
const DEMUXERS: &str = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,dv,ogg,gif,mxf,ivf,h264,hevc,m4v,\
                        mjpeg,rm,wtv,obu,h263";

/// Containers of sound alone, which are opened only where sound is asked for.
const SOUND_DEMUXERS: &str = "mp3,wav,w64,flac,aac,amr,aiff,caf,au";

/// Decoders that are opened at all: what cameras, phones, screens and the web have written, and nothing exotic.
pub(super) const DECODERS: &str = "h264,hevc,libdav1d,vp8,vp9,mpeg1video,mpeg2video,mpegvideo,mpeg4,mjpeg,mjpegb,h261,h263,\
                        h263i,h263p,flv,wmv1,wmv2,wmv3,vc1,msmpeg4v1,msmpeg4v2,msmpeg4,msmpeg4v3,dvvideo,theora,\
                        svq1,svq3,prores,dnxhd,gif,rawvideo,cinepak,indeo3,vp6,vp6a,vp6f,huffyuv,ffvhuff,ffv1,qtrle,\
                        rv10,rv20,rv30,rv40,png,rpza,smc,wrapped_avframe,utvideo,lagarith,v210,r210,aic,cfhd,msvideo1,\
                        jpeg2000,libopenjpeg,indeo4,indeo5,zmbv,flashsv";

/// An open file, read by position, so that the descriptor's own offset (shared with the parent) never matters.
struct FileReader {
    file: File,
    /// Where the container begins in the file.
    start: u64,
    /// From there.
    position: u64,
    heartbeat: fn(),
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.start.saturating_add(self.position))?;
        self.position += read as u64;
        (self.heartbeat)();
        Ok(read)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let base = match to {
            SeekFrom::Start(position) => {
                self.position = position;
                return Ok(position);
            }
            SeekFrom::Current(_) => self.position,
            SeekFrom::End(_) => self.file.metadata()?.len().saturating_sub(self.start),
        };
        let (SeekFrom::Current(offset) | SeekFrom::End(offset)) = to else { return Ok(base) };
        self.position = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
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

/// Opens a container whose data is all in `file` and begins at `start`. Calls `heartbeat` after each read.
///
/// # Errors
/// ffmpeg's, mostly `InvalidData`.
pub(crate) fn open(file: File, start: u64, heartbeat: fn()) -> Result<Input, Error> {
    open_with(file, start, heartbeat, DEMUXERS, DECODERS)
}

/// Opens a container that may have sound alone. Calls `heartbeat` after each read.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_sound(file: File, heartbeat: fn()) -> Result<Input, Error> {
    let demuxers = format!("{DEMUXERS},{SOUND_DEMUXERS}");
    open_with(file, 0, heartbeat, &demuxers, &format!("{DECODERS},{SOUND_DECODERS}"))
}

/// Opens a container with these demuxers and decoders.
fn open_with(
    file: File,
    start: u64,
    heartbeat: fn(),
    demuxers: &str,
    decoders: &str,
) -> Result<Input, Error> {
    let reader = FileReader { file, start, position: 0, heartbeat };
    let mut io = StreamIo::from_read_seek_with_capacity(reader, 256 << 10)?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", demuxers);
    options.set("codec_whitelist", decoders);
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
        match ffi::avformat_find_stream_info(context, ptr::null_mut()) {
            error if error < 0 => Err(Error::from(error)),
            _ => Ok(input),
        }
    }
}

/// Makes the demuxer skip all streams but those for which `wanted(index)` is true.
pub(crate) fn read_only(input: &mut Input, wanted: impl Fn(usize) -> bool) {
    for mut stream in input.streams_mut() {
        let discard = match wanted(stream.index()) {
            true => ffi::AVDiscard::AVDISCARD_DEFAULT,
            false => ffi::AVDiscard::AVDISCARD_ALL,
        };
        // SAFETY: a live stream, to which we hold the only reference.
        unsafe { (*stream.as_mut_ptr()).discard = discard };
    }
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
