//! The decoder: takes one token per sequence at a time, with cached keys and values of the tokens before it and of the window.
//! A prompt has at most four tokens, so there is no other pass for it.

use candle_core::{DType, Tensor};
use homereel_kernels::HeadLayout;

use super::{EPS, Result, fused};
use crate::EngineError;
use crate::qwen3vl::{Activation, LayerKv, LayerNorm, Linear, Past, TensorScope, attend, cpu};
use crate::speech::config::Config;

pub(super) struct Decoder {
    /// [vocab_size, d_model]
    embeddings: Tensor,
    /// [target_positions, d_model]
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
    heads: usize,
    /// Tokens of a window in the cross-attention.
    source_positions: usize,
}

struct Layer {
    layout: HeadLayout,
    norm: LayerNorm,
    qkv: Linear,
    out: Linear,
    cross_norm: LayerNorm,
    cross_query: Linear,
    /// Keys and values of a window.
    cross_kv: Linear,
    cross_out: Linear,
    mlp_norm: LayerNorm,
    up: Linear,
    down: Linear,
}

/// A sequence of tokens about one window.
pub struct Sequence {
    len: usize,
    /// One per layer.
    own: Vec<LayerKv>,
    /// Keys and values [heads, positions, head_dim] of the window, one pair per layer.
    cross: Vec<(Tensor, Tensor)>,
}

impl Sequence {
    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Decoder {
    /// `head` is the output head [vocab_size, d_model]; `None` means the embeddings.
    pub(super) fn load(
        scope: &TensorScope<'_>,
        config: &Config,
        head: Option<Tensor>,
    ) -> Result<Self, EngineError> {
        let width = config.d_model;
        let embeddings = scope.tensor("embed_tokens.weight", &[config.vocab_size, width])?;
        let layer = |index| Layer::load(&scope.at("layers").at(index), config);
        Ok(Self {
            head: Linear::without_bias(head.unwrap_or_else(|| embeddings.clone())),
            embeddings,
            positions: scope.tensor("embed_positions.weight", &[config.target_positions, width])?,
            layers: (0..config.decoder_layers).map(layer).collect::<Result<_, _>>()?,
            norm: scope.layer_norm("layer_norm", width, EPS)?,
            heads: config.decoder_heads,
            source_positions: config.source_positions,
        })
    }

    /// Computes keys and values of each window of `encoded` [windows * positions, d_model].
    pub(super) fn sequences(&self, encoded: &Tensor) -> Result<Vec<Sequence>> {
        let (tokens, heads) = (self.source_positions, self.heads);
        let (windows, head_dim) = (encoded.dim(0)? / tokens, encoded.dim(1)? / heads);
        let new = || Sequence {
            len: 0,
            own: self
                .layers
                .iter()
                .map(|_| LayerKv::new(heads, head_dim, encoded.device(), DType::F32))
                .collect(),
            cross: Vec::with_capacity(self.layers.len()),
        };
        let mut sequences: Vec<Sequence> = (0..windows).map(|_| new()).collect();
        for layer in &self.layers {
            let kv = layer.cross_kv.forward(encoded)?;
            for (index, sequence) in sequences.iter_mut().enumerate() {
                let own = kv.narrow(0, index * tokens, tokens)?.reshape((tokens, 2, heads, head_dim))?;
                let own = own.permute((1, 2, 0, 3))?.contiguous()?;
                sequence.cross.push((own.get(0)?, own.get(1)?));
            }
        }
        Ok(sequences)
    }

    /// Appends one token to each sequence. Returns the states [sequences, d_model] of these tokens.
    pub(super) fn forward(&self, tokens: &[u32], sequences: &mut [&mut Sequence]) -> Result<Tensor> {
        let device = self.embeddings.device();
        let places: Vec<u32> = sequences.iter().map(|sequence| sequence.len as u32).collect();
        let rows = |table: &Tensor, indices: &[u32]| {
            table.index_select(&Tensor::from_slice(indices, indices.len(), device)?, 0)
        };
        let mut x = (rows(&self.embeddings, tokens)? + rows(&self.positions, &places)?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, index, sequences)?;
        }
        sequences.iter_mut().for_each(|sequence| sequence.len += 1);
        Ok(x)
    }

    /// `x` [sequences, d_model] are states that [`Self::forward`] returned. Returns [sequences, vocab_size].
    pub(super) fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.norm.forward(x)?)
    }
}

impl Layer {
    fn load(scope: &TensorScope<'_>, config: &Config) -> Result<Self, EngineError> {
        let (width, ffn, heads) = (config.d_model, config.decoder_ffn, config.decoder_heads);
        let cross = scope.at("encoder_attn");
        Ok(Self {
            layout: HeadLayout { heads, kv_heads: heads, head_dim: width / heads },
            norm: scope.layer_norm("self_attn_layer_norm", width, EPS)?,
            qkv: fused(&scope.at("self_attn"), &["q_proj", "k_proj", "v_proj"], width)?,
            out: scope.linear("self_attn.out_proj", width, width, true)?,
            cross_norm: scope.layer_norm("encoder_attn_layer_norm", width, EPS)?,
            cross_query: cross.linear("q_proj", width, width, true)?,
            cross_kv: fused(&cross, &["k_proj", "v_proj"], width)?,
            cross_out: cross.linear("out_proj", width, width, true)?,
            mlp_norm: scope.layer_norm("final_layer_norm", width, EPS)?,
            up: scope.linear("fc1", width, ffn, true)?,
            down: scope.linear("fc2", ffn, width, true)?,
        })
    }

    /// `x` is [sequences, d_model]; `index` is the layer's own.
    fn forward(&self, x: &Tensor, index: usize, sequences: &mut [&mut Sequence]) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm.forward(x)?)?;
        let HeadLayout { heads, head_dim, .. } = self.layout;
        let width = heads * head_dim;
        let part = |row: usize, which: usize| {
            qkv.narrow(0, row, 1)?
                .narrow(1, which * width, width)?
                .reshape((heads, 1, head_dim))?
                .contiguous()
        };
        let own = sequences.iter_mut().enumerate().map(|(row, sequence)| {
            let len = sequence.len;
            Ok((1, sequence.own[index].append_to(len, &part(row, 1)?, &part(row, 2)?)?))
        });
        let own = own.collect::<Result<Vec<_>>>()?;
        let queries = qkv.narrow(1, 0, width)?.contiguous()?;
        let x = self.out.forward_and_add(&attention(&queries, &own, self.layout)?, x)?;

        let queries = self.cross_query.forward(&self.cross_norm.forward(&x)?)?;
        let cross = sequences.iter().map(|sequence| {
            let (keys, values) = sequence.cross[index].clone();
            let tokens = keys.dim(1)?;
            Ok((1, Past { keys, values, tokens }))
        });
        let cross = cross.collect::<Result<Vec<_>>>()?;
        let x = self.cross_out.forward_and_add(&attention(&queries, &cross, self.layout)?, &x)?;

        let up = self.up.forward_activated(&self.mlp_norm.forward(&x)?, Activation::Gelu)?;
        self.down.forward_and_add(&up, &x)
    }
}

/// Attention of one query per sequence, `queries` [sequences, width], to all its tokens. Returns [sequences, width].
fn attention(queries: &Tensor, pasts: &[(usize, Past)], layout: HeadLayout) -> Result<Tensor> {
    if cpu::suits(queries) {
        return cpu::attention(queries, pasts, layout);
    }
    let HeadLayout { heads, head_dim, .. } = layout;
    let rows = pasts.iter().enumerate().map(|(row, (_, past))| {
        let query = queries.narrow(0, row, 1)?.reshape((heads, 1, head_dim))?.contiguous()?;
        let seen = |all: &Tensor| all.narrow(1, 0, past.tokens)?.contiguous();
        attend(&query, &seen(&past.keys)?, &seen(&past.values)?)?.reshape((1, heads * head_dim))
    });
    Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn operations_of_other_devices_equal_the_kernel() {
        let layout = HeadLayout { heads: 3, kv_heads: 3, head_dim: 8 };
        let numbers = |shape: &[usize], seed: f32| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i| (i as f32 * 0.37 + seed).sin()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let run = |dtype| {
            let cast = |x: Tensor| x.to_dtype(dtype).unwrap();
            let past = |tokens: usize, seed| Past {
                keys: cast(numbers(&[3, 10, 8], seed)),
                values: cast(numbers(&[3, 10, 8], seed + 0.5)),
                tokens,
            };
            let queries = cast(numbers(&[2, 24], 0.1));
            let y = attention(&queries, &[(1, past(10, 1.0)), (1, past(4, 2.0))], layout).unwrap();
            y.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        for (got, want) in run(DType::F32).iter().zip(run(DType::F64)) {
            assert!((got - want).abs() < 1e-5, "{got}, not {want}");
        }
    }
}
