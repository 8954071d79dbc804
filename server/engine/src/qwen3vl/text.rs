//! The text model (decoder): Qwen3 with query and key norms per head, grouped-query attention, SwiGLU or experts, and
//! DeepStack features added after its first layers.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb;
use homereel_kernels::HeadLayout;

use super::{
    Result,
    attention::{score_budget, softmax},
    config::{Activation, TextConfig},
    cpu, flash,
    kv::{Kv, LayerKv},
    layers::{Linear, RmsNorm, TensorScope},
    moe::Moe,
};
use crate::EngineError;

/// Features that are added to the hidden states of visual tokens after the first layers.
#[derive(Debug, Clone)]
pub(super) struct DeepStack {
    /// Visual rows of the chunk: u32 [rows].
    pub(super) rows: Tensor,
    /// Features per layer: [rows, hidden].
    pub(super) features: Vec<Tensor>,
}

/// The decoder's layers and final norm.
#[derive(Debug, Clone)]
pub(super) struct TextModel {
    layers: Vec<Layer>,
    norm: RmsNorm,
}

impl TextModel {
    pub(super) fn load(source: &TensorScope<'_>, config: &TextConfig) -> Result<Self, EngineError> {
        let layer = |index| Layer::load(&source.at("layers").at(index), config, index);
        Ok(Self {
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            norm: source.rms_norm("norm", config.hidden_size, config.rms_norm_eps)?,
        })
    }

    /// Returns the number of layers.
    pub(super) fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Runs layer `index` on `x` [rows, hidden], whose rows belong to the sequences in `spans`, and appends to the layer's
    /// cache of each. Rotary tables are [rows, head_dim / 2].
    pub(super) fn layer(
        &self,
        index: usize,
        x: &Tensor,
        rotation: (&Tensor, &Tensor),
        deepstack: Option<&DeepStack>,
        spans: &[RowSpan],
        kvs: &mut [&mut Kv],
    ) -> Result<Tensor> {
        let layer = &self.layers[index];
        let x = layer.feed_forward(&layer.attend(index, x, rotation, spans, kvs)?, x)?;
        match deepstack.and_then(|deepstack| Some((&deepstack.rows, deepstack.features.get(index)?))) {
            Some((rows, features)) => x.index_add(rows, features, 0),
            None => Ok(x),
        }
    }

    /// Runs the last layer as [`Self::layer`] does, and the final norm, but only for `rows`, since no later layer needs the
    /// others: [rows, hidden]. `None` where there are none.
    pub(super) fn last_layer(
        &self,
        x: &Tensor,
        rotation: (&Tensor, &Tensor),
        deepstack: Option<&DeepStack>,
        spans: &[RowSpan],
        kvs: &mut [&mut Kv],
        rows: Vec<u32>,
    ) -> Result<Option<Tensor>> {
        let index = self.layers.len() - 1;
        let layer = &self.layers[index];
        let chosen = |x: &Tensor| x.index_select(&Tensor::new(rows.as_slice(), x.device())?, 0);
        if deepstack.is_some_and(|deepstack| deepstack.features.len() > index) {
            let x = self.layer(index, x, rotation, deepstack, spans, kvs)?;
            return if rows.is_empty() { Ok(None) } else { self.norm.forward(&chosen(&x)?).map(Some) };
        }
        let attended = layer.attend(index, x, rotation, spans, kvs)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let x = layer.feed_forward(&chosen(&attended)?, &chosen(x)?)?;
        self.norm.forward(&x).map(Some)
    }
}

/// The rows of one sequence in a batch.
#[derive(Debug, Clone)]
pub(super) struct RowSpan {
    /// First row.
    pub(super) start: usize,
    /// Number of rows, one per token.
    pub(super) tokens: usize,
    /// Tokens in the sequence's cache before these.
    pub(super) past: usize,
    /// Causal mask [tokens, past + tokens]; `None` for one token, which attends to all, and for kernels that need none.
    mask: Option<Tensor>,
}

impl RowSpan {
    pub(super) fn new(
        start: usize,
        tokens: usize,
        past: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let mask = match tokens {
            1 => None,
            _ if flash::suits(device, dtype) => None,
            _ => Some(causal_mask(tokens, past, device, dtype)?),
        };
        Ok(Self { start, tokens, past, mask })
    }
}

/// Additive mask [tokens, past + tokens]: a token attends to itself and its predecessors.
fn causal_mask(tokens: usize, past: usize, device: &Device, dtype: DType) -> Result<Tensor> {
    let total = past + tokens;
    let mut mask = vec![0f32; tokens * total];
    for (row, values) in mask.chunks_exact_mut(total).enumerate() {
        values[past + row + 1..].fill(f32::NEG_INFINITY);
    }
    Tensor::from_vec(mask, (tokens, total), device)?.to_dtype(dtype)
}

#[derive(Debug, Clone)]
struct Layer {
    input_norm: RmsNorm,
    attention: Attention,
    post_attention_norm: RmsNorm,
    mlp: FeedForward,
}

impl Layer {
    fn load(source: &TensorScope<'_>, config: &TextConfig, index: usize) -> Result<Self, EngineError> {
        let norm = |name| source.rms_norm(name, config.hidden_size, config.rms_norm_eps);
        let mlp = source.at("mlp");
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            attention: Attention::load(&source.at("self_attn"), config)?,
            post_attention_norm: norm("post_attention_layernorm")?,
            mlp: match config.moe_at(index) {
                Some(moe) => {
                    FeedForward::Experts(Moe::load(&mlp, config.hidden_size, moe, config.hidden_act)?)
                }
                None => FeedForward::Dense(Mlp::load(&mlp, config)?),
            },
        })
    }

    /// Returns what the heads of every row gather: [rows, heads * head_dim].
    fn attend(
        &self,
        index: usize,
        x: &Tensor,
        rotation: (&Tensor, &Tensor),
        spans: &[RowSpan],
        kvs: &mut [&mut Kv],
    ) -> Result<Tensor> {
        let mut caches: Vec<&mut LayerKv> = kvs.iter_mut().map(|kv| &mut kv.layers[index]).collect();
        self.attention.forward(&self.input_norm.forward(x)?, rotation, spans, &mut caches)
    }

    /// Does the rest of the layer for rows of `x` [rows, hidden], row by row.
    fn feed_forward(&self, attended: &Tensor, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.output.forward_and_add(attended, x)?;
        let normed = self.post_attention_norm.forward(&x)?;
        match &self.mlp {
            FeedForward::Dense(mlp) => mlp.forward_and_add(&normed, &x),
            FeedForward::Experts(moe) => x + moe.forward(&normed)?,
        }
    }
}

#[derive(Debug, Clone)]
enum FeedForward {
    Dense(Mlp),
    Experts(Moe),
}

#[derive(Debug, Clone)]
struct Mlp {
    gate_up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    fn load(source: &TensorScope<'_>, config: &TextConfig) -> Result<Self, EngineError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            gate_up: source.fused(&[("gate_proj", inner), ("up_proj", inner)], hidden)?,
            down: source.linear("down_proj", inner, hidden, false)?,
            activation: config.hidden_act,
        })
    }

    fn forward_and_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.down.forward_and_add(&self.activation.gated(&self.gate_up.forward(x)?)?, residual)
    }
}

#[derive(Debug, Clone)]
struct Attention {
    qkv: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    output: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    fn load(source: &TensorScope<'_>, config: &TextConfig) -> Result<Self, EngineError> {
        let (heads, kv_heads, head_dim) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        Ok(Self {
            qkv: source.fused(&[("q_proj", q), ("k_proj", kv), ("v_proj", kv)], config.hidden_size)?,
            q_norm: source.rms_norm("q_norm", head_dim, config.rms_norm_eps)?,
            k_norm: source.rms_norm("k_norm", head_dim, config.rms_norm_eps)?,
            output: source.linear("o_proj", q, config.hidden_size, false)?,
            heads,
            kv_heads,
            head_dim,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        (cos, sin): (&Tensor, &Tensor),
        spans: &[RowSpan],
        caches: &mut [&mut LayerKv],
    ) -> Result<Tensor> {
        let qkv = self.qkv.forward(x)?;
        if cpu::suits(x) {
            return self.attend_on_cpu(&qkv, (cos, sin), spans, caches);
        }
        let rows = x.dim(0)?;
        let all = qkv.reshape((rows, self.heads + 2 * self.kv_heads, self.head_dim))?.transpose(0, 1)?;
        let part = |start, heads| all.narrow(0, start, heads)?.contiguous();
        let rotate = |x: Tensor| rotary_emb::rope(&x.unsqueeze(0)?, cos, sin)?.squeeze(0);
        let q = rotate(self.q_norm.forward(&part(0, self.heads)?)?)?;
        let k = rotate(self.k_norm.forward(&part(self.heads, self.kv_heads)?)?)?;
        let v = part(self.heads + self.kv_heads, self.kv_heads)?;
        let own = |x: &Tensor, span: &RowSpan| match spans.len() {
            1 => Ok(x.clone()),
            _ => x.narrow(1, span.start, span.tokens)?.contiguous(),
        };
        let mut attended = Vec::with_capacity(spans.len());
        for (span, cache) in spans.iter().zip(caches) {
            let (k, v) = cache.append(span.past, &own(&k, span)?, &own(&v, span)?)?;
            let q = own(&q, span)?;
            if flash::suits(q.device(), q.dtype()) {
                attended.push(flash::causal(&q, &k, &v)?);
                continue;
            }
            let rows = self.attend(&q, &k, &v, span.mask.as_ref())?;
            attended.push(rows.transpose(0, 1)?.reshape((span.tokens, self.heads * self.head_dim))?);
        }
        match attended.len() {
            1 => Ok(attended.remove(0)),
            _ => Tensor::cat(&attended, 0),
        }
    }

    fn attend_on_cpu(
        &self,
        qkv: &Tensor,
        rotation: (&Tensor, &Tensor),
        spans: &[RowSpan],
        caches: &mut [&mut LayerKv],
    ) -> Result<Tensor> {
        let layout = HeadLayout { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim };
        let (q, k, v) = cpu::split_heads(qkv, layout, (&self.q_norm, &self.k_norm), rotation)?;
        let append = |(span, cache): (&RowSpan, &mut &mut LayerKv)| {
            let own = |x: &Tensor| match spans.len() {
                1 => Ok(x.clone()),
                _ => x.narrow(1, span.start, span.tokens)?.contiguous(),
            };
            Ok((span.tokens, cache.append_to(span.past, &own(&k)?, &own(&v)?)?))
        };
        let pasts = spans.iter().zip(caches).map(append).collect::<Result<Vec<_>>>()?;
        cpu::attention(&q, &pasts, layout)
    }

    /// `q` is [heads, tokens, head_dim], `k` and `v` [kv_heads, total, head_dim]. Queries that share a key head are stacked as
    /// rows of one product, so keys are not repeated.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (tokens, total) = (q.dim(1)?, k.dim(1)?);
        let group = self.heads / self.kv_heads;
        let q = q.reshape((self.kv_heads, group * tokens, self.head_dim))?;
        let piece = |start, heads| -> Result<Tensor> {
            let (q, k) = (q.narrow(0, start, heads)?, k.narrow(0, start, heads)?);
            let scores = (q.matmul(&k.t()?)? * (self.head_dim as f64).powf(-0.5))?;
            let scores = match mask {
                None => scores,
                Some(mask) => {
                    let by_head = scores.reshape((heads * group, tokens, total))?;
                    by_head.broadcast_add(mask)?.reshape((heads, group * tokens, total))?
                }
            };
            softmax(&scores)?.matmul(&v.narrow(0, start, heads)?)
        };
        let at_once = (score_budget(q.device()) / (group * tokens * total)).clamp(1, self.kv_heads);
        let attended = if at_once == self.kv_heads {
            piece(0, self.kv_heads)?
        } else {
            let pieces = (0..self.kv_heads)
                .step_by(at_once)
                .map(|start| piece(start, at_once.min(self.kv_heads - start)))
                .collect::<Result<Vec<_>>>()?;
            Tensor::cat(&pieces, 0)?
        };
        attended.reshape((self.heads, tokens, self.head_dim))
    }
}
