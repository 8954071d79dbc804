//! Names of downloads and exports: the extension follows the content, so that a video whose name ends in `.html` is not
//! opened as a page.

use std::collections::HashSet;

use homereel_library::Video;
use jiff::civil::Date;

/// Length of a file name that every file system accepts, with room for an extension.
const MAX_NAME: usize = 200;

/// Extensions by content type. The first is used where the name has none of them.
const EXTENSIONS: [(&str, &[&str]); 7] = [
    ("video/mp4", &["mp4", "m4v", "mov", "qt", "3gp", "3g2"]),
    ("video/x-matroska", &["mkv", "mk3d"]),
    ("video/webm", &["webm", "mkv"]),
    ("video/x-msvideo", &["avi", "divx"]),
    ("video/mp2t", &["ts", "mts", "m2ts", "m2t", "tod"]),
    ("video/mpeg", &["mpg", "mpeg", "mpe", "m1v", "m2v", "vob", "mod"]),
    ("video/ogg", &["ogv", "ogg", "ogm"]),
];

/// Extensions of the other containers, which are served as `application/octet-stream`.
const OTHERS: &[&str] = &[
    "bin", "flv", "wmv", "asf", "dv", "gif", "mxf", "ivf", "h264", "264", "h265", "hevc", "265", "m4v",
    "mjpeg", "mjpg", "rm", "rmvb", "wtv", "obu", "av1", "h263", "263",
];

/// Maximum bytes of an ending that is an extension.
const LONGEST: usize = 5;

/// Returns `name` with an extension of the content type `mime`: its own if it is one, else the type's.
pub(crate) fn with_extension(name: &str, mime: &str) -> String {
    let fitting = EXTENSIONS.iter().find(|(known, _)| *known == mime).map_or(OTHERS, |(_, fitting)| fitting);
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, ending),
        _ => (name, ""),
    };
    if fitting.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
        return name.to_owned();
    }
    // "Lübeck 12.06.2021" and "With Dr.Huber" have no extension.
    let one_case = ending.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        || ending.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let letters = ending.bytes().any(|b| b.is_ascii_alphabetic());
    let stem = if one_case && letters && ending.len() <= LONGEST { stem } else { name };
    format!("{}.{}", stem.trim_end_matches(['.', ' ']), fitting[0])
}

/// Returns the name of a file that holds the part of a video from `part` on: `Lake 2023-07-14 0.04.2.jpg`.
pub(crate) fn of_part(name: &str, day: Option<Date>, part: &str, extension: &str) -> String {
    let stem = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= LONGEST => stem,
        _ => name,
    };
    let day = day.map(|day| day.to_string()).filter(|day| !stem.contains(day.as_str()));
    let day = day.map(|day| format!(" {day}")).unwrap_or_default();
    // File systems of cameras and phones do not allow colons.
    format!("{}{day} {}.{extension}", stem.trim_end(), part.replace(':', "."))
}

/// Returns a file name that sorts by date taken, is valid on every file system, and is not among
/// `names`, to which it is added.
pub(crate) fn free_name(video: &Video, names: &mut HashSet<String>) -> String {
    let day = video.local().date();
    let safe = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let name = with_extension(&video.name, &video.mime);
    let name: String = name.chars().map(safe).collect();
    let name = name.trim_matches(['.', ' ']);
    let (stem, ending) = name.rsplit_once('.').map_or((name, String::new()), |(s, e)| (s, format!(".{e}")));
    let mut cut = MAX_NAME.min(stem.len());
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    let ending: String = if ending.len() <= 12 { ending } else { String::new() };
    let mut candidate = format!("{day} {}{ending}", &stem[..cut]);
    let mut count = 1;
    // Some file systems ignore case.
    while !names.insert(candidate.to_lowercase()) {
        count += 1;
        candidate = format!("{day} {} ({count}){ending}", &stem[..cut]);
    }
    candidate
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::{of_part, with_extension};

    #[test]
    fn parts_are_named_by_video_day_and_time() {
        let day = Some(date(2023, 7, 14));
        assert_eq!(of_part("Lake.mov", day, "0:04.2", "jpg"), "Lake 2023-07-14 0.04.2.jpg");
        assert_eq!(of_part("Lake", None, "1:02:03.5–1:02:05.0", "mp4"), "Lake 1.02.03.5–1.02.05.0.mp4");
        assert_eq!(of_part("VID 2023-07-14.mp4", day, "0:00.0", "jpg"), "VID 2023-07-14 0.00.0.jpg");
        assert_eq!(of_part(".mp4", None, "0:00.0", "jpg"), ".mp4 0.00.0.jpg");
    }

    #[test]
    fn the_extension_follows_the_content() {
        for (name, mime, expected) in [
            ("poly.html", "video/mp4", "poly.mp4"),
            ("POLY.HTM", "video/webm", "POLY.webm"),
            ("setup.exe", "application/octet-stream", "setup.bin"),
            ("a.mp4.js", "video/mp4", "a.mp4.mp4"),
            ("a.mp4", "video/x-msvideo", "a.avi"),
            ("a.MOV", "video/mp4", "a.MOV"),
            ("a.wmv", "application/octet-stream", "a.wmv"),
            ("a.mkv", "video/webm", "a.mkv"),
            ("Birthday", "video/mp4", "Birthday.mp4"),
            (".html", "video/mp4", ".html.mp4"),
            ("a.html.", "video/mp4", "a.html.mp4"),
            ("Lübeck 12.06.2021", "video/mp4", "Lübeck 12.06.2021.mp4"),
            ("With Dr.Huber", "video/mp4", "With Dr.Huber.mp4"),
            ("a.\u{202e}4pm", "video/mp4", "a.\u{202e}4pm.mp4"),
        ] {
            assert_eq!(with_extension(name, mime), expected, "{name} {mime}");
        }
    }
}
