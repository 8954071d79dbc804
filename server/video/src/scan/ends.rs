//! Finds where a clip ends: at the latest end of its own streams, as far as packets support it.

use ffmpeg_next::format::context::Input;

use super::packets::PictureTrack;
use crate::ffmpeg::StreamFacts;

/// Seconds for which the last picture may stay. A GIF cannot say more than 655 s; more elsewhere is a mistake.
const LONGEST_STAY: f64 = 660.0;

/// Seconds by which sound may outlast the pictures without making a clip longer: encoders fill up their last packets.
pub(crate) const PADDING: f64 = 0.1;

/// Seconds of silence after the pictures behind which sound is still believed.
const LONGEST_SILENCE: f64 = 60.0;

/// Returns for how many ticks the last of the pictures is shown, where the container itself says so: GIF and Matroska with its
/// packet, MP4 with the duration of the track, which ffmpeg compares with the sum of its samples.
pub(super) fn last_stay(input: &Input, facts: &StreamFacts, track: &PictureTrack) -> Option<i64> {
    let timed = || track.stamps.iter().filter_map(|stamp| Some((stamp.pts?, stamp.duration)));
    let (last, own) = timed().max()?;
    let stay = match input.format().name() {
        "gif" | "matroska,webm" => own,
        super::MP4 => {
            // The duration is that of all samples of the track; some may be missing, or cut out by edits.
            if u64::try_from(facts.frames).is_ok_and(|frames| frames > track.count) {
                return None;
            }
            let first = track.begin.or_else(|| timed().map(|(pts, _)| pts).min())?;
            first.saturating_add(facts.duration?).saturating_sub(last)
        }
        _ => return None,
    };
    let (num, den) = facts.time_base;
    let seconds = stay as f64 * f64::from(num) / f64::from(den.max(1));
    (stay > 0 && seconds <= LONGEST_STAY).then_some(stay)
}

/// Returns the end of a clip whose pictures end at `pictures`; `sound` are the start and end of each piece of sound. All in
/// seconds from the first picture.
pub(super) fn end(pictures: f64, mut sound: Vec<(f64, f64)>) -> f64 {
    sound.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut end = pictures;
    for (start, until) in sound {
        // Far behind everything else, it is a wrong time.
        if start - end <= LONGEST_SILENCE.max(until - start) {
            end = end.max(until);
        }
    }
    if end - pictures > PADDING { end } else { pictures }
}

#[cfg(test)]
mod tests {
    use super::end;

    #[test]
    fn sound_that_outlasts_the_pictures_counts_to_its_end() {
        assert_eq!(end(3.0, vec![(0.0, 9.0)]), 9.0);
        assert_eq!(end(3.0, vec![(30.0, 31.0), (0.0, 2.0)]), 31.0, "after a silence");
        assert_eq!(end(3.0, vec![(0.0, 3.05)]), 3.0, "padding");
        assert_eq!(end(3.0, vec![(-1.0, 2.0)]), 3.0);
        assert_eq!(end(3.0, vec![(0.0, 3.0), (72_000.0, 72_000.1)]), 3.0, "a wrong time");
        assert_eq!(end(3.0, vec![]), 3.0);
    }
}
