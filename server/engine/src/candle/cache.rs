//! In-memory caches of the engine: vision features by content, and KV of recent prompts by common prefix. Both are bounded
//! in bytes. A job asks several questions about one part of a video and then never again, so entries of background requests
//! are bounded in number as well: reading a whole library neither fills the caches nor evicts what people ask about.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::qwen3vl::{Features, Grid, Kv, Prompt, PromptMedia};

/// Maximum number of entries of background requests per cache: one per part of a video that jobs ask about side by side. With
/// more parts (`--jobs` above 8), the questions about one part no longer share its features.
const MAX_BACKGROUND: usize = 8;

/// Identity of a picture or clip: its content, sampling and size.
pub(super) type ContentId = [u8; 32];

/// Returns identity and number of tokens of each picture and clip.
#[must_use]
pub(super) fn contents(media: &[(PromptMedia, Grid)], merge_unit: usize) -> Vec<(ContentId, usize)> {
    media.iter().map(|(media, grid)| (identity(media, *grid), grid.patches() / merge_unit)).collect()
}

/// Returns the identity of a picture or clip: by the caller's key where there is one, else by content.
#[must_use]
fn identity(media: &PromptMedia, grid: Grid) -> ContentId {
    let mut hash = Sha256::new();
    hash.update(format!("{}x{}x{}", grid.t, grid.h, grid.w));
    match media {
        PromptMedia::Image(image) => {
            hash.update(b"image");
            hash.update(&image.rgb);
        }
        PromptMedia::Video(clip) => {
            hash.update(b"video");
            match &clip.key {
                Some(key) => {
                    hash.update(b"key");
                    hash.update(key);
                    for index in &clip.indices {
                        hash.update(index.to_le_bytes());
                    }
                }
                None => clip.frames.iter().for_each(|frame| hash.update(&frame.rgb)),
            }
        }
    }
    hash.finalize().into()
}

/// LRU cache of vision features by content.
pub(super) struct FeatureCache {
    /// Most recently used last.
    entries: VecDeque<FeatureEntry>,
    bytes: usize,
    max_bytes: usize,
}

struct FeatureEntry {
    identity: ContentId,
    features: Features,
    /// Whether only background requests have used it.
    background: bool,
}

impl FeatureCache {
    /// Creates an empty cache of at most `max_bytes`.
    #[must_use]
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Returns the features of the content `identity`, if cached.
    pub(super) fn get(&mut self, identity: &ContentId, background: bool) -> Option<Features> {
        let at = self.entries.iter().position(|entry| entry.identity == *identity)?;
        let mut entry = self.entries.remove(at)?;
        entry.background &= background;
        let features = entry.features.clone();
        self.entries.push_back(entry);
        Some(features)
    }

    /// Caches the features of a content, unless they exceed the whole cache.
    pub(super) fn put(&mut self, identity: ContentId, features: Features, background: bool) {
        let bytes = features.bytes();
        if bytes > self.max_bytes || self.entries.iter().any(|entry| entry.identity == identity) {
            return;
        }
        self.bytes += bytes;
        self.entries.push_back(FeatureEntry { identity, features, background });
        if let Some(at) = surplus(self.entries.iter().map(|entry| entry.background)) {
            self.evict(at);
        }
        while self.bytes > self.max_bytes {
            self.evict(0);
        }
    }

    fn evict(&mut self, at: usize) {
        self.bytes -= self.entries.remove(at).map_or(0, |entry| entry.features.bytes());
    }
}

/// Returns one key per token for prefix matching. A visual token's key depends on the content of its picture or clip and
/// on its index in it.
#[must_use]
pub(super) fn prefix_keys(prompt: &Prompt, contents: &[(ContentId, usize)]) -> Vec<u64> {
    // Visual tokens use the upper half, so that none equals a text token's id.
    const VISUAL: u64 = 1 << 63;
    let mut keys: Vec<u64> = prompt.ids().iter().map(|&id| u64::from(id)).collect();
    let mut places = prompt.visual().iter();
    for (identity, tokens) in contents {
        for (index, &place) in places.by_ref().take(*tokens).enumerate() {
            let mut hash = Sha256::new();
            hash.update(identity);
            hash.update((index as u64).to_le_bytes());
            let digest = hash.finalize();
            let head = digest.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            keys[place] = head | VISUAL;
        }
    }
    keys
}

/// LRU cache of the KV of recent sequences.
pub(super) struct PrefixCache {
    entries: VecDeque<PrefixEntry>,
    max_bytes: usize,
}

struct PrefixEntry {
    keys: Vec<u64>,
    /// How many of `keys` belong to the prompt; the rest belong to the answer.
    prompt_len: usize,
    kv: Kv,
    /// Whether a background request used it last.
    background: bool,
}

/// A shorter common prefix is not worth taking the entry out of the cache.
pub(super) const MIN_COMMON: usize = 16;

impl PrefixCache {
    /// Creates an empty cache of at most `max_bytes`.
    #[must_use]
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), max_bytes }
    }

    /// Takes the entry with the longest common prefix with `keys`, truncated to that prefix; at least one token of `keys` is
    /// left to run. `None` means that the prefix is too short, so that a question about another video does not use up the
    /// entry.
    pub(super) fn take(&mut self, keys: &[u64]) -> Option<Kv> {
        let (at, len) = self.longest_common(keys)?;
        let mut kv = self.entries.remove(at)?.kv;
        kv.truncate(len);
        Some(kv)
    }

    /// Returns the number of tokens that [`Self::take`] would save.
    pub(super) fn common(&self, keys: &[u64]) -> usize {
        self.longest_common(keys).map_or(0, |(_, len)| len)
    }

    /// Returns the entry with the longest common prefix, and its length.
    fn longest_common(&self, keys: &[u64]) -> Option<(usize, usize)> {
        let most = keys.len().checked_sub(1)?;
        let common = |entry: &PrefixEntry| common_prefix(&entry.keys, keys).min(most);
        self.entries
            .iter()
            .map(common)
            .enumerate()
            .filter(|&(at, len)| len >= MIN_COMMON && 2 * len >= self.entries[at].prompt_len)
            .max_by_key(|&(_, len)| len)
    }

    /// Stores the KV of a sequence. `keys` are those of all its tokens, of which the first `prompt_len` are the prompt; tokens
    /// that `kv` does not hold are ignored.
    pub(super) fn put(&mut self, mut keys: Vec<u64>, prompt_len: usize, kv: Kv, background: bool) {
        keys.truncate(kv.len());
        if keys.len() < MIN_COMMON || keys.len() < kv.len() {
            return;
        }
        let prompt_len = prompt_len.min(keys.len());
        self.entries.push_back(PrefixEntry { keys, prompt_len, kv, background });
        if let Some(at) = surplus(self.entries.iter().map(|entry| entry.background)) {
            self.entries.remove(at);
        }
        while self.entries.iter().map(|entry| entry.kv.bytes()).sum::<usize>() > self.max_bytes {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
impl PrefixCache {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.kv.bytes()).sum()
    }

    pub(super) fn longest(&self) -> usize {
        self.entries.iter().map(|entry| entry.keys.len()).max().unwrap_or(0)
    }
}

/// Returns the index of the least recently used background entry if there are too many; `background` says which ones are.
fn surplus(background: impl ExactSizeIterator<Item = bool> + Clone) -> Option<usize> {
    let count = background.clone().filter(|&background| background).count();
    background.enumerate().find(|&(_, background)| background && count > MAX_BACKGROUND).map(|(at, _)| at)
}

/// Returns the length of the common prefix.
pub(super) fn common_prefix(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::RgbImage;

    fn features(rows: usize) -> Features {
        let merged = Tensor::zeros((rows, 4), DType::F32, &Device::Cpu).unwrap();
        Features { merged, deepstack: Vec::new() }
    }

    #[test]
    fn features_leave_by_age_of_use_and_by_bytes() {
        let mut cache = FeatureCache::new(3 * 16);
        for name in 0..3u8 {
            cache.put([name; 32], features(1), false);
        }
        assert!(cache.get(&[0; 32], false).is_some());
        cache.put([3; 32], features(1), false);
        assert!(cache.get(&[1; 32], false).is_none(), "the least recently used one left");
        assert!(cache.get(&[0; 32], false).is_some() && cache.get(&[3; 32], false).is_some());
        cache.put([4; 32], features(4), false);
        assert!(cache.get(&[4; 32], false).is_none(), "too large for the whole cache");
        assert!(cache.get(&[0; 32], false).is_some());
    }

    #[test]
    fn features_of_background_requests_are_bounded_in_number() {
        let mut cache = FeatureCache::new(1 << 20);
        cache.put([200; 32], features(1), false);
        for name in 0..100u8 {
            cache.put([name; 32], features(1), true);
            // A person asks about a video that a job asked about.
            assert!(name != 50 || cache.get(&[50; 32], false).is_some());
        }
        assert_eq!(cache.entries.len(), MAX_BACKGROUND + 2);
        assert_eq!(cache.bytes, 16 * (MAX_BACKGROUND + 2));
        for kept in [200, 50, 99, 92] {
            assert!(cache.get(&[kept; 32], true).is_some(), "{kept}");
        }
        assert!(cache.get(&[91; 32], true).is_none());
    }

    #[test]
    fn identity_is_content_kind_and_size() {
        let grid = Grid { t: 1, h: 2, w: 2 };
        let image = |byte: u8| PromptMedia::Image(RgbImage::new(1, 1, vec![byte; 3].into()));
        assert_eq!(identity(&image(1), grid), identity(&image(1), grid));
        assert_ne!(identity(&image(1), grid), identity(&image(2), grid));
        assert_ne!(identity(&image(1), grid), identity(&image(1), Grid { t: 2, ..grid }));
    }
}
