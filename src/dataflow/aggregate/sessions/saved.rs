//! Sessions as rows: what a snapshot keeps, and what goes through an exchange.
//!
//! A part of a session is a session: rows that two workers saw of one overlap where they belong
//! together. So whatever was saved is put into sessions as rows are.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, UInt64Array};

use super::{Arriving, Row, Sessions};
use crate::dataflow::aggregate::buckets::micros;
use crate::dataflow::aggregate::changing::Step;
use crate::dataflow::aggregate::error::AggregateError;
use crate::dataflow::aggregate::keys::hashes;
use crate::dataflow::aggregate::table::CHUNK;

impl Sessions {
    /// The whole state between two epochs, in batches of at most 8 K groups. The first column is
    /// the hash that decides which worker owns a row.
    pub fn state(&self) -> Result<Vec<RecordBatch>, AggregateError> {
        let mut rows: Vec<(u64, Row)> = Vec::with_capacity(self.live);
        let mut of_session = Vec::new();
        for session in self.intervals.iter() {
            session.value.each(session, &mut of_session);
            rows.extend(of_session.drain(..).map(|row| (session.hash(), row)));
        }
        rows.sort_unstable_by_key(|(_, row)| row.slot);
        rows.chunks(CHUNK).map(|rows| self.saved(rows)).collect()
    }

    fn saved(&self, rows: &[(u64, Row)]) -> Result<RecordBatch, AggregateError> {
        let slots: Vec<u32> = rows.iter().map(|(_, row)| row.slot).collect();
        let routes = UInt64Array::from_iter_values(rows.iter().map(|(route, _)| *route));
        let rows = || rows.iter().map(|(_, row)| row);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(routes),
            Arc::new(Int64Array::from_iter_values(rows().map(|row| row.start))),
            Arc::new(Int64Array::from_iter_values(rows().map(|row| row.end))),
            Arc::new(BinaryArray::from_iter_values(rows().map(|row| &*row.key))),
            Arc::new(BinaryArray::from_iter_values(
                rows().map(|row| &*row.member),
            )),
        ];
        columns.extend(self.states_of(&slots)?);
        Ok(RecordBatch::try_new(Arc::clone(&self.plan.saved), columns)?)
    }

    /// Takes what `state`, or another worker's `SessionPartials`, yielded.
    pub fn merge(&mut self, saved: &RecordBatch) -> Result<(), AggregateError> {
        self.put(saved).map(drop)
    }

    /// Takes a batch of `state` as something that has been there before, and was shown.
    pub fn load(&mut self, saved: &RecordBatch) -> Result<(), AggregateError> {
        // Nothing of it changes what is shown, neither of this batch nor of those before it.
        let shown = self.shown.take();
        let slots = self.put(saved);
        self.shown = shown;
        self.was_shown(&slots?)
    }

    /// The slot of each row.
    fn put(&mut self, saved: &RecordBatch) -> Result<Vec<u32>, AggregateError> {
        assert_eq!(
            saved.schema(),
            self.plan.saved,
            "sessions are of the same plan"
        );
        let keys = saved.column(3).as_binary::<i32>();
        let arriving = Arriving {
            keys,
            hashes: &hashes(keys),
            members: saved.column(4).as_binary(),
            starts: micros(saved.column(1)),
            ends: micros(saved.column(2)),
        };
        let (slots, merges) = self.place(&arriving)?;
        let states = &saved.columns()[5..];
        self.slots
            .merge(&self.plan.aggregate, Step::Give, states, &slots)?;
        self.merge_slots(merges)?;
        Ok(slots)
    }
}
