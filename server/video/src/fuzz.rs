//! Entry points of the fuzz targets (`server/video/fuzz`), only built under `cargo fuzz`. Each panics when an invariant of
//! this crate is violated.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Once,
};

use jiff::Timestamp;

use crate::{
    DecodeRequest, FrameSampling, Probe, SamplingBounds, VideoError, client, decode, ffmpeg, metadata, plan,
    poster,
    random_access::RandomAccessScanner,
    rendition,
    scan::{self, Bounds},
    session, speech, sprites, still, taken,
    timeline::{Stamp, timeline},
    wire::{self, Reply},
};

/// Bytes of a message's body: enough for every path, and no waste of time.
const MAX_BODY: usize = 1 << 20;

/// Limits of a file: larger ones find the same faults, more slowly.
const BOUNDS: Bounds = Bounds { max_pixels: 1 << 18, max_packets: 512 };
/// Bytes that ffmpeg may allocate at once.
const MAX_ALLOCATION: usize = 256 << 20;

/// The whole worker, without its sandbox: does on `bytes`, a file, what the last of them selects.
pub fn file(bytes: &[u8]) {
    static INIT: Once = Once::new();
    INIT.call_once(|| ffmpeg::init(MAX_ALLOCATION).expect("ffmpeg does not start"));
    let file = in_memory(bytes).expect("there is no memory for a file");
    let done = match bytes.last().map_or(0, |last| last % 8) {
        0 => still::decode(&file, BOUNDS.max_pixels).map(drop),
        1 => poster::poster(file, 320, BOUNDS).map(drop),
        2 => sprites::sprites(&file, BOUNDS, |_, _, _| true).map(drop),
        3 => rendition::rendition(&file, BOUNDS, None, |_, _| Ok(()), |_, _| {}).map(drop),
        4 => speech::samples(&file, BOUNDS, speech::SoundOf::Any, 0.0, |_| true),
        _ => frames(&file),
    };
    if let Err(error) = done {
        drop((error.kind(), error.to_string()));
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("video", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Probes `file` and decodes frames from it. The parent believes the probe, and every requested frame comes, in order.
fn frames(file: &File) -> Result<(), VideoError> {
    let mut probe = scan::scan(file.try_clone().expect("a descriptor"), BOUNDS)?;
    let times = std::mem::take(&mut probe.index.frame_times);
    let body: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    let probe = client::checked(probe, &body).expect("the parent does not believe the probe");
    for sampling in samplings() {
        let Ok(chosen) = plan(&probe, &sampling, &SamplingBounds::default()) else { continue };
        let request = DecodeRequest::new(&probe, &chosen, 64, 32);
        let mut came = Vec::new();
        decode::decode(file, &request, BOUNDS.max_pixels, |target, _, rgb| {
            assert_eq!(rgb.len(), 64 * 32 * 3);
            came.push(target.index);
            true
        })?;
        assert_eq!(came, chosen.indices);
    }
    Ok(())
}

/// The parent's side: whatever a worker sends, it is refused or makes sense.
pub fn replies(mut bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    while let Ok((reply, body)) = runtime.block_on(session::receive(&mut bytes, MAX_BODY)) {
        match reply {
            Reply::Probe(probe) => {
                if let Ok(probe) = client::checked(*probe, &body) {
                    let bounds = SamplingBounds::default();
                    samplings().iter().for_each(|sampling| planned(&probe, sampling, &bounds));
                }
            }
            Reply::Error(error) => drop((error.kind(), error.to_string())),
            Reply::Ready(sandbox) => drop(sandbox.missing()),
            _ => {}
        }
    }
}

fn samplings() -> [FrameSampling; 4] {
    let default = FrameSampling::default();
    [
        FrameSampling { fps: Some(0.1), ..default },
        FrameSampling { num_frames: Some(7), ..default },
        FrameSampling { start: Some(1.0), end: Some(2.5), ..default },
        default,
    ]
}

/// The worker's side: whatever comes, it is refused or read.
pub fn orders(bytes: &[u8]) {
    let _ = wire::read_rules(&mut &bytes[..]);
    let _ = wire::read_header::<wire::Order>(&mut bytes.get(wire::PREFIX..).unwrap_or_default(), {
        let mut prefix = [0; wire::PREFIX];
        prefix.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        prefix
    });
}

/// Plans `sampling` on a probe that was believed, and checks what a decoder is asked for.
pub fn planned(probe: &Probe, sampling: &FrameSampling, bounds: &SamplingBounds) {
    let chosen = match plan(probe, sampling, bounds) {
        Ok(chosen) => chosen,
        Err(error) => {
            assert!(matches!(error, VideoError::BadRequest { .. }), "{error}");
            return;
        }
    };
    let most = sampling.num_frames.unwrap_or(bounds.max_frames);
    assert!((1..=most.max(1)).contains(&chosen.indices.len()), "{} frames", chosen.indices.len());
    assert_eq!(chosen.indices.len(), chosen.times.len());
    assert!(chosen.indices.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", chosen.indices);
    assert!(chosen.indices.iter().all(|index| *index < probe.video.frame_count), "{:?}", chosen.indices);
    assert!(chosen.times.is_sorted() && chosen.times.iter().all(|time| time.is_finite() && *time >= 0.0));
    let request = DecodeRequest::new(probe, &chosen, 64, 64);
    assert_eq!(request.targets.len(), chosen.indices.len());
    assert!(request.access_points.len() <= request.targets.len());
    assert!(request.slack() >= 0);
}

/// Puts `times` (sorted here, the first is 0) into a probe as a worker would, if it is believed.
pub fn believed(mut probe: Probe, mut times: Vec<f64>) -> Option<Probe> {
    times.iter_mut().for_each(|time| *time = time.abs());
    times.sort_unstable_by(f64::total_cmp);
    *times.first_mut()? = 0.0;
    probe.summary.video.frame_count = times.len() as u64;
    let body: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    client::checked(probe, &body).ok()
}

/// Works out a timeline of packets (time, duration) as a hostile container gives them.
pub fn times(packets: &[(Option<i64>, i64)], tick: (i32, i32), rates: &[(i32, i32)]) {
    let stamps: Vec<Stamp> = packets.iter().map(|&(pts, duration)| Stamp { pts, duration }).collect();
    if stamps.is_empty() {
        return;
    }
    let line = timeline(&stamps, tick, rates, None);
    assert!(line.times.first() == Some(&0.0) && line.times.is_sorted(), "{:?}", line.times);
    assert!(line.times.iter().all(|time| time.is_finite()));
    assert!(line.duration_s.is_finite() && line.duration_s > 0.0, "{}", line.duration_s);
    assert!(line.fps.is_finite() && line.fps > 0.0, "{}", line.fps);
    assert!(line.times.len() <= stamps.len());
}

/// Reads tags and a name for when, where and with what a clip was taken.
pub fn tags(tags: &[(String, String)], name: &str, modified_s: u64, mut probe: Probe) {
    let now = Timestamp::now();
    let sane = |date: &crate::CaptureDate| {
        assert!(taken::is_credible(date.time, now), "{date:?}");
        assert_eq!(date.time.to_string().parse::<taken::TakenTime>().ok(), Some(date.time), "{date:?}");
    };
    let tagged = taken::tagged(tags, &taken::FileDates::default(), None, now);
    tagged.iter().for_each(sane);
    if let Some(place) = metadata::location(tags) {
        assert!(place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0, "{place:?}");
        assert!(place.latitude != 0.0 || place.longitude != 0.0);
    }
    let _ = metadata::camera(tags);
    probe.summary.creation_source = tagged.as_ref().map(|date| date.source);
    probe.summary.creation_time = tagged.map(|date| date.time.to_string());
    let modified = i64::try_from(modified_s).ok().and_then(|s| Timestamp::from_second(s).ok());
    taken::capture_date(Some(&probe.summary), name, modified, now).iter().for_each(sane);
}

/// Looks for entries in packets of a hostile stream.
pub fn entries(codec: &str, header: &[u8], packets: &[Vec<u8>]) {
    let mut scanner = RandomAccessScanner::new(codec, header);
    for packet in packets {
        let entry = scanner.is_access_point(packet);
        assert!(scanner.proven() || !entry, "a random access point in a stream of which nothing is proven");
    }
}
