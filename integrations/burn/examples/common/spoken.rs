//! Spoken digits: `data/spoken_digits.safetensors`, 600 recordings of 6 speakers who say each digit ten times.

use std::iter::repeat_n;

use safetensors::SafeTensors;

use super::data::{DataError, Split, read, repository_file};
use super::mel::LogMel;

/// Takes before this one are the test part of the source.
const TEST_TAKES: u8 = 5;

/// Who speaks.
pub const SPEAKERS: [&str; 6] = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"];

/// A spoken digit.
#[derive(Clone, Debug)]
pub struct Recording {
    /// `[BANDS, frames]`: log-mel features, a frame each 10 ms.
    pub features: Vec<f32>,
    pub frames: usize,
    /// The digit, 0 to 9.
    pub label: u8,
    /// Which of [`SPEAKERS`].
    pub speaker: u8,
    /// 0 to 9: which time the speaker says this digit.
    pub take: u8,
}

/// All recordings, by digit, speaker and take.
pub fn load() -> Result<Vec<Recording>, DataError> {
    let path = repository_file("data/spoken_digits.safetensors");
    recordings(&read(&path)?).map_err(|what| DataError::new(path, what))
}

fn recordings(file: &[u8]) -> Result<Vec<Recording>, String> {
    let file = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let bytes = |name| file.tensor(name).map(|tensor| tensor.data()).map_err(|error| error.to_string());
    let (samples, offsets) = (bytes("samples")?.as_chunks().0, bytes("offsets")?.as_chunks().0);
    let (labels, speakers, takes) = (bytes("label")?, bytes("speaker")?, bytes("take")?);

    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(i16::from_le_bytes(*sample)) / 32768.0).collect();
    let offsets: Vec<usize> = offsets.iter().map(|offset| i64::from_le_bytes(*offset) as usize).collect();
    let log_mel = LogMel::new();
    let recording = |(((range, &label), &speaker), &take): (((&[usize], _), _), _)| {
        let samples = samples.get(range[0]..range[1]).ok_or("has an offset past its samples")?;
        let (features, frames) = (log_mel.features(samples), LogMel::frames(samples.len()));
        Ok(Recording { features, frames, label, speaker, take })
    };
    offsets.windows(2).zip(labels).zip(speakers).zip(takes).map(recording).collect()
}

/// The source's own split, 300 and 300: what takes 0 to 4 say is held back, so each speaker is known.
pub fn by_take(recordings: Vec<Recording>) -> Split<Vec<Recording>> {
    split(recordings, |recording| recording.take < TEST_TAKES)
}

/// 500 and 100: one speaker is held back, whose voice training never hears.
pub fn by_speaker(recordings: Vec<Recording>, speaker: u8) -> Split<Vec<Recording>> {
    split(recordings, |recording| recording.speaker == speaker)
}

fn split(recordings: Vec<Recording>, held_back: impl Fn(&Recording) -> bool) -> Split<Vec<Recording>> {
    let (held_back, train) = recordings.into_iter().partition(held_back);
    Split { train, held_back }
}

/// Recordings side by side.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, BANDS, L]`: zeros after a recording's end. L is the longest recording's frames.
    pub features: Vec<f32>,
    /// `[N]`: frames of each.
    pub lengths: Vec<usize>,
}

/// Recordings padded to the longest one's frames.
pub fn batch<'a>(recordings: &[&'a Recording]) -> Batch {
    let lengths: Vec<usize> = recordings.iter().map(|recording| recording.frames).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let bands = recordings.iter().flat_map(|recording| recording.features.chunks_exact(recording.frames));
    let padded = |band: &'a [f32]| band.iter().copied().chain(repeat_n(0.0, longest - band.len()));
    Batch { features: bands.flat_map(padded).collect(), lengths }
}

#[cfg(test)]
mod tests {
    use super::super::mel::BANDS;
    use super::*;

    #[test]
    fn recordings_are_as_the_file_says() {
        let recordings = load().unwrap();
        assert_eq!(recordings.len(), 600);
        // The first has 2,384 samples, the shortest of all 1,148, the longest 10,504.
        assert_eq!(recordings[0].frames, (2384 - 200) / 80 + 1);
        let frames = || recordings.iter().map(|recording| recording.frames);
        assert_eq!((frames().min(), frames().max()), (Some(12), Some(129)));
        for recording in &recordings {
            assert_eq!(recording.features.len(), BANDS * recording.frames);
            assert!(recording.features.iter().all(|value| (-14.0..=12.0).contains(value)));
        }
    }

    #[test]
    fn splits_hold_back_takes_or_a_speaker() {
        let count = |part: &[Recording], digit| part.iter().filter(|recording| recording.label == digit).count();
        let takes = by_take(load().unwrap());
        assert!(takes.train.iter().all(|recording| recording.take >= TEST_TAKES));
        assert!(takes.held_back.iter().all(|recording| recording.take < TEST_TAKES));
        let speakers = by_speaker(load().unwrap(), 4);
        assert!(speakers.train.iter().all(|recording| recording.speaker != 4));
        assert!(speakers.held_back.iter().all(|recording| recording.speaker == 4));
        for digit in 0..10 {
            assert_eq!((count(&takes.train, digit), count(&takes.held_back, digit)), (30, 30));
            assert_eq!((count(&speakers.train, digit), count(&speakers.held_back, digit)), (50, 10));
        }
    }

    #[test]
    fn a_batch_is_padded_with_zeros() {
        let recording = |frames: usize| {
            let features = (1..=BANDS * frames).map(|value| value as f32).collect();
            Recording { features, frames, label: 0, speaker: 0, take: 0 }
        };
        let batch = batch(&[&recording(1), &recording(2)]);
        assert_eq!(batch.lengths, [1, 2]);
        assert_eq!(batch.features[..4], [1.0, 0.0, 2.0, 0.0]);
        assert_eq!(batch.features[BANDS * 2..][..4], [1.0, 2.0, 3.0, 4.0]);
    }
}
