//! Makes scrub sprites inside the worker: small pictures at regular times, tiled into sheets, which players show while seeking.
//!
//! There are about 60 of a clip, at least half a second and at most ten seconds apart. Of a clip of up to ten minutes, nearly
//! every group of pictures is therefore decoded; longer clips are decoded at random access points.

use std::fs::File;

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use serde::{Deserialize, Serialize};

use crate::{
    DecodeRequest, Plan, Probe, VideoError, decode,
    scan::{self, Bounds},
};

/// Pictures of a clip, as far as [`INTERVALS`] allow that.
const USUAL: f64 = 60.0;
/// Seconds between two pictures, at least and at most, unless that would exceed [`MOST`].
const INTERVALS: (f64, f64) = (0.5, 10.0);
/// Maximum pictures of one clip (ten hours); in longer clips they are further apart.
const MOST: f64 = 3600.0;
/// Pixels per row of a picture.
const WIDTH: u32 = 320;
/// Maximum height of a picture; taller ones become narrower.
const TALLEST: u32 = 640;
/// Pictures in a row and in a column of a sheet.
const TILES: usize = 10;
const QUALITY: u8 = 75;

/// Where one picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Its number in the clip, from 0.
    pub number: usize,
    /// Its sheet.
    pub sheet: usize,
    /// Pixels to the left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Layout of the sheets of a clip: row by row, [`Self::columns`] × [`Self::rows`] pictures each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sprites {
    /// Seconds between two pictures, from the clip's start.
    pub interval_s: f64,
    /// Duration of the clip in seconds.
    pub duration_s: f64,
    /// Number of pictures.
    pub count: usize,
    /// Pixels per row of a picture.
    pub width: u32,
    /// Rows of a picture.
    pub height: u32,
    /// Pictures in a row of a sheet.
    pub columns: usize,
    /// Pictures in a column of a sheet.
    pub rows: usize,
}

impl Sprites {
    /// Computes the layout for a clip.
    pub(crate) fn of(probe: &Probe) -> Self {
        let interval_s =
            (probe.duration_s / USUAL).clamp(INTERVALS.0, INTERVALS.1).max(probe.duration_s / MOST);
        let count = ((probe.duration_s / interval_s).ceil() as usize).max(1);
        let (wide, high) = (f64::from(probe.video.width), f64::from(probe.video.height));
        let scale = (f64::from(WIDTH) / wide).min(f64::from(TALLEST) / high);
        let side = |length: f64| ((length * scale).round() as u32).max(1);
        Self {
            interval_s,
            duration_s: probe.duration_s,
            count,
            width: side(wide),
            height: side(high),
            columns: TILES.min(count),
            rows: TILES.min(count.div_ceil(TILES)),
        }
    }

    /// Returns the number of sheets.
    #[must_use]
    pub fn sheets(&self) -> usize {
        self.count.div_ceil((self.columns * self.rows).max(1))
    }

    /// Returns where the picture of a second is: that of the last picture before it.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped; a cast of a negative is 0"
    )]
    pub fn tile(&self, second: f64) -> Tile {
        self.place(((second / self.interval_s) as usize).min(self.count.saturating_sub(1)))
    }

    fn place(&self, number: usize) -> Tile {
        let columns = self.columns.max(1);
        let on_a_sheet = (columns * self.rows).max(1);
        let place = number % on_a_sheet;
        // At most ten pictures of 320 × 640 pixels in a row and a column.
        let pixels = |count: usize, side: u32| u32::try_from(count).unwrap_or(0) * side;
        Tile {
            number,
            sheet: number / on_a_sheet,
            x: pixels(place % columns, self.width),
            y: pixels(place / columns, self.height),
            width: self.width,
            height: self.height,
        }
    }

    /// Writes the WebVTT with which players find the picture of a time; `url` returns the URL of a sheet by its index.
    #[must_use]
    pub fn web_vtt(&self, url: impl Fn(usize) -> String) -> String {
        let mut out = String::from("WEBVTT\n");
        for picture in 0..self.count {
            let start = picture as f64 * self.interval_s;
            let end = (start + self.interval_s).min(self.duration_s).max(start + 0.001);
            let Tile { sheet, x, y, width, height, .. } = self.place(picture);
            let sheet = url(sheet);
            let (start, end) = (clock(start), clock(end));
            out.push_str(&format!("\n{start} --> {end}\n{sheet}#xywh={x},{y},{width},{height}\n"));
        }
        out
    }

    /// Returns whether a worker's layout fits `sheets` sheets.
    pub(crate) fn sane(&self, sheets: usize) -> bool {
        let seconds = |value: f64| value.is_finite() && value > 0.0;
        seconds(self.interval_s)
            && seconds(self.duration_s)
            && (1..=MOST as usize + 1).contains(&self.count)
            && (1..=WIDTH).contains(&self.width)
            && (1..=TALLEST).contains(&self.height)
            && (1..=TILES).contains(&self.columns)
            && (1..=TILES).contains(&self.rows)
            && self.sheets() == sheets
    }

    /// The frame of picture number `picture`: that of its time, or a random access point nearby.
    fn frame(&self, probe: &Probe, picture: usize) -> u64 {
        let time = picture as f64 * self.interval_s;
        let at = |time: f64| {
            let after = probe.index.frame_times.partition_point(|one| *one < time - 1e-6);
            after.min(probe.index.frame_times.len().saturating_sub(1)) as u64
        };
        let seconds =
            |at: usize| probe.index.access_points.get(at).map(|entry| probe.video.clock.seconds(entry.ticks));
        let after =
            probe.index.access_points.partition_point(|entry| probe.video.clock.seconds(entry.ticks) < time);
        [after.checked_sub(1), Some(after)]
            .into_iter()
            .flatten()
            .filter_map(seconds)
            .filter(|entry| (entry - time).abs() < self.interval_s / 4.0)
            .min_by(|a, b| (a - time).abs().total_cmp(&(b - time).abs()))
            .map_or_else(|| at(time), at)
    }
}

/// Formats a time for WebVTT.
fn clock(seconds: f64) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Makes the sheets of `file` and passes each (JPEG) to `emit` with the number of pictures so far; stops when `emit` returns
/// `false`. Returns the layout.
pub(crate) fn sprites(
    file: &File,
    bounds: Bounds,
    mut emit: impl FnMut(Vec<u8>, usize, usize) -> bool + Send,
) -> Result<Sprites, VideoError> {
    let failed = |message: String| VideoError::Worker { message };
    let copy =
        file.try_clone().map_err(|error| failed(format!("the descriptor cannot be copied: {error}")))?;
    let probe = scan::scan(copy, bounds)?;
    let layout = Sprites::of(&probe);
    let shown: Vec<u64> = (0..layout.count).map(|picture| layout.frame(&probe, picture)).collect();
    let mut indices = shown.clone();
    // Two pictures of one frame are decoded once. Access points are in order, and so are the frames.
    indices.dedup();
    let request =
        DecodeRequest::new(&probe, &Plan { indices, times: Vec::new() }, layout.width, layout.height);
    let on_a_sheet = layout.columns * layout.rows;
    let mut sheet = Sheet::new(&layout);
    let mut done = 0;
    let mut encoding = Ok(());
    decode::decode(file, &request, bounds.max_pixels, |target, _, rgb| {
        while shown.get(done) == Some(&target.index) {
            sheet.put(done % on_a_sheet, &rgb);
            done += 1;
            if done.is_multiple_of(on_a_sheet) || done == layout.count {
                let whole = std::mem::replace(&mut sheet, Sheet::new(&layout));
                let jpeg = match whole.jpeg() {
                    Ok(jpeg) => jpeg,
                    Err(error) => {
                        encoding = Err(format!("a sheet cannot be encoded: {error}"));
                        return false;
                    }
                };
                if !emit(jpeg, done, layout.count) {
                    return false;
                }
            }
        }
        true
    })?;
    encoding.map_err(failed)?;
    Ok(layout)
}

/// The current sheet.
struct Sheet {
    columns: usize,
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Sheet {
    fn new(layout: &Sprites) -> Self {
        let (width, height) = (layout.width as usize, layout.height as usize);
        let rgb = vec![0; layout.columns * width * layout.rows * height * 3];
        Self { columns: layout.columns, width, height, rgb }
    }

    fn put(&mut self, place: usize, picture: &[u8]) {
        let stride = self.columns * self.width * 3;
        let (x, y) = (place % self.columns * self.width * 3, place / self.columns * self.height);
        for (row, line) in picture.chunks_exact(self.width * 3).enumerate() {
            let at = (y + row) * stride + x;
            self.rgb[at..at + line.len()].copy_from_slice(line);
        }
    }

    fn jpeg(&self) -> Result<Vec<u8>, image::ImageError> {
        let width = self.columns * self.width;
        let height = self.rgb.len() / 3 / width.max(1);
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode(
            &self.rgb,
            width as u32,
            height as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(jpeg)
    }
}

#[cfg(test)]
mod tests {
    use super::{Sprites, Tile};

    fn layout(count: usize) -> Sprites {
        Sprites {
            interval_s: 10.0,
            duration_s: count as f64 * 10.0 - 4.0,
            count,
            width: 320,
            height: 180,
            columns: 10.min(count),
            rows: 10.min(count.div_ceil(10)),
        }
    }

    #[test]
    fn web_vtt_finds_every_picture() {
        let layout = layout(103);
        assert_eq!(layout.sheets(), 2);
        let vtt = layout.web_vtt(|sheet| format!("sprites/{sheet}.jpg"));
        assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nsprites/0.jpg#xywh=0,0,320,180\n"));
        assert!(vtt.contains("\n00:01:50.000 --> 00:02:00.000\nsprites/0.jpg#xywh=320,180,320,180\n"));
        assert!(
            vtt.ends_with("\n00:17:00.000 --> 00:17:06.000\nsprites/1.jpg#xywh=640,0,320,180\n"),
            "{vtt}"
        );
        assert_eq!(vtt.matches(" --> ").count(), 103);
    }

    #[test]
    fn the_picture_of_a_second_is_the_last_one_before_it() {
        let layout = layout(250);
        let tile = |second| {
            let Tile { number, sheet, x, y, .. } = layout.tile(second);
            (number, sheet, x, y)
        };
        let (width, height) = (layout.width, layout.height);
        assert_eq!(tile(0.0), (0, 0, 0, 0));
        assert_eq!(tile(9.99), (0, 0, 0, 0));
        assert_eq!(tile(1230.0), (123, 1, 3 * width, 2 * height));
        for beyond in [2490.0, 1e9, f64::INFINITY] {
            assert_eq!(tile(beyond), (249, 2, 9 * width, 4 * height), "{beyond}");
        }
    }

    #[test]
    fn layouts_that_cannot_be_are_not_believed() {
        assert!(layout(103).sane(2) && !layout(103).sane(1));
        assert!(!Sprites { columns: 0, ..layout(3) }.sane(1));
        assert!(!Sprites { interval_s: f64::NAN, ..layout(3) }.sane(1));
        assert!(!Sprites { count: usize::MAX, ..layout(3) }.sane(1));
    }
}
