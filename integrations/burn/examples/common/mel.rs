//! Log-mel features: how much energy a recording has, by time and pitch.

use std::f32::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Samples a second.
pub const SAMPLE_RATE: usize = 8000;

/// Bands, evenly spaced in mel between [`LOWEST`] and [`HIGHEST`].
pub const BANDS: usize = 40;

/// Hz. Below it is the hum of the mains.
const LOWEST: f32 = 60.0;

/// Hz: half the sample rate, the highest frequency that samples can hold.
const HIGHEST: f32 = 4000.0;

/// 25 ms: long enough for a few periods of a voice, short enough that its sound stays the same.
const WINDOW: usize = SAMPLE_RATE / 40;

/// 10 ms from one window to the next.
const STEP: usize = SAMPLE_RATE / 100;

/// The next power of two from the window's length.
const FFT: usize = 256;

/// The energy that silence counts as, so that its logarithm is finite: about what one frequency holds of white noise
/// of 4 steps (root mean square) of a 16-bit sample's 32,768.
const SILENCE: f32 = 1e-6;

/// Log-mel features of recordings at 8 kHz.
pub struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    /// Hann's window.
    window: [f32; WINDOW],
    /// `[BANDS, FFT / 2 + 1]`: how much of each frequency belongs to each band.
    weights: Vec<[f32; FFT / 2 + 1]>,
}

impl LogMel {
    pub fn new() -> Self {
        let spacing = (mel(HIGHEST) - mel(LOWEST)) / (BANDS + 1) as f32;
        let weight = |band: usize, bin: usize| {
            let middle = mel(LOWEST) + spacing * (band + 1) as f32;
            let frequency = (bin * SAMPLE_RATE) as f32 / FFT as f32;
            (1.0 - (mel(frequency) - middle).abs() / spacing).max(0.0)
        };
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(FFT),
            window: std::array::from_fn(|sample| 0.5 - 0.5 * (TAU * sample as f32 / WINDOW as f32).cos()),
            weights: (0..BANDS).map(|band| std::array::from_fn(|bin| weight(band, bin))).collect(),
        }
    }

    /// The frames of a recording of this many samples: windows that lie in it as a whole.
    pub fn frames(samples: usize) -> usize {
        samples.checked_sub(WINDOW).map_or(0, |rest| rest / STEP + 1)
    }

    /// The features of samples from -1 to 1, `[BANDS, frames]`: the natural logarithm of each band's energy.
    pub fn features(&self, samples: &[f32]) -> Vec<f32> {
        let frames = Self::frames(samples.len());
        let mut features = vec![0.0; BANDS * frames];
        let mut spectrum = [Complex::default(); FFT / 2 + 1];
        for (frame, samples) in samples.windows(WINDOW).step_by(STEP).enumerate() {
            let mut windowed = [0.0; FFT];
            for ((windowed, sample), weight) in windowed.iter_mut().zip(samples).zip(self.window) {
                *windowed = sample * weight;
            }
            self.fft.process(&mut windowed, &mut spectrum).expect("both have the FFT's length");
            for (band, weights) in self.weights.iter().enumerate() {
                let energy: f32 = weights.iter().zip(spectrum).map(|(weight, value)| weight * value.norm_sqr()).sum();
                features[band * frames + frame] = (energy + SILENCE).ln();
            }
        }
        features
    }
}

/// The pitch of a frequency in Hz, in mel (O'Shaughnessy's formula, as HTK has it).
fn mel(frequency: f32) -> f32 {
    2595.0 * (1.0 + frequency / 700.0).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_in_its_band() {
        let features = LogMel::new();
        for frequency in [200.0, 1000.0, 3000.0] {
            let tone: Vec<f32> =
                (0..WINDOW).map(|sample| (TAU * frequency * sample as f32 / SAMPLE_RATE as f32).sin()).collect();
            let energies = features.features(&tone);
            let loudest = (0..BANDS).max_by(|a, b| energies[*a].total_cmp(&energies[*b])).unwrap();
            let place = (mel(frequency) - mel(LOWEST)) / (mel(HIGHEST) - mel(LOWEST)) * (BANDS + 1) as f32 - 1.0;
            assert!((loudest as f32 - place).abs() < 1.0, "{frequency} Hz is in band {loudest}, not {place}");
        }
    }

    #[test]
    fn every_band_hears_something() {
        assert!(LogMel::new().weights.iter().all(|band| band.iter().sum::<f32>() > 0.5));
    }

    #[test]
    fn frames_lie_within_the_recording() {
        assert_eq!([0, 199, 200, 279, 280].map(LogMel::frames), [0, 0, 1, 1, 2]);
        assert_eq!(LogMel::new().features(&[0.0; 280]), [SILENCE.ln(); BANDS * 2]);
    }
}
