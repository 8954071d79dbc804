//! Settings, requests and models that cannot work are refused, with what is wrong and what would fit.

use std::path::{Path, PathBuf};

use homereel_engine::{
    ContentPart, DeviceKind, EngineConfig, EngineErrorKind, GenerationOptions, Health, ModelSource, Request,
    RgbImage, SamplingParams, WeightType,
};

use crate::golden::checkpoint_dir;
use crate::requests::{ask, clip, request, text, with};
use crate::{collect, demo, opened};

/// One setting put into a configuration.
type ConfigChange = fn(&mut EngineConfig);

#[tokio::test]
async fn settings_that_cannot_be_are_told() {
    let cases: [(ConfigChange, &str); 3] = [
        (|config| config.max_model_len = Some(1 << 30), "--max-model-len is 1073741824"),
        (|config| config.dtype = Some(WeightType::F16), "--dtype f16 is for CUDA"),
        #[cfg(not(feature = "cuda"))]
        (|config| config.device = DeviceKind::Cuda, "needs a build with the cuda feature"),
        #[cfg(feature = "cuda")]
        (|config| config.max_model_len = Some(0), "--max-model-len is 0"),
    ];
    for (change, part) in cases {
        let engine = opened(ModelSource::Demo, change).await;
        let Health::Failed(why) = engine.health() else { panic!("{part:?}: it was loaded") };
        assert!(why.contains(part), "{part:?} is not in {why:?}");
    }
}

#[tokio::test]
async fn bad_requests_are_told_apart_and_the_next_one_works() {
    let engine = demo().await;
    let video = || ContentPart::Video(clip(2, None));
    let context = engine.info().unwrap().max_model_len;
    let wrong_size = RgbImage::new(100, 64, vec![0; 100 * 64 * 3].into());
    let sampling = |change: fn(&mut SamplingParams)| {
        with(ask(vec![text("hi")]), |options| change(&mut options.sampling))
    };
    let changed = |change: fn(&mut GenerationOptions)| with(ask(vec![text("hi")]), change);
    let cases: Vec<(Request, &[&str])> = vec![
        (request(Vec::new()), &["messages is empty"]),
        (ask((0..1000).map(|_| video()).collect()), &["1000 videos", "16 would fit"]),
        (ask(vec![ContentPart::Video(clip(0, None))]), &["0 frames"]),
        (ask(vec![ContentPart::Image(wrong_size)]), &["100x64", "96x64"]),
        (ask(vec![text(&"word ".repeat(context))]), &["context holds", "would fit"]),
        (ask(vec![text(&"x".repeat(40 * context))]), &["context holds", "shorter"]),
        (sampling(|s| s.temperature = -1.0), &["temperature is -1"]),
        (sampling(|s| s.top_p = 2.0), &["top_p is 2"]),
        (changed(|options| options.max_tokens = Some(0)), &["max_tokens is 0"]),
        (changed(|options| options.logprobs = Some(99)), &["top_logprobs is 99", "20"]),
        (changed(|options| options.stop = vec![String::new()]), &["stop"]),
    ];
    for (request, parts) in cases {
        let error = engine.submit(request).expect_err(parts[0]);
        let message = error.to_string();
        assert_eq!(error.kind(), EngineErrorKind::Invalid, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let (ids, _, _) = collect(engine.submit(ask(vec![video(), text("hi")])).unwrap()).await.unwrap();
    assert_eq!(ids.len(), 64);
}

#[tokio::test]
async fn a_hint_on_frames_fits() {
    let engine = opened(ModelSource::Demo, |config| config.max_model_len = Some(256)).await;
    let asked = |frames| engine.submit(ask(vec![ContentPart::Video(clip(frames, None)), text("hi")]));
    let message = asked(40).expect_err("too long").to_string();
    let frames: usize = message
        .split_once("--num-frames ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{message}"));
    assert!((4..40).contains(&frames), "{message}");
    collect(asked(frames).unwrap()).await.unwrap();
}

#[tokio::test]
async fn models_that_do_not_load_say_what_is_wrong() {
    let scratch = |name: &str| {
        let path = std::env::temp_dir().join(format!("homereel-engine-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        for file in std::fs::read_dir(checkpoint_dir("v457")).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, path.join(file.file_name().unwrap())).unwrap();
        }
        path
    };
    let remove = |path: &Path, name: &str| std::fs::remove_file(path.join(name)).unwrap();
    let shard = std::fs::read_dir(checkpoint_dir("v457"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".safetensors"))
        .unwrap();
    let broken = |name: &str, break_it: &dyn Fn(&Path)| -> PathBuf {
        let path = scratch(name);
        break_it(&path);
        path
    };
    let cases: Vec<(PathBuf, &str)> = vec![
        ("/nowhere/at/all".into(), "no such directory"),
        (broken("shard", &|path| remove(path, &shard)), &shard),
        (broken("tokenizer", &|path| remove(path, "tokenizer.json")), "tokenizer.json is missing"),
        (
            broken("type", &|path| {
                std::fs::write(path.join("config.json"), r#"{"model_type": "llama"}"#).unwrap()
            }),
            "llama",
        ),
        (
            broken("video", &|path| remove(path, "video_preprocessor_config.json")),
            "video_preprocessor_config.json is missing",
        ),
    ];
    for (path, part) in cases {
        let engine = opened(ModelSource::Dir(path.clone()), |_| ()).await;
        let Health::Failed(why) = engine.health() else { panic!("{path:?} was loaded") };
        assert!(why.contains(part), "{part:?} is not in {why:?}");
        let error = engine.info().unwrap_err();
        assert!(error.to_string().contains(part) && error.kind() == EngineErrorKind::Failed, "{error}");
        assert!(engine.submit(ask(vec![text("hi")])).is_err());
        let _ = std::fs::remove_dir_all(path);
    }
}
