//! Versions of firmware, as vendors write them, and ranges of them.

use std::{cmp::Ordering, fmt};

/// Numbers of a version that are looked at.
const MAX_PARTS: usize = 8;

/// The first dotted number in a text: of `iLO 5 v2.44` it is 2.44, of `6.10.30.20` all four.
#[derive(Clone, Debug)]
pub(super) struct Version(Vec<u64>);

impl Version {
    /// Reads it; `None`: there is no number in the text.
    #[must_use]
    pub(super) fn find(text: &str) -> Option<Self> {
        let numbers = text
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .map(|word| word.trim_matches('.'))
            .filter(|word| !word.is_empty());
        // `iLO 5 v2.44`: a number with a dot is the version, if there is one.
        let word = numbers.clone().find(|word| word.contains('.')).or_else(|| numbers.clone().next())?;
        let parts: Option<Vec<u64>> = word
            .split('.')
            .filter(|part| !part.is_empty())
            .take(MAX_PARTS)
            .map(|part| part.parse().ok())
            .collect();
        parts.filter(|parts| !parts.is_empty()).map(Self)
    }
}

/// Parts that are not given count as 0.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |version: &Self, at: usize| version.0.get(at).copied().unwrap_or(0);
        (0..MAX_PARTS)
            .map(|at| part(self, at).cmp(&part(other, at)))
            .find(|found| found.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Versions between two others: `>=2.10, <6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    text: String,
    bounds: Vec<(Comparison, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
    Equal,
}

impl Range {
    /// Reads `>=2.10, <6`; each part has one of `>= > <= < =`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        use Comparison::{Above, AtLeast, AtMost, Below, Equal};
        let words = [(">=", AtLeast), ("<=", AtMost), (">", Above), ("<", Below), ("=", Equal)];
        let mut bounds = Vec::new();
        for part in text.split(',').map(str::trim) {
            let found =
                words.iter().find_map(|(word, comparison)| Some((*comparison, part.strip_prefix(word)?)));
            let version = |number: &str| {
                let number = number.trim();
                let sane = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                Version::find(number).filter(|_| sane)
            };
            match found.and_then(|(comparison, number)| Some((comparison, version(number)?))) {
                Some(bound) => bounds.push(bound),
                None => return Err(format!("\"{part}\" is no bound: write it as >=2.10 or <6")),
            }
        }
        Ok(Self { text: text.to_owned(), bounds })
    }

    /// Whether a version is within.
    #[must_use]
    pub(super) fn holds(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(comparison, bound)| match comparison {
            Comparison::AtLeast => version >= bound,
            Comparison::Above => version > bound,
            Comparison::AtMost => version <= bound,
            Comparison::Below => version < bound,
            Comparison::Equal => version == bound,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
