//! Describes a scene in the words that the demo model was trained to use: descriptions, moments, tags.

use serde::Serialize;

use super::{Direction, Object, Scene};

/// The demo model's answer to questions that it cannot answer.
pub const UNKNOWN: &str = "I only know coloured shapes.";

/// An interval in which one object does not change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrueMoment {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// "a red circle moves right".
    pub text: String,
}

/// A change of an object.
pub(super) struct SceneEvent<'a> {
    pub(super) t: f64,
    pub(super) thing: &'a Object,
    pub(super) verb: String,
}

/// Returns the objects in the order of answers: by appearance, then by colour.
pub(super) fn ordered(scene: &Scene) -> Vec<&Object> {
    let mut things: Vec<&Object> = scene.things.iter().collect();
    things.sort_by(|a, b| a.appear.total_cmp(&b.appear).then(a.colour.cmp(&b.colour)));
    things
}

/// "red circle", by its colour at time `t`.
pub(super) fn named_at(o: &Object, t: f64) -> String {
    format!("{} {}", o.colour_at(t).0.name(), o.shape.name())
}

/// "red circle", by its first colour.
pub(super) fn named(o: &Object) -> String {
    format!("{} {}", o.colour.name(), o.shape.name())
}

/// Returns its name just before time `t`.
pub(super) fn before(o: &Object, t: f64) -> String {
    named_at(o, if t > o.appear { t - 0.01 } else { t })
}

/// "moves right" or "stays still" at time `t`.
pub(super) fn state(o: &Object, t: f64) -> String {
    manner(o.moving(t))
}

fn manner(direction: Option<Direction>) -> String {
    direction.map_or_else(|| "stays still".to_owned(), |d| format!("moves {}", d.name()))
}

/// "a red circle", "an orange star".
pub(super) fn with_article(words: &str) -> String {
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {words}")
}

/// "a", "a and b", "a, b and c".
pub(super) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The text with a capital first letter.
pub(super) fn cap(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Returns the moments of a scene, at most eight: one per object and interval in which it does not change, by start, then in the
/// order of `ordered`.
#[must_use]
pub fn moments(scene: &Scene) -> Vec<TrueMoment> {
    let mut out = Vec::new();
    for o in ordered(scene) {
        let mut cuts = vec![o.appear, o.disappear.unwrap_or(scene.end)];
        cuts.extend(o.turn.map(|(t, _, _)| t));
        cuts.extend(o.starts.then_some(o.move_s.0));
        cuts.extend(o.stops.then_some(o.move_s.1));
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        out.extend(cuts.windows(2).map(|cut| TrueMoment {
            start: cut[0],
            end: cut[1],
            text: format!("{} {}", with_article(&named_at(o, cut[0])), state(o, cut[0])),
        }));
    }
    out.sort_by(|a, b| a.start.total_cmp(&b.start));
    out.truncate(8);
    out
}

/// Returns all changes in order of time.
pub(super) fn events(scene: &Scene) -> Vec<SceneEvent<'_>> {
    let mut out = Vec::new();
    for o in ordered(scene) {
        let mut add = |t: f64, verb: String| out.push(SceneEvent { t, thing: o, verb });
        if o.appear > 0.0 {
            add(o.appear, "appears".to_owned());
        }
        if let Some(t) = o.disappear {
            add(t, "disappears".to_owned());
        }
        if let Some((t, colour, _)) = o.turn {
            add(t, format!("turns {}", colour.name()));
        }
        if o.stops {
            add(o.move_s.1, "stops".to_owned());
        }
        if let Some(direction) = o.direction.filter(|_| o.starts) {
            add(o.move_s.0, format!("starts to move {}", direction.name()));
        }
    }
    out.sort_by(|a, b| a.t.total_cmp(&b.t));
    out
}

/// Returns one sentence per object.
#[must_use]
pub fn describe(scene: &Scene) -> String {
    let sentence = |o: &&Object| {
        let mut parts = Vec::new();
        if o.appear > 0.0 {
            parts.push(format!("appears at {:.1} seconds", o.appear));
        }
        parts.push(match o.direction {
            None => "stays still".to_owned(),
            Some(d) if o.starts => format!("starts to move {} at {:.1} seconds", d.name(), o.move_s.0),
            Some(d) if o.stops => format!("moves {} until {:.1} seconds", d.name(), o.move_s.1),
            Some(d) => format!("moves {}", d.name()),
        });
        if let Some((t, colour, _)) = o.turn {
            parts.push(format!("turns {} at {t:.1} seconds", colour.name()));
        }
        if let Some(t) = o.disappear {
            parts.push(format!("disappears at {t:.1} seconds"));
        }
        format!("{} {}.", cap(&with_article(&named(o))), listed(&parts))
    };
    ordered(scene).iter().map(sentence).collect::<Vec<_>>().join(" ")
}

/// Returns up to eight tags.
#[must_use]
pub fn tags(scene: &Scene) -> Vec<String> {
    let mut all = Vec::new();
    for o in ordered(scene) {
        all.extend([o.colour.name().to_owned(), o.shape.name().to_owned(), manner(o.direction)]);
    }
    for event in events(scene) {
        let verb = event.verb;
        all.push(match verb.split_once(" to ") {
            _ if verb.starts_with("turns") => "changes color".to_owned(),
            Some((word, _)) => word.to_owned(),
            None => verb,
        });
    }
    let mut out: Vec<String> = Vec::new();
    for tag in all {
        if !out.contains(&tag) {
            out.push(tag);
        }
    }
    out.truncate(8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Colour, Shape};

    fn scene() -> Scene {
        let thing = |shape, colour: Colour| Object {
            shape,
            colour,
            rgb: colour.rgb(),
            r: 30.0,
            from: (40.0, 40.0),
            to: (200.0, 40.0),
            direction: Some(Direction::Right),
            move_s: (0.0, 6.0),
            appear: 0.0,
            disappear: None,
            turn: None,
            starts: false,
            stops: false,
        };
        let star = Object {
            direction: None,
            appear: 2.0,
            turn: Some((4.0, Colour::Blue, Colour::Blue.rgb())),
            disappear: Some(5.0),
            ..thing(Shape::Star, Colour::Orange)
        };
        Scene {
            width: 320,
            height: 240,
            fps: 10.0,
            total: 60,
            end: 6.0,
            background: Background::Plain { rgb: [128; 3] },
            things: vec![
                star,
                Object { stops: true, move_s: (0.0, 3.0), ..thing(Shape::Circle, Colour::Red) },
            ],
            texture: None,
        }
    }

    #[test]
    fn a_description_has_all_changes_in_order() {
        assert_eq!(
            describe(&scene()),
            "A red circle moves right until 3.0 seconds. An orange star appears at 2.0 seconds, stays still, \
             turns blue at 4.0 seconds and disappears at 5.0 seconds."
        );
    }

    #[test]
    fn moments_end_at_changes() {
        let found: Vec<_> = moments(&scene()).into_iter().map(|m| (m.start, m.end, m.text)).collect();
        let expected = [
            (0.0, 3.0, "a red circle moves right"),
            (2.0, 4.0, "an orange star stays still"),
            (3.0, 6.0, "a red circle stays still"),
            (4.0, 5.0, "a blue star stays still"),
        ];
        assert_eq!(found, expected.map(|(s, e, text)| (s, e, text.to_owned())));
    }

    #[test]
    fn tags_are_unique() {
        let expected = ["red", "circle", "moves right", "orange", "star", "stays still", "appears", "stops"];
        assert_eq!(tags(&scene()), expected);
    }
}
