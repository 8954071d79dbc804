//! Hardware decoding with NVDEC, through ffmpeg's CUDA device. A worker opens one device before it enters its sandbox.
#![expect(unsafe_code, reason = "this file opens NVIDIA's decoder through ffmpeg")]

use std::{ffi::CStr, ptr, sync::OnceLock};

use ffmpeg_next::{Error, ffi, format::Pixel, frame};

/// The library of the chip, which ffmpeg loads when the first decoder opens: too late in a sandbox.
const LIBRARY: &CStr = c"libnvcuvid.so.1";

static DEVICE: OnceLock<Device> = OnceLock::new();

struct Device(*mut ffi::AVBufferRef);

// SAFETY: only new references are made of it, whose count is atomic.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// Opens the first CUDA device.
///
/// # Errors
/// What is missing, in words for an operator.
pub(crate) fn open() -> Result<(), String> {
    // SAFETY: loads a library of the driver; it stays loaded.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if library.is_null() {
        return Err(format!(
            "{} cannot be loaded (is the NVIDIA driver installed?)",
            LIBRARY.to_string_lossy()
        ));
    }
    let mut device = ptr::null_mut();
    let kind = ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA;
    // SAFETY: writes the pointer of a new reference, or an error.
    let opened =
        unsafe { ffi::av_hwdevice_ctx_create(&raw mut device, kind, ptr::null(), ptr::null_mut(), 0) };
    if opened < 0 || device.is_null() {
        return Err(format!("ffmpeg cannot open a CUDA device ({})", Error::from(opened)));
    }
    // A second call finds the first one's device, and this one stays unused.
    let _ = DEVICE.set(Device(device));
    Ok(())
}

/// Lets a decoder that is not open yet use the device, if there is one and it knows the codec.
///
/// # Safety
/// `context` is live, ours and not open.
pub(super) unsafe fn attach(context: *mut ffi::AVCodecContext) -> bool {
    let Some(device) = DEVICE.get() else { return false };
    // SAFETY: by the caller's word; codecs and their configurations are static.
    unsafe {
        let codec = ffi::avcodec_find_decoder((*context).codec_id);
        let method = ffi::AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX as i32;
        let fits = |config: *const ffi::AVCodecHWConfig| {
            (*config).methods & method != 0
                && (*config).device_type == ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA
        };
        let configs = (0..64).map(|index| ffi::avcodec_get_hw_config(codec, index));
        if codec.is_null() || !configs.take_while(|config| !config.is_null()).any(fits) {
            return false;
        }
        (*context).hw_device_ctx = ffi::av_buffer_ref(device.0);
        (*context).get_format = Some(choose);
        !(*context).hw_device_ctx.is_null()
    }
}

/// Takes the device's pictures if they are on offer. ffmpeg asks again without them when the device refuses.
unsafe extern "C" fn choose(
    context: *mut ffi::AVCodecContext,
    formats: *const ffi::AVPixelFormat,
) -> ffi::AVPixelFormat {
    let mut at = formats;
    // SAFETY: ffmpeg hands a list that ends with NONE.
    unsafe {
        while *at != ffi::AVPixelFormat::AV_PIX_FMT_NONE {
            if *at == ffi::AVPixelFormat::AV_PIX_FMT_CUDA {
                return ffi::AVPixelFormat::AV_PIX_FMT_CUDA;
            }
            at = at.add(1);
        }
        ffi::avcodec_default_get_format(context, formats)
    }
}

/// Whether `picture` lies in the device's memory.
pub(crate) fn on_device(picture: &frame::Video) -> bool {
    picture.format() == Pixel::CUDA
}

/// Fetches a picture from the device's memory.
pub(crate) fn fetched(picture: &frame::Video) -> Result<frame::Video, Error> {
    let mut packed = frame::Video::empty();
    // SAFETY: two live frames; the second is filled.
    let done = unsafe {
        match ffi::av_hwframe_transfer_data(packed.as_mut_ptr(), picture.as_ptr(), 0) {
            0 => ffi::av_frame_copy_props(packed.as_mut_ptr(), picture.as_ptr()),
            error => error,
        }
    };
    if done < 0 {
        return Err(Error::from(done));
    }
    unpacked(packed)
}

/// NV12 and P010 as the planes that a decoder on the processor gives, so that the same pixels follow.
fn unpacked(packed: frame::Video) -> Result<frame::Video, Error> {
    let (format, bytes) = match packed.format() {
        Pixel::NV12 => (Pixel::YUV420P, 1),
        Pixel::P010LE => (Pixel::YUV420P10LE, 2),
        _ => return Ok(packed),
    };
    let (width, height) = (packed.width() as usize, packed.height() as usize);
    let mut out = frame::Video::new(format, packed.width(), packed.height());
    // P010 keeps its ten bits at the top.
    let sample = |from: &[u8], to: &mut [u8]| match (from, to) {
        (&[low, high], [a, b]) => [*a, *b] = (u16::from_le_bytes([low, high]) >> 6).to_le_bytes(),
        (&[value], [a]) => *a = value,
        _ => {}
    };
    let planes = [
        (0, 0, 1, width, height),
        (1, 0, 2, width.div_ceil(2), height.div_ceil(2)),
        (1, 1, 2, width.div_ceil(2), height.div_ceil(2)),
    ];
    for (plane, (source, offset, step, columns, rows)) in planes.into_iter().enumerate() {
        let (from_stride, to_stride) = (packed.stride(source), out.stride(plane));
        for row in 0..rows {
            let from = &packed.data(source)[row * from_stride..][..from_stride];
            let to = &mut out.data_mut(plane)[row * to_stride..][..to_stride];
            for column in 0..columns {
                let at = (column * step + offset) * bytes;
                let (Some(from), Some(to)) =
                    (from.get(at..at + bytes), to.get_mut(column * bytes..(column + 1) * bytes))
                else {
                    continue;
                };
                sample(from, to);
            }
        }
    }
    // SAFETY: two live frames.
    match unsafe { ffi::av_frame_copy_props(out.as_mut_ptr(), packed.as_ptr()) } {
        error if error < 0 => Err(Error::from(error)),
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::{format::Pixel, frame, software::scaling};

    use super::unpacked;

    #[test]
    fn the_devices_layout_becomes_planes_of_the_same_samples() {
        for (planar, packed, bytes) in
            [(Pixel::YUV420P, Pixel::NV12, 1), (Pixel::YUV420P10LE, Pixel::P010LE, 2)]
        {
            let (width, height) = (34, 18);
            let mut original = frame::Video::new(planar, width, height);
            for plane in 0..3 {
                for (at, value) in original.data_mut(plane).iter_mut().enumerate() {
                    // Ten bits: the high byte has two.
                    *value =
                        if bytes == 2 && at % 2 == 1 { (at / 2 % 4) as u8 } else { (at * 7 % 251) as u8 };
                }
            }
            let flags = scaling::Flags::POINT;
            let mut to = scaling::Context::get(planar, width, height, packed, width, height, flags).unwrap();
            let mut device = frame::Video::empty();
            to.run(&original, &mut device).unwrap();
            let found = unpacked(device).unwrap();
            assert_eq!(found.format(), planar);
            for plane in 0..3 {
                let (columns, rows) = if plane == 0 { (34, 18) } else { (17, 9) };
                for row in 0..rows {
                    let line = |frame: &frame::Video| {
                        frame.data(plane)[row * frame.stride(plane)..][..columns * bytes].to_vec()
                    };
                    assert_eq!(line(&found), line(&original), "{planar:?}, plane {plane}, row {row}");
                }
            }
        }
    }

    #[test]
    fn without_a_device_the_reason_is_told() {
        if std::path::Path::new("/dev/nvidiactl").exists() {
            return;
        }
        ffmpeg_next::init().unwrap();
        let reason = super::open().unwrap_err();
        assert!(reason.contains("libnvcuvid.so.1") || reason.contains("CUDA"), "{reason}");
    }
}
