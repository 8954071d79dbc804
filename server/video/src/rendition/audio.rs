//! The audio of a rendition: the clip's audio stream as AAC, on the timeline of the pictures.
//!
//! Damaged packets and gaps become silence and overlaps are dropped, so that sound and pictures stay in sync.

use std::fs::File;

use ffmpeg_next::{
    ChannelLayout, Error, Packet, Rational, codec, decoder, encoder,
    error::EAGAIN,
    format::{Sample, context::Input, sample::Type},
    frame,
    software::resampling,
};

use super::file::{Mp4, Track};
use crate::{
    Probe, Segment, choice, ffmpeg,
    scan::{self, MAX_READ_ERRORS, PADDING},
    segments,
};

/// Sampling rates that AAC in a browser is known to play.
const RATES: [u32; 9] = [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
const USUAL_RATE: u32 = 48_000;
const BIT_RATE: usize = 128_000;
const FORMAT: Sample = Sample::F32(Type::Planar);
/// Seconds by which sound may be off before it is moved.
const LOOSE: f64 = 0.1;
/// Seconds that a clip's sound may be missing; a longer gap is a clock that jumped.
const LONGEST_GAP: f64 = 3600.0;

pub(super) struct Sound {
    input: Input,
    stream: usize,
    segments: Vec<Segment>,
    /// Packets so far.
    packets: u64,
    base: f64,
    /// Seconds on the container's clock at which the first picture is shown.
    zero: f64,
    decoder: decoder::Audio,
    resampler: Option<resampling::Context>,
    encoder: encoder::audio::Encoder,
    rate: u32,
    /// Samples that wait for a full packet, left and right.
    waiting: [Vec<f32>; 2],
    /// Samples that were sent to the encoder.
    sent: u64,
    ended: bool,
}

impl Sound {
    /// Opens the clip's sound; `None` when it has none that can be read.
    pub(super) fn open(file: &File, probe: &Probe) -> Result<Option<Self>, String> {
        let text = |error: Error| error.to_string();
        let (mut input, streams) = scan::open(file).map_err(|error| error.to_string())?;
        let Some(facts) = choice::sound(&streams).stream else { return Ok(None) };
        let index = facts.index;
        ffmpeg::read_only(&mut input, |one| one == index);
        let stream = input.stream(index).ok_or("the stream is gone")?;
        let decoder = ffmpeg::sound_decoder(&stream).map_err(|error| format!("{} ({error})", facts.codec))?;
        let rate = if RATES.contains(&facts.sample_rate) { facts.sample_rate } else { USUAL_RATE };
        let codec = encoder::find_by_name("aac").ok_or("there is no AAC encoder")?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_flags(codec::Flags::GLOBAL_HEADER);
        context.set_time_base(Rational(1, rate as i32));
        let mut settings = context.encoder().audio().map_err(text)?;
        settings.set_rate(rate as i32);
        settings.set_format(FORMAT);
        settings.set_channel_layout(ChannelLayout::STEREO);
        settings.set_bit_rate(BIT_RATE);
        let encoder = settings.open_as(codec).map_err(text)?;
        let (num, den) = facts.time_base;
        Ok(Some(Self {
            input,
            stream: index,
            segments: probe.index.sound_segments.clone(),
            packets: 0,
            base: f64::from(num) / f64::from(den.max(1)),
            zero: probe.start_offset_s,
            decoder,
            resampler: None,
            encoder,
            rate,
            waiting: [Vec::new(), Vec::new()],
            sent: 0,
            ended: false,
        }))
    }

    pub(super) fn encoder(&self) -> &codec::Context {
        &self.encoder
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Sends the sound up to `time`, seconds from the first picture, a little more or less.
    pub(super) fn until(&mut self, time: f64, mp4: &mut Mp4) -> Result<(), Error> {
        let mut errors = 0;
        while !self.ended && self.heard() < time {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => errors = 0,
                Err(Error::Eof) => {
                    self.ended = true;
                    // What it still holds; an error at the end loses nothing.
                    let _ = self.decoder.send_eof();
                }
                Err(_) if errors < MAX_READ_ERRORS => {
                    errors += 1;
                    continue;
                }
                Err(_) => self.ended = true,
            }
            if !self.ended && packet.stream() == self.stream {
                segments::apply(&self.segments, self.packets, &mut packet);
                self.packets += 1;
                // A damaged packet leaves a gap, which is filled when the next one comes.
                let _ = self.decoder.send_packet(&packet);
            }
            self.hear(mp4)?;
        }
        Ok(())
    }

    /// Sends the rest, up to the end of the clip and what an encoder may have filled up.
    pub(super) fn end(&mut self, duration: f64, mp4: &mut Mp4) -> Result<(), Error> {
        self.until(duration + PADDING, mp4)?;
        let most = ((duration + PADDING) * f64::from(self.rate)) as u64;
        let left = usize::try_from(most.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        self.waiting.iter_mut().for_each(|channel| channel.truncate(left));
        self.encode(mp4, true)?;
        self.encoder.send_eof()?;
        self.drain(mp4)
    }

    /// Seconds of sound so far.
    fn heard(&self) -> f64 {
        (self.sent + self.waiting[0].len() as u64) as f64 / f64::from(self.rate)
    }

    /// Takes what the decoder has.
    fn hear(&mut self, mp4: &mut Mp4) -> Result<(), Error> {
        loop {
            let mut sound = frame::Audio::empty();
            if self.decoder.receive_frame(&mut sound).is_err() {
                return Ok(());
            }
            crate::heartbeat::progress();
            let at = sound.timestamp().or(sound.pts()).map(|pts| pts as f64 * self.base - self.zero);
            let Some(channels) = self.resampled(&mut sound) else { continue };
            self.place(channels, at);
            self.encode(mp4, false)?;
        }
    }

    /// Brings sound to our format; `None` for what cannot be read.
    fn resampled(&mut self, sound: &mut frame::Audio) -> Option<[Vec<f32>; 2]> {
        if sound.samples() == 0 || sound.rate() == 0 {
            return None;
        }
        if sound.channel_layout().is_empty() {
            sound.set_channel_layout(ChannelLayout::default(i32::from(sound.channels())));
        }
        let from = resampling::context::Definition {
            format: sound.format(),
            channel_layout: sound.channel_layout(),
            rate: sound.rate(),
        };
        if self.resampler.as_ref().is_none_or(|resampler| *resampler.input() != from) {
            let stereo = ChannelLayout::STEREO;
            self.resampler = resampling::Context::get(
                from.format,
                from.channel_layout,
                from.rate,
                FORMAT,
                stereo,
                self.rate,
            )
            .ok();
        }
        let resampler = self.resampler.as_mut()?;
        // Room for what it held back before; swresample fills what it can.
        let samples = sound.samples() as u64 * u64::from(self.rate) / u64::from(from.rate) + 256;
        let mut out = frame::Audio::new(FORMAT, usize::try_from(samples).ok()?, ChannelLayout::STEREO);
        out.set_rate(self.rate);
        resampler.run(sound, &mut out).ok()?;
        let samples = out.samples();
        (samples > 0).then(|| [0, 1].map(|channel| out.plane::<f32>(channel)[..samples].to_vec()))
    }

    /// Puts sound that belongs `at` seconds behind what there is.
    fn place(&mut self, mut channels: [Vec<f32>; 2], at: Option<f64>) {
        let off = at.map_or(0.0, |at| at - self.heard());
        if off > LOOSE && off < LONGEST_GAP {
            let silence = (off * f64::from(self.rate)).round() as usize;
            self.waiting.iter_mut().for_each(|channel| channel.resize(channel.len() + silence, 0.0));
        } else if off < -LOOSE || (off < 0.0 && self.heard() == 0.0) {
            let twice = ((-off * f64::from(self.rate)).round() as usize).min(channels[0].len());
            channels.iter_mut().for_each(|channel| drop(channel.drain(..twice)));
        }
        for (waiting, channel) in self.waiting.iter_mut().zip(&channels) {
            waiting.extend_from_slice(channel);
        }
    }

    /// Encodes full packets, and at the end what is left.
    fn encode(&mut self, mp4: &mut Mp4, all: bool) -> Result<(), Error> {
        let size = (self.encoder.frame_size() as usize).max(1);
        loop {
            let samples = self.waiting[0].len().min(size);
            if samples == 0 || (samples < size && !all) {
                return Ok(());
            }
            let mut sound = frame::Audio::new(FORMAT, samples, ChannelLayout::STEREO);
            sound.set_rate(self.rate);
            sound.set_pts(i64::try_from(self.sent).ok());
            for (index, waiting) in self.waiting.iter_mut().enumerate() {
                sound.plane_mut::<f32>(index)[..samples].copy_from_slice(&waiting[..samples]);
                drop(waiting.drain(..samples));
            }
            self.sent += samples as u64;
            self.encoder.send_frame(&sound)?;
            self.drain(mp4)?;
        }
    }

    fn drain(&mut self, mp4: &mut Mp4) -> Result<(), Error> {
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => mp4.take(Track::Sound, &mut packet, Rational(1, self.rate as i32))?,
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
