//! Sentiment of text: `data/product_reviews.tsv`, 1,000 one-sentence reviews, half of them positive.

use std::collections::BTreeMap;

use super::data::{DataError, Split, every_fifth_of_each_label, read_text, repository_file};

/// What fills the rows of shorter reviews in a batch.
pub const PADDING: i32 = 0;

/// Every word that the vocabulary does not have.
pub const UNKNOWN: i32 = 1;

/// A word gets an id of its own if the training part has it this often: of one that comes once, there is nothing
/// to learn that held-back reviews would need.
const OFTEN: usize = 2;

/// A review as the ids of its words.
#[derive(Clone, Debug)]
pub struct Review {
    pub words: Vec<i32>,
    /// 1 for positive, 0 for negative.
    pub label: u8,
}

/// The reviews: 800 to train with and 200 held back, every fifth of each label, and the words they are made of.
#[derive(Clone, Debug)]
pub struct Reviews {
    pub vocabulary: Vocabulary,
    pub split: Split<Vec<Review>>,
}

impl Reviews {
    pub fn load() -> Result<Self, DataError> {
        let path = repository_file("data/product_reviews.tsv");
        let text = read_text(&path)?;
        let mut split = Split::<Vec<(&str, u8)>>::default();
        let mut held_back = every_fifth_of_each_label();
        for (number, line) in (1..).zip(text.lines()) {
            let (sentence, label) = match line.rsplit_once('\t') {
                Some((sentence, "0")) => (sentence, 0),
                Some((sentence, "1")) => (sentence, 1),
                _ => return Err(DataError::new(path, format!("line {number} is not a sentence, a tab, and 0 or 1"))),
            };
            split.part(held_back(label)).push((sentence, label));
        }
        let vocabulary = Vocabulary::new(split.train.iter().map(|(sentence, _)| *sentence));
        let review = |(sentence, label)| Review { words: vocabulary.ids(sentence), label };
        let split = Split {
            train: split.train.into_iter().map(review).collect(),
            held_back: split.held_back.into_iter().map(review).collect(),
        };
        Ok(Self { vocabulary, split })
    }
}

/// The words that have an id.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    ids: BTreeMap<String, i32>,
}

impl Vocabulary {
    fn new<'a>(sentences: impl Iterator<Item = &'a str>) -> Self {
        let mut counts = BTreeMap::<String, usize>::new();
        for word in sentences.flat_map(words) {
            *counts.entry(word).or_default() += 1;
        }
        let often = counts.into_iter().filter(|(_, count)| *count >= OFTEN);
        Self { ids: often.map(|(word, _)| word).zip(UNKNOWN + 1..).collect() }
    }

    /// How many ids there are, [`PADDING`] and [`UNKNOWN`] among them.
    pub fn size(&self) -> usize {
        self.ids.len() + 2
    }

    /// A sentence as ids.
    pub fn ids(&self, sentence: &str) -> Vec<i32> {
        words(sentence).iter().map(|word| self.ids.get(word).copied().unwrap_or(UNKNOWN)).collect()
    }
}

/// The words of a sentence, in lower case: runs of letters and digits ("it's" is "it" and "s"). "n't" is "not",
/// as in the file itself, which has "ca not" for "can't". Marks of exclamation and question are words, too: they
/// say something of the mood.
fn words(sentence: &str) -> Vec<String> {
    let sentence = sentence.to_lowercase().replace('’', "'").replace("n't", " not");
    let sentence = sentence.replace('!', " ! ").replace('?', " ? ");
    let between_words = |character: char| !character.is_alphanumeric() && !"!?".contains(character);
    sentence.split(between_words).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Reviews side by side.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, L]`: a review a row, [`PADDING`] after its end. L is the longest review's length.
    pub ids: Vec<i32>,
    /// `[N]`: words of each.
    pub lengths: Vec<usize>,
}

/// Reviews padded to the longest one's length.
pub fn batch(reviews: &[&Review]) -> Batch {
    let lengths: Vec<usize> = reviews.iter().map(|review| review.words.len()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let row = |review: &&Review| {
        let mut ids = review.words.clone();
        ids.resize(longest, PADDING);
        ids
    };
    Batch { ids: reviews.iter().flat_map(row).collect(), lengths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_become_words() {
        assert_eq!(words("It's GREAT, I couldn’t wait!"), ["it", "s", "great", "i", "could", "not", "wait", "!"]);
        assert_eq!(words("Paid $7.44 for 'this'?"), ["paid", "7", "44", "for", "this", "?"]);
    }

    #[test]
    fn both_parts_are_half_positive() {
        let Split { train, held_back } = Reviews::load().unwrap().split;
        let positive = |part: &[Review]| part.iter().filter(|review| review.label == 1).count();
        assert_eq!((train.len(), positive(&train)), (800, 400));
        assert_eq!((held_back.len(), positive(&held_back)), (200, 100));
        assert!(train.iter().chain(&held_back).all(|review| !review.words.is_empty()));
    }

    #[test]
    fn the_vocabulary_is_of_the_training_part() {
        let Reviews { vocabulary, split } = Reviews::load().unwrap();
        let ids = |part: &[Review]| part.iter().flat_map(|review| review.words.clone()).collect::<Vec<_>>();
        let trained = ids(&split.train);
        for id in UNKNOWN + 1..vocabulary.size() as i32 {
            assert!(trained.iter().filter(|word| **word == id).count() >= OFTEN);
        }
        let unknown = ids(&split.held_back).iter().filter(|word| **word == UNKNOWN).count();
        assert!(unknown > 0);
        assert_eq!(vocabulary.ids("great zyzzyva"), [vocabulary.ids("great")[0], UNKNOWN]);
    }

    #[test]
    fn a_batch_is_padded_at_the_end() {
        let review = |words: &[i32]| Review { words: words.to_vec(), label: 0 };
        let batch = batch(&[&review(&[5]), &review(&[2, 3, 4])]);
        assert_eq!(batch.ids, [5, PADDING, PADDING, 2, 3, 4]);
        assert_eq!(batch.lengths, [1, 3]);
    }
}
