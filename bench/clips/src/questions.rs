//! Questions about a scene with the correct answers, in the wordings of `phrases`.

use rand::{Rng as _, rngs::StdRng};
use serde::Serialize;

use super::phrases::{
    APPEAR, COLOUR, COUNT, DESCRIBE, DESCRIBES, DIRECTION, DISAPPEAR, FIRST, LAST, MOMENTS, OFF_TOPIC, SHAPE,
    START, STOP, TAGS, TURN,
};
use super::sample::one_of;
use super::words::{before, cap, events, listed, named, named_at, ordered, state, with_article};
use super::{Colour, Object, Scene, Shape, UNKNOWN, describe, moments, tags};

/// Ability that a question tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skill {
    /// Colour of one object, or of all.
    Colour,
    /// Shape of one object, or of all.
    Shape,
    /// Direction of a moving object.
    Direction,
    /// Number of objects.
    Count,
    /// First and last event, and the event after another.
    Order,
    /// Time of an event.
    Time,
    /// Time of an event that never happens.
    Never,
    /// Moments as JSON.
    Moments,
    /// Full description.
    Describe,
    /// Tags as JSON.
    Tags,
    /// Whether an object exists.
    Exists,
    /// Events at a given time.
    At,
    /// A question that the demo model cannot answer.
    Unknown,
}

/// A question with the correct answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipQuestion {
    /// Tested ability.
    pub skill: Skill,
    /// The question.
    pub question: String,
    /// The correct answer, in the demo model's words.
    pub answer: String,
    /// The correct time in seconds, if the answer is a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// Collects the questions about one scene.
struct Asker<'a> {
    rng: &'a mut StdRng,
    scene: &'a Scene,
    things: Vec<&'a Object>,
    out: Vec<ClipQuestion>,
}

/// Returns questions about a scene, one per object and skill, in random wordings.
pub fn questions(rng: &mut StdRng, scene: &Scene) -> Vec<ClipQuestion> {
    let mut asker = Asker { rng, scene, things: ordered(scene), out: Vec::new() };
    if asker.things.is_empty() {
        asker.about_nothing();
    } else {
        asker.about_all();
        for o in asker.things.clone() {
            asker.about(o);
        }
        asker.about_order();
        asker.about_a_time();
    }
    asker.out
}

impl Asker<'_> {
    fn add(&mut self, skill: Skill, question: &str, answer: impl Into<String>) {
        let question = self.typed(question);
        self.out.push(ClipQuestion { skill, question, answer: answer.into(), seconds: None });
    }

    /// Asks for the time of an event. `never` is the answer if it does not happen.
    fn add_time(&mut self, question: &str, seconds: Option<f64>, never: &str) {
        let question = self.typed(question);
        let (skill, answer) = match seconds {
            Some(t) => (Skill::Time, format!("At {t:.1} seconds.")),
            None => (Skill::Never, never.to_owned()),
        };
        self.out.push(ClipQuestion { skill, question, answer, seconds });
    }

    /// Returns a wording of the question, usually the most common one.
    fn phrase(&mut self, forms: &[&str], x: &str) -> String {
        let form = if self.rng.random_bool(0.4) { forms[0] } else { one_of(self.rng, forms) };
        form.replace("{x}", x)
    }

    /// Returns the question, sometimes with the capitalization and punctuation of hasty typing.
    fn typed(&mut self, text: &str) -> String {
        if [DESCRIBE, MOMENTS, TAGS].contains(&text) {
            return text.to_owned();
        }
        match self.rng.random::<f64>() {
            k if k < 0.82 => text.to_owned(),
            k if k < 0.90 => text.to_lowercase(),
            k if k < 0.94 => text.to_lowercase().trim_end_matches(['?', '.']).to_owned(),
            k if k < 0.97 => text.to_uppercase(),
            _ => text.trim_end_matches(['?', '.']).to_owned(),
        }
    }

    /// Returns a name of one object that fits no other.
    fn subject(&mut self, o: &Object) -> String {
        let mut forms = vec![named(o), named(o), format!("{} object", o.colour.name())];
        if self.only_one_of(o.shape) {
            forms.push(o.shape.name().to_owned());
        }
        if self.things.len() == 1 {
            forms.extend(std::iter::repeat_n("object".to_owned(), 4));
        }
        forms.swap_remove(self.rng.random_range(0..forms.len()))
    }

    fn only_one_of(&self, shape: Shape) -> bool {
        self.things.iter().filter(|p| p.shape == shape).count() == 1
    }

    fn about_nothing(&mut self) {
        let other =
            format!("{} {}", one_of(self.rng, &Colour::ALL).name(), one_of(self.rng, &Shape::ALL).name());
        for forms in [DESCRIBES, COLOUR, SHAPE, DIRECTION, COUNT, APPEAR, DISAPPEAR, FIRST, LAST, OFF_TOPIC] {
            let x = if self.rng.random_bool(0.7) { "object" } else { &other };
            let question = self.phrase(forms, x);
            self.add(Skill::Unknown, &question, UNKNOWN);
        }
        self.add(Skill::Unknown, &format!("Is there {}?", with_article(&other)), UNKNOWN);
        self.add(Skill::Unknown, DESCRIBE, UNKNOWN);
        self.add(Skill::Moments, MOMENTS, r#"{"moments": []}"#);
        self.add(Skill::Tags, TAGS, "[]");
    }

    fn about_all(&mut self) {
        let question =
            if self.rng.random_bool(0.5) { DESCRIBE.to_owned() } else { self.phrase(DESCRIBES, "") };
        self.add(Skill::Describe, &question, describe(self.scene));
        self.add(Skill::Tags, TAGS, json(&tags(self.scene)));
        self.add(Skill::Moments, MOMENTS, format!("{{\"moments\": {}}}", json(&moments(self.scene))));
        let question = self.phrase(COUNT, "");
        self.add(Skill::Count, &question, format!("{}.", self.things.len()));
        let question = self.phrase(OFF_TOPIC, "");
        self.add(Skill::Unknown, &question, UNKNOWN);
        self.about_existence();
        if self.things.len() > 1 {
            let colours: Vec<String> = self.things.iter().map(|o| o.colour.name().to_owned()).collect();
            let question = self.phrase(COLOUR, "object");
            self.add(Skill::Colour, &question, format!("{}.", cap(&listed(&colours))));
            let shapes: Vec<String> = self.things.iter().map(|o| o.shape.name().to_owned()).collect();
            let question = self.phrase(SHAPE, "object");
            self.add(Skill::Shape, &question, format!("{}.", cap(&listed(&shapes))));
        }
    }

    fn about_existence(&mut self) {
        let o = one_of(self.rng, &self.things);
        self.add(Skill::Exists, &format!("Is there {}?", with_article(&named(o))), "Yes.");
        let names: Vec<String> = self
            .things
            .iter()
            .flat_map(|o| [named(o), named_at(o, o.turn.map_or(o.appear, |(t, _, _)| t))])
            .collect();
        loop {
            let kind: f64 = self.rng.random();
            let colour = if kind < 0.4 { o.colour } else { one_of(self.rng, &Colour::ALL) };
            let shape = if (0.4..0.8).contains(&kind) { o.shape } else { one_of(self.rng, &Shape::ALL) };
            let wrong = format!("{} {}", colour.name(), shape.name());
            if !names.contains(&wrong) {
                self.add(Skill::Exists, &format!("Is there {}?", with_article(&wrong)), "No.");
                return;
            }
        }
    }

    fn about(&mut self, o: &Object) {
        let one = self.things.len() == 1;
        let by_object = one && self.rng.random_bool(0.6);
        if by_object || self.only_one_of(o.shape) {
            let question = self.phrase(COLOUR, if by_object { "object" } else { o.shape.name() });
            let then = o.turn.map_or_else(String::new, |(_, c, _)| format!(", then {}", c.name()));
            self.add(Skill::Colour, &question, format!("{}{then}.", cap(o.colour.name())));
        }
        let by_object = one && self.rng.random_bool(0.6);
        let x = if by_object { "object".to_owned() } else { format!("{} object", o.colour.name()) };
        let question = self.phrase(SHAPE, &x);
        self.add(Skill::Shape, &question, format!("{}.", cap(o.shape.name())));

        let x = self.subject(o);
        let question = self.phrase(DIRECTION, &x);
        let answer =
            o.direction.map_or_else(|| "It stays still.".into(), |d| format!("It moves {}.", d.name()));
        self.add(Skill::Direction, &question, answer);

        let x = self.subject(o);
        let question = self.phrase(APPEAR, &x);
        self.add_time(&question, (o.appear > 0.0).then_some(o.appear), "It is there from the start.");
        let x = self.subject(o);
        let question = self.phrase(DISAPPEAR, &x);
        self.add_time(&question, o.disappear, "It does not disappear.");
        let x = self.subject(o);
        let question = self.phrase(TURN, &x);
        self.add_time(&question, o.turn.map(|(t, _, _)| t), "It does not change color.");
        let x = self.subject(o);
        let question = self.phrase(STOP, &x);
        let never = if o.direction.is_some() { "It does not stop." } else { "It does not move." };
        self.add_time(&question, o.stops.then_some(o.move_s.1), never);
        if o.starts {
            let x = self.subject(o);
            let question = self.phrase(START, &x);
            self.add_time(&question, Some(o.move_s.0), "");
        }
    }

    fn about_order(&mut self) {
        let seen: Vec<String> = self
            .things
            .iter()
            .filter(|o| o.appear == 0.0)
            .map(|o| format!("the {} {}", named(o), state(o, 0.0)))
            .collect();
        let first = match seen.is_empty() {
            true => format!("The {} appears.", named(self.things[0])),
            false => format!("{}.", cap(&listed(&seen))),
        };
        let question = self.phrase(FIRST, "");
        self.add(Skill::Order, &question, first);

        let happened = events(self.scene);
        let wording = |i: usize| happened.get(i).map(|e| format!("{} {}", before(e.thing, e.t), e.verb));
        if let Some(last) = wording(happened.len().wrapping_sub(1)) {
            let question = self.phrase(LAST, "");
            self.add(Skill::Order, &question, format!("The {last}."));
            let i = self.rng.random_range(0..happened.len());
            let after =
                wording(i + 1).map_or("Nothing else happens.".to_owned(), |next| format!("The {next}."));
            let what = wording(i).unwrap_or_default();
            self.add(Skill::Order, &format!("What happens after the {what}?"), after);
        }
        if self.things.len() > 1 {
            let i = self.rng.random_range(0..self.things.len());
            let j = (i + self.rng.random_range(1..self.things.len())) % self.things.len();
            let (p, q) = (self.things[i], self.things[j]);
            let answer = match p.appear.total_cmp(&q.appear) {
                std::cmp::Ordering::Less => format!("The {}.", named(p)),
                std::cmp::Ordering::Greater => format!("The {}.", named(q)),
                std::cmp::Ordering::Equal => "Both at the same time.".to_owned(),
            };
            let question = format!("Which appears first, the {} or the {}?", named(p), named(q));
            self.add(Skill::Order, &question, answer);
        }
    }

    fn about_a_time(&mut self) {
        let happened = events(self.scene);
        let quiet: Vec<f64> = (1..)
            .map(|k| f64::from(k) / 2.0)
            .take_while(|t| *t < self.scene.end)
            .filter(|t| happened.iter().all(|e| (e.t - t).abs() >= 1.0))
            .collect();
        let (t, text) = if !happened.is_empty() && self.rng.random_bool(0.5) {
            let t = happened[self.rng.random_range(0..happened.len())].t;
            let then = happened.iter().filter(|e| e.t == t);
            let changes: Vec<String> =
                then.map(|e| format!("the {} {}", before(e.thing, t), e.verb)).collect();
            (t, changes.join(" and "))
        } else if quiet.is_empty() {
            return;
        } else {
            let t = one_of(self.rng, &quiet);
            let seen = self.things.iter().filter(|o| o.seen(t));
            let changes: Vec<String> =
                seen.map(|o| format!("the {} {}", named_at(o, t), state(o, t))).collect();
            (t, if changes.is_empty() { "nothing is there".to_owned() } else { listed(&changes) })
        };
        let whole = t.fract() == 0.0 && self.rng.random_bool(0.6);
        let spoken = if whole { format!("{t:.0}") } else { format!("{t:.1}") };
        self.add(Skill::At, &format!("What happens at {spoken} seconds?"), format!("{}.", cap(&text)));
    }
}

/// Returns JSON with the spacing of Python's `json.dumps`, as in the demo model's training data.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len() * 9 / 8);
    let mut quoted = false;
    for c in text.chars() {
        // No text contains an escaped quote.
        quoted ^= c == '"';
        out.push(c);
        if !quoted && matches!(c, ',' | ':') {
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::{SceneKind, sample};

    #[test]
    fn the_same_seed_asks_the_same() {
        let all = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let scene = sample(&mut rng, SceneKind::Any, 320, 240, 12.0, 8.0);
            questions(&mut rng, &scene)
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn json_is_spaced_as_python_does() {
        assert_eq!(json(&["a, b", "c"]), r#"["a, b", "c"]"#);
        assert_eq!(json(&[1.5, 2.0]), "[1.5, 2.0]");
    }

    #[test]
    fn a_scene_of_any_seed_has_events_on_the_grid_and_apart() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let scene = sample(&mut rng, SceneKind::Any, 320, 240, 12.0, 2.0 + (seed % 18) as f64);
            assert!((1..=3).contains(&scene.things.len()));
            let times: Vec<f64> = events(&scene).iter().map(|e| e.t).collect();
            assert!(times.iter().all(|t| (t * 2.0).fract() == 0.0 && *t >= 1.0 && *t <= scene.end - 1.0));
            assert!(times.windows(2).all(|w| w[1] - w[0] >= 1.0), "seed {seed}: {times:?}");
            assert!(scene.things.iter().all(|o| o.disappear.is_none_or(|d| d > o.appear)));
            assert!(questions(&mut rng, &scene).iter().all(|q| !q.answer.is_empty()));
        }
    }
}
