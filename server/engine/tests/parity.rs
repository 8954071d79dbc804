//! Parity with transformers: features and logits within 1e-3, and 64 equal greedy tokens, for every random checkpoint and the
//! demo model, one by one and in a batch. `scripts/model/reference.py` writes the golden files. `HOMEREEL_TEST_DEVICE=cuda`
//! selects the first CUDA device.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod golden;

use std::ops::ControlFlow;

use anyhow::Result;
use candle_core::DType;
use golden::{Case, Drawn, Golden, checkpoint_dir};
use homereel_engine::qwen3vl::{Checkpoint, Features, Kv, Model, Prompt, TokenSpan, Visual};
use homereel_engine::{DeviceKind, open_device};
use sha2::{Digest, Sha256};

#[test]
fn tied_head() -> Result<()> {
    check("tied")
}

#[test]
fn untied_head() -> Result<()> {
    check("untied")
}

#[test]
fn heads_wider_than_hidden() -> Result<()> {
    check("wide-heads")
}

#[test]
fn vision_head_of_72() -> Result<()> {
    check("vision72")
}

#[test]
fn mixture_of_experts() -> Result<()> {
    check("moe")
}

#[test]
fn sharded_files_of_transformers_457() -> Result<()> {
    check("v457")
}

#[test]
fn epsilons_and_rotary_sections() -> Result<()> {
    check("sensitive")
}

#[test]
fn demo_model() -> Result<()> {
    check("demo")
}

/// In f32 a CPU has kernels of its own. In f16 it runs candle's operations, as other devices do.
#[test]
fn operations_of_other_devices() -> Result<()> {
    for name in ["tied", "vision72", "wide-heads", "sensitive", "demo"] {
        let checkpoint = Checkpoint::from_dir(name, &checkpoint_dir(name))?;
        let model = Model::load(&checkpoint, &open_device(DeviceKind::Cpu)?, DType::F16)?;
        for case in &Golden::read(name)?.cases {
            let what = format!("{name}/{}, f16", case.name);
            let features =
                case.visuals().iter().map(|drawn| encode(&model, drawn)).collect::<Result<Vec<_>>>()?;
            let all = (!features.is_empty())
                .then(|| Features::cat(&features.iter().collect::<Vec<_>>()))
                .transpose()?;
            let (prompt, mut kv) = (prompt_of(&model, case)?, model.new_kv());
            let logits = prefill(&model, &prompt, all.as_ref(), &mut kv)?;
            assert_within(3e-2, &format!("{what}: logits"), &logits, case.tensor("logits").1);
            // The last token again: alone, and in a batch with another sequence.
            let last = *prompt.ids().last().unwrap();
            kv.truncate(prompt.ids().len() - 1);
            let mut other = kv.fork(kv.len())?;
            let alone = model.step(last, &mut kv)?.to_vec1::<f32>()?;
            assert_within(1e-2, &format!("{what}: last token"), &alone, &logits);
            kv.truncate(prompt.ids().len() - 1);
            let spans = [TokenSpan::Token(last), TokenSpan::Token(last)];
            let both = model.run(&spans, &mut [&mut kv, &mut other])?;
            assert_eq!(both.iter().flatten().count(), 2, "{what}");
            for logits in both.into_iter().flatten() {
                assert_within(1e-2, &format!("{what}: in a batch"), &logits.to_vec1::<f32>()?, &alone);
            }
        }
    }
    Ok(())
}

fn load(name: &str) -> Result<Model> {
    let checkpoint = Checkpoint::from_dir(name, &checkpoint_dir(name))?;
    let device = match std::env::var("HOMEREEL_TEST_DEVICE").as_deref() {
        Ok("cuda") => DeviceKind::Cuda,
        _ => DeviceKind::Cpu,
    };
    Ok(Model::load(&checkpoint, &open_device(device)?, DType::F32)?)
}

fn check(name: &str) -> Result<()> {
    let model = load(name)?;
    let golden = Golden::read(name)?;
    assert!(golden.cases.len() >= 6, "{name}: {} cases", golden.cases.len());
    let mut prepared = Vec::new();
    for case in &golden.cases {
        let what = format!("{name}/{}", case.name);
        let visuals = case.visuals();
        let features = visuals.iter().map(|drawn| encode(&model, drawn)).collect::<Result<Vec<_>>>()?;
        for kind in ["image", "video"] {
            check_features(&what, case, kind, &visuals, &features, &model)?;
        }
        let prompt = prompt_of(&model, case)?;
        check_positions(&what, case, &prompt);
        let all = (!features.is_empty())
            .then(|| Features::cat(&features.iter().collect::<Vec<_>>()))
            .transpose()?;
        check_answer(&what, case, &model, &prompt, all.as_ref())?;
        prepared.push((prompt, all));
    }
    for chunk in [1, 13, 512] {
        check_batch(&format!("{name}, chunks of {chunk}"), &golden.cases, &model, &prepared, chunk)?;
    }
    Ok(())
}

/// All cases in one batch: each pass has a chunk of a prompt, or a token, of every case. The cases start one pass after the
/// other, so that prompts and answers share passes.
fn check_batch(
    what: &str,
    cases: &[Case],
    model: &Model,
    prepared: &[(Prompt, Option<Features>)],
    chunk: usize,
) -> Result<()> {
    let mut kvs: Vec<Kv> = prepared.iter().map(|_| model.new_kv()).collect();
    let mut answers: Vec<Vec<u32>> = vec![Vec::new(); cases.len()];
    let wanted: Vec<Vec<u32>> = cases.iter().map(|case| case.numbers("greedy")).collect();
    for pass in 1.. {
        let (mut indices, mut spans, mut caches) = (Vec::new(), Vec::new(), Vec::new());
        for (index, kv) in kvs.iter_mut().enumerate().take(pass) {
            let (prompt, features) = &prepared[index];
            let span = match answers[index].last() {
                Some(_) if answers[index].len() == wanted[index].len() => continue,
                Some(&token) => TokenSpan::Token(token),
                None => {
                    let end = prompt.ids().len().min(kv.len() + chunk);
                    TokenSpan::Prompt { prompt, features: features.as_ref(), end }
                }
            };
            indices.push(index);
            spans.push(span);
            caches.push(kv);
        }
        if indices.is_empty() {
            break;
        }
        for (index, logits) in indices.into_iter().zip(model.run(&spans, &mut caches)?) {
            answers[index].extend(logits.map(|logits| best(&logits.to_vec1().unwrap())));
        }
    }
    for ((case, answer), want) in cases.iter().zip(answers).zip(wanted) {
        assert_eq!(answer, want, "{what}: {}", case.name);
    }
    Ok(())
}

fn visual_of(model: &Model, drawn: &Drawn) -> Visual {
    let vision = &model.config().vision;
    let (bytes, grid) =
        drawn.patch_bytes(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size);
    Visual { pixels: bytes.iter().map(|&byte| (f32::from(byte) - 127.5) / 127.5).collect(), grid }
}

fn encode(model: &Model, drawn: &Drawn) -> Result<Features> {
    Ok(model.encode(&visual_of(model, drawn), &mut |_, _| ControlFlow::Continue(()))?)
}

fn prompt_of(model: &Model, case: &Case) -> Result<Prompt> {
    let ids = case.numbers("input_ids");
    Ok(Prompt::new(model.config(), ids, &case.grids("image"), &case.grids("video"))?)
}

fn check_features(
    what: &str,
    case: &Case,
    kind: &str,
    visuals: &[Drawn],
    features: &[Features],
    model: &Model,
) -> Result<()> {
    let of_kind = |drawn: &Drawn| drawn.is_video == (kind == "video");
    let vision = &model.config().vision;
    let mut hash = Sha256::new();
    let mut grids = Vec::new();
    for drawn in visuals.iter().filter(|drawn| of_kind(drawn)) {
        let (bytes, grid) =
            drawn.patch_bytes(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size);
        hash.update(&bytes);
        grids.push(grid);
    }
    assert_eq!(grids, case.grids(kind), "{what}: {kind} grids");
    if grids.is_empty() {
        return Ok(());
    }
    let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(case.record["pixel_sha256"][kind], hash.as_str(), "{what}: {kind} pixels");

    let pairs = visuals.iter().zip(features).filter(|(drawn, _)| of_kind(drawn));
    let joined = Features::cat(&pairs.map(|(_, features)| features).collect::<Vec<_>>())?;
    let close = |key: String, tensor: &candle_core::Tensor| -> Result<()> {
        let (shape, want) = case.tensor(&key);
        let rows = tensor.to_vec2::<f32>()?;
        let last = (rows.len() - 1) as f64;
        let sampled = (0..shape[0]).flat_map(|index| {
            let row = match shape[0] {
                1 => 0.0,
                rows => (index as f64 * last / (rows - 1) as f64).round_ties_even(),
            };
            rows[row as usize].clone()
        });
        assert_close(&format!("{what}: {key}"), &sampled.collect::<Vec<_>>(), want);
        Ok(())
    };
    close(format!("{kind}.merged"), &joined.merged)?;
    for (layer, tensor) in joined.deepstack.iter().enumerate() {
        close(format!("{kind}.deepstack.{layer}"), tensor)?;
    }
    Ok(())
}

fn check_positions(what: &str, case: &Case, prompt: &Prompt) {
    let (_, want) = case.tensor("positions");
    let got = prompt.positions().axes().concat().iter().map(|&p| p as f32).collect::<Vec<_>>();
    assert_eq!(got, want, "{what}: positions");
    assert_eq!(case.record["rope_delta"], prompt.positions().delta(), "{what}: rope delta");
}

fn check_answer(
    what: &str,
    case: &Case,
    model: &Model,
    prompt: &Prompt,
    features: Option<&Features>,
) -> Result<()> {
    let mut kv = model.new_kv();
    let logits = prefill(model, prompt, features, &mut kv)?;
    assert_close(&format!("{what}: logits"), &logits, case.tensor("logits").1);
    let want = case.numbers("greedy");
    assert_eq!(greedy(model, logits.clone(), &mut kv, want.len())?, want, "{what}: greedy tokens");

    // A prefix that was kept gives the same logits as a fresh start, wherever it was cut.
    for keep in [1, prompt.ids().len() / 2, prompt.ids().len() - 1] {
        kv.truncate(keep);
        let again = prefill(model, prompt, features, &mut kv)?;
        assert_close(&format!("{what}: logits behind {keep} kept tokens"), &again, &logits);
    }
    Ok(())
}

fn prefill(model: &Model, prompt: &Prompt, features: Option<&Features>, kv: &mut Kv) -> Result<Vec<f32>> {
    let logits = model.prefill(prompt, features, kv, &mut |_, _| ControlFlow::Continue(()))?;
    Ok(logits.to_vec1()?)
}

fn greedy(model: &Model, mut logits: Vec<f32>, kv: &mut Kv, tokens: usize) -> Result<Vec<u32>> {
    let mut answer = Vec::with_capacity(tokens);
    loop {
        let token = best(&logits);
        answer.push(token);
        if answer.len() == tokens {
            return Ok(answer);
        }
        logits = model.step(token, kv)?.to_vec1()?;
    }
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

/// Largest difference at most 1e-3 of the largest value.
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_within(1e-3, what, got, want);
}

/// Largest difference at most `tolerance` of the largest value.
fn assert_within(tolerance: f32, what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(0f32, |most, value| most.max(value.abs()));
    assert!(scale > 0.1, "{what}: the golden values are all near zero");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance * scale,
            "{what}: value {index} is {got}, not {want} (scale {scale})"
        );
    }
}
