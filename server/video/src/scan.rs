//! The probe inside the worker: reads the headers and the times of every packet without decoding, and selects the video
//! stream.

mod access_points;
mod browsers;
mod ends;
mod order;
mod packets;
mod sound;

use std::fs::File;

use ffmpeg_next::{Error, format::context::Input};
use jiff::Timestamp;

use crate::{
    AudioStream, FrameIndex, Probe, ProbeSummary, Timebase, VideoError, VideoStream, choice,
    ffmpeg::{self, StreamFacts},
    info::MAX_DURATION,
    metadata,
    orient::Orientation,
    sniff,
    taken::{self, FileDates},
    timeline::{Stamp, Timeline, timeline},
};
use browsers::{Boxes, Shown};
pub(crate) use ends::PADDING;
pub(crate) use packets::has_partial_times;

/// Maximum side of a picture that is decoded.
const MAX_SIDE: u32 = 8192;

/// Consecutive read errors after which the rest of the file is skipped.
pub(crate) const MAX_READ_ERRORS: u32 = 64;

/// Bytes at the end of a file in which the sound is read, to see where it ends.
const SOUND_TAIL: u64 = 4 << 20;

/// Containers whose edit lists and sample tables ffmpeg reads.
const MP4: &str = "mov,mp4,m4a,3gp,3g2,mj2";

/// Kind of container of a photo with a film in it, which nothing but us plays.
const MOTION_PHOTO: &str = "motion photo";

/// Limits of a scan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_pixels: u64,
    pub(crate) max_packets: u64,
}

/// Probes `file`.
pub(crate) fn scan(file: File, bounds: Bounds) -> Result<Probe, VideoError> {
    let (mut input, streams) = open(&file)?;
    if let Some(scheme) = sniff::encryption(&file) {
        return Err(VideoError::Encrypted { scheme: scheme.into() });
    }
    let candidates = choice::candidates(&streams)?;
    let sound = choice::sound(&streams);
    // Positions of packets count from where the film begins.
    let begin = sniff::look(&file).unwrap_or(0);
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let sound_from = length.saturating_sub(begin).saturating_sub(SOUND_TAIL);
    let read = |input: &mut Input, sound_from| {
        packets::read(input, &candidates, sound.stream, sound_from, bounds.max_packets)
    };
    let mut packets = read(&mut input, sound_from);
    if packets.lack_sound(&candidates, input.duration().max(0) as f64 / 1e6) {
        let again = open(&file)?;
        if again.1.len() != streams.len() {
            return Err(VideoError::NotAVideo { message: "it changed while it was read".into() });
        }
        input = again.0;
        packets = read(&mut input, 0);
    }
    let mut laid_out = vec![(Vec::new(), 1); packets.pictures.len()];
    for facts in &candidates {
        let track = &mut packets.pictures[facts.index];
        if has_partial_times(&input) {
            forget_partial_times(&mut track.stamps);
        }
        laid_out[facts.index] = track.lay_out(facts);
    }
    let chosen = choice::pictures(&candidates, |facts| &packets.pictures[facts.index].stamps)?;
    if packets.encrypted[chosen.index] {
        return Err(VideoError::Encrypted { scheme: "common encryption".into() });
    }
    let track = &mut packets.pictures[chosen.index];
    let (segments, recordings) = laid_out.swap_remove(chosen.index);
    if input.format().name() == MP4 && track.forgot_reordering() {
        track.stamps.iter_mut().for_each(|stamp| stamp.pts = None);
    }
    let stamps = &track.stamps;
    let hidden = track.hidden;
    let (coded_width, coded_height) = size(chosen, bounds.max_pixels)?;
    let mut warnings = packets.warnings;
    // Where a recording ends, its last packet looks cut off.
    let corrupt = packets.corrupt.saturating_sub(recordings as u64 - 1);
    if corrupt > 0 {
        warnings.push(format!("{corrupt} packets are damaged or cut off"));
    }
    if let Some((profile, 0)) = chosen.dolby {
        // Its base layer uses Dolby's own colour space.
        warnings.push(format!("the colours of Dolby Vision profile {profile} cannot be shown truly"));
    }
    let orientation = orientation(chosen, &mut warnings);
    let (shown_width, shown_height) = square(coded_width, coded_height, chosen.aspect, &mut warnings);
    let (width, height) = orientation.size(shown_width, shown_height);
    let fields = fields(chosen, stamps);
    let held = hidden + track.leading + stamps.len() as u64;
    let stay = ends::last_stay(&input, chosen, track);
    let line = if fields {
        timeline(&pairs(stamps), chosen.time_base, &chosen.rates, stay)
    } else {
        timeline(stamps, chosen.time_base, &chosen.rates, stay)
    };
    if line.duration_s > MAX_DURATION {
        let message = format!(
            "the times of the frames span {:.0} s; {MAX_DURATION:.0} s is the limit",
            line.duration_s
        );
        return Err(VideoError::NoFrames { message });
    }
    // Fields cannot be found by their time, counted frames only by counting all of them, and packets of an AVI may hold two
    // pictures.
    let unsure = fields || line.counted || input.format().name() == "avi";
    let access_points = if unsure { Vec::new() } else { track.access_points(&segments) };
    let reconfigured = track.reconfigured();
    let (num, den) = chosen.time_base;
    let clock = if line.counted {
        Timebase { num: 1_000_000, den: (line.fps * 1e6).round() as i32, first: 0, counted: true }
    } else {
        Timebase { num, den, first: line.first, counted: false }
    };
    let zero = clock.seconds_of_first();
    let (sound_segments, pieces) =
        packets.sound.map_or_else(Default::default, |sound| sound.lay_out(chosen, &segments, zero));
    let duration_s = ends::end(line.duration_s, pieces).min(MAX_DURATION);
    warnings.extend(sound.note.clone());
    if recordings > 1 {
        warnings.push(format!(
            "the file is made of {recordings} recordings whose clocks start anew; they are shown one after the other"
        ));
    }
    let leading = packets.pictures[chosen.index].leading;
    if recordings == 1 && leading == 0 {
        compare(chosen, &input, (&line, duration_s), held, &mut warnings);
    }
    if leading > 0 {
        warnings.push(format!(
            "the file begins in the middle of a recording; its first {leading} pictures cannot be decoded and are left out"
        ));
    }
    let boxes = if input.format().name() == MP4 { Boxes::read(&file, begin) } else { Boxes::default() };
    if boxes.paced {
        warnings.push("parts that are to be played slower or faster are shown at their own speed".into());
    }
    if boxes.films > 1 {
        warnings.push(format!(
            "the file holds {} films, one behind the other; only the first is shown",
            boxes.films
        ));
    }
    if ffmpeg::clock_restarts(&input) {
        warnings.extend(packets::parts_apart(&packets.pictures, chosen, &candidates));
    }
    let shown = Shown {
        streams: &streams,
        pictures: chosen,
        sound: sound.stream,
        fps: line.fps,
        zero,
        duration_s,
        claimed_s: (input.duration() > 0).then(|| input.duration() as f64 / 1e6),
        recordings,
        hidden,
        counted: line.counted,
        reconfigured,
        boxes: &boxes,
    };
    let difference = browsers::difference(&file, input.format().name(), &shown);
    let mut tags = ffmpeg::metadata(&input);
    tags.extend(chosen.metadata.iter().cloned());
    let dates = FileDates::read(&file, input.format().name());
    let date = taken::tagged(&tags, &dates, packets.recorded, Timestamp::now());
    let format = input.format();
    let container = if begin == 0 { format.name() } else { MOTION_PHOTO }.to_owned();
    let summary = ProbeSummary {
        container,
        duration_s,
        video: VideoStream {
            index: chosen.index,
            codec: chosen.codec.clone(),
            pixel_format: chosen.pixel_format.clone(),
            width,
            height,
            coded_width,
            coded_height,
            rotation: orientation.rotation,
            mirrored: orientation.mirrored,
            fps: line.fps,
            frame_count: line.times.len() as u64,
            constant_rate: line.constant,
            transfer: chosen.transfer.clone(),
            interlaced: chosen.interlaced,
            clock,
        },
        audio: sound.stream.map(|facts| AudioStream {
            index: facts.index,
            codec: facts.codec.clone(),
            channels: facts.channels,
            sample_rate: facts.sample_rate,
        }),
        creation_source: date.as_ref().map(|date| date.source),
        creation_time: date.map(|date| date.time.to_string()),
        location: metadata::location(&tags),
        camera: metadata::camera(&tags),
        start_offset_s: zero,
        difference,
        warnings,
    };
    Ok(Probe {
        summary,
        index: FrameIndex { frame_times: line.times, access_points, segments, sound_segments },
    })
}

/// Opens a container and reads its header.
pub(crate) fn open(file: &File) -> Result<(Input, Vec<StreamFacts>), VideoError> {
    let clone = file.try_clone().map_err(|error| VideoError::Worker {
        message: format!("the descriptor cannot be copied: {error}"),
    })?;
    let start = sniff::look(file).map_err(|message| VideoError::NotAVideo { message: message.into() })?;
    let input =
        ffmpeg::open(clone, start, crate::heartbeat::progress).map_err(|error| VideoError::NotAVideo {
            message: match error {
                Error::InvalidData => "no container that this build reads".into(),
                other => format!("the container is damaged ({other})"),
            },
        })?;
    let streams = input.streams().map(|stream| ffmpeg::facts(&stream)).collect();
    Ok((input, streams))
}

/// Forgets all times where some are unknown and the others mean nothing ([`has_partial_times`]).
fn forget_partial_times(stamps: &mut [Stamp]) {
    if stamps.iter().any(|stamp| stamp.pts.is_none()) {
        stamps.iter_mut().for_each(|stamp| stamp.pts = None);
    }
}

/// Returns whether each packet holds one field, so that two make a frame: packets come twice as fast as the declared frame
/// rate.
fn fields(facts: &StreamFacts, stamps: &[Stamp]) -> bool {
    let times = || stamps.iter().filter_map(|stamp| stamp.pts);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return false };
    let (num, den) = facts.rates[0];
    if !facts.interlaced || stamps.len() < 4 || num <= 0 || den <= 0 {
        return false;
    }
    let seconds =
        last.saturating_sub(first) as f64 * f64::from(facts.time_base.0) / f64::from(facts.time_base.1);
    let packets_per_frame = (stamps.len() - 1) as f64 / seconds / (f64::from(num) / f64::from(den));
    (1.8..2.2).contains(&packets_per_frame)
}

/// Joins pairs of fields; a frame has its first field's time.
fn pairs(stamps: &[Stamp]) -> Vec<Stamp> {
    let mut timed: Vec<&Stamp> = stamps.iter().filter(|stamp| stamp.pts.is_some()).collect();
    timed.sort_unstable_by_key(|stamp| stamp.pts);
    timed
        .chunks(2)
        .map(|pair| Stamp {
            pts: pair[0].pts,
            duration: pair.iter().map(|field| field.duration.max(0)).fold(0, i64::saturating_add),
        })
        .collect()
}

fn size(facts: &StreamFacts, max_pixels: u64) -> Result<(u32, u32), VideoError> {
    let side = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0);
    let (Some(width), Some(height)) = (side(facts.width), side(facts.height)) else {
        return Err(VideoError::NoFrames { message: "the frames have no size".into() });
    };
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(VideoError::TooWide { width, height, limit: MAX_SIDE });
    }
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(VideoError::TooLarge { width, height, limit: max_pixels });
    }
    Ok((width, height))
}

fn orientation(facts: &StreamFacts, warnings: &mut Vec<String>) -> Orientation {
    let Some(matrix) = &facts.matrix else { return Orientation::default() };
    Orientation::from_matrix(matrix).unwrap_or_else(|| {
        warnings.push("the rotation is no multiple of 90 degrees and is ignored".into());
        Orientation::default()
    })
}

/// Returns the size with square pixels, never smaller than coded.
fn square(width: u32, height: u32, (num, den): (i32, i32), warnings: &mut Vec<String>) -> (u32, u32) {
    if num <= 0 || den <= 0 || num == den {
        return (width, height);
    }
    let ratio = f64::from(num) / f64::from(den);
    let stretch = |side: u32, by: f64| (f64::from(side) * by).round() as u32;
    let (wide, high) =
        if ratio > 1.0 { (stretch(width, ratio), height) } else { (width, stretch(height, 1.0 / ratio)) };
    if !(0.1..=10.0).contains(&ratio) || wide > 2 * MAX_SIDE || high > 2 * MAX_SIDE {
        warnings.push(format!("the pixels are said to be {num}:{den} wide to high; that is ignored"));
        return (width, height);
    }
    (wide, high)
}

/// Returns whether two lengths in seconds are about the same.
fn near(claimed: f64, seconds: f64) -> bool {
    (claimed - seconds).abs() <= 1.0 + 0.05 * seconds
}

/// Compares the header with the packets.
fn compare(
    facts: &StreamFacts,
    input: &Input,
    (line, end): (&Timeline, f64),
    held: u64,
    warnings: &mut Vec<String>,
) {
    let tick = f64::from(facts.time_base.0) / f64::from(facts.time_base.1);
    let claimed = facts.duration.map(|ticks| ticks as f64 * tick).or_else(|| {
        let microseconds = input.duration();
        (microseconds > 0).then_some(microseconds as f64 / 1e6)
    });
    // Matroska's header counts from the zero of its clock.
    let zero = line.first as f64 * tick;
    if let Some(claimed) = claimed
        && !near(claimed, line.duration_s)
        && !near(claimed, end)
        && !near(claimed - zero, end)
    {
        warnings.push(format!("the header says {claimed:.1} s, the frames last {:.1} s", line.duration_s));
    }
    if facts.frames > 0 && (facts.frames as f64 - held as f64).abs() > 1.0 + 0.05 * held as f64 {
        warnings.push(format!("the header counts {} frames, the file holds {held}", facts.frames));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_are_not_square_stretch_the_shorter_side() {
        let mut warnings = Vec::new();
        assert_eq!(square(720, 576, (16, 15), &mut warnings), (768, 576));
        assert_eq!(square(720, 480, (8, 9), &mut warnings), (720, 540));
        assert_eq!(square(64, 64, (0, 1), &mut warnings), (64, 64));
        assert!(warnings.is_empty());
        assert_eq!(square(64, 64, (1000, 1), &mut warnings), (64, 64));
        assert_eq!(warnings.len(), 1);
    }
}
