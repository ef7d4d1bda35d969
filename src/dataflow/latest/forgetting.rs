//! `state.ttl`: keys that have had no record for so long, as event time counts, are forgotten.
//!
//! As with running aggregates (see `aggregate::forgetting`): turn by turn, first the keys leave
//! whose last record is more than eight turns back, and then the rows of the turn come. Rows of a
//! turn that event time has not got to wait.

use std::collections::BTreeMap;

use super::Latest;
use super::rows::Rows;
use crate::dataflow::turns::{TurnClock, Turns};
use crate::types::Watermark;

/// What waits, and how far event time is.
pub(super) struct Ages {
    pub clock: TurnClock,
    /// By turn.
    pub waiting: BTreeMap<i64, Rows>,
    /// No key's last record is of an earlier turn.
    pub oldest: i64,
}

impl Ages {
    /// Nothing waits.
    pub fn new(ttl_us: i64) -> Self {
        Self {
            clock: TurnClock::new(Turns::of_ttl(ttl_us)),
            waiting: BTreeMap::new(),
            oldest: i64::MAX,
        }
    }

    /// Where the rows of a turn wait, if they do.
    pub fn place_of(&mut self, turn: i64) -> Option<&mut Rows> {
        let waits = self.clock.is_to_come(turn);
        waits.then(|| self.waiting.entry(turn).or_default())
    }

    /// How many rows wait.
    pub fn rows(&self) -> usize {
        self.waiting.values().map(|rows| rows.by_key.len()).sum()
    }
}

impl Latest {
    /// Event time has got to `reached`: keys leave and rows come for that. Says whether something
    /// may have changed.
    pub(super) fn advance(&mut self, reached: Watermark) -> bool {
        let Some(ages) = &mut self.ages else {
            return false;
        };
        let waiting = ages.waiting.keys().copied();
        let turns = ages.clock.advance(reached, waiting);
        for turn in &turns {
            self.begin_turn(*turn);
        }
        !turns.is_empty()
    }

    /// Keys that are over leave, and then the rows of a turn come.
    fn begin_turn(&mut self, turn: i64) {
        let ages = self.ages.as_mut().expect("only asked of what forgets");
        let first = turn.saturating_sub(Turns::KEPT);
        let before = &mut self.before;
        if ages.oldest < first {
            ages.oldest = self.held.forget(first, |key, row| {
                before
                    .entry(key.clone())
                    .or_insert_with(|| Some(row.clone()));
            });
        }
        let Some(rows) = ages.waiting.remove(&turn) else {
            return;
        };
        ages.oldest = ages.oldest.min(turn);
        for (key, entry) in rows.by_key {
            let row = (entry.order.row(), entry.row.row());
            if let Some(old) = self.held.offer(&key, row, turn) {
                before.entry(key).or_insert(old);
            }
        }
    }
}
