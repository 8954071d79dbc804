//! Colour tags and pixel formats of frames, and conversions by swscale.
#![expect(unsafe_code, reason = "this file wraps ffmpeg")]

use std::ffi::c_int;

use ffmpeg_next::{Error, ffi, format::Pixel, frame, software::scaling};

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

/// How pixels of a format are laid out in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bits per sample, where each component has a plane of its own in this machine's byte order.
    pub(crate) planar_depth: Option<u32>,
    pub(crate) alpha: bool,
}

/// Returns how pixels of `format` are laid out in memory.
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

/// Sets the matrix (as H.273 numbers it) and range of the input of `context`, whose output is RGB.
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
