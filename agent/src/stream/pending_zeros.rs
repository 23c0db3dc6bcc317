//! Ranges of zeros that may go on: one command makes a long range zero.

use std::ops::Range;

/// So long a range does not wait any more. The next one can be made zero while more come.
pub(super) const AT_ONCE: u64 = 128 << 20;
/// Content comes for so many places at once, or a few less.
const PLACES: usize = 4;
/// A range waits so long for its continuation, counted in ranges that come.
const PATIENCE: u32 = 16;

/// Ranges that wait, none of them at another's end.
#[derive(Default)]
pub(super) struct PendingZeros(Vec<Pending>);

struct Pending {
    range: Range<u64>,
    /// Ranges that came since it went on.
    age: u32,
}

impl PendingZeros {
    /// Adds a range to the one that it goes on, if there is one; gives back what should not wait any more.
    pub(super) fn add(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        for pending in &mut self.0 {
            pending.age += 1;
        }
        match self.0.iter_mut().find(|pending| pending.range.end == range.start) {
            Some(pending) => {
                pending.range.end = range.end;
                pending.age = 0;
            }
            None => self.0.push(Pending { range, age: 0 }),
        }
        let mut ready = self.remove(|pending| is_long(&pending.range) || pending.age > PATIENCE);
        if self.0.len() > PLACES {
            let oldest = self.0.iter().map(|pending| pending.age).max();
            ready.extend(self.remove(|pending| Some(pending.age) == oldest));
        }
        ready
    }

    /// Takes those that touch `range`.
    pub(super) fn overlapping(&mut self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.remove(|pending| pending.range.start < range.end && range.start < pending.range.end)
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<Range<u64>> {
        self.remove(|_| true)
    }

    fn remove(&mut self, which: impl Fn(&Pending) -> bool) -> Vec<Range<u64>> {
        self.0.extract_if(.., |pending| which(pending)).map(|pending| pending.range).collect()
    }
}

fn is_long(range: &Range<u64>) -> bool {
    range.end - range.start >= AT_ONCE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_of_several_places_that_come_in_turns_are_joined() {
        let mut pending = PendingZeros::default();
        for step in 0..10 {
            for place in [0, 1000, 2000] {
                assert_eq!(pending.add(place + step * 10..place + step * 10 + 10), []);
            }
        }
        assert_eq!(pending.overlapping(&(1050..1051)).first(), Some(&(1000..1100)));
        assert_eq!(pending.overlapping(&(1050..1051)), []);
        assert_eq!(pending.take(), [0..100, 2000..2100]);
    }

    #[test]
    fn long_ranges_old_ones_and_too_many_do_not_wait() {
        let mut pending = PendingZeros::default();
        assert_eq!(pending.add(0..AT_ONCE).first(), Some(&(0..AT_ONCE)));
        let far = 1 << 40;
        assert_eq!(pending.add(far..far + 1), []);
        let later = (0..u64::from(PATIENCE) + 1).flat_map(|at| pending.add(at..at + 1)).collect::<Vec<_>>();
        assert_eq!((later.len(), later.first()), (1, Some(&(far..far + 1))));
        let mut many = PendingZeros::default();
        let ready: Vec<_> = (0..10).flat_map(|at| many.add(at * 10..at * 10 + 1)).collect();
        assert_eq!(ready, [0..1, 10..11, 20..21, 30..31, 40..41, 50..51]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_added(ranges in proptest::collection::vec(0_u64..40, 0..60)) {
            let mut pending = PendingZeros::default();
            let mut ready: Vec<_> = ranges.iter().flat_map(|at| pending.add(at * 10..at * 10 + 10)).collect();
            ready.extend(pending.take());
            let mut got: Vec<_> = ready.into_iter().flat_map(|range| range.start / 10..range.end / 10).collect();
            let mut wanted = ranges;
            got.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(got, wanted);
        }
    }
}
