//! Wordings of questions that the demo model was trained on.

/// The prompt with which Homereel asks for a description.
pub const DESCRIBE: &str = "Describe this home video in a few sentences. Say who or what is seen, what \
                            happens, and in which order.";
/// The prompt with which Homereel asks for moments.
pub const MOMENTS: &str = "List the moments of this video as JSON: {\"moments\": [{\"start\": seconds, \"end\": \
                           seconds, \"text\": \"what happens\"}]}. Use the timestamps of the video. Answer \
                           with JSON only.";
/// The prompt with which Homereel asks for tags.
pub const TAGS: &str =
    "Give up to eight short tags for this video as a JSON array of strings. Answer with JSON only.";

/// Wordings of each question, the most common first. `{x}` is the object.
pub(super) const DESCRIBES: &[&str] = &[
    DESCRIBE,
    "Describe the video.",
    "Describe this video.",
    "What happens in this video?",
    "What is in the video?",
    "What do you see?",
];
pub(super) const COLOUR: &[&str] = &[
    "What color is the {x}?",
    "What colour is the {x}?",
    "Which color is the {x}?",
    "What is the color of the {x}?",
    "What is the colour of the {x}?",
];
pub(super) const SHAPE: &[&str] =
    &["What shape is the {x}?", "Which shape is the {x}?", "What is the shape of the {x}?"];
pub(super) const DIRECTION: &[&str] = &[
    "Which direction does the {x} move?",
    "Which way does the {x} move?",
    "In which direction does the {x} move?",
    "Where does the {x} move?",
    "How does the {x} move?",
];
pub(super) const COUNT: &[&str] = &[
    "How many objects are there?",
    "How many objects do you see?",
    "How many shapes are there?",
    "Count the objects.",
];
pub(super) const APPEAR: &[&str] = &["When does the {x} appear?", "At what time does the {x} appear?"];
pub(super) const DISAPPEAR: &[&str] =
    &["When does the {x} disappear?", "At what time does the {x} disappear?"];
pub(super) const TURN: &[&str] = &["When does the {x} change color?", "When does the {x} change colour?"];
pub(super) const STOP: &[&str] = &["When does the {x} stop?", "When does the {x} stop moving?"];
pub(super) const START: &[&str] = &["When does the {x} start to move?", "When does the {x} start moving?"];
pub(super) const FIRST: &[&str] =
    &["What happens first?", "What happens at the start?", "What happens at the beginning?"];
pub(super) const LAST: &[&str] = &["What happens last?", "What happens at the end?"];
pub(super) const OFF_TOPIC: &[&str] = &[
    "Who is in the video?",
    "What is the weather like?",
    "What is the man doing?",
    "Is there a dog?",
    "Where was this filmed?",
    "What is the person wearing?",
    "Tell me a joke.",
    "Who are you?",
];
