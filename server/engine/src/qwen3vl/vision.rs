//! The vision tower: encodes patch rows to features of the text model's width. Attention stays within one temporal
//! group, so a long clip is processed in batches of groups and memory stays bounded.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb;

use super::{
    Result,
    attention::attend,
    config::{Activation, VisionConfig},
    cpu, flash,
    input::{Features, PatchFn},
    layers::{LayerNorm, Linear, TensorScope},
    rope,
};
use crate::EngineError;

/// Epsilon of every norm, a constant in transformers' code.
const EPS: f32 = 1e-6;

/// Patch rows per batch (at least one temporal group).
fn rows_at_once(device: &Device) -> usize {
    // On a CPU, a short question waits for one block of a batch.
    if device.is_cpu() { 2048 } else { 16384 }
}

/// The vision tower of one checkpoint.
#[derive(Debug, Clone)]
pub(super) struct VisionModel {
    config: VisionConfig,
    patch_embed: Linear,
    /// Learned position embeddings in f32: [side * side, hidden].
    positions: Tensor,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack_mergers: Vec<Merger>,
    dtype: DType,
}

impl VisionModel {
    pub(super) fn load(source: &TensorScope<'_>, config: &VisionConfig) -> Result<Self, EngineError> {
        let hidden = config.hidden_size;
        let side = config.patch_size;
        let patch = source.at("patch_embed.proj");
        // The kernel's stride is its size, so the 3-D convolution is a product with flat patch rows.
        let weight = patch
            .tensor("weight", &[hidden, config.in_channels, config.temporal_patch_size, side, side])?
            .reshape((hidden, config.patch_len()))?;
        let positions = config.positions_per_side * config.positions_per_side;
        let blocks = |index| Block::load(&source.at("blocks").at(index), config);
        let mergers = source.at("deepstack_merger_list");
        Ok(Self {
            patch_embed: Linear::with_bias(weight, patch.tensor("bias", &[hidden])?),
            positions: source.tensor("pos_embed.weight", &[positions, hidden])?.to_dtype(DType::F32)?,
            blocks: (0..config.depth).map(blocks).collect::<Result<_, _>>()?,
            merger: Merger::load(&source.at("merger"), config, NormPlace::BeforeMerge)?,
            deepstack_mergers: (0..config.deepstack_visual_indexes.len())
                .map(|index| Merger::load(&mergers.at(index), config, NormPlace::AfterMerge))
                .collect::<Result<_, _>>()?,
            dtype: source.dtype,
            config: config.clone(),
        })
    }

    /// Starts to encode a picture or clip of `grid`.
    pub(super) fn start(&self, grid: [usize; 3], device: &Device) -> Result<Encoding, EngineError> {
        let [groups, rows, columns] = grid;
        let merge = self.config.spatial_merge_size;
        if groups == 0 || [rows, columns].iter().any(|&side| side == 0 || side % merge != 0) {
            return Err(EngineError::Failed(format!(
                "a visual of grid {grid:?} does not consist of patches merged {merge}x{merge}"
            )));
        }
        let order = rope::frame_order(rows, columns, self.config.spatial_merge_size);
        let positions = self.interpolate(&order, rows, columns)?;
        let head_dim = self.config.hidden_size / self.config.num_heads;
        let rotation = rope::vision_tables(&order, head_dim, self.config.rope_theta, device)?;
        let at_once = (rows_at_once(device) / order.len()).clamp(1, groups);
        Ok(Encoding {
            grid,
            positions,
            rotation,
            at_once,
            next_group: 0,
            batch: None,
            parts: Vec::new(),
            done: 0,
            total: groups.div_ceil(at_once) * self.blocks.len(),
        })
    }

    /// Runs the next block on the present batch of groups. Returns the features after the last block of the last batch.
    pub(super) fn advance(
        &self,
        encoding: &mut Encoding,
        patches: &mut PatchFn<'_>,
        device: &Device,
    ) -> Result<Option<Features>, EngineError> {
        let Batch { mut x, groups, block, mut deepstack } = match encoding.batch.take() {
            Some(batch) => batch,
            None => self.next_batch(encoding, patches, device)?,
        };
        x = self.blocks[block].forward(&x, groups, &encoding.rotation)?;
        if self.config.deepstack_visual_indexes.get(deepstack.len()) == Some(&block) {
            deepstack.push(self.deepstack_mergers[deepstack.len()].forward(&x)?);
        }
        encoding.done += 1;
        if block + 1 < self.blocks.len() {
            encoding.batch = Some(Batch { x, groups, block: block + 1, deepstack });
            return Ok(None);
        }
        encoding.parts.push(Features { merged: self.merger.forward(&x)?, deepstack });
        if encoding.done < encoding.total {
            return Ok(None);
        }
        let parts = std::mem::take(&mut encoding.parts);
        Ok(Some(Features::cat(&parts.iter().collect::<Vec<_>>())?))
    }

    fn next_batch(
        &self,
        encoding: &mut Encoding,
        patches_of: &mut PatchFn<'_>,
        device: &Device,
    ) -> Result<Batch, EngineError> {
        let [groups, rows, columns] = encoding.grid;
        let (patches, patch_len) = (rows * columns, self.config.patch_len());
        let first = encoding.next_group;
        let count = encoding.at_once.min(groups - first);
        encoding.next_group += count;
        let pixels = patches_of(first..first + count);
        if pixels.len() != count * patches * patch_len {
            return Err(EngineError::Failed(format!(
                "{} values are not {count} groups of {patches} patches of {patch_len} values",
                pixels.len()
            )));
        }
        let pixels = Tensor::from_vec(pixels, (count * patches, patch_len), device)?.to_dtype(self.dtype)?;
        let x = self.patch_embed.forward(&pixels)?;
        let hidden = self.config.hidden_size;
        let by_group = x.reshape((count, patches, hidden))?;
        let x = by_group.broadcast_add(&encoding.positions)?.reshape((count * patches, hidden))?;
        Ok(Batch { x, groups: count, block: 0, deepstack: Vec::new() })
    }

    /// Interpolates the learned position embeddings for one frame's patches, bilinear with aligned corners, in f32 as in
    /// transformers 5 (4.57 rounded the weights to the model's type).
    fn interpolate(&self, order: &[(usize, usize)], rows: usize, columns: usize) -> Result<Tensor> {
        let side = self.config.positions_per_side;
        let mut taps: [(Vec<u32>, Vec<f32>); 4] = Default::default();
        for &(row, column) in order {
            let (y, x) = (taps_of(row, rows, side), taps_of(column, columns, side));
            let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
            for ((indices, weights), (i, j)) in taps.iter_mut().zip(corners) {
                indices.push((y[i].0 * side + x[j].0) as u32);
                weights.push(y[i].1 * x[j].1);
            }
        }
        let device = self.positions.device();
        let mut sum: Option<Tensor> = None;
        for (indices, weights) in taps {
            let indices = Tensor::from_vec(indices, order.len(), device)?;
            let weights = Tensor::from_vec(weights, (order.len(), 1), device)?;
            let part = self.positions.index_select(&indices, 0)?.broadcast_mul(&weights)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
        match sum {
            Some(sum) => sum.to_dtype(self.dtype),
            None => Err(candle_core::Error::Msg("no interpolation taps".into())),
        }
    }
}

/// Returns the two learned positions next to patch `index` of `len`, with their weights.
fn taps_of(index: usize, len: usize, side: usize) -> [(usize, f32); 2] {
    let place = index as f32 * (side - 1) as f32 / (len - 1).max(1) as f32;
    let low = place.floor();
    let distance = place - low;
    let low = low as usize;
    // The weight is computed exactly as in the reference.
    [(low, 1.0 - distance), ((low + 1).min(side - 1), 1.0 - (1.0 - distance))]
}

/// A picture or clip that is being encoded, block by block.
#[derive(Debug)]
pub struct Encoding {
    grid: [usize; 3],
    positions: Tensor,
    rotation: (Tensor, Tensor),
    /// Temporal groups per batch.
    at_once: usize,
    next_group: usize,
    batch: Option<Batch>,
    /// Features of the finished batches.
    parts: Vec<Features>,
    done: usize,
    total: usize,
}

impl Encoding {
    /// Returns how many blocks are done, and how many there are.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.total)
    }
}

/// A batch of temporal groups before its next block.
#[derive(Debug)]
struct Batch {
    x: Tensor,
    groups: usize,
    /// Index of the next block.
    block: usize,
    deepstack: Vec<Tensor>,
}

#[derive(Debug, Clone)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    heads: usize,
}

impl Block {
    fn load(source: &TensorScope<'_>, config: &VisionConfig) -> Result<Self, EngineError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            norm1: source.layer_norm("norm1", hidden, EPS)?,
            qkv: source.linear("attn.qkv", hidden, 3 * hidden, true)?,
            proj: source.linear("attn.proj", hidden, hidden, true)?,
            norm2: source.layer_norm("norm2", hidden, EPS)?,
            fc1: source.linear("mlp.linear_fc1", hidden, inner, true)?,
            fc2: source.linear("mlp.linear_fc2", inner, hidden, true)?,
            activation: config.hidden_act,
            heads: config.num_heads,
        })
    }

    /// `x` is [groups * patches, hidden]; `rotation` [patches, head_dim / 2].
    fn forward(&self, x: &Tensor, groups: usize, rotation: &(Tensor, Tensor)) -> Result<Tensor> {
        let attended = self.attention(&self.norm1.forward(x)?, groups, rotation)?;
        let x = self.proj.forward_and_add(&attended, x)?;
        let inner = self.fc1.forward_activated(&self.norm2.forward(&x)?, self.activation)?;
        self.fc2.forward_and_add(&inner, &x)
    }

    fn attention(&self, x: &Tensor, groups: usize, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        let (patches, head_dim) = (rows / groups, hidden / self.heads);
        let qkv = self.qkv.forward(x)?;
        if cpu::suits(&qkv) {
            return cpu::vision_attention(&qkv, groups, self.heads, (cos, sin));
        }
        let qkv = qkv
            .reshape(&[groups, patches, 3, self.heads, head_dim])?
            .permute([2, 0, 3, 1, 4])?
            .contiguous()?;
        let batch = (groups * self.heads, patches, head_dim);
        // Rotated in f32 for every type, as in the reference.
        let rotate = |x: Tensor| {
            rotary_emb::rope(&x.to_dtype(DType::F32)?, cos, sin)?.to_dtype(x.dtype())?.reshape(batch)
        };
        if flash::suits(x.device(), x.dtype()) {
            let by_row = |x: Tensor| x.reshape((groups, self.heads, patches, head_dim))?.transpose(1, 2);
            let (q, k) = (by_row(rotate(qkv.get(0)?)?)?, by_row(rotate(qkv.get(1)?)?)?);
            return flash::full(&q, &k, &by_row(qkv.get(2)?)?)?.reshape((rows, hidden));
        }
        let attended = attend(&rotate(qkv.get(0)?)?, &rotate(qkv.get(1)?)?, &qkv.get(2)?.reshape(batch)?)?;
        attended.reshape((groups, self.heads, patches, head_dim))?.transpose(1, 2)?.reshape((rows, hidden))
    }
}

/// Where a merger normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NormPlace {
    /// Each patch separately (the final merger).
    BeforeMerge,
    /// The merged row (DeepStack's mergers).
    AfterMerge,
}

#[derive(Debug, Clone)]
struct Merger {
    norm: LayerNorm,
    place: NormPlace,
    fc1: Linear,
    fc2: Linear,
    unit: usize,
}

impl Merger {
    fn load(source: &TensorScope<'_>, config: &VisionConfig, place: NormPlace) -> Result<Self, EngineError> {
        let merged = config.hidden_size * config.merge_unit();
        let width = match place {
            NormPlace::BeforeMerge => config.hidden_size,
            NormPlace::AfterMerge => merged,
        };
        Ok(Self {
            norm: source.layer_norm("norm", width, EPS)?,
            place,
            fc1: source.linear("linear_fc1", merged, merged, true)?,
            fc2: source.linear("linear_fc2", merged, config.out_hidden_size, true)?,
            unit: config.merge_unit(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        let merged = (rows / self.unit, hidden * self.unit);
        let x = match self.place {
            NormPlace::BeforeMerge => self.norm.forward(x)?.reshape(merged)?,
            NormPlace::AfterMerge => self.norm.forward(&x.reshape(merged)?)?,
        };
        // The mergers use exact GELU; only the blocks use the approximation.
        self.fc2.forward(&self.fc1.forward(&x)?.gelu_erf()?)
    }
}
