//! The fixed prompts of the product. The demo model is trained on exactly these words.

/// Asks for a description.
pub const DESCRIBE: &str =
    "Describe this home video in a few sentences. Say who or what is seen, what happens, and in which order.";

/// Asks for moments as JSON.
pub const MOMENTS: &str = "List the moments of this video as JSON: {\"moments\": [{\"start\": seconds, \"end\": seconds, \"text\": \"what happens\"}]}. Use the timestamps of the video. Answer with JSON only.";

/// Asks for tags as JSON.
pub const TAGS: &str =
    "Give up to eight short tags for this video as a JSON array of strings. Answer with JSON only.";
