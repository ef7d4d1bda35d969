//! What became of the records that came: counted for every INSERT, judged where too many are bad,
//! and written to the dead letters.

use std::borrow::Cow;

use datafusion_common::Result;
use tracing::warn;

use super::{Outlet, SourceTask};
use crate::dataflow::arrival::{ArrivedRows, Inbox};
use crate::dataflow::chain::Outcome;
use crate::dataflow::letters;
use crate::format::Positions;
use crate::types::{EventTime, Fates, Span, Watermark};

impl<I: Inbox> SourceTask<I> {
    /// Records of a topic from before `from`, and from after all rows of the files, are in no table: once
    /// the files are read, the first is said.
    pub(super) fn look_for_gap(&self, arrived: &ArrivedRows, from: EventTime) {
        let times = || arrived.times.iter().copied();
        if times().all(|time| time >= from.0) {
            return;
        }
        // That no row of the files counts has been said.
        let end = self.tide.end_of_files(self.spec.table);
        let Some(end) = end.filter(|end| !end.is_start()) else {
            return;
        };
        let end = EventTime(end.micros().saturating_add(self.spec.bound_us));
        let lost = times().find(|&time| end.0 < time && time < from.0);
        if let Some(lost) = lost.filter(|_| self.shared.tells_gap(self.spec.table)) {
            let of = |time| Watermark::behind(time, 0);
            warn!(
                source = self.spec.name,
                files_end = %of(end),
                from = %of(from),
                record = %of(EventTime(lost)),
                "the topic has records between the last row of the files and --from: they are filtered, \
                 and in no table"
            );
        }
    }

    /// These records of a partition went in, besides `others` that are not read there; the chain
    /// came to `outcome`.
    pub(super) fn account(
        &mut self,
        partition: usize,
        (arrived, others): (&ArrivedRows, &[Span]),
        outcome: &Outcome,
        outlet: &mut impl Outlet,
    ) -> Result<()> {
        let rejected = arrived.rejects.len() as u64;
        for &(insert, fates) in &outcome.fates {
            let not_for_it = Fates {
                rejected,
                filtered: others.len() as u64,
                ..Fates::default()
            };
            for fates in [fates, not_for_it] {
                self.shared.count(insert, self.spec.table, fates);
                *self.fates.entry(insert).or_default() += fates;
            }
        }
        let records = arrived.rows.num_rows() as u64 + rejected + others.len() as u64;
        match &arrived.positions {
            Positions::Records(of) => self.written.block(of.written(arrived.from, arrived.end)),
            Positions::Bytes { .. } | Positions::Rows { .. } => {
                self.written.at(self.clock.wall(), records)
            }
        }
        self.shared
            .read(self.spec.table, records, arrived.end.0 - arrived.from.0);
        self.judge(partition, (arrived, others), outcome, outlet)
    }

    fn judge(
        &mut self,
        partition: usize,
        (arrived, others): (&ArrivedRows, &[Span]),
        outcome: &Outcome,
        outlet: &mut impl Outlet,
    ) -> Result<()> {
        let state = self.partitions.get_mut(&partition);
        let mark = &mut state.expect("one of this worker's").mark;
        let name = match mark.file.as_ref() {
            Some(file) => Cow::Owned(file.name.clone()),
            None => self.spec.partition(partition),
        };
        self.rejects.notice(arrived, &name);
        let judged = (arrived, others, outcome.turned.as_slice());
        match self.rejects.judge(judged, &name, mark.judged) {
            Ok(judged) => mark.judged = judged,
            Err(failure) => self.shared.fail(failure),
        }
        if let Some(schema) = &self.spec.letters {
            let letters = letters::of(arrived, &outcome.turned, &self.spec.inserts);
            if !letters.is_empty() {
                outlet.letters(letters::rows(&letters, &self.spec.name, &name, schema)?);
            }
        }
        Ok(())
    }
}
