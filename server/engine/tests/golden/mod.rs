//! Reads the golden files that `scripts/model/reference.py` wrote, and draws their frames again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Everything known of one checkpoint.
pub(crate) struct Golden {
    pub(crate) cases: Vec<Case>,
}

/// One conversation and what the reference makes of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) record: Value,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

/// One picture or clip of a case.
pub(crate) struct Drawn {
    pub(crate) is_video: bool,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// RGB8, row by row.
    pub(crate) frames: Vec<Vec<u8>>,
}

/// Returns the directory of checkpoints and golden files: `HOMEREEL_TEST_PARITY`, where the tests run on a machine
/// without this source tree.
pub(crate) fn parity_dir() -> PathBuf {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
    std::env::var_os("HOMEREEL_TEST_PARITY").map_or_else(here, PathBuf::from)
}

/// Returns the directory of the checkpoint `name`.
pub(crate) fn checkpoint_dir(name: &str) -> PathBuf {
    match name {
        "demo" if std::env::var_os("HOMEREEL_TEST_PARITY").is_none() => {
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../demo-model")
        }
        _ => parity_dir().join("checkpoints").join(name),
    }
}

impl Golden {
    pub(crate) fn read(name: &str) -> Result<Self> {
        Self::read_from(&parity_dir(), name)
    }

    /// Reads the golden files of the checkpoint `name` below `dir`.
    pub(crate) fn read_from(dir: &Path, name: &str) -> Result<Self> {
        let golden = dir.join("golden");
        let json = std::fs::read(golden.join(format!("{name}.json"))).context(name.to_owned())?;
        let mut json: Value = serde_json::from_slice(&json)?;
        let bytes = std::fs::read(golden.join(format!("{name}.safetensors")))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let cases = json["cases"].as_array_mut().context("no cases")?.drain(..);
        let case = |record: Value| {
            let name = record["name"].as_str().context("no name")?.to_owned();
            let mut tensors = HashMap::new();
            for (key, view) in file.iter() {
                if let Some(key) = key.strip_prefix(&format!("{name}/")) {
                    tensors
                        .insert(key.to_owned(), (view.shape().to_vec(), floats(view.dtype(), view.data())));
                }
            }
            Ok(Case { name, record, tensors })
        };
        Ok(Self { cases: cases.map(case).collect::<Result<_>>()? })
    }
}

fn floats(dtype: Dtype, data: &[u8]) -> Vec<f32> {
    let words = || data.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
    match dtype {
        Dtype::U8 => data.iter().map(|&byte| f32::from(byte)).collect(),
        Dtype::I32 => words().map(|word| i32::from_le_bytes(word) as f32).collect(),
        Dtype::F32 => words().map(f32::from_le_bytes).collect(),
        other => panic!("golden files hold no {other:?}"),
    }
}

impl Case {
    /// Returns shape and values of the tensor `key`.
    pub(crate) fn tensor(&self, key: &str) -> (&[usize], &[f32]) {
        let (shape, values) =
            self.tensors.get(key).unwrap_or_else(|| panic!("{}: no tensor {key}", self.name));
        (shape, values)
    }

    pub(crate) fn numbers(&self, key: &str) -> Vec<u32> {
        self.record[key].as_array().expect(key).iter().map(|n| n.as_u64().expect(key) as u32).collect()
    }

    /// Returns the grids (groups, rows, columns) of the images or of the videos.
    pub(crate) fn grids(&self, kind: &str) -> Vec<[usize; 3]> {
        let rows = self.record["grids"][kind].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| [0, 1, 2].map(|axis| row[axis].as_u64().expect("grid") as usize)).collect()
    }

    /// Draws the pictures and clips, in the order of the messages.
    pub(crate) fn visuals(&self) -> Vec<Drawn> {
        let messages = self.record["messages"].as_array().expect("messages");
        let parts = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
        parts.filter(|part| part["type"] != "text").map(draw_part).collect()
    }
}

fn draw_part(part: &Value) -> Drawn {
    let number = |key: &str| part[key].as_u64().expect(key);
    let indices = match part["indices"].as_array() {
        Some(indices) => indices.iter().map(|index| index.as_u64().expect("index")).collect(),
        None => vec![0],
    };
    let (width, height) = (number("width"), number("height"));
    Drawn {
        is_video: part["type"] == "video",
        width: width as usize,
        height: height as usize,
        frames: indices.into_iter().map(|t| draw(number("seed"), t, width, height)).collect(),
    }
}

/// `frame()` of `scripts/model/reference.py`, kind `pattern`.
fn draw(seed: u64, t: u64, width: u64, height: u64) -> Vec<u8> {
    let mut rgb = Vec::with_capacity((3 * width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let ramp = (x + 3 * t) * (5 + seed % 7) + y * (3 + 2 * c);
                let v = ramp + ((x * y + t * t) >> 4) * (1 + c) + 31 * seed + 64 * c;
                rgb.push((v % 256) as u8);
            }
        }
    }
    rgb
}

impl Drawn {
    /// Cuts the frames into patch rows, as bytes: written anew here, so that the engine's own processor has
    /// something to be compared with.
    pub(crate) fn patch_bytes(&self, patch: usize, merge: usize, per_group: usize) -> (Vec<u8>, [usize; 3]) {
        let grid = [self.frames.len().div_ceil(per_group), self.height / patch, self.width / patch];
        let frames = if self.is_video { self.frames.len() } else { 1 };
        let mut bytes = Vec::new();
        for group in 0..grid[0] {
            for token in 0..grid[1] * grid[2] {
                let (inside, block) = (token % (merge * merge), token / (merge * merge));
                let blocks_per_row = grid[2] / merge;
                let row = block / blocks_per_row * merge + inside / merge;
                let column = block % blocks_per_row * merge + inside % merge;
                for channel in 0..3 {
                    for frame in 0..per_group {
                        // A picture fills the group; a clip's last frame fills its last group.
                        let frame = &self.frames[(group * per_group + frame).min(frames - 1)];
                        for y in row * patch..(row + 1) * patch {
                            for x in column * patch..(column + 1) * patch {
                                bytes.push(frame[3 * (y * self.width + x) + channel]);
                            }
                        }
                    }
                }
            }
        }
        (bytes, grid)
    }
}
