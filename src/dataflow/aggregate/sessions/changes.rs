//! What sessions showed, where every epoch shows what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};

use super::intervals::Session;
use super::{Members, Row, Sessions};
use crate::dataflow::aggregate::error::AggregateError;
use crate::dataflow::aggregate::plan::Plan;
use crate::dataflow::aggregate::slots::Slots;
use crate::dataflow::aggregate::table::{CHUNK, differing, pick};
use crate::dataflow::withheld::row_text;

/// What was shown of which sessions.
#[derive(Default)]
pub struct Shown {
    /// Sessions that began or grew in this epoch, by their places. A place may have been given to
    /// another one since.
    touched: BTreeSet<u32>,
    /// Groups of touched sessions whose results are still to be read.
    reading: Vec<Row>,
    /// Rows that were shown before this epoch, with their results.
    before: Vec<(Vec<Row>, Vec<ArrayRef>)>,
    /// By slot: groups that show no row, because a result does not fit its type.
    failing: BTreeMap<u32, String>,
}

impl Shown {
    /// A session that is new.
    pub fn begin(&mut self, id: u32) {
        self.touched.insert(id);
    }

    /// A session is about to change.
    pub fn touch(&mut self, id: u32, session: &Session<Members>) {
        if !self.touched.insert(id) {
            return;
        }
        let from = self.reading.len();
        session.value.each(session, &mut self.reading);
        if !self.failing.is_empty() {
            let mut at = 0;
            self.reading.retain(|row| {
                at += 1;
                at <= from || self.failing.remove(&row.slot).is_none()
            });
        }
    }

    /// Reads what the groups of touched sessions showed.
    pub fn peek(&mut self, plan: &Plan, slots: &Slots) -> Result<(), AggregateError> {
        if self.reading.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.reading);
        let read: Vec<u32> = rows.iter().map(|row| row.slot).collect();
        let results = slots.peek(plan, &read)?;
        self.before.push((rows, results));
        Ok(())
    }

    /// Rows of sessions that are gone are final: what they showed last stays.
    pub fn forget(&mut self, rows: &[Row]) -> Result<(), AggregateError> {
        assert!(self.touched.is_empty(), "`changes` comes before `close`");
        let failed = rows.iter().find_map(|row| self.failing.remove(&row.slot));
        match failed {
            Some(why) => Err(AggregateError::Row(why)),
            None => Ok(()),
        }
    }

    /// Slots have moved.
    pub fn moved(&mut self, to: &[u32]) {
        let failing = std::mem::take(&mut self.failing).into_iter();
        self.failing = failing.map(|(at, why)| (to[at as usize], why)).collect();
    }
}

impl Sessions {
    /// The epoch is complete: what changed in it, with -1 for a row that is no more and +1 for
    /// one that is new; nothing with `Emit::OnClose`.
    pub fn changes(&mut self) -> Result<Vec<(RecordBatch, Int64Array)>, AggregateError> {
        let Some(shown) = &mut self.shown else {
            return Ok(Vec::new());
        };
        let touched = std::mem::take(&mut shown.touched);
        let before = std::mem::take(&mut shown.before);
        let mut rows = Vec::new();
        for id in touched {
            if let Some(session) = self.intervals.get(id) {
                session.value.each(session, &mut rows);
            }
        }
        let mut stays: Vec<Vec<bool>> = before
            .iter()
            .map(|(rows, _)| vec![false; rows.len()])
            .collect();
        let mut places: HashMap<u32, (usize, usize)> = HashMap::new();
        for (part, (rows, _)) in before.iter().enumerate() {
            for (at, row) in rows.iter().enumerate() {
                places.insert(row.slot, (part, at));
            }
        }
        let mut out = Vec::new();
        for rows in rows.chunks(CHUNK) {
            let same = |row: &Row| {
                let place = *places.get(&row.slot)?;
                let old = &before[place.0].0[place.1];
                ((old.start, old.end) == (row.start, row.end)).then_some(place)
            };
            let same: Vec<_> = rows.iter().map(same).collect();
            out.extend(self.asserted(rows, &same, &before, &mut stays)?);
        }
        let mut changes = Vec::new();
        for ((rows, results), stays) in before.iter().zip(stays) {
            let gone = (0..rows.len()).filter(|at| !stays[*at]);
            changes.extend(self.signed(rows, results, gone, -1)?);
        }
        changes.extend(out);
        Ok(changes)
    }

    /// What groups show now, but for those that show what they did; these are marked as staying.
    fn asserted(
        &mut self,
        rows: &[Row],
        same: &[Option<(usize, usize)>],
        before: &[(Vec<Row>, Vec<ArrayRef>)],
        stays: &mut [Vec<bool>],
    ) -> Result<Vec<(RecordBatch, Int64Array)>, AggregateError> {
        let slots: Vec<u32> = rows.iter().map(|row| row.slot).collect();
        let now = self.slots.peek_each(&self.plan.aggregate, &slots)?;
        let compared: Vec<usize> = (0..rows.len())
            .filter(|at| same[*at].is_some() && !now.failed.contains_key(at))
            .collect();
        let mut shows: Vec<bool> = (0..rows.len())
            .map(|at| !now.failed.contains_key(&at))
            .collect();
        if !compared.is_empty() {
            let picks: Vec<_> = compared.iter().filter_map(|at| same[*at]).collect();
            let ours = compared
                .iter()
                .map(|&at| u32::try_from(at).expect("a chunk"));
            let ours = UInt32Array::from_iter_values(ours);
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for (column, result) in now.columns.iter().enumerate() {
                let parts: Vec<&dyn Array> = before.iter().map(|(_, of)| &*of[column]).collect();
                old.push(interleave(&parts, &picks)?);
                new.push(take(result, &ours, None)?);
            }
            let mut equal = vec![true; compared.len()];
            for at in differing(&old, &new, compared.len())? {
                equal[at] = false;
            }
            for (at, (part, row)) in (0..compared.len()).zip(picks) {
                if equal[at] {
                    stays[part][row] = true;
                    shows[compared[at]] = false;
                }
            }
        }
        let shown = self.shown.as_mut().expect("asked of changes only");
        let failed = now.failed.into_iter();
        shown
            .failing
            .extend(failed.map(|(at, why)| (slots[at], why)));
        let new = (0..rows.len()).filter(|at| shows[*at]);
        Ok(self
            .signed(rows, &now.columns, new, 1)?
            .into_iter()
            .collect())
    }

    /// Some of these rows, each counted so often.
    fn signed(
        &self,
        rows: &[Row],
        results: &[ArrayRef],
        picked: impl Iterator<Item = usize>,
        count: i64,
    ) -> Result<Option<(RecordBatch, Int64Array)>, AggregateError> {
        let picks: Vec<u32> = picked
            .map(|at| u32::try_from(at).expect("rows of a batch"))
            .collect();
        if picks.is_empty() {
            return Ok(None);
        }
        let counts = Int64Array::from_value(count, picks.len());
        // Of those that fail there is no result that a column without NULL could hold.
        let rows: Vec<Row> = picks.iter().map(|&at| rows[at as usize].clone()).collect();
        let picked = self.plan.output(&rows, &pick(results, &picks)?)?;
        Ok(Some((picked, counts)))
    }

    /// A row that is not shown because a result is beyond its type, why, and how many there are.
    pub fn left_over(&self) -> Result<Option<(String, String, usize)>, AggregateError> {
        let failing = self.shown.as_ref().map(|shown| &shown.failing);
        let Some((failing, (slot, why))) =
            failing.and_then(|failing| Some((failing, failing.first_key_value()?)))
        else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        for session in self.intervals.iter() {
            session.value.each(session, &mut rows);
        }
        rows.retain(|row| row.slot == *slot);
        let keys = self.plan.key_columns(&rows)?;
        let fields = self.plan.aggregate.output.fields();
        let named = fields.iter().map(|field| field.name().as_str()).zip(keys);
        let row = RecordBatch::try_from_iter(named)
            .map_or_else(|error| error.to_string(), |keys| row_text(&keys, 0));
        Ok(Some((row, why.clone(), failing.len())))
    }

    /// What was put into these slots counts as shown, as it would have been in the epoch before.
    pub(super) fn was_shown(&mut self, slots: &[u32]) -> Result<(), AggregateError> {
        let Some(shown) = &mut self.shown else {
            return Ok(());
        };
        shown.touched.clear();
        shown.before.clear();
        for slots in slots.chunks(CHUNK) {
            let results = self.slots.peek_each(&self.plan.aggregate, slots)?;
            let failed = results.failed.into_iter();
            shown
                .failing
                .extend(failed.map(|(at, why)| (slots[at], why)));
        }
        Ok(())
    }
}
