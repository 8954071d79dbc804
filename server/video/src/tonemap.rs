//! HDR to SDR: maps PQ and HLG pictures to what a screen without HDR should show.
//!
//! Per pixel: code values become light (SMPTE ST 2084, or BT.2100's HLG with its system gamma for a screen of 1000 cd/m²);
//! BT.2020's primaries become BT.709's, and a colour outside of them loses saturation until it fits, which keeps its hue and
//! luminance; the brightest of the three channels is compressed below SDR white (203 cd/m², BT.2408's reference white), and all
//! three are scaled alike; sRGB's curve gives the bytes. Functions of one number are tables.
//!
//! The compression keeps light below 0.6 of white and approaches white at 10,000 cd/m², PQ's largest value, so that highlights
//! keep their detail however bright they are. It does not depend on what a clip says of its peak, because headers are wrong by
//! powers of ten and many clips have none.

use rayon::prelude::*;

/// SDR's white, cd/m².
const WHITE: f64 = 203.0;
/// Light of the largest PQ code, cd/m².
const PQ_MAX: f64 = 10_000.0;
/// Brightest light of an HLG screen, cd/m².
const HLG_MAX: f64 = 1000.0;
/// Part of white up to which light is kept.
const KNEE: f64 = 0.6;
/// Entries of a table.
const STEPS: usize = 4096;
/// Pixels that one thread takes at once.
const CHUNK: usize = 1 << 14;

/// How code values stand for light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    Pq,
    Hlg,
}

/// The tables for one curve.
#[derive(Debug)]
pub(crate) struct ToneMap {
    curve: Curve,
    /// Light of each code: of PQ as a part of [`PQ_MAX`], of HLG the scene's.
    light: Vec<f32>,
    /// HLG's screen light over scene light by the root of the scene's luminance, as a part of [`PQ_MAX`].
    system: Vec<f32>,
    /// SDR light over light, by the root of the light.
    gain: Vec<f32>,
    /// sRGB's bytes, by the root of SDR light.
    bytes: Vec<u8>,
}

impl ToneMap {
    /// Prepares the tables.
    pub(crate) fn new(curve: Curve) -> Self {
        let table = |value: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..STEPS).map(|i| value(i as f64 / (STEPS - 1) as f64) as f32).collect()
        };
        let gain = |root: f64| {
            let nits = (root * root * PQ_MAX).max(1e-6);
            compressed(nits / WHITE) / nits * PQ_MAX
        };
        Self {
            curve,
            light: match curve {
                Curve::Pq => table(&|code| pq_light(code) / PQ_MAX),
                Curve::Hlg => table(&hlg_scene),
            },
            system: match curve {
                Curve::Pq => Vec::new(),
                // Gamma 1.2: light = 1000 · Y^0.2 · scene.
                Curve::Hlg => table(&|root| root.powf(0.4) * HLG_MAX / PQ_MAX),
            },
            gain: table(&gain),
            bytes: (0..STEPS)
                .map(|i| (srgb((i as f64 / (STEPS - 1) as f64).powi(2)) * 255.0).round() as u8)
                .collect(),
        }
    }

    /// Maps packed little-endian RGB of 16 bits (BT.2020) to packed RGB8 (BT.709).
    pub(crate) fn apply(&self, wide: &[u8]) -> Vec<u8> {
        let (pixels, _) = wide.as_chunks::<6>();
        let mut rgb = vec![0u8; pixels.len() * 3];
        rgb.par_chunks_mut(3 * CHUNK).zip(pixels.par_chunks(CHUNK)).for_each(|(out, pixels)| {
            for (out, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                let [r, g, b, s, t, u] = *pixel;
                *out = self.pixel([[r, g], [b, s], [t, u]].map(u16::from_le_bytes));
            }
        });
        rgb
    }

    fn pixel(&self, codes: [u16; 3]) -> [u8; 3] {
        let mut light = codes.map(|code| self.light[usize::from(code >> 4)]);
        if self.curve == Curve::Hlg {
            let [r, g, b] = light;
            let factor = self.system[by_root(0.2627 * r + 0.678 * g + 0.0593 * b)];
            light = light.map(|value| value * factor);
        }
        let [r, g, b] = light;
        let [r, g, b] = within_gamut([
            1.660_49 * r - 0.587_64 * g - 0.072_85 * b,
            -0.124_55 * r + 1.132_9 * g - 0.008_35 * b,
            -0.018_15 * r - 0.100_58 * g + 1.118_73 * b,
        ]);
        let gain = self.gain[by_root(r.max(g).max(b))];
        [r, g, b].map(|value| self.bytes[by_root(value * gain)])
    }
}

/// Moves light in BT.709's primaries towards grey of the same luminance until no channel is negative.
fn within_gamut([r, g, b]: [f32; 3]) -> [f32; 3] {
    let least = r.min(g).min(b);
    let luminance = 0.212_6 * r + 0.715_2 * g + 0.072_2 * b;
    if least >= 0.0 || luminance <= 0.0 {
        return [r, g, b];
    }
    let saturation = luminance / (luminance - least);
    [r, g, b].map(|value| luminance + saturation * (value - luminance))
}

/// Place of `value`, 0 to 1, in a table that goes by its root.
fn by_root(value: f32) -> usize {
    (value.clamp(0.0, 1.0).sqrt() * (STEPS - 1) as f32 + 0.5) as usize
}

const M1: f64 = 2610.0 / 16384.0;
const M2: f64 = 2523.0 / 4096.0 * 128.0;
const C1: f64 = 3424.0 / 4096.0;
const C2: f64 = 2413.0 / 4096.0 * 32.0;
const C3: f64 = 2392.0 / 4096.0 * 32.0;

/// Light of a PQ code of 0 to 1, cd/m².
fn pq_light(code: f64) -> f64 {
    let power = code.powf(1.0 / M2);
    PQ_MAX * ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

/// Scene light of an HLG code, both 0 to 1.
fn hlg_scene(code: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 0.284_668_92;
    const C: f64 = 0.559_910_73;
    if code <= 0.5 { code * code / 3.0 } else { (((code - C) / A).exp() + B) / 12.0 }
}

/// Compresses light as a part of white: identity up to [`KNEE`], then Reinhard's curve with PQ's largest value at white.
fn compressed(light: f64) -> f64 {
    if light <= KNEE {
        return light;
    }
    let [t, top] = [light, PQ_MAX / WHITE].map(|light| (light - KNEE) / (1.0 - KNEE));
    KNEE + (1.0 - KNEE) * t * (1.0 + t / (top * top)) / (1.0 + t)
}

/// sRGB's value of light, both 0 to 1.
fn srgb(light: f64) -> f64 {
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PQ code of light in cd/m².
    fn pq_code(nits: f64) -> f64 {
        let power = (nits / PQ_MAX).powf(M1);
        ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
    }

    fn code(value: f64) -> u16 {
        (value * 65535.0).round() as u16
    }

    fn hlg_code(scene: f64) -> f64 {
        if scene <= 1.0 / 12.0 {
            (3.0 * scene).sqrt()
        } else {
            0.178_832_77 * (12.0 * scene - 0.284_668_92).ln() + 0.559_910_73
        }
    }

    #[test]
    fn the_curves_have_their_published_values() {
        assert!((pq_code(100.0) - 0.508_078).abs() < 1e-5);
        assert!((pq_light(0.751_827) - 1000.0).abs() < 0.1);
        assert!((hlg_scene(0.5) - 1.0 / 12.0).abs() < 1e-9);
        assert!((hlg_scene(1.0) - 1.0).abs() < 1e-4);
        assert!((hlg_scene(hlg_code(0.3)) - 0.3).abs() < 1e-6);
    }

    #[test]
    fn dark_stays_white_is_bright_and_highlights_differ() {
        let map = ToneMap::new(Curve::Pq);
        let grey = |nits: f64| map.pixel([code(pq_code(nits)); 3])[0];
        assert_eq!(grey(0.0), 0);
        for nits in [1.0, 20.0, 100.0] {
            let same = (srgb(nits / WHITE) * 255.0).round() as u8;
            assert!(grey(nits).abs_diff(same) <= 2, "{nits}: {} instead of {same}", grey(nits));
        }
        let bright: Vec<u8> = [203.0, 400.0, 1000.0, 4000.0, 10_000.0].map(grey).into();
        assert!((225..=240).contains(&bright[0]) && bright[4] == 255, "{bright:?}");
        assert!(bright[2] < 253 && bright.is_sorted_by(|one, next| one < next), "{bright:?}");
        let ramp: Vec<u8> = (0..=1000).map(|i| map.pixel([code(f64::from(i) / 1000.0); 3])[0]).collect();
        assert!(ramp.windows(2).all(|pair| pair[0] <= pair[1].saturating_add(1)), "{ramp:?}");
    }

    /// Saturated colours of BT.2020 are no more clipped than grey of the same light.
    #[test]
    fn colours_outside_of_the_gamut_keep_their_highlights() {
        let map = ToneMap::new(Curve::Pq);
        for nits in [300.0, 600.0, 1200.0] {
            for colour in
                [[1.0, 0.2, 0.1], [0.1, 1.0, 0.2], [1.0, 0.9, 0.2], [0.2, 0.3, 1.0], [1.0, 0.6, 0.5]]
            {
                let mapped = map.pixel(colour.map(|part: f64| code(pq_code(part * nits))));
                assert!(mapped.iter().all(|byte| *byte < 255), "{colour:?} of {nits}: {mapped:?}");
            }
        }
        assert_eq!(within_gamut([0.3, 0.2, 0.1]), [0.3, 0.2, 0.1]);
        let [r, g, b] = within_gamut([0.5, -0.1, 0.05]);
        assert!(g.abs() < 1e-6 && r > b && b > 0.0, "{r} {g} {b}");
    }

    #[test]
    fn hlg_and_pq_agree_on_the_same_light() {
        let (hlg, pq) = (ToneMap::new(Curve::Hlg), ToneMap::new(Curve::Pq));
        for nits in [0.5, 5.0, 50.0, 203.0, 600.0, 1000.0] {
            let scene = (nits / 1000.0f64).powf(1.0 / 1.2);
            let (ours, theirs) = (hlg.pixel([code(hlg_code(scene)); 3]), pq.pixel([code(pq_code(nits)); 3]));
            assert!(ours[0].abs_diff(theirs[0]) <= 2, "{nits}: {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn grey_stays_grey_and_hues_stay() {
        let map = ToneMap::new(Curve::Pq);
        for nits in [1.0, 30.0, 150.0, 900.0] {
            let [r, g, b] = map.pixel([code(pq_code(nits)); 3]);
            assert!(r.abs_diff(g) <= 1 && g.abs_diff(b) <= 1, "{nits}: {r} {g} {b}");
        }
        // BT.709's red in BT.2020, of 100 and of 1000 cd/m².
        for nits in [100.0, 1000.0] {
            let red = [0.6274, 0.0691, 0.0164].map(|part| code(pq_code(part * nits)));
            let [r, g, b] = map.pixel(red);
            assert!(r > 150 && g < 25 && b < 25, "{nits}: {r} {g} {b}");
        }
    }
}
