//! Prompts, pixels, sizes and answers equal transformers'.

use std::path::Path;

use anyhow::{Context, Result};
use homereel_engine::qwen3vl::{
    ChatTemplate, Checkpoint, Processor, ProcessorConfig, PromptBuilder, PromptMedia, Tokenizer,
};
use homereel_engine::{ContentPart, FinishReason, Health, ModelSource, PromptWrapper, VideoBudget};
use serde_json::Value;

use crate::golden::{Golden, checkpoint_dir, parity_dir};
use crate::requests::{ask, clip, request_of, text};
use crate::{collect, opened};

const CHECKPOINTS: [&str; 7] = ["tied", "untied", "wide-heads", "vision72", "moe", "v457", "demo"];

fn read(directory: &Path) -> impl Fn(&str) -> Option<Vec<u8>> + Copy + '_ {
    move |name| std::fs::read(directory.join(name)).ok()
}

fn builder(directory: &Path, wrapper: PromptWrapper) -> Result<PromptBuilder> {
    let files = read(directory);
    let config = Checkpoint::from_dir("test", directory)?.config;
    Ok(PromptBuilder {
        tokenizer: Tokenizer::from_json(&files("tokenizer.json").context("tokenizer")?)
            .map_err(anyhow::Error::msg)?,
        template: ChatTemplate::read(files).map_err(anyhow::Error::msg)?,
        processor: Processor::new(ProcessorConfig::read(files).map_err(anyhow::Error::msg)?),
        context: config.text.max_position_embeddings,
        wrapper,
        config,
    })
}

#[test]
fn prompts_and_pixels_equal_the_reference() -> Result<()> {
    for name in CHECKPOINTS {
        let builder = builder(&checkpoint_dir(name), PromptWrapper::V5)?;
        builder.check().map_err(anyhow::Error::msg)?;
        for case in &Golden::read(name)?.cases {
            let what = format!("{name}/{}", case.name);
            let prepared = builder.build(&request_of(case)).context(what.clone())?;
            assert_eq!(prepared.prompt.ids(), case.numbers("input_ids"), "{what}: input_ids");
            let (_, positions) = case.tensor("positions");
            let axes = prepared.prompt.positions().axes().concat();
            assert_eq!(axes.iter().map(|&p| p as f32).collect::<Vec<_>>(), positions, "{what}");
            assert_eq!(case.record["rope_delta"], prepared.prompt.positions().delta(), "{what}");
            for (kind, is_video) in [("image", false), ("video", true)] {
                let of_kind = prepared
                    .media
                    .iter()
                    .filter(|(media, _)| matches!(media, PromptMedia::Video(_)) == is_video);
                let grids: Vec<[usize; 3]> = of_kind.map(|(_, grid)| (*grid).into()).collect();
                assert_eq!(grids, case.grids(kind), "{what}: {kind} grids");
            }
            let vision = &builder.config.vision;
            for (drawn, (media, _)) in case.visuals().iter().zip(&prepared.media) {
                let (bytes, grid) = drawn.patch_bytes(
                    vision.patch_size,
                    vision.spatial_merge_size,
                    vision.temporal_patch_size,
                );
                let visual = match media {
                    PromptMedia::Image(image) => builder.processor.image_patches(image),
                    PromptMedia::Video(clip) => builder.processor.video_patches(clip),
                };
                assert_eq!(visual.grid, grid, "{what}");
                let want: Vec<f32> = bytes.iter().map(|&byte| (f32::from(byte) - 127.5) / 127.5).collect();
                assert!(visual.pixels == want, "{what}: pixel values differ");
            }
        }
    }
    Ok(())
}

#[test]
fn sizes_equal_the_reference() -> Result<()> {
    let rules: Value = serde_json::from_slice(&std::fs::read(parity_dir().join("golden/rules.json"))?)?;
    let file = |shortest: u64, longest: u64| {
        format!(
            r#"{{"size": {{"shortest_edge": {shortest}, "longest_edge": {longest}}}, "patch_size": 16,
            "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5]}}"#
        )
    };
    let config = ProcessorConfig::read(|name| match name {
        "preprocessor_config.json" => Some(file(65_536, 16_777_216).into_bytes()),
        "video_preprocessor_config.json" => Some(file(4096, 25_165_824).into_bytes()),
        _ => None,
    });
    let processor = Processor::new(config.map_err(anyhow::Error::msg)?);
    let rows = |key: &str| rules[key]["rows"].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().map(|n| n as u32);
    let size = |width: &Value, height: &Value| Some((number(width)?, number(height)?));
    assert!(rows("image_sizes").len() >= 8 && rows("video_sizes").len() >= 63);
    for row in rows("image_sizes") {
        let got = processor.image_size(number(&row[1]).unwrap(), number(&row[0]).unwrap()).ok();
        assert_eq!(got, size(&row[3], &row[2]), "{row}");
    }
    for row in rows("video_sizes") {
        let frames = row[0].as_u64().unwrap() as usize;
        let got = processor.video_size(
            frames,
            number(&row[2]).unwrap(),
            number(&row[1]).unwrap(),
            VideoBudget::Full,
        );
        assert_eq!(got.ok(), size(&row[4], &row[3]), "{row}");
    }
    Ok(())
}

#[test]
fn prompts_of_457_have_no_outer_wrapper() -> Result<()> {
    let directory = checkpoint_dir("demo");
    let (old, new) = (builder(&directory, PromptWrapper::V4_57)?, builder(&directory, PromptWrapper::V5)?);
    let request = ask(vec![text("see "), ContentPart::Video(clip(4, None)), text(" end")]);
    let ids =
        |builder: &PromptBuilder| -> Result<Vec<u32>> { Ok(builder.build(&request)?.prompt.ids().to_vec()) };
    let (old_ids, new_ids) = (ids(&old)?, ids(&new)?);
    let count = |ids: &[u32], token: u32| ids.iter().filter(|id| **id == token).count();
    let (start, end) = (old.config.vision_start_token_id, old.config.vision_end_token_id);
    assert_eq!((count(&new_ids, start), count(&new_ids, end)), (3, 3));
    assert_eq!((count(&old_ids, start), count(&old_ids, end)), (2, 2));
    // The timestamp is tokenised together with the text before it.
    let before = old.tokenizer.encode("user\nsee <0.2 seconds>").map_err(anyhow::Error::msg)?;
    assert!(old_ids.windows(before.len()).any(|window| window == before), "{old_ids:?}");
    Ok(())
}

#[tokio::test]
async fn answers_equal_the_reference_for_64_tokens() -> Result<()> {
    for name in CHECKPOINTS {
        let engine = opened(ModelSource::Dir(checkpoint_dir(name)), |_| ()).await;
        assert_eq!(engine.health(), Health::Ready, "{name}");
        for case in &Golden::read(name)?.cases {
            let what = format!("{name}/{}", case.name);
            let (ids, _, done) = collect(engine.submit(request_of(case))?).await?;
            assert_eq!(ids, case.numbers("greedy"), "{what}");
            assert_eq!(done.usage.prompt_tokens, case.numbers("input_ids").len(), "{what}");
            assert_eq!(done.usage.completion_tokens, 64, "{what}");
            assert_eq!(done.finish_reason, FinishReason::Length, "{what}");
        }
    }
    Ok(())
}
