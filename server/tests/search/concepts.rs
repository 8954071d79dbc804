//! The search set: concepts, each with texts that say it in many ways and queries for it. `tuned.txt` has those on which the
//! constants of search by meaning were chosen, `held_out.txt` those that were only measured.
//!
//! A concept is a paragraph: its name, then a line per text (`- `), paraphrase (`? `) and exact query (`= `). The paraphrases are
//! what people would type who remember what happened: they were written from the names of the concepts alone, without knowledge
//! of the texts. Exact queries have words of a text.

/// Moments per concept.
pub(crate) const MOMENTS: usize = 20;

/// Ends that make moments of one text differ. They say nothing of what happens, and no query has their words.
const ENDS: [&str; MOMENTS] = [
    "",
    ", shot from the side",
    ", filmed from far away",
    ", close up",
    ", and the camera shakes",
    ", slightly out of focus",
    ", then the recording stops",
    ", while somebody talks off camera",
    ", at the edge of the frame",
    ", once more",
    ", in slow motion",
    ", overexposed",
    ", filmed sideways",
    ", zoomed in",
    ", with the lens cap half on",
    ", as the wind crackles",
    ", recorded twice",
    ", out of the frame at last",
    ", in the background",
    ", for ten seconds",
];

/// Something that happens in videos.
pub(crate) struct Concept {
    pub(crate) name: &'static str,
    pub(crate) texts: Vec<&'static str>,
    pub(crate) paraphrases: Vec<&'static str>,
    pub(crate) exact: Vec<&'static str>,
}

impl Concept {
    /// Returns the texts of its moments.
    pub(crate) fn moments(&self) -> impl Iterator<Item = String> {
        ENDS.iter().enumerate().map(|(at, end)| format!("{}{end}", self.texts[at % self.texts.len()]))
    }
}

/// Returns the concepts of both halves: those that were tuned on, those held out.
pub(crate) fn halves() -> [(&'static str, Vec<Concept>); 2] {
    [("tuned", parse(include_str!("tuned.txt"))), ("held out", parse(include_str!("held_out.txt")))]
}

fn parse(file: &'static str) -> Vec<Concept> {
    let paragraphs = file.split("\n\n").map(str::trim).filter(|text| !text.starts_with('#'));
    paragraphs
        .map(|paragraph| {
            let lines = |mark: &str| paragraph.lines().filter_map(|line| line.strip_prefix(mark)).collect();
            Concept {
                name: paragraph.lines().next().unwrap_or_default(),
                texts: lines("- "),
                paraphrases: lines("? "),
                exact: lines("= "),
            }
        })
        .collect()
}
