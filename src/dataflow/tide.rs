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
#[derive(Clone)]
pub struct Tide(Rc<RefCell<Known>>);

struct Known {
    positions: Positions,
    complete: Epoch,
    /// The last epoch that a source had a word for.
    heard: Epoch,
    /// The last epoch that a snapshot is cut at, as far as was heard.
    cut: Epoch,
    /// The last epoch that a source closed, as far as was heard.
    closed: Epoch,
    at_cut: Option<AtCut>,
    /// Wake the sources.
    wake: Vec<Box<dyn Fn()>>,
}

/// Takes where everything stands at the end of an epoch.
pub type AtCut = Box<dyn Fn(Epoch, &Positions)>;

impl std::fmt::Debug for Tide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tide")
            .field(&self.0.borrow().complete)
            .finish()
    }
}

impl Tide {
    /// Nothing is known of `positions`, and every epoch up to `done` is complete.
    #[must_use]
    pub fn new(positions: Positions, done: Epoch) -> Self {
        Self(Rc::new(RefCell::new(Known {
            positions,
            complete: done,
            heard: done,
            cut: Epoch(0),
            closed: done,
            at_cut: None,
            wake: Vec::new(),
        })))
    }

    /// Has `at_cut` take where everything stands wherever a snapshot is cut.
    #[must_use]
    pub fn with(self, at_cut: AtCut) -> Self {
        self.0.borrow_mut().at_cut = Some(at_cut);
        self
    }

    /// Has `wake` called when an epoch was closed that no source had closed before: the others
    /// do not keep it open.
    pub fn wake_with(&self, wake: Box<dyn Fn()>) {
        self.0.borrow_mut().wake.push(wake);
    }

    /// A source's word for an epoch.
    pub fn hear(&self, epoch: Epoch, report: Report) {
        let mut known = self.0.borrow_mut();
        if epoch > known.closed {
            known.closed = epoch;
            known.wake.iter().for_each(|wake| wake());
        }
        if report.cut {
            known.cut = known.cut.max(epoch);
        }
        known.positions.hear(epoch, report);
    }

    /// The last complete epoch.
    #[must_use]
    pub fn complete(&self) -> Epoch {
        self.0.borrow().complete
    }

    /// The last epoch that a source closed, complete or not.
    #[must_use]
    pub fn last_closed(&self) -> Epoch {
        self.0.borrow().closed
    }

    /// The last epoch that a snapshot is cut at, complete or not; 0 if there was none.
    #[must_use]
    pub fn last_cut(&self) -> Epoch {
        self.0.borrow().cut
    }

    /// Every epoch before `frontier` is complete (`None`: all of them).
    pub fn advance(&self, frontier: Option<Epoch>) {
        let mut known = self.0.borrow_mut();
        let complete = Epoch(
            frontier
                .map_or(u64::MAX, |frontier| frontier.0)
                .saturating_sub(1),
        );
        let pending: Vec<Epoch> = known.positions.pending().collect();
        for epoch in pending.into_iter().take_while(|&epoch| epoch <= complete) {
            known.heard = epoch;
            if known.positions.complete(epoch) {
                known.cut(epoch);
            }
        }
        known.complete = known.complete.max(complete);
    }

    /// Everything is complete and nothing follows: says where everything stands, and in which
    /// epoch that was.
    #[must_use]
    pub fn cut_last(&self) -> Epoch {
        let known = self.0.borrow();
        known.cut(known.heard);
        known.heard
    }

    /// What is known: the positions, and the last complete epoch.
    pub fn look(&self, look: impl FnOnce(&Positions, Epoch)) {
        let known = self.0.borrow();
        look(&known.positions, known.complete);
    }

    /// How far `table` is as of the last complete epoch.
    #[must_use]
    pub fn reached(&self, table: TableId) -> Watermark {
        self.0.borrow().positions.watermark_of(table)
    }

    /// How far event time was in the files of `table`, if they are read.
    #[must_use]
    pub fn end_of_files(&self, table: TableId) -> Option<Watermark> {
        self.0.borrow().positions.end_of_files(table)
    }

    /// The last complete epoch in which all of `table`'s partitions were woken.
    #[must_use]
    pub fn woken(&self, table: TableId) -> Epoch {
        self.0.borrow().positions.woken(table)
    }

    /// The watermark of `table`, once `epoch` is complete. It may be that of a later epoch.
    #[must_use]
    pub fn watermark(&self, table: TableId, epoch: Epoch) -> Option<Watermark> {
        let known = self.0.borrow();
        (known.complete >= epoch).then(|| known.positions.watermark_of(table))
    }
}

impl Known {
    fn cut(&self, epoch: Epoch) {
        if let Some(at_cut) = &self.at_cut {
            at_cut(epoch, &self.positions);
        }
    }
}
