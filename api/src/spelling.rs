//! What somebody probably meant who wrote a word that nothing has for a name.

/// The most letters by which a word may differ from the one that its writer probably means.
const TYPO_MAX: usize = 2;

/// Returns the word that the writer of another probably meant. It is never the word itself.
pub(crate) fn nearest(word: &str, words: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let distances = words.filter(|known| *known != word).map(|known| {
        let distance = strsim::damerau_levenshtein(&lower, &known.to_lowercase());
        (distance, known)
    });
    // Of a short word nothing would be left that is the same.
    distances
        .filter(|(distance, known)| *distance <= TYPO_MAX && distance * 3 < known.len())
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_meant_that_differs_by_little_and_is_not_the_same() {
        let words = || ["service", "services", "sidecar", "vs"].into_iter();
        assert_eq!(nearest("servcie", words()), Some("service"));
        assert_eq!(nearest("SIDECAR", words()), Some("sidecar"));
        assert_eq!(nearest("service", words()), Some("services"), "the word itself is no suggestion");
        assert_eq!((nearest("vz", words()), nearest("deployment", words())), (None, None));
    }
}
