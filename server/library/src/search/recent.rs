//! Caches the results of recent searches, so that another page of them, or the same query again, needs no new search.

use std::sync::Arc;

use super::results::{Found, Results};
use crate::cache::ByteCache;

/// Bytes of cached results.
const KEPT_BYTES: usize = 16 << 20;

/// Estimated bytes of a cached video, which has no texts.
const VIDEO_BYTES: usize = 4096;

/// Cached results, each with the library's generation at that time.
#[derive(Debug)]
pub(crate) struct Recent(ByteCache<(i64, Arc<Results>)>);

impl Default for Recent {
    fn default() -> Self {
        Self(ByteCache::new(KEPT_BYTES))
    }
}

impl Recent {
    /// Returns the results for `key`, if they are of `generation`.
    pub(super) fn get(&self, key: &str, generation: i64) -> Option<Arc<Results>> {
        let kept = self.0.get(key)?;
        (kept.0 == generation).then(|| Arc::clone(&kept.1))
    }

    /// Caches results of `generation`.
    pub(super) fn put(&self, key: String, generation: i64, results: &Arc<Results>) {
        let bytes = key.len() + VIDEO_BYTES + results.found.iter().map(bytes_of).sum::<usize>();
        self.0.put(key, Arc::new((generation, Arc::clone(results))), bytes);
    }
}

/// Estimates the bytes of a cached result.
fn bytes_of(found: &Found) -> usize {
    let texts = &found.video.texts;
    let description = texts.description.iter().filter_map(|text| text.content.as_deref()).map(str::len);
    let moments = texts.moments.iter().filter_map(|text| text.content.as_deref()).flatten();
    let tags = texts.tags.iter().filter_map(|text| text.content.as_deref()).flatten();
    let lists = moments.map(|moment| 64 + moment.text.len()).chain(tags.map(|tag| 32 + tag.len()));
    VIDEO_BYTES + description.chain(lists).sum::<usize>()
}
