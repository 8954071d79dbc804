//! Tests of the scanner.

use std::fs;

use super::*;

/// The JSON, and the contents of the files.
fn scan(body: &[u8], step: usize) -> Result<(String, Vec<Vec<u8>>), BodyError> {
    let mut scanner = Scanner::new("mark-".into(), 4, std::env::temp_dir());
    for chunk in body.chunks(step) {
        scanner.push(chunk)?;
    }
    let (json, media) = scanner.finish();
    let files =
        media.iter().flat_map(|one| &one.files).map(|file| fs::read(file.source.path()).unwrap()).collect();
    Ok((String::from_utf8(json).unwrap(), files))
}

fn part(url: &str) -> String {
    format!(r#"{{"type":"video_url","video_url":{{"url":"{url}"}}}}"#)
}

fn body(parts: &[String]) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}],"n":1}}"#, parts.join(","))
}

#[test]
fn media_go_to_files_whatever_the_chunks_are() {
    let text = r#"{"type":"text","text":"say \"data:\" and \\ é"}"#.to_owned();
    let sent = body(&[part("data:video/mp4;base64,aGVsbG8="), text.clone(), part("DATA:,h%69\\/\\u002B")]);
    let left = body(&[part("mark-0"), text, part("mark-1")]);
    for step in [1, 2, 3, 7, 64, 1000] {
        let (json, files) = scan(sent.as_bytes(), step).unwrap();
        assert_eq!(json, left, "{step}");
        assert_eq!(files, [b"hello".to_vec(), b"hi/+".to_vec()], "{step}");
    }
}

#[test]
fn every_form_in_which_clients_send_media_is_found() {
    for (sent, left) in [
        (
            r#"{"type":"video_url","video_url":"data:;base64,aGVsbG8="}"#,
            r#"{"type":"video_url","video_url":"mark-0"}"#,
        ),
        (
            r#"{"type":"file","file":{"file_data":"data:;base64,aGVsbG8="}}"#,
            r#"{"type":"file","file":{"file_data":"mark-0"}}"#,
        ),
        (
            r#"{"input_video":{"data":"aGVsbG8=","format":"mp4"}}"#,
            r#"{"input_video":{"data":"mark-0","format":"mp4"}}"#,
        ),
        (r#"{"type":"video","base64":" \naGVs\nbG8"}"#, r#"{"type":"video","base64":"mark-0"}"#),
        (r#"{"video_url":{"url":" \t\nDATA:;base64,aGVsbG8="}}"#, r#"{"video_url":{"url":"mark-0"}}"#),
        (r#"{"type":"video","video":["data:;base64,aGVsbG8="]}"#, r#"{"type":"video","video":["mark-0"]}"#),
    ] {
        for step in [1, 2, 3, 7, 1000] {
            let (json, files) = scan(body(&[sent.to_owned()]).as_bytes(), step).unwrap();
            assert_eq!(json, body(&[left.to_owned()]), "{step}");
            assert_eq!(files, [b"hello".to_vec()], "{sent}");
        }
    }
    // Base64 that begins like a scheme keeps its case.
    let (_, files) = scan(body(&[r#"{"data":"DAta"}"#.to_owned()]).as_bytes(), 1).unwrap();
    assert_eq!(files, [b"\x0c\x0b\x5a".to_vec()]);
}

#[test]
fn every_other_string_stays_where_it_is() {
    for sent in [
        body(&[part("https://example.org/a.mp4")]),
        body(&[part("dat")]),
        body(&[part("da\\u0074a:,x")]),
        body(&[part("")]),
        r#"{"tools":[{"url":"data:video/mp4;base64,aGk="}]}"#.to_owned(),
        r#"{"messages":[{"content":"data:,x"}]}"#.to_owned(),
        r#"{"messages":[{"content":[{"text":"data:,x"}]}]}"#.to_owned(),
        r#"{"messages":[{"content":[{"data":""}]}]}"#.to_owned(),
        r#"{"messages":[{"content":[{"url":" \n\"data:,x"}]}]}"#.to_owned(),
        r#"{"messages":[{"content":["data:,x"]}]}"#.to_owned(),
        r#"{"a":{"messages":[{"content":[{"image_url":{"url":"data:,x"}}]}]}}"#.to_owned(),
        r#"]]}}{"messages"#.to_owned(),
    ] {
        for step in [1, 1000] {
            assert_eq!(scan(sent.as_bytes(), step).unwrap(), (sent.clone(), vec![]));
        }
    }
}

#[test]
fn json_is_bounded_in_bytes_values_depth_and_media() {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_JSON));
    assert!(matches!(scan(text.as_bytes(), 1 << 16), Err(BodyError::JsonTooLarge)));
    let values = format!("[{}", "[0],".repeat(MAX_VALUES));
    assert!(matches!(scan(values.as_bytes(), 1 << 16), Err(BodyError::TooManyValues)));
    let deep = "[".repeat(MAX_DEPTH + 1);
    assert!(matches!(scan(deep.as_bytes(), 1 << 16), Err(BodyError::TooDeep)));
    let many = body(&vec![part("data:,x"); 5]);
    assert!(matches!(scan(many.as_bytes(), 1 << 16), Err(BodyError::TooManyMedia { most: 4 })));
    let frames = body(&[part("data:video/jpeg;base64,aGk=,aGk=,aGk=,aGk="), part("data:,x")]);
    assert!(matches!(scan(frames.as_bytes(), 1 << 16), Err(BodyError::TooManyMedia { most: 4 })));
    // Media are not part of the JSON.
    let large = body(&[part(&format!("data:;base64,{}", "AAAA".repeat(MAX_JSON / 2)))]);
    assert_eq!(scan(large.as_bytes(), 1 << 16).unwrap().1[0].len(), 3 * (MAX_JSON / 2));
}
