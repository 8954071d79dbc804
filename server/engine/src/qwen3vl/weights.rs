//! The tensors of a checkpoint, by name: one safetensors file, shards with an index, bytes inside the binary, or
//! random values. Files are memory-mapped, so that only the tensors that are loaded are read.

use std::{collections::HashMap, fs::File, path::Path};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::drawn;
use crate::EngineError;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Bytes of a tensor that [`Weights::digest`] reads: training changes nearly all values of a tensor.
const DIGESTED: usize = 1024;

/// The tensors of a checkpoint, by name.
#[derive(Debug)]
pub struct Weights {
    model: String,
    shards: Vec<Shard>,
    /// Which shard holds a tensor.
    index: HashMap<String, usize>,
    /// Whether tensors are drawn at random instead of read.
    drawn: bool,
}

#[derive(Debug)]
struct Shard {
    bytes: Bytes,
    /// Where the tensors start, behind the header.
    start: usize,
    metadata: Metadata,
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.as_slice().len())
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

impl Weights {
    /// Maps the weights of the checkpoint in `directory`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] where a file is missing or damaged.
    pub fn from_dir(model: &str, directory: &Path) -> Result<Self, EngineError> {
        let fail = |message| EngineError::Model { model: model.into(), message };
        let index = directory.join(INDEX);
        let files = if index.is_file() {
            let text =
                std::fs::read(&index).map_err(|error| fail(format!("{INDEX} can't be read: {error}")))?;
            shard_names(&text).map_err(|message| fail(format!("{INDEX}: {message}")))?
        } else if directory.join(SINGLE).is_file() {
            vec![SINGLE.to_owned()]
        } else {
            return Err(fail(format!("there are no weights; {SINGLE} or {INDEX} and its shards would fit")));
        };
        let mut weights = Self { shards: Vec::with_capacity(files.len()), ..Self::empty(model) };
        for file in files {
            let bytes = map(&directory.join(&file))
                .map_err(|error| fail(format!("shard {file} can't be read: {error}")))?;
            weights.add(&file, Bytes::Mapped(bytes))?;
        }
        Ok(weights)
    }

    /// Reads one safetensors file that is embedded in the program.
    ///
    /// # Errors
    /// [`EngineError::Model`] where the header is damaged.
    pub fn from_static(model: &str, bytes: &'static [u8]) -> Result<Self, EngineError> {
        let mut weights = Self::empty(model);
        weights.add(SINGLE, Bytes::Static(bytes))?;
        Ok(weights)
    }

    /// Returns random weights: every tensor exists, in whatever shape is asked for.
    #[must_use]
    pub fn drawn(model: &str) -> Self {
        Self { drawn: true, ..Self::empty(model) }
    }

    fn empty(model: &str) -> Self {
        Self { model: model.into(), shards: Vec::new(), index: HashMap::new(), drawn: false }
    }

    fn add(&mut self, file: &str, bytes: Bytes) -> Result<(), EngineError> {
        let slice = bytes.as_slice();
        let (header, metadata) = SafeTensors::read_metadata(slice)
            .map_err(|error| self.error(format!("{file} is no safetensors file: {error}")))?;
        // The header follows eight bytes that hold its length.
        let start = header + 8;
        for name in metadata.tensors().into_keys() {
            self.index.insert(name, self.shards.len());
        }
        self.shards.push(Shard { bytes, start, metadata });
        Ok(())
    }

    /// Returns whether there is a tensor `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.drawn || self.index.contains_key(name)
    }

    /// Returns the shape of the tensor `name`, if there is one.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let shard = &self.shards[*self.index.get(name)?];
        shard.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Returns the number of values in all tensors, for estimates of memory.
    #[must_use]
    pub fn elements(&self) -> usize {
        let tensors = |shard: &Shard| -> usize {
            shard.metadata.tensors().values().map(|info| info.shape.iter().product::<usize>()).sum()
        };
        self.shards.iter().map(tensors).sum()
    }

    /// Returns a digest that other weights would not have: of names, types, shapes and the first values of all tensors.
    #[must_use]
    pub(crate) fn digest(&self) -> Sha256 {
        let mut names: Vec<&String> = self.index.keys().collect();
        names.sort_unstable();
        let mut digest = Sha256::new();
        for name in names {
            let shard = &self.shards[self.index[name]];
            let Some(info) = shard.metadata.info(name) else { continue };
            let (begin, end) = info.data_offsets;
            let data = shard.bytes.as_slice().get(shard.start + begin..shard.start + end).unwrap_or_default();
            digest.update(format!("{name} {:?} {:?}\n", info.dtype, info.shape));
            digest.update(&data[..data.len().min(DIGESTED)]);
        }
        digest
    }

    /// Copies the tensor `name` to `device`, converted to `dtype`.
    ///
    /// # Errors
    /// [`EngineError::Model`] where it is missing, has another shape, or has a type that cannot be converted.
    pub fn load(
        &self,
        name: &str,
        shape: &[usize],
        device: &Device,
        dtype: DType,
    ) -> Result<Tensor, EngineError> {
        if self.drawn {
            return Ok(drawn::draw(name, shape, device, dtype)?);
        }
        let missing = || self.error(format!("tensor {name} is missing; shape {shape:?} would fit"));
        let shard = &self.shards[*self.index.get(name).ok_or_else(missing)?];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            return Err(self.error(format!("tensor {name} has shape {:?}; {shape:?} would fit", info.shape)));
        }
        let stored = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(
                    self.error(format!("tensor {name} is of type {other:?}; F32, F16 or BF16 would fit"))
                );
            }
        };
        let (begin, end) = info.data_offsets;
        let data = shard
            .bytes
            .as_slice()
            .get(shard.start + begin..shard.start + end)
            .ok_or_else(|| self.error(format!("tensor {name} reaches past the end of its file")))?;
        // Converted on the host, so that only the target type is transferred.
        let tensor = Tensor::from_raw_buffer(data, stored, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// Returns an error of this model.
    pub(crate) fn error(&self, message: String) -> EngineError {
        EngineError::Model { model: self.model.clone(), message }
    }
}

/// Returns the distinct file names of an index, sorted. Names outside the directory are rejected.
fn shard_names(json: &[u8]) -> Result<Vec<String>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| format!("not valid JSON: {error}"))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or("weight_map is missing; an object from tensor to file would fit")?;
    let mut files = Vec::new();
    for file in map.values() {
        let file = file.as_str().ok_or_else(|| format!("weight_map names {file}, which is no file name"))?;
        if file.contains(['/', '\\']) || !file.ends_with(".safetensors") {
            return Err(format!("weight_map names {file:?}; a .safetensors file beside the index would fit"));
        }
        files.push(file.to_owned());
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

#[expect(unsafe_code, reason = "mapping a file is unsafe; this is the one place that does")]
fn map(path: &Path) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is read-only and private to this process. A checkpoint that someone truncates or
    // rewrites while it loads can fault or yield other numbers; its directory belongs to whoever runs
    // the server, and nothing in this program writes to model files once they have their final name.
    unsafe { Mmap::map(&file) }
}
