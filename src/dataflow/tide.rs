//! How far event time is, as a worker's sources see it.
//!
//! A source hears no other source; the reports of all come together in one operator per worker,
//! and what it knows stands here: the last complete epoch and every source's watermark in it.

use std::cell::RefCell;
use std::rc::Rc;

use super::report::{Positions, Report};
use crate::plan::TableId;
use crate::types::{Epoch, Watermark};

/// Shared by the sources of one worker and the operator that keeps it.
#[derive(Clone, Debug)]
pub struct Tide(Rc<RefCell<Known>>);

#[derive(Debug)]
struct Known {
    positions: Positions,
    complete: Epoch,
}

impl Tide {
    /// Nothing is known of `positions`, and every epoch up to `done` is complete.
    #[must_use]
    pub fn new(positions: Positions, done: Epoch) -> Self {
        Self(Rc::new(RefCell::new(Known {
            positions,
            complete: done,
        })))
    }

    /// A source's word for an epoch.
    pub fn hear(&self, epoch: Epoch, report: Report) {
        self.0.borrow_mut().positions.hear(epoch, report);
    }

    /// Every epoch before `frontier` is complete (`None`: all of them).
    pub fn advance(&self, frontier: Option<Epoch>) {
        let mut known = self.0.borrow_mut();
        let complete = Epoch(
            frontier
                .map_or(u64::MAX, |frontier| frontier.0)
                .saturating_sub(1),
        );
        if complete > known.complete {
            known.complete = complete;
            known.positions.complete(complete);
        }
    }

    /// What is known: the positions, and the last complete epoch.
    pub fn look(&self, look: impl FnOnce(&Positions, Epoch)) {
        let known = self.0.borrow();
        look(&known.positions, known.complete);
    }

    /// The watermark of `table`, once `epoch` is complete. It may be that of a later epoch.
    #[must_use]
    pub fn watermark(&self, table: TableId, epoch: Epoch) -> Option<Watermark> {
        let known = self.0.borrow();
        (known.complete >= epoch).then(|| known.positions.watermark_of(table))
    }
}
