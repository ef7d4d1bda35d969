//! `state.ttl`: groups that have not changed for so long, as event time counts, are forgotten.
//!
//! ```text
//!   an epoch's changes ──▶ groups that changed ──watermark of the epoch──▶ when each changed last
//!                                              watermark, every eighth of the time ──▶ those that are over
//! ```
//!
//! It is looked for them every eighth of that time, because whoever looks has to look at all. A row
//! that comes late enough to have been in the same epoch as an earlier one finds its group, or
//! does not: this is the one thing that hangs on epochs, and only where it was asked for.

use crate::types::Watermark;

/// When each group of a table changed last.
pub(super) struct Ages {
    ttl_us: i64,
    /// By group: the watermark at the end of the epoch that it changed in.
    changed: Vec<i64>,
    /// Those that changed in this epoch.
    fresh: Vec<u32>,
    /// The eighth in which was looked last.
    turn: Option<i64>,
}

/// Of a group that was restored, where nothing is known of it.
const UNKNOWN: i64 = i64::MAX;

impl Ages {
    /// Groups are over when they have not changed for longer than this.
    pub fn new(ttl_us: i64) -> Self {
        Self {
            ttl_us,
            changed: Vec::new(),
            fresh: Vec::new(),
            turn: None,
        }
    }

    /// These groups change in this epoch.
    pub fn touch(&mut self, groups: impl Iterator<Item = u32>) {
        self.fresh.extend(groups);
    }

    /// The epoch has ended with `watermark`, and there are so many groups: those that are over,
    /// ascending, if it is time to look. With the input nothing is over: what is there stays.
    pub fn over(&mut self, groups: usize, watermark: Watermark) -> Vec<u32> {
        if watermark.is_start() || watermark == Watermark::END {
            if self.changed.is_empty() {
                self.fresh.clear();
            }
            return Vec::new();
        }
        let now = watermark.micros();
        self.changed.resize(groups, now);
        for group in self.fresh.drain(..) {
            self.changed[group as usize] = now;
        }
        let turn = now.div_euclid((self.ttl_us / 8).max(1));
        if self.turn.replace(turn) == Some(turn) {
            return Vec::new();
        }
        let last = now.saturating_sub(self.ttl_us);
        let mut over = Vec::new();
        for (group, changed) in (0..).zip(&mut self.changed) {
            if *changed == UNKNOWN {
                *changed = now;
            }
            if *changed < last {
                over.push(group);
            }
        }
        over
    }

    /// These groups, ascending, are no more; the others are numbered anew in their order.
    pub fn forget(&mut self, over: &[u32]) {
        let mut group = 0u32;
        self.changed.retain(|_| {
            group += 1;
            over.binary_search(&(group - 1)).is_err()
        });
    }

    /// When groups changed, as far as that is known of the first ones.
    pub fn changed(&self) -> &[i64] {
        &self.changed
    }

    /// These groups changed then.
    pub fn restore(&mut self, groups: &[u32], changed: &[i64]) {
        for (&group, &changed) in groups.iter().zip(changed) {
            let group = group as usize;
            if self.changed.len() <= group {
                self.changed.resize(group + 1, UNKNOWN);
            }
            self.changed[group] = changed;
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.changed.capacity() * size_of::<i64>() + self.fresh.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EventTime;

    const NONE: [u32; 0] = [];

    fn at(time: i64) -> Watermark {
        Watermark::behind(EventTime(time), 0)
    }

    #[test]
    fn a_group_is_over_when_it_did_not_change_for_longer_than_that() {
        let mut ages = Ages::new(80);
        ages.touch([0, 1].into_iter());
        assert_eq!(ages.over(2, Watermark::START), NONE);
        assert_eq!(ages.over(2, at(100)), NONE);
        ages.touch([1].into_iter());
        assert_eq!(ages.over(3, at(150)), NONE);
        assert_eq!(ages.over(3, at(180)), NONE);

        assert_eq!(ages.over(3, at(190)), [0]);
        ages.forget(&[0]);
        assert_eq!(ages.changed(), [150, 150]);
        assert_eq!(ages.over(2, at(231)), [0, 1]);
    }

    #[test]
    fn it_is_looked_every_eighth_and_not_at_the_end() {
        let mut ages = Ages::new(80);
        ages.touch([0].into_iter());
        assert_eq!(ages.over(1, at(100)), NONE);
        assert_eq!(ages.over(1, at(185)), [0]);
        assert_eq!(ages.over(1, at(186)), NONE);
        assert_eq!(ages.over(1, Watermark::END), NONE);
    }

    #[test]
    fn what_is_not_known_of_a_restored_group_begins_then() {
        let mut ages = Ages::new(80);
        ages.restore(&[2, 0], &[10, 20]);
        assert_eq!(ages.over(3, at(95)), [2]);
        assert_eq!(ages.changed(), [20, 95, 10]);
    }
}
