//! Finds the runs of zeros in a block that are worth a command of their own.

use std::ops::Range;

/// Looked at as a whole: a cluster of most file systems or several.
const GRAIN: usize = 64 << 10;
/// Shorter runs are cheaper to write.
const SHORTEST: usize = 256 << 10;

/// Part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// Bytes.
    Data(Range<usize>),
    /// Nothing but zeros.
    Zeros(Range<usize>),
}

/// Cuts `bytes` into runs. Short runs of zeros are kept at both ends: they may go on in the neighbouring blocks.
#[must_use]
pub(super) fn runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, grain) in bytes.chunks(GRAIN).enumerate() {
        let place = index * GRAIN..index * GRAIN + grain.len();
        match (runs.last_mut(), is_zero(grain)) {
            (Some(Run::Zeros(run)), true) | (Some(Run::Data(run)), false) => run.end = place.end,
            (_, true) => runs.push(Run::Zeros(place)),
            (_, false) => runs.push(Run::Data(place)),
        }
    }
    join_short(runs, bytes.len())
}

/// Makes data of short runs of zeros inside the block; those at its ends may go on outside.
fn join_short(runs: Vec<Run>, length: usize) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        let run = match run {
            Run::Zeros(place) if place.len() < SHORTEST && place.start > 0 && place.end < length => {
                Run::Data(place)
            }
            run => run,
        };
        match (joined.last_mut(), &run) {
            (Some(Run::Data(last)), Run::Data(place)) => last.end = place.end,
            _ => joined.push(run),
        }
    }
    joined
}

/// Whether all bytes are zero. Comparing is what every C library does fastest.
#[must_use]
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; GRAIN] = [0; GRAIN];
    bytes.chunks(GRAIN).all(|grain| grain == &ZEROS[..grain.len()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_runs_inside_are_data_and_runs_at_the_ends_are_not() {
        let mut bytes = vec![0; 16 * GRAIN + 100];
        assert_eq!(runs(&bytes), [Run::Zeros(0..bytes.len())]);
        bytes[2 * GRAIN] = 1;
        bytes[4 * GRAIN] = 1;
        bytes[9 * GRAIN + 5] = 1;
        let expected = [
            Run::Zeros(0..2 * GRAIN),
            Run::Data(2 * GRAIN..5 * GRAIN),
            Run::Zeros(5 * GRAIN..9 * GRAIN),
            Run::Data(9 * GRAIN..10 * GRAIN),
            Run::Zeros(10 * GRAIN..bytes.len()),
        ];
        assert_eq!(runs(&bytes), expected);
        assert_eq!(runs(&[]), []);
    }

    proptest! {
        #[test]
        fn runs_cover_everything_and_zeros_are_zero(
            length in 0_usize..20 * GRAIN,
            ones in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let mut bytes = vec![0; length];
            for one in ones {
                if length > 0 {
                    bytes[one.index(length)] = 1;
                }
            }
            let mut at = 0;
            for run in runs(&bytes) {
                let place = match run {
                    Run::Data(place) => place,
                    Run::Zeros(place) => {
                        prop_assert!(is_zero(&bytes[place.clone()]));
                        place
                    }
                };
                prop_assert_eq!(place.start, at);
                at = place.end;
            }
            prop_assert_eq!(at, length);
        }
    }
}
