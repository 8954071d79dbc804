//! The ladder and its rungs, each form with the right value, and arbitrary input.

use std::io::Write as _;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// The time of these tests.
fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn by_tags(pairs: &[(&str, &str)]) -> Option<(String, DateSource)> {
    let date = tagged(&tags(pairs), &FileDates::default(), None, now());
    date.map(|date| (date.time.to_string(), date.source))
}

fn by_name(name: &str) -> Option<String> {
    let date = capture_date(None, name, None, now());
    date.map(|date| {
        assert_eq!(date.source, DateSource::FileName);
        date.time.to_string()
    })
}

/// A file whose name and probe say nothing.
fn in_file(bytes: &[u8], container: &str) -> Option<(String, DateSource)> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let date = tagged(&[], &FileDates::read(&file, container), None, now());
    date.map(|date| (date.time.to_string(), date.source))
}

fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + body.len()).unwrap().to_be_bytes();
    [&size, kind.as_slice(), body].concat()
}

/// `mvhd`, `tkhd` or `mdhd` with a time of creation.
fn header(kind: &[u8; 4], seconds: u32) -> Vec<u8> {
    atom(kind, &[&[0; 4], seconds.to_be_bytes().as_slice(), &[0; 20]].concat())
}

/// A film with these times of creation.
fn film(brand: &[u8; 4], movie: u32, media: u32, track: u32) -> Vec<u8> {
    let track = atom(b"trak", &[header(b"tkhd", track), atom(b"mdia", &header(b"mdhd", media))].concat());
    [atom(b"ftyp", brand), atom(b"moov", &[header(b"mvhd", movie), track].concat())].concat()
}

#[test]
fn creationdate_is_read_in_all_its_forms() {
    for (text, expected) in [
        ("2023-10-06T12:34:56+0200", "2023-10-06T12:34:56+02:00"),
        ("2023-10-06T12:34:56+02:00", "2023-10-06T12:34:56+02:00"),
        ("2023:10:06T12:34:56+02:00", "2023-10-06T12:34:56+02:00"),
        ("2023:10:06 12:34:56+02:00", "2023-10-06T12:34:56+02:00"),
        ("2023-10-06T12:34:56", "2023-10-06T12:34:56"),
        ("2023-10-06T12:34:56.250+0200", "2023-10-06T12:34:56+02:00"),
        ("2023-10-06T08:00:00+0900", "2023-10-06T08:00:00+09:00"),
        ("2023-10-06T08:00:00-03:30", "2023-10-06T08:00:00-03:30"),
        ("2023-10-06T08:00:00-05", "2023-10-06T08:00:00-05:00"),
        ("2023-10-06T10:34:56Z", "2023-10-06T10:34:56Z"),
        ("20231006T123456+0200", "2023-10-06T12:34:56+02:00"),
        ("2023-10-06 12:34", "2023-10-06T12:34:00"),
        ("2023-10-06", "2023-10-06"),
        ("2023-10-06T99:99:99", "2023-10-06"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
    ] {
        let found = by_tags(&[("com.apple.quicktime.creationdate", text)]);
        assert_eq!(found, Some((expected.into(), DateSource::Camera)), "{text}");
    }
}

#[test]
fn other_tags_hold_dates_too() {
    let camera = |text: &str| Some((text.to_owned(), DateSource::Camera));
    // ©day of QuickTime and of iTunes, which ffmpeg calls the date.
    assert_eq!(by_tags(&[("date", "2008-07-05T12:14:22+0200")]), camera("2008-07-05T12:14:22+02:00"));
    // Matroska. When it was recorded matters more than when the file was made.
    let both = [("creation_time", "2011-06-07T08:09:10.000000Z"), ("DATE_RECORDED", "1994-08-20")];
    assert_eq!(by_tags(&both), camera("1994-08-20"));
    assert_eq!(by_tags(&both[..1]), Some(("2011-06-07T08:09:10Z".into(), DateSource::Container)));
    // FLV names no zone.
    assert_eq!(by_tags(&[("creation_time", "2016-05-31 17:01:35")]), camera("2016-05-31T17:01:35"));
    // Less than a year, a month and a day is no date.
    for text in ["2008", "2008-07", "yesterday", "", "July 2008", "08.07.05"] {
        assert_eq!(by_tags(&[("date", text)]), None, "{text}");
    }
}

#[test]
fn the_makers_of_cameras_mean_different_things_by_the_header() {
    let header = ("creation_time", "2019-08-01T10:00:00.000000Z");
    assert_eq!(by_tags(&[header]), Some(("2019-08-01T10:00:00Z".into(), DateSource::Container)));
    let samsung = by_tags(&[header, ("com.samsung.android.utc_offset", "+0900")]);
    assert_eq!(samsung, Some(("2019-08-01T19:00:00+09:00".into(), DateSource::Camera)));
    let gopro = by_tags(&[header, ("firmware", "HD7.01.01.90.00")]);
    assert_eq!(gopro, Some(("2019-08-01T10:00:00".into(), DateSource::Camera)));
    let other = by_tags(&[header, ("firmware", "Harmony 2")]);
    assert_eq!(other.unwrap().0, "2019-08-01T10:00:00Z");
}

#[test]
fn a_bad_tag_never_hides_a_good_one() {
    let good = ("creation_time", "2020-01-05T11:19:45Z");
    for bad in [
        "?",
        "0000-00-00T00:00:00Z",
        "0000:00:00 00:00:00",
        "1904-01-01T02:00:00Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T19:00:00-0500",
        "1887-12-31T00:00:00",
        "2026-12-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
        "2023-02-30T00:00:00Z",
    ] {
        for key in ["com.apple.quicktime.creationdate", "date", "creation_time"] {
            let found = by_tags(&[(key, bad), good]);
            assert_eq!(found, Some(("2020-01-05T11:19:45Z".into(), DateSource::Container)), "{key} {bad}");
        }
    }
    // A day ahead is today somewhere.
    assert!(by_tags(&[("date", "2026-11-30T01:00:00+14:00")]).is_some());
}

#[test]
fn a_server_whose_clock_was_never_set_believes_dates_too() {
    let time = "2023-10-06T12:34:56".parse().unwrap();
    assert!(is_credible(time, Timestamp::UNIX_EPOCH));
}

#[test]
fn the_headers_of_quicktime_are_read_with_either_epoch() {
    const MAC: u32 = 2_082_844_800;
    let unix = |text: &str| u32::try_from(text.parse::<Timestamp>().unwrap().as_second()).unwrap();
    let container = |text: &str| Some((text.to_owned(), DateSource::Container));
    let taken = "2015-03-02T01:00:00Z";
    let time = MAC + unix(taken);
    assert_eq!(in_file(&film(b"isom", time, 0, 0), "mov,mp4"), container(taken));
    // Only one of the three is right.
    assert_eq!(in_file(&film(b"isom", 0, time, 0), "mov,mp4"), container(taken));
    assert_eq!(in_file(&film(b"isom", 0, 0, time), "mov,mp4"), container(taken));
    assert_eq!(in_file(&film(b"isom", MAC, time, 0), "mov,mp4"), container(taken), "1970 hides nothing");
    assert_eq!(in_file(&film(b"isom", 7200, 7200, 7200), "mov,mp4"), None, "1904 is no date");
    assert_eq!(in_file(&film(b"isom", u32::MAX, 0, 0), "mov,mp4"), None, "2040 has not come");
    // Old phones counted from 1970.
    let nokia = "2009-08-07T06:05:04Z";
    assert_eq!(in_file(&film(b"isom", unix(nokia), 0, 0), "mov,mp4"), container(nokia));
    assert_eq!(
        in_file(&film(b"3gp5", unix("2024-01-02T12:00:00Z"), 0, 0), "mov"),
        container("2024-01-02T12:00:00Z")
    );
    // Films from before 1970: what ffmpeg reads as 2034 and 2024.
    assert_eq!(in_file(&film(b"isom", 2_035_454_400, 0, 0), "mov,mp4"), container("1968-07-01T12:00:00Z"));
    assert_eq!(in_file(&film(b"isom", 1_704_196_800, 0, 0), "mov,mp4"), container("1958-01-01T12:00:00Z"));
}

#[test]
fn user_data_and_xml_of_quicktime_are_read() {
    let camera = |text: &str| Some((text.to_owned(), DateSource::Camera));
    let user_data = atom(b"moov", &atom(b"udta", &atom(b"date", b"2013-10-06T12:34:56+0000")));
    assert_eq!(in_file(&user_data, "mov"), camera("2013-10-06T12:34:56+00:00"));
    let identifier = b"\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac";
    for xmp in [
        "<rdf><xmp:CreateDate>2014-01-01</xmp:CreateDate><exif:DateTimeOriginal>2013-10-06T12:34:56</exif:DateTimeOriginal>",
        "<rdf exif:DateTimeOriginal='2013-10-06T12:34:56' />",
    ] {
        let boxed = atom(b"uuid", &[identifier.as_slice(), xmp.as_bytes()].concat());
        assert_eq!(in_file(&boxed, "mov"), camera("2013-10-06T12:34:56"), "{xmp}");
    }
    let sony = atom(b"xml ", b"\0\0\0\0<NonRealTimeMeta><CreationDate value=\"2019-05-14T12:34:56+09:00\"/>");
    assert_eq!(
        in_file(&atom(b"meta", &[&[0; 4], sony.as_slice()].concat()), "mov"),
        camera("2019-05-14T12:34:56+09:00")
    );
}

#[test]
fn avi_is_dated_by_its_camera() {
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        [kind.as_slice(), &size, body, &[0u8; 1][..body.len() % 2]].concat()
    };
    let list = |kind: &[u8; 4], body: &[u8]| chunk(b"LIST", &[kind.as_slice(), body].concat());
    for (kind, text, expected) in [
        (b"IDIT", "Tue Aug 17 21:30:00 2004\n\0", "2004-08-17T21:30:00"),
        (b"IDIT", "TUE AUG 17 21:30:00 2004", "2004-08-17T21:30:00"),
        (b"IDIT", "2004/08/17/ 21:30\0", "2004-08-17T21:30:00"),
        (b"IDIT", "2004-08-17 21:30:00", "2004-08-17T21:30:00"),
        (b"IDIT", "2001/ 1/27  1:42PM", "2001-01-27T13:42:00"),
        (b"IDIT", "2001/ 1/27 12:42 AM", "2001-01-27T00:42:00"),
        (b"IDIT", "2004:08:17 21:30:00", "2004-08-17T21:30:00"),
        (b"IDIT", "17 August 2004, 9:30:00 PM", "2004-08-17T21:30:00"),
        (b"ICRD", "2004-08-17\0", "2004-08-17"),
    ] {
        let header = match kind {
            b"IDIT" => list(b"hdrl", &chunk(kind, text.as_bytes())),
            _ => list(b"INFO", &chunk(kind, text.as_bytes())),
        };
        let frames = list(b"movi", &chunk(b"IDIT", b"2001-01-01 00:00:00"));
        let body = [b"AVI ".as_slice(), &frames, &header].concat();
        let expected = Some((expected.to_owned(), DateSource::Camera));
        assert_eq!(in_file(&chunk(b"RIFF", &body), "avi"), expected, "{text}");
    }
}

#[test]
fn windows_media_counts_from_1601() {
    let properties = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";
    let created: u64 = (11_644_473_600 + 1_117_540_895) * 10_000_000;
    let bytes = [&[7; 30], properties.as_slice(), &[0; 32], &created.to_le_bytes()].concat();
    assert_eq!(in_file(&bytes, "asf"), Some(("2005-05-31T12:01:35Z".into(), DateSource::Container)));
}

#[test]
fn camcorders_write_the_date_beside_the_pictures() {
    let sei = |zone: u8| {
        let entries = [0x18, zone, 0x20, 0x12, 0x07, 0x19, 0x28, 0x15, 0x30, 0x45];
        let identifier = b"\x17\xee\x8c\x60\xf8\x4d\x11\xd9\x8c\xd6\x08\x00\x20\x0c\x9a\x66MDPM\x02";
        [b"\0\0\0\x01\x06\x05\x1f".as_slice(), identifier, &entries, b"\x80"].concat()
    };
    let text = |codec: &str, bytes: &[u8]| in_packet(codec, bytes).map(|time| time.to_string());
    assert_eq!(text("h264", &sei(0x02)).as_deref(), Some("2012-07-28T15:30:45+01:00"));
    assert_eq!(text("h264", &sei(0x33)).as_deref(), Some("2012-07-28T15:30:45-09:30"));
    assert_eq!(text("h264", &sei(0xff)).as_deref(), Some("2012-07-28T15:30:45"), "the zone was never set");
    assert_eq!(text("hevc", &sei(0x02)), None);
    assert_eq!(text("h264", &sei(0x02)[..34]), None, "cut off");

    let mut block = [0xffu8; 80];
    block[..3].copy_from_slice(&[0x56, 0x07, 0x00]);
    block[13..18].copy_from_slice(&[0x62, 0xff, 0x04, 0x05, 0x03]);
    block[18..23].copy_from_slice(&[0x63, 0xff, 0x92, 0x91, 0xd0]);
    let frame = [[0x1f; 80], block].concat();
    assert_eq!(text("dvvideo", &frame).as_deref(), Some("2003-05-04T10:11:12"));
    block[18] = 0xff;
    assert_eq!(text("dvvideo", &block).as_deref(), Some("2003-05-04"));
    block[13..18].copy_from_slice(&[0x62, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(text("dvvideo", &block), None, "the date was never set");
}

#[test]
fn names_tell_dates() {
    for (name, expected) in [
        ("PXL_20231006_123456789.mp4", Some("2023-10-06T12:34:56Z")),
        ("PXL_20221231_220101222.MP4", Some("2022-12-31T22:01:01Z")),
        ("VID_20190215_211320.mp4", Some("2019-02-15T21:13:20")),
        ("20240128_105420(1).mp4", Some("2024-01-28T10:54:20")),
        ("2019-02-15 21.13.20.mov", Some("2019-02-15T21:13:20")),
        ("Screen Recording 2023-05-09 at 12.41.46.mov", Some("2023-05-09T12:41:46")),
        ("Screen Recording 2022-02-23 at 2.59.39 PM.mov", Some("2022-02-23T14:59:39")),
        ("Screen Recording 2022-02-23 at 2.59.39\u{202f}PM.mov", Some("2022-02-23T14:59:39")),
        ("Screen Recording 2022-02-23 at 12.05.00 AM.mov", Some("2022-02-23T00:05:00")),
        ("Bildschirmaufnahme 2022-02-23 um 14.59.39.mov", Some("2022-02-23T14:59:39")),
        ("Screen_Recording_20220223-145939_Maps.mp4", Some("2022-02-23T14:59:39")),
        ("WhatsApp Video 2019-02-15 at 21.13.20.mp4", Some("2019-02-15T21:13:20")),
        ("WhatsApp Video 2019-02-15 at 9.13.20 PM (1).mp4", Some("2019-02-15T21:13:20")),
        ("VID-20190215-WA0001.mp4", Some("2019-02-15")),
        ("signal-2021-04-05-101112.mp4", Some("2021-04-05T10:11:12")),
        ("video_2019-02-15_21-13-20.mp4", Some("2019-02-15T21:13:20")),
        ("Screenrecorder-2022-02-23-14-59-39-123.mp4", Some("2022-02-23T14:59:39")),
        ("20190215211320_000123.MP4", Some("2019-02-15T21:13:20")),
        ("VID20190215211320.mp4", Some("2019-02-15T21:13:20")),
        ("DJI_20230510123456_0001_D.MP4", Some("2023-05-10T12:34:56")),
        ("2019021521132000-0123.mp4", Some("2019-02-15T21:13:20")),
        ("2019_0215_211320_001.MP4", Some("2019-02-15T21:13:20")),
        ("IMG_2019_0215.mov", Some("2019-02-15")),
        ("15.02.2019 21.13.20.mp4", Some("2019-02-15T21:13:20")),
        ("Oma 3.4.1987.avi", Some("1987-04-03")),
        ("15-02-2019.mp4", Some("2019-02-15")),
        ("02-15-2019.mp4", Some("2019-02-15")),
        ("03-04-2019.mp4", None),
        ("1987-06-14 Birthday.mp4", Some("1987-06-14")),
        ("1958-8-3 Lake.mp4", Some("1958-08-03")),
        ("Été 2020-07-14.mov", Some("2020-07-14")),
        ("MVI_2001.AVI 2020-07-14.mov", Some("2020-07-14")),
        ("20191399_000000.mp4", None),
        ("clip 12345678.mp4", None),
        ("MVI_0042.AVI", None),
        ("MVI_2041 (12) 24.avi", None),
        ("Summer 1987.mp4", None),
        ("IMG_2019.mov", None),
        ("2019-02.mp4", None),
        ("GX010042.MP4", None),
        ("RPReplay_Final1645628379.MP4", None),
        ("201902151234.mp4", None),
        ("a20190215b3f4e5d6c7a8b9.mp4", None),
        ("2087-06-14.mp4", None),
        ("1887-06-14.mp4", None),
        ("20190215_999999.mp4", Some("2019-02-15")),
        ("20190215999999.mp4", None),
        ("", None),
        ("é1é2é", None),
    ] {
        assert_eq!(by_name(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn the_ladder_goes_from_tags_to_the_name_to_the_file() {
    let mut probe = crate::fixtures::probe().summary;
    probe.creation_time = Some("2023-10-06T12:34:56+02:00".into());
    probe.creation_source = Some(DateSource::Camera);
    let modified = Some("2011-07-14T10:00:00.5Z".parse().unwrap());
    let by = |probe: Option<&ProbeSummary>, name: &str, modified| {
        capture_date(probe, name, modified, now()).map(|date| (date.time.to_string(), date.source))
    };
    let named = "VID-20190215-WA0001.mp4";
    assert_eq!(
        by(Some(&probe), named, modified).unwrap(),
        ("2023-10-06T12:34:56+02:00".into(), DateSource::Camera)
    );
    probe.creation_time = Some("2034-07-02T12:00:00Z".into());
    assert_eq!(by(Some(&probe), named, modified).unwrap(), ("2019-02-15".into(), DateSource::FileName));
    assert_eq!(
        by(None, "MVI_0042.mp4", modified).unwrap(),
        ("2011-07-14T10:00:00Z".into(), DateSource::FileTime)
    );
    for never in ["1970-01-01T00:00:00Z", "1980-01-01T00:00:00Z", "2030-01-01T00:00:00Z"] {
        assert_eq!(by(None, "MVI_0042.mp4", Some(never.parse().unwrap())), None, "{never}");
    }
    assert_eq!(by(None, "MVI_0042.mp4", None), None);
}

#[test]
fn a_time_is_read_as_it_is_written() {
    let home = TimeZone::get("Europe/Berlin").unwrap();
    for (text, local, moment) in [
        ("1987-06-14", "1987-06-14T00:00:00", "1987-06-13T22:00:00Z"),
        ("2004-08-17T21:30:00", "2004-08-17T21:30:00", "2004-08-17T19:30:00Z"),
        ("2023-10-06T08:00:00+09:00", "2023-10-06T08:00:00", "2023-10-05T23:00:00Z"),
        ("2023-10-06T08:00:00-00:30", "2023-10-06T08:00:00", "2023-10-06T08:30:00Z"),
        ("2022-12-31T23:30:00Z", "2023-01-01T00:30:00", "2022-12-31T23:30:00Z"),
    ] {
        let time: TakenTime = text.parse().unwrap();
        assert_eq!(time.to_string(), text);
        assert_eq!(time.local(&home).to_string(), local, "{text}");
        assert_eq!(time.moment(&home).to_string(), moment, "{text}");
    }
    let zoned: TakenTime = "2023-10-06T08:00[Asia/Tokyo]".parse().unwrap();
    assert_eq!(zoned.to_string(), "2023-10-06T08:00:00+09:00");
    for bad in ["", "x", "2023-10", "2023-10-06T08:00[Mars/Olympus]", "2023-02-30", "10:00"] {
        assert!(bad.parse::<TakenTime>().is_err(), "{bad}");
    }
}

/// Whatever the input, no parser panics, and what it returns is credible and survives its own text.
#[test]
fn arbitrary_input_gives_a_credible_date_or_none() {
    const PIECES: [&str; 24] = [
        "2019",
        "02",
        "15",
        "-",
        "_",
        ".",
        ":",
        " ",
        "T",
        "at",
        "PM",
        "+",
        "0200",
        "Z",
        "Aug",
        "é",
        "\u{202f}",
        "20190215",
        "211320",
        "20190215211320",
        "99",
        "PXL_",
        "0",
        "/",
    ];
    let mut random = StdRng::seed_from_u64(19);
    let sane = |date: Option<CaptureDate>| {
        let Some(CaptureDate { time, .. }) = date else { return };
        assert!(is_credible(time, now()), "{time}");
        assert_eq!(time.to_string().parse::<TakenTime>().unwrap(), time);
    };
    for _ in 0..20_000 {
        let text: String = match random.random_range(0..3) {
            0 => (0..random.random_range(0..12))
                .map(|_| PIECES[random.random_range(0..PIECES.len())])
                .collect(),
            1 => (0..random.random_range(0..40)).map(|_| random.random::<char>()).collect(),
            _ => {
                (0..random.random_range(0..40)).map(|_| char::from(random.random_range(b' '..b'~'))).collect()
            }
        };
        sane(capture_date(None, &text, None, now()));
        for key in
            ["com.apple.quicktime.creationdate", "date", "creation_time", "com.samsung.android.utc_offset"]
        {
            let tags = tags(&[(key, &text), ("creation_time", "2020-01-05T11:19:45Z")]);
            let found = tagged(&tags, &FileDates::default(), None, now());
            assert!(found.is_some(), "{key} {text:?}");
            sane(found);
        }
        let _ = text.parse::<TakenTime>();
    }
}

#[test]
fn damaged_files_give_a_credible_date_or_none() {
    let mut random = StdRng::seed_from_u64(19);
    let whole = film(b"isom", 3_500_000_000, 3_500_000_000, 0);
    for _ in 0..2_000 {
        let mut bytes = match random.random_range(0..2) {
            0 => whole.clone(),
            _ => (0..random.random_range(0..400)).map(|_| random.random()).collect(),
        };
        for _ in 0..random.random_range(0..4) {
            if !bytes.is_empty() {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        for container in ["mov", "avi", "asf"] {
            let date = tagged(&[], &FileDates::read(&file, container), None, now());
            assert!(date.is_none_or(|date| is_credible(date.time, now())));
        }
        let _ = (in_packet("h264", &bytes), in_packet("dvvideo", &bytes));
    }
}
