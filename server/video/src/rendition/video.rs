//! The pictures of a rendition: RGB8 to H.264.

use ffmpeg_next::{
    Dictionary, Error, Packet, Rational, codec, color, encoder, error::EAGAIN, format::Pixel, frame, picture,
};

use super::file::{Mp4, Track};
use crate::ffmpeg::ToYuv;

/// Ticks of a second.
const CLOCK: i32 = 90_000;
/// Seconds between two key frames, so that a player can jump.
const GROUP: f64 = 2.0;
/// Bits per second at most of 1080 lines; less for less.
const MOST_BITS: f64 = 8e6;

pub(super) struct Pictures {
    encoder: encoder::video::Encoder,
    to_yuv: ToYuv,
    rgb: frame::Video,
    last: Option<i64>,
    /// Ticks for which a picture is shown where the next one does not tell.
    shown: i64,
    /// Where the last picture ends.
    end: i64,
}

impl Pictures {
    /// Opens an encoder for pictures at `times`, of which the last is shown until `length_s` seconds after the first.
    pub(super) fn open(
        width: u32,
        height: u32,
        fps: f64,
        times: &[f64],
        length_s: f64,
    ) -> Result<Self, Error> {
        let codec = encoder::find_by_name("libx264").ok_or(Error::EncoderNotFound)?;
        let mut context = codec::Context::new_with_codec(codec);
        // x264 would leave groups open: players that jump to such a key frame lack what the pictures behind it refer to.
        context.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
        context.set_threading(codec::threading::Config::count(crate::heartbeat::threads()));
        context.set_time_base(Rational(1, CLOCK));
        let fps = fps.clamp(1.0, 60.0);
        context.set_frame_rate(Some(Rational((fps * 1000.0).round() as i32, 1000)));
        let mut settings = context.encoder().video()?;
        settings.set_width(width);
        settings.set_height(height);
        settings.set_format(Pixel::YUV420P);
        settings.set_gop((fps * GROUP).round() as u32);
        // An MP4 stores how long each packet lasts, in the order of decoding. With B-frames, a pause would be stored with a picture
        // other than the one that stays, and players that jump behind that picture would show it for the whole pause.
        if has_pauses(times) {
            settings.set_max_b_frames(0);
        }
        settings.set_colorspace(color::Space::BT709);
        settings.set_color_primaries(color::Primaries::BT709);
        settings.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
        settings.set_color_range(color::Range::MPEG);
        let bits =
            (MOST_BITS * f64::from(width) * f64::from(height) / (1920.0 * 1080.0)).clamp(4e5, MOST_BITS);
        let mut options = Dictionary::new();
        options.set("preset", "veryfast");
        options.set("profile", "high");
        options.set("crf", "23");
        options.set("maxrate", &format!("{bits:.0}"));
        options.set("bufsize", &format!("{:.0}", 2.0 * bits));
        let encoder = settings.open_as_with(codec, options)?;
        let rgb = frame::Video::new(Pixel::RGB24, width, height);
        Ok(Self {
            encoder,
            to_yuv: ToYuv::new(width, height)?,
            rgb,
            last: None,
            shown: (f64::from(CLOCK) / fps).round() as i64,
            end: (length_s * f64::from(CLOCK)).round() as i64,
        })
    }

    pub(super) fn encoder(&self) -> &codec::Context {
        &self.encoder
    }

    /// Takes the picture of `time`, seconds. Where it `is_last` or last but one, it is no B-frame, so that the last
    /// picture shown is the last one in the file, whose duration counts.
    pub(super) fn take(&mut self, time: f64, rgb: &[u8], is_last: bool, mp4: &mut Mp4) -> Result<(), Error> {
        let stride = self.rgb.stride(0);
        let row = self.rgb.width() as usize * 3;
        for (line, from) in self.rgb.data_mut(0).chunks_exact_mut(stride).zip(rgb.chunks_exact(row)) {
            line[..row].copy_from_slice(from);
        }
        // A new one each time: the encoder may hold on to it.
        let mut picture = self.to_yuv.run(&self.rgb)?;
        let ticks = (time * f64::from(CLOCK)).round() as i64;
        let ticks = self.last.map_or(ticks, |last| ticks.max(last + 1));
        self.last = Some(ticks);
        picture.set_pts(Some(ticks));
        if is_last {
            picture.set_kind(picture::Type::P);
        }
        self.encoder.send_frame(&picture)?;
        self.drain(mp4)
    }

    pub(super) fn end(&mut self, mp4: &mut Mp4) -> Result<(), Error> {
        self.encoder.send_eof()?;
        self.drain(mp4)
    }

    fn drain(&mut self, mp4: &mut Mp4) -> Result<(), Error> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {
                    let is_last = packet.pts() == self.last;
                    let stays = self.end.saturating_sub(packet.pts().unwrap_or(self.end)).max(1);
                    packet.set_duration(if is_last { stays } else { self.shown });
                    mp4.take(Track::Pictures, &mut packet, Rational(1, CLOCK))?;
                }
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether a picture stays more than twice as long as most.
fn has_pauses(times: &[f64]) -> bool {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    gaps.last().is_some_and(|longest| *longest > 2.0 * usual)
}

#[cfg(test)]
mod tests {
    use super::has_pauses;

    #[test]
    fn a_pause_is_much_longer_than_the_usual_step() {
        assert!(!has_pauses(&[]) && !has_pauses(&[0.0]) && !has_pauses(&[0.0, 5.0]));
        assert!(!has_pauses(&[0.0, 0.03, 0.07, 0.1, 0.14]));
        assert!(has_pauses(&[0.0, 0.04, 0.08, 6.8, 6.84]));
    }
}
