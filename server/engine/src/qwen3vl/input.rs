//! Inputs and intermediate values of the network: patches, prompts with positions, features. The processor and the prompt
//! builder create them.

use std::ops::{ControlFlow, Range};

use candle_core::Tensor;

use super::{config::Config, rope::Positions};
use crate::EngineError;

/// Called with (units done, units in total); `Break` cancels with [`EngineError::Cancelled`].
pub type ProgressFn<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

/// Returns the patch rows of some temporal groups of a picture or clip, as in [`Visual::pixels`].
pub type PatchFn<'a> = dyn FnMut(Range<usize>) -> Vec<f32> + 'a;

/// The patches of one picture or one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Visual {
    /// Patch rows, one behind the other: temporal group, block row, block column, row in block, column in
    /// block; each row channel, frame, y, x. Values are `(byte - 127.5) / 127.5`.
    pub pixels: Vec<f32>,
    /// Temporal groups (1 for a picture), rows and columns, in patches.
    pub grid: [usize; 3],
}

impl Visual {
    /// Returns the patch rows of some temporal groups; fewer where there are not as many.
    #[must_use]
    pub fn groups(&self, groups: Range<usize>) -> &[f32] {
        let values = self.pixels.len() / self.grid[0].max(1);
        let end = self.pixels.len().min(groups.end * values);
        self.pixels.get(groups.start * values..end).unwrap_or_default()
    }
}

/// The vision tower's output for one or more visuals, in the order of the prompt.
#[derive(Debug, Clone)]
pub struct Features {
    /// One row per visual token: [tokens, hidden].
    pub merged: Tensor,
    /// DeepStack features for the decoder's first layers, each of the same shape.
    pub deepstack: Vec<Tensor>,
}

impl Features {
    /// Returns the number of visual tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.merged.dims()[0]
    }

    /// Returns the bytes that the features hold on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        bytes(&self.merged) + self.deepstack.iter().map(bytes).sum::<usize>()
    }

    /// Returns `len` rows from row `start` on.
    ///
    /// # Errors
    /// When there are fewer rows.
    pub fn narrow(&self, start: usize, len: usize) -> candle_core::Result<Self> {
        let rows = |tensor: &Tensor| tensor.narrow(0, start, len)?.contiguous();
        Ok(Self {
            merged: rows(&self.merged)?,
            deepstack: self.deepstack.iter().map(rows).collect::<Result<_, _>>()?,
        })
    }

    /// Concatenates the features of several visuals.
    ///
    /// # Errors
    /// When they have different layers or hidden sizes, or there are none.
    pub fn cat(parts: &[&Self]) -> candle_core::Result<Self> {
        if let [one] = parts {
            return Ok((*one).clone());
        }
        let layers = parts.first().map_or(0, |part| part.deepstack.len());
        let merged = parts.iter().map(|part| &part.merged).collect::<Vec<_>>();
        let layer = |index: usize| {
            let rows = parts.iter().filter_map(|part| part.deepstack.get(index)).collect::<Vec<_>>();
            Tensor::cat(&rows, 0)
        };
        Ok(Self {
            merged: Tensor::cat(&merged, 0)?,
            deepstack: (0..layers).map(layer).collect::<Result<_, _>>()?,
        })
    }
}

/// A tokenised prompt with the positions of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    ids: Vec<u32>,
    positions: Positions,
    /// Indices of the visual tokens, ascending.
    visual: Vec<usize>,
}

impl Prompt {
    /// Finds the visual tokens in `ids` and computes the position of every token. `images` and `videos` are the grids
    /// (temporal groups, rows, columns, in patches) in the order of appearance.
    ///
    /// # Errors
    /// [`EngineError::Failed`] where placeholders and grids do not match, or an id exceeds the vocabulary.
    pub fn new(
        config: &Config,
        ids: Vec<u32>,
        images: &[[usize; 3]],
        videos: &[[usize; 3]],
    ) -> Result<Self, EngineError> {
        let merge = config.vision.spatial_merge_size;
        let tokens = |[_, rows, columns]: [usize; 3]| (rows / merge, columns / merge);
        let mut images = images.iter().map(|&grid| tokens(grid));
        // Each temporal group of a clip is a separate run, with timestamps between.
        let mut videos = videos.iter().flat_map(|&grid| std::iter::repeat_n(tokens(grid), grid[0]));
        let mut positions = Positions::default();
        let mut visual = Vec::new();
        let mut start = 0;
        let kind = |id: u32| (id == config.image_token_id, id == config.video_token_id);
        for run in ids.chunk_by(|&a, &b| kind(a) == kind(b)) {
            let grid = match kind(run[0]) {
                (true, _) => Some(images.next()),
                (_, true) => Some(videos.next()),
                _ => None,
            };
            match grid {
                None => positions.push_text(run.len()),
                Some(Some((rows, columns))) if rows * columns == run.len() => {
                    positions.push_visual(rows, columns);
                    visual.extend(start..start + run.len());
                }
                Some(grid) => {
                    return Err(EngineError::Failed(format!(
                        "the prompt has {} visual pads at token {start} where the grid is {grid:?}",
                        run.len()
                    )));
                }
            }
            start += run.len();
        }
        if images.next().is_some() || videos.next().is_some() {
            return Err(EngineError::Failed("the prompt has fewer visual runs than grids".into()));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= config.text.vocab_size) {
            return Err(EngineError::Failed(format!(
                "token id {id} is outside the vocabulary of {}",
                config.text.vocab_size
            )));
        }
        Ok(Self { ids, positions, visual })
    }

    /// Appends generated tokens, so that they are prefilled with the prompt.
    pub fn push_generated(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.positions.push_text(ids.len());
    }

    /// Returns the token ids.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the positions of the tokens.
    #[must_use]
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Returns the indices of the visual tokens, ascending.
    #[must_use]
    pub fn visual(&self) -> &[usize] {
        &self.visual
    }
}
