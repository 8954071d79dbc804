//! Writes sound as a WAV file of 16 bits.

use super::config::SAMPLE_RATE;

/// Bytes of the header.
const HEADER: usize = 44;

/// Returns a mono file of 16 kHz. Samples beyond -1 and 1 are clipped, and what is no number becomes silence.
#[must_use]
pub(super) fn encode(samples: &[f32]) -> Vec<u8> {
    let bytes = 2 * samples.len() as u32;
    let rate = SAMPLE_RATE as u32;
    let mut file = Vec::with_capacity(HEADER + bytes as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(HEADER as u32 - 8 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    // PCM, one channel.
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&(2 * rate).to_le_bytes());
    // Bytes per sample, and bits.
    file.extend_from_slice(&2u16.to_le_bytes());
    file.extend_from_slice(&16u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    for sample in samples {
        // The conversion saturates, and makes zero of what is no number.
        file.extend_from_slice(&((sample * 32768.0).round() as i16).to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_header_and_samples() {
        let file = encode(&[0.0, 0.5, -1.0, 2.0, f32::NAN]);
        assert_eq!(file.len(), 54);
        assert_eq!((&file[..4], &file[8..16], &file[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
        assert_eq!(u32::from_le_bytes([file[4], file[5], file[6], file[7]]), 46);
        assert_eq!(u32::from_le_bytes([file[24], file[25], file[26], file[27]]), 16_000);
        let samples: Vec<i16> =
            file[44..].chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(samples, [0, 16384, -32768, 32767, 0]);
    }
}
