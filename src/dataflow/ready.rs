//! Arrivals that were taken from the inbox and are to be looked at before anything else is.
//!
//! ```text
//!   held (its partition may not go on yet) ──released──▶ ready ──▶ admitted, or held again
//! ```
//!
//! A partition's arrivals keep their order: what is held of it was taken before what of it is here,
//! and what is here before what is still in the inbox.

use std::collections::VecDeque;

use super::arrival::Arrival;

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Ready(VecDeque<(usize, Arrival)>);

impl Ready {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next(&mut self) -> Option<(usize, Arrival)> {
        self.0.pop_front()
    }

    /// The rest of what was the next.
    pub fn put_back(&mut self, partition: usize, arrival: Arrival) {
        self.0.push_front((partition, arrival));
    }

    /// A partition may go on with what was held of it.
    pub fn release(&mut self, partition: usize, held: &mut VecDeque<Arrival>) {
        while let Some(arrival) = held.pop_back() {
            self.put_back(partition, arrival);
        }
    }
}
