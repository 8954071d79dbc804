//! The audio of a rendition: the clip's audio stream as AAC, on the timeline of the pictures.

use std::fs::File;

use ffmpeg_next::{ChannelLayout, Error, Packet, Rational, codec, encoder, error::EAGAIN, frame};

use super::file::{Mp4, Track};
use crate::{
    Probe,
    sound::{FORMAT, SoundReader},
};

/// Sampling rates that AAC in a browser is known to play.
const RATES: [u32; 9] = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
const USUAL_RATE: u32 = 48_000;
const BIT_RATE: usize = 128_000;
/// Samples that are dropped at once.
const MOST_SKIPPED: u64 = 1 << 20;

pub(super) struct Sound {
    reader: SoundReader<2>,
    encoder: encoder::audio::Encoder,
    /// Samples before the first that is encoded.
    skipped: u64,
}

impl Sound {
    /// Opens the clip's sound from `start_s` seconds on; `None` when it has none that can be read.
    pub(super) fn open(file: &File, probe: &Probe, start_s: f64) -> Result<Option<Self>, String> {
        let text = |error: Error| error.to_string();
        let rate = |own| if RATES.contains(&own) { own } else { USUAL_RATE };
        let Some(mut reader) = SoundReader::open(file, probe, rate)? else { return Ok(None) };
        let rate = reader.rate() as i32;
        let codec = encoder::find_by_name("aac").ok_or("there is no AAC encoder")?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_flags(codec::Flags::GLOBAL_HEADER);
        context.set_time_base(Rational(1, rate));
        let mut settings = context.encoder().audio().map_err(text)?;
        settings.set_rate(rate);
        settings.set_format(FORMAT);
        settings.set_channel_layout(ChannelLayout::STEREO);
        settings.set_bit_rate(BIT_RATE);
        let encoder = settings.open_as(codec).map_err(text)?;
        let skipped = (start_s * f64::from(reader.rate())).round() as u64;
        while reader.taken() < skipped && (reader.available() > 0 || reader.read()) {
            let left = reader.available().min(skipped - reader.taken()).min(MOST_SKIPPED);
            reader.take(left as usize);
        }
        Ok(Some(Self { reader, encoder, skipped }))
    }

    pub(super) fn encoder(&self) -> &codec::Context {
        &self.encoder
    }

    pub(super) fn rate(&self) -> u32 {
        self.reader.rate()
    }

    /// Sends the sound up to `time`, seconds from where it begins, a little more or less.
    pub(super) fn until(&mut self, time: f64, mp4: &mut Mp4) -> Result<(), Error> {
        let time = time + self.skipped as f64 / f64::from(self.rate());
        while self.reader.heard() < time && self.reader.read() {
            self.encode(mp4, self.size(), u64::MAX)?;
        }
        Ok(())
    }

    /// Sends the rest, up to `end` seconds from where it begins.
    pub(super) fn end(&mut self, end: f64, mp4: &mut Mp4) -> Result<(), Error> {
        self.until(end, mp4)?;
        self.encode(mp4, 1, (end * f64::from(self.rate())) as u64)?;
        self.encoder.send_eof()?;
        self.drain(mp4)
    }

    /// Samples of a packet.
    fn size(&self) -> u64 {
        u64::from(self.encoder.frame_size()).max(1)
    }

    /// Encodes packets while there are `least` samples for one, and none from sample `end` on.
    fn encode(&mut self, mp4: &mut Mp4, least: u64, end: u64) -> Result<(), Error> {
        loop {
            let at = self.reader.taken().saturating_sub(self.skipped);
            let samples = self.reader.available().min(self.size()).min(end.saturating_sub(at));
            if samples < least {
                return Ok(());
            }
            let channels = self.reader.take(samples as usize);
            let mut sound = frame::Audio::new(FORMAT, samples as usize, ChannelLayout::STEREO);
            sound.set_rate(self.rate());
            sound.set_pts(i64::try_from(at).ok());
            for (index, channel) in channels.iter().enumerate() {
                sound.plane_mut::<f32>(index).copy_from_slice(channel);
            }
            self.encoder.send_frame(&sound)?;
            self.drain(mp4)?;
        }
    }

    fn drain(&mut self, mp4: &mut Mp4) -> Result<(), Error> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => mp4.take(Track::Sound, &mut packet, Rational(1, self.rate() as i32))?,
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
