//! Files drawn at random: joins of recordings, layouts of tracks, start offsets, and dates in every form and zone. What they
//! show is known from how they were drawn.
//!
//! `HOMEREEL_DRAWN_FILES=300 cargo test … drawn` tests more of them than the usual ones.

use homereel_clips::recordings;

use crate::{
    clips::{Clips, probe},
    joins::assert_shows,
};

/// Number of files of each kind: `usual` unless the environment sets another.
fn files(usual: u64) -> u64 {
    std::env::var("HOMEREEL_DRAWN_FILES").map_or(usual, |count| count.parse().unwrap())
}

async fn check_joins(first: u64) {
    let clips = Clips::new();
    for seed in (first..files(24)).step_by(2) {
        let file = recordings::join(seed, clips.dir()).unwrap();
        assert_shows(&file).await;
        std::fs::remove_file(file.path).unwrap();
    }
}

#[tokio::test]
async fn even_joins() {
    check_joins(0).await;
}

#[tokio::test]
async fn odd_joins() {
    check_joins(1).await;
}

#[tokio::test]
async fn tracks_offsets_and_dates_are_read_as_they_were_drawn() {
    let clips = Clips::new();
    for seed in 0..files(8) {
        let drawn = recordings::layout(seed, clips.dir()).unwrap();
        let how = &drawn.file.how;
        let clip = probe(&drawn.file.path).await.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(clip.video.index, drawn.track, "{how}");
        assert_eq!(clip.audio.as_ref().map(|sound| sound.codec.as_str()), drawn.sound, "{how}");
        let date = clip.creation_time.clone().zip(clip.creation_source.map(|source| source.as_str()));
        assert_eq!(date, drawn.date, "{how}");
        assert!((clip.start_offset_s - drawn.offset).abs() < 0.1, "{how}: {}", clip.start_offset_s);
        assert_shows(&drawn.file).await;
        std::fs::remove_file(drawn.file.path).unwrap();
    }
}
