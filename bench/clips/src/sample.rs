//! Chooses random scenes from the distribution of `scripts/model/demo_model/scene.py`, which draws the training clips.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, distr::weighted::WeightedIndex, prelude::Distribution as _, rngs::StdRng};

use super::{Background, Colour, Direction, Object, Rgb, Scene, Shape, Texture};

/// Kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum SceneKind {
    /// One to three objects with up to three events
    Any,
    /// One object with up to three events
    OneObject,
    /// One object that moves all the time on a plain background, without events
    Plain,
    /// No object: a background or a drifting texture
    None,
}

/// Kind of change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EventKind {
    Appear,
    Start,
    Stop,
    Turn,
    Disappear,
}

/// Chooses a scene of `kind`, `duration_s` long, rounded to whole frames.
pub fn sample(
    rng: &mut StdRng,
    kind: SceneKind,
    width: u32,
    height: u32,
    fps: f64,
    duration_s: f64,
) -> Scene {
    let total = (duration_s * fps).round().max(2.0);
    let end = (total / fps * 2.0).round_ties_even() / 2.0;
    let mut scene = Scene {
        width,
        height,
        fps,
        total: total as u32,
        end,
        background: Background::Plain { rgb: [128; 3] },
        things: Vec::new(),
        texture: None,
    };
    if kind == SceneKind::None {
        scene.background = background(rng, &[], false);
        scene.texture = rng.random_bool(0.65).then(|| Texture::sample(rng));
        return scene;
    }
    // Objects that cannot be placed without overlap are replaced by new ones.
    scene.things = loop {
        if let Some(things) = objects(rng, kind, &scene, duration_s) {
            break things;
        }
    };
    let used: Vec<Rgb> = scene
        .things
        .iter()
        .flat_map(|o| std::iter::once(o.rgb).chain(o.turn.map(|(_, _, rgb)| rgb)))
        .collect();
    scene.background = background(rng, &used, kind == SceneKind::Plain);
    scene
}

fn objects(rng: &mut StdRng, kind: SceneKind, scene: &Scene, duration_s: f64) -> Option<Vec<Object>> {
    let count = if kind == SceneKind::Any { 1 + weighted(rng, &[0.35, 0.37, 0.28]) } else { 1 };
    let radius = if duration_s > 9.0 { 0.14..0.2 } else { 0.12..0.2 };
    let mut colours = Colour::ALL;
    colours.shuffle(rng);
    let mut shapes = Shape::ALL;
    if rng.random_bool(0.75) {
        shapes.shuffle(rng);
    } else {
        shapes = std::array::from_fn(|_| one_of(rng, &Shape::ALL));
    }
    let mut things: Vec<Object> = (0..count)
        .map(|i| {
            let still = kind != SceneKind::Plain && rng.random_bool(0.35);
            Object {
                shape: shapes[i],
                colour: colours[i],
                rgb: jitter(rng, colours[i].rgb(), 18),
                r: 1.0,
                from: (0.0, 0.0),
                to: (0.0, 0.0),
                direction: (!still).then(|| one_of(rng, &Direction::ALL)),
                move_s: (0.0, scene.end),
                appear: 0.0,
                disappear: None,
                turn: None,
                starts: false,
                stops: false,
            }
        })
        .collect();
    let events = if kind == SceneKind::Plain { 0 } else { weighted(rng, &[0.2, 0.35, 0.27, 0.18]) };
    add_events(rng, &mut things, scene.end, events, &colours[count..]);
    for o in &mut things {
        let until = if o.stops { o.move_s.1 } else { o.disappear.unwrap_or(scene.end) };
        o.move_s = (if o.starts { o.move_s.0 } else { o.appear }, until);
    }
    for _ in 0..60 {
        for o in &mut things {
            let scale = rng.random_range(radius.clone());
            place(rng, o, f64::from(scene.width), f64::from(scene.height), scale);
        }
        if apart(&things, scene.end) {
            return Some(things);
        }
    }
    None
}

/// Adds up to `count` events on a grid of 0.5 s, at least 1 s apart.
fn add_events(rng: &mut StdRng, things: &mut [Object], end: f64, count: usize, second: &[Colour]) {
    let mut free: Vec<f64> = (2..).map(|k| f64::from(k) / 2.0).take_while(|t| *t <= end - 1.0).collect();
    let mut times = Vec::new();
    while times.len() < count {
        let Some(&t) = free.choose(rng) else { break };
        times.push(t);
        free.retain(|f| (f - t).abs() >= 1.0);
    }
    times.sort_by(f64::total_cmp);

    let all = [
        (EventKind::Appear, 1.3),
        (EventKind::Disappear, 1.3),
        (EventKind::Turn, 1.0),
        (EventKind::Stop, 1.0),
        (EventKind::Start, 0.6),
    ];
    let mut kinds: Vec<(usize, EventKind, f64)> = Vec::new();
    for (i, o) in things.iter().enumerate() {
        let able = |k: &EventKind| o.direction.is_some() || !matches!(k, EventKind::Stop | EventKind::Start);
        kinds.extend(all.iter().filter(|(k, _)| able(k)).map(|&(k, w)| (i, k, w)));
    }
    let mut chosen: BTreeMap<usize, Vec<EventKind>> = BTreeMap::new();
    let mut slots = Vec::new();
    while slots.len() < times.len() && !kinds.is_empty() {
        let weights: Vec<f64> = kinds.iter().map(|k| k.2).collect();
        let (i, k, _) = kinds[weighted(rng, &weights)];
        chosen.entry(i).or_default().push(k);
        slots.push(i);
        let both = |a, b| {
            matches!((a, b), (EventKind::Stop, EventKind::Start) | (EventKind::Start, EventKind::Stop))
        };
        kinds.retain(|&(j, m, _)| j != i || (m != k && !both(m, k)));
    }
    slots.shuffle(rng);
    // An object appears first and disappears last; the events between are in any order.
    for life in chosen.values_mut() {
        life.shuffle(rng);
        life.sort_by_key(|k| match k {
            EventKind::Appear => 0,
            EventKind::Disappear => 2,
            EventKind::Start | EventKind::Stop | EventKind::Turn => 1,
        });
        life.reverse();
    }
    for (i, t) in slots.into_iter().zip(times) {
        let Some(event) = chosen.get_mut(&i).and_then(Vec::pop) else { continue };
        let o = &mut things[i];
        match event {
            EventKind::Appear => o.appear = t,
            EventKind::Disappear => o.disappear = Some(t),
            EventKind::Turn => o.turn = Some((t, second[i], jitter(rng, second[i].rgb(), 18))),
            EventKind::Stop => (o.stops, o.move_s.1) = (true, t),
            EventKind::Start => (o.starts, o.move_s.0) = (true, t),
        }
    }
}

/// Chooses radius and path. `scale` is the radius divided by the shorter side of the frame.
fn place(rng: &mut StdRng, o: &mut Object, w: f64, h: f64, scale: f64) {
    o.r = scale * w.min(h);
    let margin = 1.15 * o.r;
    let (x, y) = (rng.random_range(margin..w - margin), rng.random_range(margin..h - margin));
    (o.from, o.to) = ((x, y), (x, y));
    let Some(direction) = o.direction else { return };
    let size = if direction.horizontal() { w } else { h };
    let room = size - 2.0 * margin;
    let travel = rng.random_range((0.3 * size).min(room)..=room);
    let near = margin + rng.random_range(0.0..=room - travel);
    let (a, b) = if direction.backwards() { (near + travel, near) } else { (near, near + travel) };
    (o.from, o.to) = if direction.horizontal() { ((a, y), (b, y)) } else { ((x, a), (x, b)) };
}

/// Returns whether no two objects overlap while both are visible.
fn apart(things: &[Object], end: f64) -> bool {
    (0..24).map(|k| end * f64::from(k) / 23.0).all(|t| {
        let seen: Vec<_> = things.iter().filter(|o| o.seen(t)).map(|o| (o.centre(t), o.r)).collect();
        seen.iter().enumerate().all(|(i, (a, ra))| {
            seen[..i].iter().all(|(b, rb)| (a.0 - b.0).hypot(a.1 - b.1) >= 1.05 * (ra + rb))
        })
    })
}

/// Chooses a background that contrasts with `used`.
fn background(rng: &mut StdRng, used: &[Rgb], plain: bool) -> Background {
    for _ in 0..200 {
        let grey: u8 = rng.random();
        let spread = if rng.random_bool(0.5) { 12 } else { 70 };
        let rgb = jitter(rng, [grey; 3], spread);
        if !far(rgb, used) {
            continue;
        }
        match if plain { 0 } else { weighted(rng, &[0.4, 0.3, 0.3]) } {
            0 => return Background::Plain { rgb },
            1 => {
                let rgb2 = jitter(rng, rgb, 90);
                let middle = std::array::from_fn(|c| rgb[c].midpoint(rgb2[c]));
                if far(rgb2, used) && far(middle, used) {
                    return Background::Gradient { rgb, rgb2, angle: rng.random_range(0.0..TAU) };
                }
            }
            _ => {
                return Background::Noisy {
                    rgb,
                    amplitude: rng.random_range(6.0..32.0),
                    block: rng.random_range(1..9),
                    seed: rng.random_range(0..1 << 30),
                    moving: rng.random_bool(0.3),
                };
            }
        }
    }
    Background::Plain { rgb: [128; 3] }
}

fn jitter(rng: &mut StdRng, rgb: Rgb, by: i16) -> Rgb {
    rgb.map(|v| (i16::from(v) + rng.random_range(-by..=by)).clamp(0, 255) as u8)
}

fn far(rgb: Rgb, others: &[Rgb]) -> bool {
    let distance = |o: &Rgb| (0..3).map(|c| f64::from(rgb[c].abs_diff(o[c])).powi(2)).sum::<f64>().sqrt();
    others.iter().all(|o| distance(o) >= 100.0)
}

pub(super) fn weighted(rng: &mut StdRng, weights: &[f64]) -> usize {
    // Fails only without a positive weight, which no caller passes.
    WeightedIndex::new(weights).map_or(0, |d| d.sample(rng))
}

pub(super) fn one_of<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
