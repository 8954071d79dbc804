//! The KV cache of one sequence. It grows as needed and can be truncated, so that a prefix can be reused.

use candle_core::{DType, Device, Tensor};

use super::{Result, config::TextConfig};

/// Capacity is a multiple of this many tokens.
const BLOCK: usize = 256;
/// A full cache doubles, but grows by at most this many tokens, which would otherwise waste gigabytes.
const MAX_GROWTH: usize = 1024;

/// The KV cache of one sequence.
#[derive(Debug)]
pub struct Kv {
    pub(super) layers: Vec<LayerKv>,
    len: usize,
    /// Offset from a token's index to its position; set by the prefill.
    pub(super) rope_delta: i64,
}

impl Kv {
    pub(super) fn new(config: &TextConfig, device: &Device, dtype: DType) -> Self {
        let layer = || LayerKv::new(config.num_key_value_heads, config.head_dim, device, dtype);
        let layers = (0..config.num_hidden_layers).map(|_| layer()).collect();
        Self { layers, len: 0, rope_delta: 0 }
    }

    /// Returns the number of tokens that the cache holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes all but the first `len` tokens; keeps the memory. No effect when there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Copies the first `len` tokens into a new cache.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn fork(&self, len: usize) -> Result<Self> {
        let len = len.min(self.len);
        let layers = self.layers.iter().map(|layer| layer.fork(len)).collect::<Result<_>>()?;
        Ok(Self { layers, len, rope_delta: self.rope_delta })
    }

    /// Reserves capacity for `tokens` in total.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn reserve(&mut self, tokens: usize) -> Result<()> {
        let len = self.len;
        self.layers.iter_mut().try_for_each(|layer| layer.grow(len, tokens))
    }

    /// Returns the bytes that the cache holds on the device.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerKv::bytes).sum()
    }

    /// Counts tokens that every layer has appended.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

/// The keys and values of one sequence in one layer: contiguous [kv_heads, capacity, head_dim], of which the first `tokens`
/// are valid.
pub(crate) struct Past {
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
    pub(crate) tokens: usize,
}

/// The KV of one layer: [heads, capacity, head_dim] each.
#[derive(Debug)]
pub(crate) struct LayerKv {
    shape: [usize; 2],
    device: Device,
    dtype: DType,
    slots: Option<(Tensor, Tensor)>,
}

impl LayerKv {
    /// Creates an empty cache.
    pub(crate) fn new(heads: usize, head_dim: usize, device: &Device, dtype: DType) -> Self {
        Self { shape: [heads, head_dim], device: device.clone(), dtype, slots: None }
    }

    /// Appends `k` and `v` [heads, tokens, head_dim] after the first `len` tokens; returns views of all tokens.
    pub(super) fn append(&mut self, len: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let past = self.append_to(len, k, v)?;
        Ok((past.keys.narrow(1, 0, past.tokens)?, past.values.narrow(1, 0, past.tokens)?))
    }

    /// Appends as [`Self::append`] does; returns the whole cache.
    pub(crate) fn append_to(&mut self, len: usize, k: &Tensor, v: &Tensor) -> Result<Past> {
        let tokens = len + k.dim(1)?;
        let (keys, values) = self.grow_for(len, tokens)?;
        keys.slice_set(k, 1, len)?;
        values.slice_set(v, 1, len)?;
        Ok(Past { keys, values, tokens })
    }

    fn fork(&self, len: usize) -> Result<Self> {
        let mut copy = Self {
            shape: self.shape,
            device: self.device.clone(),
            dtype: self.dtype,
            slots: self.slots.clone(),
        };
        if len > 0 {
            copy.move_to(len, len.next_multiple_of(BLOCK))?;
        } else {
            copy.slots = None;
        }
        Ok(copy)
    }

    fn capacity(&self) -> usize {
        self.slots.as_ref().map_or(0, |(keys, _)| keys.dims()[1])
    }

    fn bytes(&self) -> usize {
        2 * self.capacity() * self.shape.iter().product::<usize>() * self.dtype.size_in_bytes()
    }

    fn grow(&mut self, len: usize, tokens: usize) -> Result<()> {
        if tokens > self.capacity() {
            self.move_to(len, tokens.next_multiple_of(BLOCK))?;
        }
        Ok(())
    }

    fn grow_for(&mut self, len: usize, tokens: usize) -> Result<(Tensor, Tensor)> {
        match &self.slots {
            Some(slots) if tokens <= self.capacity() => Ok(slots.clone()),
            _ => {
                let capacity = self.capacity();
                let grown = tokens.max(capacity + capacity.min(MAX_GROWTH));
                self.move_to(len, grown.next_multiple_of(BLOCK))
            }
        }
    }

    fn move_to(&mut self, len: usize, capacity: usize) -> Result<(Tensor, Tensor)> {
        let [heads, head_dim] = self.shape;
        let grow = |old: Option<&Tensor>| {
            let new = Tensor::zeros((heads, capacity, head_dim), self.dtype, &self.device)?;
            if let Some(old) = old.filter(|_| len > 0) {
                new.slice_set(&old.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
            }
            Ok::<_, candle_core::Error>(new)
        };
        let old = self.slots.as_ref();
        let slots = (grow(old.map(|slots| &slots.0))?, grow(old.map(|slots| &slots.1))?);
        self.slots = Some(slots.clone());
        Ok(slots)
    }
}
