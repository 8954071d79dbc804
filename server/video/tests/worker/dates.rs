//! When, where and with which camera: tags as ffmpeg and cameras write them, in each container.

use std::fs;

use homereel_video::DateSource::{self, Camera, Container};

use crate::clips::{Clips, probe, quarters};

async fn dated(clips: &Clips, name: &str, options: &str) -> (Option<String>, Option<DateSource>) {
    let path = clips.draw(name, &quarters(64, 64, 10, 0.3), options);
    let clip = probe(&path).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    (clip.summary.creation_time, clip.summary.creation_source)
}

/// Replaces the bytes after the first `marker` in a file.
fn patch(clips: &Clips, name: &str, marker: &[u8], skip: usize, bytes: &[u8]) {
    let mut file = fs::read(clips.path(name)).unwrap();
    let at = file.windows(marker.len()).position(|window| window == marker).unwrap() + marker.len() + skip;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(clips.path(name), file).unwrap();
}

async fn again(clips: &Clips, name: &str) -> (Option<String>, Option<DateSource>) {
    let clip = probe(&clips.path(name)).await.unwrap();
    (clip.summary.creation_time, clip.summary.creation_source)
}

#[tokio::test]
async fn tags_are_read_in_every_container() {
    let clips = Clips::new();
    let key = "-movflags use_metadata_tags -metadata com.apple.quicktime.creationdate=";
    for (name, options, time, source) in [
        ("colon.mov", format!("{key}2023:10:06T12:34:56+02:00"), "2023-10-06T12:34:56+02:00", Camera),
        ("nozone.mov", format!("{key}2023-10-06T12:34:56"), "2023-10-06T12:34:56", Camera),
        ("frac.mov", format!("{key}2023-10-06T12:34:56.250+0200"), "2023-10-06T12:34:56+02:00", Camera),
        ("tokyo.mov", format!("{key}2023-10-06T08:00:00+0900"), "2023-10-06T08:00:00+09:00", Camera),
        ("day.mov", "-metadata date=2008-07-05T12:14:22+0200".into(), "2008-07-05T12:14:22+02:00", Camera),
        ("day.mp4", "-metadata date=2013-10-06T12:34:56+0200".into(), "2013-10-06T12:34:56+02:00", Camera),
        ("icrd.avi", "-metadata date=2004-08-17".into(), "2004-08-17", Camera),
        ("utc.mkv", "-metadata creation_time=2011-06-07T08:09:10Z".into(), "2011-06-07T08:09:10Z", Container),
        ("recorded.mkv", "-metadata DATE_RECORDED=1994-08-20".into(), "1994-08-20", Camera),
        ("utc.mp4", "-metadata creation_time=2015-03-02T01:00:00Z".into(), "2015-03-02T01:00:00Z", Container),
        (
            "utc.wmv",
            "-c:v wmv2 -metadata creation_time=2005-05-31T12:01:35Z".into(),
            "2005-05-31T12:01:35Z",
            Container,
        ),
        (
            "packs.dv",
            "-c:v dvvideo -s 720x576 -r 25 -pix_fmt yuv420p -metadata creation_time=2003-05-04T10:11:12Z"
                .into(),
            "2003-05-04T10:11:12",
            Camera,
        ),
    ] {
        assert_eq!(dated(&clips, name, &options).await, (Some(time.into()), Some(source)), "{name}");
    }
    assert_eq!(dated(&clips, "none.mp4", "-c:v libx264").await, (None, None));
}

#[tokio::test]
async fn clocks_of_headers_that_were_never_set_or_count_otherwise() {
    let clips = Clips::new();
    let time = "-metadata creation_time=2015-03-02T01:00:00Z";
    // After the name of a box are its version and flags, then the time of creation.
    for (name, marker, seconds, expected) in [
        ("1970.mp4", b"mvhd", 2_082_844_800u32, "2015-03-02T01:00:00Z"),
        ("zero.mp4", b"mvhd", 0, "2015-03-02T01:00:00Z"),
        ("2034.mp4", b"mvhd", 2_035_454_400, "1968-07-01T12:00:00Z"),
        ("2024.mp4", b"mvhd", 1_704_196_800, "1958-01-01T12:00:00Z"),
        ("unix.mp4", b"mvhd", 1_249_625_104, "2009-08-07T06:05:04Z"),
        ("track.mp4", b"mdhd", 0, "2015-03-02T01:00:00Z"),
    ] {
        dated(&clips, name, time).await;
        patch(&clips, name, marker, 4, &seconds.to_be_bytes());
        assert_eq!(again(&clips, name).await, (Some(expected.into()), Some(Container)), "{name}");
    }
}

#[tokio::test]
async fn camcorders_and_old_cameras_have_their_own_places_for_dates() {
    let clips = Clips::new();
    // The tag, the zone, and the digits of the date; ffmpeg writes text only.
    let sei = "-c:v libx264 -bsf:v h264_metadata=sei_user_data=17ee8c60-f84d-11d9-8cd6-0800200c9a66+MDPMxxxxxxxxxxx";
    let entries = [0x02, 0x18, 0x02, 0x20, 0x12, 0x07, 0x19, 0x28, 0x15, 0x30, 0x45];
    for name in ["avchd.mp4", "avchd.mkv"] {
        dated(&clips, name, sei).await;
        patch(&clips, name, b"MDPM", 0, &entries);
        let expected = (Some("2012-07-28T15:30:45+01:00".into()), Some(Camera));
        assert_eq!(again(&clips, name).await, expected, "{name}");
    }
    for (name, text) in
        [("canon.avi", "Tue Aug 17 21:30:00 2004\n\0"), ("slashes.avi", "2004/08/17/ 21:30\0")]
    {
        dated(&clips, name, "-c:v mjpeg").await;
        let mut file = fs::read(clips.path(name)).unwrap();
        let at = file.windows(4).position(|window| window == b"JUNK").unwrap();
        file[at..at + 4].copy_from_slice(b"IDIT");
        file[at + 8..at + 8 + text.len()].copy_from_slice(text.as_bytes());
        fs::write(clips.path(name), file).unwrap();
        let expected = (Some("2004-08-17T21:30:00".into()), Some(Camera));
        assert_eq!(again(&clips, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn places_and_cameras_are_read_in_every_container() {
    let clips = Clips::new();
    let key = "-movflags use_metadata_tags -metadata com.apple.quicktime.location.ISO6709=";
    for (name, options, latitude, longitude) in [
        ("loci.3gp", "-c:v libx264 -metadata location=+48.8577+002.2950/".to_owned(), 48.8577, 2.295),
        ("west.3gp", "-c:v libx264 -metadata location=-33.8568-151.2153/".to_owned(), -33.8568, -151.2153),
        ("xyz.mov", "-metadata location=-54.8019-068.3030".to_owned(), -54.8019, -68.303),
        ("tag.mkv", "-metadata LOCATION=-54.8019-068.3030/".to_owned(), -54.8019, -68.303),
        ("key.mov", format!("{key}+48.8577+002.295+35.000/"), 48.8577, 2.295),
    ] {
        let clip = probe(&clips.draw(name, &quarters(64, 64, 10, 0.3), &options)).await.unwrap();
        let place = clip.location.unwrap_or_else(|| panic!("{name}"));
        let near = |one: f64, other: f64| (one - other).abs() < 1e-3;
        assert!(near(place.latitude, latitude) && near(place.longitude, longitude), "{name}: {place:?}");
    }
    for name in ["camera.mov", "camera.mkv"] {
        let options = "-metadata make=Canon -metadata model=EOS";
        let clip = probe(&clips.draw(name, &quarters(64, 64, 10, 0.3), options)).await.unwrap();
        assert_eq!(clip.camera.as_deref(), Some("Canon EOS"), "{name}");
    }
}
