//! The network of BERT and RoBERTa in f32 on a CPU: from tokens to one vector per token. Texts of a batch lie one behind the
//! other without padding.
//!
//! The order of operations is that of transformers' `modeling_bert.py` and `modeling_xlm_roberta.py`.

use candle_core::{DType, Device};
use homereel_kernels::{self as kernels, Activation, Epilogue};

use super::config::{EncoderConfig, Gelu};
use crate::EngineError;
use crate::qwen3vl::Weights;

/// Prefixes of the tensors' names: as sentence-transformers saves them, and inside a model with a head.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];

/// The network of one checkpoint.
pub(super) struct Encoder {
    config: EncoderConfig,
    /// [vocabulary, hidden]
    words: Vec<f32>,
    /// [positions, hidden]
    positions: Vec<f32>,
    /// Of the first token type: [hidden]
    kind: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    qkv: Linear,
    attention_out: Linear,
    attention_norm: LayerNorm,
    inner: Linear,
    out: Linear,
    norm: LayerNorm,
}

/// `weight` is [outputs, inputs].
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

/// The tensors below a name.
struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { weights: self.weights, prefix: format!("{}{name}.", self.prefix) }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.weights.load(&name, shape, &Device::Cpu, DType::F32)?;
        Ok(tensor.flatten_all()?.to_vec1()?)
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, EngineError> {
        let scope = self.at(name);
        let (weight, bias) = (scope.tensor("weight", &[outputs, inputs])?, scope.tensor("bias", &[outputs])?);
        Ok(Linear { weight, bias, inputs })
    }

    fn layer_norm(&self, name: &str, config: &EncoderConfig) -> Result<LayerNorm, EngineError> {
        let (scope, size) = (self.at(name), [config.hidden_size]);
        let (weight, bias) = (scope.tensor("weight", &size)?, scope.tensor("bias", &size)?);
        Ok(LayerNorm { weight, bias, eps: config.layer_norm_eps })
    }
}

impl Linear {
    /// `x` is [rows, inputs]; returns `residual + activation(x W^T + b)` [rows, outputs].
    fn forward(&self, x: &[f32], activation: Option<Activation>, residual: Option<&[f32]>) -> Vec<f32> {
        let mut y = kernels::product(x, &self.weight, self.inputs);
        Epilogue { bias: Some(&self.bias), activation, residual }.apply(&mut y, self.bias.len());
        y
    }
}

impl LayerNorm {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        kernels::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

impl Encoder {
    /// Copies the tensors of a checkpoint.
    ///
    /// # Errors
    /// `Model` where one is missing or has another shape.
    pub(super) fn load(config: &EncoderConfig, weights: &Weights) -> Result<Self, EngineError> {
        let has_words =
            |prefix: &&str| weights.contains(&format!("{prefix}embeddings.word_embeddings.weight"));
        let prefix = PREFIXES.into_iter().find(has_words).unwrap_or_default().to_owned();
        let root = Scope { weights, prefix };
        let (hidden, embeddings) = (config.hidden_size, root.at("embeddings"));
        let mut kinds = embeddings.tensor("token_type_embeddings.weight", &[config.types, hidden])?;
        kinds.truncate(hidden);
        let layers = root.at("encoder.layer");
        Ok(Self {
            words: embeddings.tensor("word_embeddings.weight", &[config.vocab_size, hidden])?,
            positions: embeddings.tensor("position_embeddings.weight", &[config.positions, hidden])?,
            kind: kinds,
            norm: embeddings.layer_norm("LayerNorm", config)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::load(&layers.at(index), config))
                .collect::<Result<_, _>>()?,
            config: config.clone(),
        })
    }

    /// Returns the vectors of all tokens [tokens, hidden], text by text. `between` runs after each layer, and its error ends
    /// the work. The ids are below the size of the vocabulary, and no text has more than [`EncoderConfig::max_tokens`].
    pub(super) fn forward(
        &self,
        texts: &[&[u32]],
        between: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Result<Vec<f32>, EngineError> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        if lengths.iter().all(|&length| length == 0) {
            return Ok(Vec::new());
        }
        let mut x = self.norm.forward(&self.embed(texts));
        for layer in &self.layers {
            x = layer.forward(&x, &lengths, &self.config);
            between()?;
        }
        Ok(x)
    }

    /// Returns the sum of word, type and position of each token [tokens, hidden].
    fn embed(&self, texts: &[&[u32]]) -> Vec<f32> {
        let width = self.config.hidden_size;
        let tokens = texts.iter().map(|ids| ids.len()).sum::<usize>();
        let mut x = Vec::with_capacity(tokens * width);
        for ids in texts {
            for (&id, position) in ids.iter().zip(positions(ids, self.config.counted_from)) {
                let word = &self.words[id as usize * width..][..width];
                let place = &self.positions[position * width..][..width];
                let sums = word.iter().zip(&self.kind).zip(place);
                x.extend(sums.map(|((word, kind), place)| word + kind + place));
            }
        }
        x
    }
}

/// Returns the positions of tokens: from 0, or counted behind the id of the padding, which stays at its own.
fn positions(ids: &[u32], counted_from: Option<u32>) -> impl Iterator<Item = usize> {
    let mut count = 0;
    ids.iter().enumerate().map(move |(index, &id)| match counted_from {
        None => index,
        Some(padding) if id == padding => padding as usize,
        Some(padding) => {
            count += 1;
            padding as usize + count
        }
    })
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &EncoderConfig) -> Result<Self, EngineError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (attention, out) = (scope.at("attention"), scope.at("output"));
        let own = attention.at("self");
        // One product instead of three.
        let mut qkv = own.linear("query", hidden, hidden)?;
        for name in ["key", "value"] {
            let Linear { weight, bias, .. } = own.linear(name, hidden, hidden)?;
            qkv.weight.extend(weight);
            qkv.bias.extend(bias);
        }
        Ok(Self {
            qkv,
            attention_out: attention.at("output").linear("dense", hidden, hidden)?,
            attention_norm: attention.at("output").layer_norm("LayerNorm", config)?,
            inner: scope.at("intermediate").linear("dense", hidden, inner)?,
            out: out.linear("dense", inner, hidden)?,
            norm: out.layer_norm("LayerNorm", config)?,
        })
    }

    /// `x` is [tokens, hidden].
    fn forward(&self, x: &[f32], lengths: &[usize], config: &EncoderConfig) -> Vec<f32> {
        let (heads, hidden) = (config.num_attention_heads, config.hidden_size);
        let activation = match config.activation {
            Gelu::Exact => Activation::Gelu,
            Gelu::Tanh => Activation::GeluTanh,
        };
        let qkv = self.qkv.forward(x, None, None);
        let attended = kernels::encoder_attention(&qkv, lengths, heads, hidden / heads);
        let x = self.attention_norm.forward(&self.attention_out.forward(&attended, None, Some(x)));
        let inner = self.inner.forward(&x, Some(activation), None);
        self.norm.forward(&self.out.forward(&inner, None, Some(&x)))
    }
}

#[cfg(test)]
mod tests {
    use super::positions;

    #[test]
    fn positions_are_counted_as_each_family_does() {
        let ids = [5, 1, 7, 9];
        assert_eq!(positions(&ids, None).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(positions(&ids, Some(1)).collect::<Vec<_>>(), [2, 1, 3, 4]);
    }
}
