//! The fixed prompts. The demo model is trained on exactly the words of `DESCRIBE`, `MOMENTS` and `TAGS`
//! (`scripts/model/demo_model/words.py`); the others are for other models; it can neither combine the three nor read notes.

/// Asks for a description.
pub const DESCRIBE: &str =
    "Describe this home video in a few sentences. Say who or what is seen, what happens, and in which order.";

/// Asks for moments as JSON.
pub const MOMENTS: &str = "List the moments of this video as JSON: {\"moments\": [{\"start\": seconds, \"end\": seconds, \"text\": \"what happens\"}]}. Use the timestamps of the video. Answer with JSON only.";

/// Asks for one description of a long video; the notes on its parts follow.
pub const SUMMARIZE: &str = "These are notes on one home video, part by part, each with its time. Describe the whole video in a few sentences: who or what is seen, what happens, and in which order. Do not speak of the notes.";

/// Asks for an answer from notes on many videos; numbered notes and the question follow.
pub const ANSWER_FROM_NOTES: &str = "Answer the question at the end from these notes on home videos. Each note begins with its number in brackets, then the name of the video, the day, and the time in the video. Name the numbers of the notes that you use, such as [3]. If the notes do not tell, say so.";

/// Before the prompt for a description, behind what is said in the video.
pub const WITH_SPEECH: &str = "The description of the video also says what people talk about, as far as these lines tell. They may contain errors.";

/// Before a question about a video, behind what is said in it.
pub const QUESTION_WITH_SPEECH: &str =
    "These lines were transcribed from the sound of the video and may contain errors. Question:";

/// Asks for tags as JSON.
pub const TAGS: &str =
    "Give up to eight short tags for this video as a JSON array of strings. Answer with JSON only.";

/// Asks for all three as one JSON object. Costs a model about half of three questions: a backend processes the video once,
/// whatever its caches hold.
pub const ALL_TEXTS: &str = "Describe this home video as JSON: {\"description\": \"a few sentences: who or what is seen, what happens, and in which order\", \"tags\": [\"up to eight short tags\"], \"moments\": [{\"start\": seconds, \"end\": seconds, \"text\": \"what happens\"}]}. Use the timestamps of the video. Answer with JSON only.";
