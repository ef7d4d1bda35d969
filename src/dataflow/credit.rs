//! Bounds the bytes that a worker's sources have on their way through the dataflow.
//!
//! Bytes are counted in the epoch that they entered in and given back when every destination
//! has published it: a slow sink slows the sources. A source without credit goes on closing
//! epochs, or the credit would never come back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use timely::dataflow::operators::probe::Handle;

use crate::types::Epoch;

/// Shared by the sources of one worker.
#[derive(Clone, Debug)]
pub struct Credit(Rc<RefCell<Account>>);

#[derive(Debug)]
struct Account {
    probe: Handle<u64>,
    open: VecDeque<(Epoch, usize)>,
    bytes: usize,
    limit: usize,
}

impl Credit {
    /// `probe` tells which epochs have been published.
    #[must_use]
    pub fn new(probe: Handle<u64>, limit: usize) -> Self {
        Self(Rc::new(RefCell::new(Account {
            probe,
            open: VecDeque::new(),
            bytes: 0,
            limit,
        })))
    }

    /// `bytes` entered in `epoch`.
    pub fn spend(&self, epoch: Epoch, bytes: usize) {
        let mut account = self.0.borrow_mut();
        account.bytes += bytes;
        match account.open.iter_mut().find(|(other, _)| *other == epoch) {
            Some((_, sum)) => *sum += bytes,
            None => account.open.push_back((epoch, bytes)),
        }
    }

    /// Whether more may enter.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let mut account = self.0.borrow_mut();
        let Account {
            probe, open, bytes, ..
        } = &mut *account;
        open.retain(|&(epoch, sum)| {
            let published = !probe.less_equal(&epoch.0);
            if published {
                *bytes -= sum;
            }
            !published
        });
        account.bytes < account.limit
    }
}
