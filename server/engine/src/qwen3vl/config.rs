//! Reads and validates `config.json` of a Qwen3-VL checkpoint, of transformers 4.57 and 5.x, dense and mixture of experts.

mod section;

use serde_json::Value;

use crate::EngineError;
pub(crate) use section::Section;

/// Upper bound of every width (rows, columns, vocabulary), against hostile files.
const MAX_SIZE: u64 = 1 << 20;
/// Upper bound of layer counts.
const MAX_LAYERS: u64 = 1024;

/// The configuration of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The decoder.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Id of `<|image_pad|>`.
    pub image_token_id: u32,
    /// Id of `<|video_pad|>`.
    pub video_token_id: u32,
    /// Id of `<|vision_start|>`.
    pub vision_start_token_id: u32,
    /// Id of `<|vision_end|>`.
    pub vision_end_token_id: u32,
}

/// The Qwen3 decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding matrix.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of a dense MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; heads times this need not be the hidden size.
    pub head_dim: usize,
    /// Activation of the MLP's gate.
    pub hidden_act: Activation,
    /// Longest sequence that the model supports.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Number of frequencies for time, height and width; the sum is half a head.
    pub mrope_section: [usize; 3],
    /// The mixture of experts; `None` in dense models.
    pub moe: Option<MoeConfig>,
}

/// The mixture of experts that replaces the MLP in most layers of an MoE model.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeConfig {
    /// Experts per layer.
    pub num_experts: usize,
    /// Experts that serve a token.
    pub num_experts_per_tok: usize,
    /// Width of one expert.
    pub moe_intermediate_size: usize,
    /// Every how many layers an MoE layer follows.
    pub decoder_sparse_step: usize,
    /// Layers that have a dense MLP nevertheless.
    pub mlp_only_layers: Vec<usize>,
}

impl TextConfig {
    /// Returns the mixture of experts of layer `index`; `None` if its MLP is dense.
    #[must_use]
    pub fn moe_at(&self, index: usize) -> Option<&MoeConfig> {
        self.moe.as_ref().filter(|moe| {
            !moe.mlp_only_layers.contains(&index) && (index + 1).is_multiple_of(moe.decoder_sparse_step)
        })
    }
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width of the residual stream; the heads divide it.
    pub hidden_size: usize,
    /// Width of a block's MLP.
    pub intermediate_size: usize,
    /// Heads.
    pub num_heads: usize,
    /// Colour channels.
    pub in_channels: usize,
    /// Pixels per side of a patch.
    pub patch_size: usize,
    /// Frames per patch.
    pub temporal_patch_size: usize,
    /// Patches per side of what becomes one token.
    pub spatial_merge_size: usize,
    /// Width of the features: the decoder's hidden size.
    pub out_hidden_size: usize,
    /// Learned positions per side of their square grid.
    pub positions_per_side: usize,
    /// Blocks whose output also goes to the decoder's first layers (DeepStack), in order.
    pub deepstack_visual_indexes: Vec<usize>,
    /// Activation of a block's MLP.
    pub hidden_act: Activation,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
}

impl VisionConfig {
    /// Returns the values in one patch row: channels x frames x side x side.
    #[must_use]
    pub fn patch_len(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Returns the patches that become one token.
    #[must_use]
    pub fn merge_unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }
}

/// Activations in Qwen3-VL checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
}

impl Config {
    /// Reads `config.json`. `model` is the name that errors carry.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the key, its value and what would fit.
    pub fn from_json(model: &str, json: &[u8]) -> Result<Self, EngineError> {
        let fail = |message| EngineError::Model { model: model.into(), message };
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| fail(format!("config.json is not valid JSON: {error}")))?;
        read(&value).map_err(|message| fail(format!("config.json: {message}")))
    }
}

fn read(value: &Value) -> Result<Config, String> {
    let top = Section { name: "", value };
    let is_moe = match value.get("model_type").and_then(Value::as_str) {
        Some("qwen3_vl") => false,
        Some("qwen3_vl_moe") => true,
        Some(other) => {
            return Err(format!(
                "model_type {other:?} is not one that this engine runs; qwen3_vl and qwen3_vl_moe would fit"
            ));
        }
        None => return Err("model_type is missing; qwen3_vl or qwen3_vl_moe would fit".into()),
    };
    let text_section = top.section("text_config")?;
    let text = read_text(&text_section, is_moe)?;
    let vision = read_vision(&top.section("vision_config")?)?;
    if vision.out_hidden_size != text.hidden_size {
        return Err(format!(
            "vision_config.out_hidden_size is {} but text_config.hidden_size is {}; they must be equal",
            vision.out_hidden_size, text.hidden_size
        ));
    }
    if vision.deepstack_visual_indexes.len() > text.num_hidden_layers {
        return Err(format!(
            "vision_config.deepstack_visual_indexes has {} entries but the decoder has {} layers",
            vision.deepstack_visual_indexes.len(),
            text.num_hidden_layers
        ));
    }
    let token = |key| top.size(key, 0, text.vocab_size as u64 - 1).map(|id| id as u32);
    Ok(Config {
        image_token_id: token("image_token_id")?,
        video_token_id: token("video_token_id")?,
        vision_start_token_id: token("vision_start_token_id")?,
        vision_end_token_id: token("vision_end_token_id")?,
        // The top level takes precedence, as in transformers; published 8B and 32B files have nothing inside text_config.
        tie_word_embeddings: match top.boolean("tie_word_embeddings")? {
            Some(tied) => tied,
            None => text_section.boolean("tie_word_embeddings")?.unwrap_or(false),
        },
        text,
        vision,
    })
}

fn read_text(section: &Section, is_moe: bool) -> Result<TextConfig, String> {
    let hidden_size = section.size("hidden_size", 1, MAX_SIZE)?;
    let num_attention_heads = section.size("num_attention_heads", 1, MAX_SIZE)?;
    let num_key_value_heads = section.size_or("num_key_value_heads", num_attention_heads, 1, MAX_SIZE)?;
    section.divides(
        "num_attention_heads",
        num_attention_heads,
        "num_key_value_heads",
        num_key_value_heads,
    )?;
    let head_dim = if section.has("head_dim") {
        section.size("head_dim", 2, MAX_SIZE)?
    } else {
        section.divides("hidden_size", hidden_size, "num_attention_heads", num_attention_heads)?;
        hidden_size / num_attention_heads
    };
    if head_dim % 2 != 0 {
        return Err(format!("text_config.head_dim is {head_dim}; it must be even"));
    }
    if section.boolean("attention_bias")? == Some(true) {
        return Err("text_config.attention_bias is true; only false is known of Qwen3-VL".into());
    }
    let (rope_theta, mrope_section) = read_rope(section, head_dim)?;
    Ok(TextConfig {
        vocab_size: section.size("vocab_size", 1, MAX_SIZE)?,
        hidden_size,
        intermediate_size: section.size("intermediate_size", 1, MAX_SIZE)?,
        num_hidden_layers: section.size("num_hidden_layers", 1, MAX_LAYERS)?,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        hidden_act: section.activation("hidden_act")?,
        max_position_embeddings: section.size("max_position_embeddings", 1, 1 << 24)?,
        rms_norm_eps: section.positive("rms_norm_eps")?,
        rope_theta,
        mrope_section,
        moe: if is_moe { Some(read_moe(section)?) } else { None },
    })
}

/// Reads theta and the sections: 5.x keeps both in `rope_parameters`, 4.57 has `rope_scaling` beside
/// `rope_theta`.
fn read_rope(section: &Section, head_dim: usize) -> Result<(f64, [usize; 3]), String> {
    let rope = match section.optional_section("rope_parameters")? {
        Some(rope) => rope,
        None => section.section("rope_scaling").map_err(|_| {
            "text_config has neither rope_parameters (transformers 5) nor rope_scaling (4.57)".to_owned()
        })?,
    };
    let theta = match rope.has("rope_theta") {
        true => rope.positive("rope_theta")?,
        false => section.positive("rope_theta")?,
    };
    for key in ["rope_type", "type"] {
        match rope.value.get(key).and_then(Value::as_str) {
            None | Some("default" | "mrope") => {}
            Some(other) => {
                return Err(format!("{}.{key} is {other:?}; only \"default\" would fit", rope.name));
            }
        }
    }
    if rope.boolean("mrope_interleaved")? == Some(false) {
        return Err(format!("{}.mrope_interleaved is false; only true is known of Qwen3-VL", rope.name));
    }
    let sections = rope.sizes("mrope_section", 3, head_dim as u64)?;
    let [time, height, width] = sections[..] else {
        return Err(format!("{}.mrope_section has {} entries; 3 would fit", rope.name, sections.len()));
    };
    // Height and width use every third frequency, so neither may exceed the head.
    if time + height + width != head_dim / 2 || 3 * height.max(width) > head_dim / 2 {
        return Err(format!(
            "{}.mrope_section is {sections:?}; it must share out the {} frequencies of a head, height and width a third each at most",
            rope.name,
            head_dim / 2
        ));
    }
    Ok((theta, [time, height, width]))
}

fn read_moe(section: &Section) -> Result<MoeConfig, String> {
    // transformers 5 saves the same value under another name.
    let key = if section.has("num_local_experts") { "num_local_experts" } else { "num_experts" };
    let num_experts = section.size(key, 1, 1 << 16)?;
    let layers = section.size("num_hidden_layers", 1, MAX_LAYERS)? as u64;
    if section.boolean("norm_topk_prob")? == Some(false) {
        return Err("text_config.norm_topk_prob is false; Qwen3-VL renormalises always".into());
    }
    Ok(MoeConfig {
        num_experts,
        num_experts_per_tok: section.size("num_experts_per_tok", 1, num_experts as u64)?,
        moe_intermediate_size: section.size("moe_intermediate_size", 1, MAX_SIZE)?,
        decoder_sparse_step: section.size_or("decoder_sparse_step", 1, 1, MAX_LAYERS)?,
        mlp_only_layers: match section.has("mlp_only_layers") {
            true => section.sizes("mlp_only_layers", layers as usize, layers - 1)?,
            false => Vec::new(),
        },
    })
}

fn read_vision(section: &Section) -> Result<VisionConfig, String> {
    let depth = section.size("depth", 1, MAX_LAYERS)?;
    let hidden_size = section.size("hidden_size", 1, MAX_SIZE)?;
    let num_heads = section.size("num_heads", 1, MAX_SIZE)?;
    section.divides("hidden_size", hidden_size, "num_heads", num_heads)?;
    let head_dim = hidden_size / num_heads;
    if head_dim % 4 != 0 {
        return Err(format!(
            "{}: {hidden_size} / {num_heads} heads is {head_dim}; rows and columns need a multiple of 4",
            section.name
        ));
    }
    let positions = section.size("num_position_embeddings", 1, MAX_SIZE)?;
    let positions_per_side = positions.isqrt();
    if positions_per_side * positions_per_side != positions {
        return Err(format!(
            "{}.num_position_embeddings is {positions}; a square number would fit",
            section.name
        ));
    }
    let deepstack_visual_indexes = section.sizes("deepstack_visual_indexes", depth, depth as u64 - 1)?;
    if !deepstack_visual_indexes.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "{}.deepstack_visual_indexes is {deepstack_visual_indexes:?}; it must rise",
            section.name
        ));
    }
    let rope_theta = match section.optional_section("rope_parameters")? {
        Some(rope) if rope.has("rope_theta") => rope.positive("rope_theta")?,
        // Files of 4.57 do not contain the vision tower's theta: it was a constant in the code.
        _ => 10_000.0,
    };
    Ok(VisionConfig {
        depth,
        hidden_size,
        intermediate_size: section.size("intermediate_size", 1, MAX_SIZE)?,
        num_heads,
        in_channels: section.size("in_channels", 1, 16)?,
        patch_size: section.size("patch_size", 1, 256)?,
        temporal_patch_size: section.size("temporal_patch_size", 1, 16)?,
        spatial_merge_size: section.size("spatial_merge_size", 1, 16)?,
        out_hidden_size: section.size("out_hidden_size", 1, MAX_SIZE)?,
        positions_per_side,
        deepstack_visual_indexes,
        hidden_act: section.activation("hidden_act")?,
        rope_theta,
    })
}
