//! HDR to SDR: maps PQ and HLG pictures to what a screen without HDR should show.
//!
//! Per pixel: code values become light (SMPTE ST 2084, or BT.2100's HLG with its system gamma for a screen of 1000 cd/m²); the
//! brightest of the three channels is compressed below SDR white (203 cd/m², BT.2408's reference white) by the curve of
//! BT.2390, which keeps values below about half of that; all three channels are scaled alike to keep the hue; BT.2020's
//! primaries are converted to BT.709's, and out-of-gamut values are clipped; sRGB's curve gives the bytes. Functions of one
//! number are tables.

use rayon::prelude::*;

/// SDR's white, cd/m².
const WHITE: f64 = 203.0;
/// Light of the largest PQ code, cd/m².
const PQ_MAX: f64 = 10_000.0;
/// Brightest light of an HLG screen, and of a PQ clip that doesn't say.
const USUAL_PEAK: f64 = 1000.0;
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

/// The tables for one curve and peak.
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

/// Returns the peak to assume of what a clip says: its brightest pixel, or else the screen that it was made
/// on, cd/m². Headers lie by powers of ten, so it is kept between 400 and 4000.
pub(crate) fn peak(brightest: Option<f64>, screen: Option<f64>) -> f64 {
    let said = [brightest, screen].into_iter().flatten().find(|nits| nits.is_finite() && *nits >= 1.0);
    said.unwrap_or(USUAL_PEAK).clamp(400.0, 4000.0)
}

impl ToneMap {
    /// Prepares the tables; `peak` in cd/m² is that of a PQ clip.
    pub(crate) fn new(curve: Curve, peak: f64) -> Self {
        let table = |value: &dyn Fn(f64) -> f64| -> Vec<f32> {
            (0..STEPS).map(|i| value(i as f64 / (STEPS - 1) as f64) as f32).collect()
        };
        let peak = if curve == Curve::Pq { peak } else { USUAL_PEAK };
        let gain = |root: f64| {
            let nits = (root * root * PQ_MAX).max(1e-6);
            compressed(nits, peak) / nits * PQ_MAX / WHITE
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
                Curve::Hlg => table(&|root| root.powf(0.4) * USUAL_PEAK / PQ_MAX),
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
        let gain = self.gain[by_root(r.max(g).max(b))];
        [
            1.660_49 * r - 0.587_64 * g - 0.072_85 * b,
            -0.124_55 * r + 1.132_9 * g - 0.008_35 * b,
            -0.018_15 * r - 0.100_58 * g + 1.118_73 * b,
        ]
        .map(|value| self.bytes[by_root(value * gain)])
    }
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

/// PQ code of light in cd/m².
fn pq_code(nits: f64) -> f64 {
    let power = (nits / PQ_MAX).powf(M1);
    ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
}

/// Scene light of an HLG code, both 0 to 1.
fn hlg_scene(code: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 0.284_668_92;
    const C: f64 = 0.559_910_73;
    if code <= 0.5 { code * code / 3.0 } else { (((code - C) / A).exp() + B) / 12.0 }
}

/// BT.2390's curve from a screen of `peak` to one of [`WHITE`], in cd/m².
fn compressed(nits: f64, peak: f64) -> f64 {
    let top = pq_code(peak);
    let code = (pq_code(nits) / top).min(1.0);
    let most = pq_code(WHITE) / top;
    let knee = 1.5 * most - 0.5;
    if code < knee {
        return nits;
    }
    let t = (code - knee) / (1.0 - knee);
    let (t2, t3) = (t * t, t * t * t);
    let bent = (2.0 * t3 - 3.0 * t2 + 1.0) * knee
        + (t3 - 2.0 * t2 + t) * (1.0 - knee)
        + (3.0 * t2 - 2.0 * t3) * most;
    pq_light(bent * top)
}

/// sRGB's value of light, both 0 to 1.
fn srgb(light: f64) -> f64 {
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn dark_stays_white_is_bright_and_the_peak_is_white() {
        for peak in [400.0, 1000.0, 4000.0] {
            let map = ToneMap::new(Curve::Pq, peak);
            let grey = |nits: f64| map.pixel([code(pq_code(nits)); 3])[0];
            assert_eq!(grey(0.0), 0);
            let middle = (srgb(20.0 / WHITE) * 255.0).round() as u8;
            assert!(grey(20.0).abs_diff(middle) <= 2, "{peak}: {} instead of {middle}", grey(20.0));
            assert!((200..=250).contains(&grey(WHITE)), "{peak}: white is {}", grey(WHITE));
            assert!(grey(peak) >= 254 && grey(10_000.0) >= 254, "{peak}: {}", grey(peak));
            let ramp: Vec<u8> = (0..=1000).map(|i| map.pixel([code(f64::from(i) / 1000.0); 3])[0]).collect();
            assert!(ramp.windows(2).all(|pair| pair[0] <= pair[1].saturating_add(1)), "{peak}: {ramp:?}");
        }
    }

    #[test]
    fn hlg_and_pq_agree_on_the_same_light() {
        let (hlg, pq) = (ToneMap::new(Curve::Hlg, 0.0), ToneMap::new(Curve::Pq, 1000.0));
        for nits in [0.5, 5.0, 50.0, 203.0, 600.0, 1000.0] {
            let scene = (nits / 1000.0f64).powf(1.0 / 1.2);
            let (ours, theirs) = (hlg.pixel([code(hlg_code(scene)); 3]), pq.pixel([code(pq_code(nits)); 3]));
            assert!(ours[0].abs_diff(theirs[0]) <= 2, "{nits}: {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn grey_stays_grey_and_hues_stay() {
        let map = ToneMap::new(Curve::Pq, 1000.0);
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

    #[test]
    fn absurd_peaks_are_clamped() {
        assert_eq!(peak(None, None), 1000.0);
        assert_eq!(peak(Some(0.005), None), 1000.0);
        assert_eq!(peak(Some(0.0), Some(1200.0)), 1200.0);
        assert_eq!(peak(Some(50.0), Some(1200.0)), 400.0);
        assert_eq!(peak(Some(1e9), None), 4000.0);
    }
}
