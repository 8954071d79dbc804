//! The order of file, environment and flags, and settings that are refused.

use homereel_engine::{EngineKind, ModelSource, Quantization, flags::EngineName};
use url::Url;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let file = file("[server]\nlisten = \"127.0.0.1:1\"\nmax_requests = 3\n[engine]\nmodel = \"a/b\"");
    let flags = ServerFlags { max_requests: Some(4), data: Some("/x".into()), ..ServerFlags::default() };
    let (server, engine) = resolve(Some(&file.path().to_owned()), flags, EngineFlags::default()).unwrap();
    assert_eq!((server.listen.port(), server.max_requests), (1, 4));
    assert_eq!(server.max_body_bytes, 512 << 20);
    assert_eq!(engine.model.to_string(), "a/b");
}

#[test]
fn jobs_and_the_reading_budget_are_read_from_the_file() {
    let read = |text: &str| {
        let file = file(&format!("[server]\n{text}"));
        let flags = ServerFlags { data: Some("/x".into()), ..ServerFlags::default() };
        resolve(Some(&file.path().to_owned()), flags, EngineFlags::default())
            .map(|(server, _)| (server.jobs, server.reading_budget))
            .map_err(|error| format!("{error:#}"))
    };
    assert_eq!(read(""), Ok((JobsLimit::Auto, VideoBudget::Capped)));
    assert_eq!(read("jobs = 4\nreading_budget = \"full\""), Ok((JobsLimit::Fixed(4), VideoBudget::Full)));
    assert_eq!(read("jobs = \"auto\"").unwrap().0, JobsLimit::Auto);
    assert!(read("jobs = 0").unwrap_err().contains("1 to 256"));
    assert!(read("reading_budget = \"half\"").unwrap_err().contains("`capped` nor `full`"));
}

#[test]
fn files_and_media_hosts_are_read_and_checked() {
    let read = |text: &str| {
        let file = file(&format!("[server]\n{text}"));
        let flags = ServerFlags { data: Some("/x".into()), ..ServerFlags::default() };
        resolve(Some(&file.path().to_owned()), flags, EngineFlags::default())
            .map(|(server, _)| (server.files_keep_s, server.files_max_bytes, server.allow_media_hosts.len()))
            .map_err(|error| format!("{error:#}"))
    };
    assert_eq!(read(""), Ok((86_400, 16 << 30, 0)));
    let all = "files_keep = 3600\nfiles_max_bytes = 9\nallow_media_hosts = [\"a.example\", \"10.0.0.1:80\"]";
    assert_eq!(read(all), Ok((3600, 9, 2)));
    assert!(read("files_keep = 3599").unwrap_err().contains("3600 to 2592000"));
    assert!(read("allow_media_hosts = [\"*\"]").unwrap_err().contains("is not a host"));
}

#[test]
fn unknown_keys_are_named() {
    let file = file("[server]\nlissten = \"127.0.0.1:1\"");
    let error = engine(Some(&file.path().to_owned()), EngineFlags::default()).unwrap_err();
    assert!(format!("{error:#}").contains("lissten"), "{error:#}");
}

#[test]
fn an_upstream_needs_a_url_and_takes_no_settings_of_candle() {
    let vllm = EngineFlags { engine: Some(EngineName::Vllm), ..EngineFlags::default() };
    let with_url = |url: &str| EngineFlags { vllm_url: vec![url.into()], ..vllm.clone() };
    let config = engine(None, with_url("http://127.0.0.1:8000")).unwrap();
    let url = |text: &str| -> Url { text.parse().unwrap() };
    let one = vec![url("http://127.0.0.1:8000")];
    assert_eq!(config.kind, EngineKind::Vllm { urls: one, files: None, max_requests: 2 });
    let both = file(
        "[engine]\nengine = \"vllm\"\nvllm_url = [\"http://a:1\", \"http://b:1\"]\nvllm_max_requests = 7",
    );
    let config = engine(Some(&both.path().to_owned()), EngineFlags::default()).unwrap();
    let urls = vec![url("http://a:1"), url("http://b:1")];
    assert_eq!(config.kind, EngineKind::Vllm { urls, files: None, max_requests: 7 });
    let one = file("[engine]\nengine = \"vllm\"\nvllm_url = \"http://a:1\"");
    let config = engine(Some(&one.path().to_owned()), EngineFlags::default()).unwrap();
    assert!(matches!(config.kind, EngineKind::Vllm { urls, .. } if urls.len() == 1));
    let demo = EngineFlags { model: Some("demo".into()), ..with_url("https://spark/v1") };
    assert!(matches!(
        engine(None, demo).unwrap().kind,
        EngineKind::Vllm { files: Some(ModelSource::Demo), .. }
    ));
    for (flags, says) in [
        (vllm.clone(), "--vllm-url"),
        (EngineFlags { engine: None, ..with_url("http://x") }, "--engine vllm"),
        (with_url("x"), "no URL"),
        (EngineFlags { vllm_url: vec!["http://x".into(); 2], ..vllm.clone() }, "twice"),
        (EngineFlags { vllm_max_requests: Some(0), ..with_url("http://x") }, "1 to 4096"),
        (with_url("ftp://x"), "http://HOST:PORT"),
        (with_url("http://me:secret@x"), "password"),
        (EngineFlags { quantize: Some(Quantization::Q4K), ..with_url("http://x") }, "--quantize"),
        (
            EngineFlags { max_num_batched_tokens: Some(64), ..with_url("http://x") },
            "--max-num-batched-tokens",
        ),
        (EngineFlags { max_num_seqs: Some(0), ..EngineFlags::default() }, "1 to 256"),
        (EngineFlags { max_num_batched_tokens: Some(15), ..EngineFlags::default() }, "16 to 65536"),
    ] {
        let error = engine(None, flags).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
