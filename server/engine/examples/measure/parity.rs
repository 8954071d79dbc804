//! Records the outputs of Homereel's network for the cases of a golden file (positions, logits, greedy tokens).
//! `scripts/gpu-check/transformers_side.py` compares them with those of transformers.

#[expect(dead_code, reason = "written for the parity tests, which read more of it")]
#[path = "../../tests/golden/mod.rs"]
mod golden;

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{DType, Device};
use golden::{Case, Golden};
use homereel_engine::qwen3vl::{Checkpoint, Features, Model, Prompt, Visual};
use serde::Serialize;

/// What the network makes of one checkpoint.
#[derive(Serialize)]
pub(crate) struct Record {
    name: String,
    dtype: String,
    cases: Vec<CaseRecord>,
}

/// What it makes of one case.
#[derive(Serialize)]
struct CaseRecord {
    name: String,
    /// Whether the prompt's positions are those of the golden file.
    positions_equal: bool,
    /// Logits behind the prompt, [vocabulary].
    logits: Vec<f32>,
    /// Greedy tokens.
    greedy: Vec<u32>,
}

/// Runs every case of the checkpoint `name` below `dir`.
pub(crate) fn record(device: &Device, dtype: DType, dir: &Path, name: &str) -> anyhow::Result<Record> {
    let checkpoint = Checkpoint::from_dir(name, &dir.join("checkpoints").join(name))?;
    let model = Model::load(&checkpoint, device, dtype)?;
    let golden = Golden::read_from(dir, name)?;
    let cases = golden.cases.iter().map(|case| outcome(&model, case)).collect::<anyhow::Result<_>>()?;
    Ok(Record { name: name.into(), dtype: dtype.as_str().into(), cases })
}

fn outcome(model: &Model, case: &Case) -> anyhow::Result<CaseRecord> {
    let mut go_on = |_, _| ControlFlow::Continue(());
    let vision = &model.config().vision;
    let mut features = Vec::new();
    for drawn in case.visuals() {
        let (bytes, grid) =
            drawn.patch_bytes(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size);
        let pixels = bytes.iter().map(|&byte| (f32::from(byte) - 127.5) / 127.5).collect();
        features.push(model.encode(&Visual { pixels, grid }, &mut go_on)?);
    }
    let features =
        (!features.is_empty()).then(|| Features::cat(&features.iter().collect::<Vec<_>>())).transpose()?;
    let prompt =
        Prompt::new(model.config(), case.numbers("input_ids"), &case.grids("image"), &case.grids("video"))?;
    let positions = prompt.positions().axes().concat().iter().map(|&p| p as f32).collect::<Vec<_>>();

    let mut kv = model.new_kv();
    let mut next = model.prefill(&prompt, features.as_ref(), &mut kv, &mut go_on)?;
    let logits = next.to_vec1()?;
    let count = case.numbers("greedy").len();
    let mut greedy = Vec::with_capacity(count);
    while greedy.len() < count {
        let token = next.argmax(0)?.to_scalar()?;
        greedy.push(token);
        if greedy.len() < count {
            next = model.step(token, &mut kv)?;
        }
    }
    let positions_equal =
        positions == case.tensor("positions").1 && case.record["rope_delta"] == prompt.positions().delta();
    Ok(CaseRecord { name: case.name.clone(), positions_equal, logits, greedy })
}
