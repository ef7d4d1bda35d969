//! The join of two arrangements: what an epoch changes in it.
//!
//! Only keys that the epoch changed are looked at. For each of them stand the rows of both
//! sides with their counts before and after the epoch; a pair is there as often as its rows'
//! counts multiply to, and a row without a match is there as often as it is in its side. What
//! comes out is the difference.
//!
//! A further condition may fail on a pair. Which pairs are seen at all hangs on where epochs were
//! cut, so such a pair is withheld for as long as it is there (`withheld`), and with it a row that
//! would stand alone: whether it has a match is not known then.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion_common::exec_datafusion_err;
use differential_dataflow::trace::implementations::BatchContainer;

use super::codec::{Codec, CodecError, has_null};
use super::matched::{Known, Matched, Others, Partners, Verdict, Verdicts};
use super::reader::{Delta, Entry, Reader, entries};
use super::rows::{Batch, Cursor, Rows};
use crate::dataflow::outcome::Failure;
use crate::dataflow::roles::with_counts;
use crate::dataflow::step::evaluate_rows;
use crate::dataflow::withheld::{Withheld, row_text};
use crate::plan::{Expression, JoinType};
use crate::types::{Epoch, batch};

/// What an operator needs to know of a join besides its inputs.
pub struct JoinPlan {
    /// Which rows come out.
    pub kind: JoinType,
    /// Whether a NULL in the key equals another one.
    pub nulls_match: bool,
    /// A further condition over the left's columns and then the right's.
    pub residual: Option<Expression>,
    /// The left's columns and then the right's.
    pub both: SchemaRef,
    /// What comes out.
    pub output: SchemaRef,
    /// Whether rows are taken back.
    pub changing: bool,
    /// Whether rows come with a count, as those that are taken back do: else a row that comes
    /// twice stands there twice.
    pub counted: bool,
}

/// How a join is computed.
pub struct Join {
    plan: JoinPlan,
    codecs: [Arc<Codec>; 2],
    /// The pairs that the further condition fails on.
    withheld: Withheld,
    /// The epoch that is being applied.
    epoch: Epoch,
}

/// How many pairs are tried at once.
const CHUNK: usize = 8192;

impl Join {
    /// A join of rows that these codecs made.
    pub fn new(plan: JoinPlan, codecs: [Arc<Codec>; 2], withheld: Withheld) -> Self {
        Self {
            plan,
            codecs,
            withheld,
            epoch: Epoch(0),
        }
    }

    /// What to say if the input ends now.
    pub fn left_over(&self) -> Option<Failure> {
        self.withheld.failure()
    }

    /// What `epoch` changes.
    pub fn apply(
        &mut self,
        epoch: u64,
        left: &mut Reader,
        right: &mut Reader,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        self.epoch = Epoch(epoch);
        let (changed_left, changed_right) = (left.changes(epoch), right.changes(epoch));
        let (mut left_rows, left_storage) = left.contents();
        let (mut right_rows, right_storage) = right.contents();
        let mut round = Round::default();
        let mut keys = Keys::default();
        while let Some((key, at)) = keys.next(&changed_left, &changed_right) {
            let mut sides = [
                Stored {
                    changes: at[0].map(|at| (&changed_left, at)),
                    rows: &mut left_rows,
                    batches: &left_storage,
                },
                Stored {
                    changes: at[1].map(|at| (&changed_right, at)),
                    rows: &mut right_rows,
                    batches: &right_storage,
                },
            ];
            self.group(key, epoch, &mut sides, &mut round);
            if round.is_full() {
                self.finish(std::mem::take(&mut round), emit)?;
            }
        }
        self.finish(round, emit)
    }

    /// Looks up both sides of a key, as far as they are needed.
    fn group(&self, key: &[u8], epoch: u64, sides: &mut [Stored<'_>; 2], round: &mut Round) {
        let apart = has_null(key) && !self.plan.nulls_match;
        let changed = [0, 1].map(|side| sides[side].changes.is_some());
        let mut found: [Vec<Known>; 2] = Default::default();
        for (side, stored) in sides.iter_mut().enumerate() {
            if !apart && (changed[1 - side] || self.must_know_all(side)) {
                let found = &mut found[side];
                entries((stored.rows, stored.batches), key, epoch, |entry| {
                    found.push(round.rows[side].know(entry));
                    !self.is_enough(side, entry)
                });
            } else if let Some((delta, at)) = stored.changes {
                // With the other side as it was, the difference alone tells what comes of it.
                delta.rows(at, |row, now| {
                    let entry = Entry { row, old: 0, now };
                    found[side].push(round.rows[side].know(entry));
                });
            }
        }
        let [left, right] = found;
        if apart {
            // Nothing matches: each side stands alone.
            round.groups.push([left, Vec::new()]);
            round.groups.push([Vec::new(), right]);
        } else {
            round.pairs += left.len() * right.len();
            round.groups.push([left, right]);
        }
    }

    /// Whether unchanged rows of a side matter even if the other side did not change: they
    /// decide whether a row of the other side is alone.
    fn must_know_all(&self, side: usize) -> bool {
        match side {
            0 => self.plan.kind.shows_alone(1),
            _ => self.plan.kind.left_alone().is_some(),
        }
    }

    /// Whether a row says all that is asked of its side: that there is one, as there was before.
    fn is_enough(&self, side: usize, entry: Entry<'_>) -> bool {
        let only_whether =
            side == 1 && self.plan.kind.is_left_only() && self.plan.residual.is_none();
        only_whether && entry.old > 0 && entry.now > 0
    }

    /// Works out the groups of a round.
    fn finish(
        &mut self,
        round: Round,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let columns = [0, 1].map(|side| self.codecs[side].decode(round.rows[side].rows.iter()));
        let [left, right] = columns;
        let columns = [left?, right?];
        let mut out = Changes::default();
        for group in &round.groups {
            self.work_out(group, &columns, &mut out, emit)?;
        }
        self.emit(&mut out, &columns, emit)
    }

    /// Works out a group: its pairs may be far more than its rows, so some of them at a time.
    fn work_out(
        &mut self,
        [left, right]: &Group,
        columns: &[Vec<ArrayRef>; 2],
        out: &mut Changes,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        // By row of the right side, where a condition tells the partners apart.
        let each = self.plan.residual.is_some() && self.plan.kind.shows_alone(1);
        let mut matched = vec![Matched::default(); if each { right.len() } else { 0 }];
        let others = Others::of(right);
        // Whole rows of the left side, about as many pairs as a batch has rows.
        let most = match self.plan.residual.is_some() || !self.plan.kind.is_left_only() {
            true => (CHUNK / right.len().max(1)).max(1),
            false => left.len().max(1),
        };
        for left in left.chunks(most) {
            let verdicts = self.verdicts([left, right], columns)?;
            if let Some(verdicts) = &verdicts {
                self.withhold([left, right], verdicts, columns)?;
                for (l, one) in left.iter().enumerate() {
                    let others = matched.iter_mut().enumerate();
                    others.for_each(|(r, matched)| matched.add(one, verdicts.of(l, r)));
                }
            }
            self.differences(left, &others, verdicts.as_ref(), out);
            if out.counts.len() >= CHUNK {
                self.emit(out, columns, emit)?;
            }
        }
        if self.plan.kind.shows_alone(1) {
            if !each {
                let all = Matched::of(left.iter().map(|other| (other, Verdict::Holds)));
                matched = vec![all; right.len()];
            }
            for (one, matched) in right.iter().zip(matched) {
                out.add(None, Some(one.row), one.alone(matched, Partners::None));
            }
        }
        Ok(())
    }

    /// Says what has been worked out.
    fn emit(
        &self,
        out: &mut Changes,
        columns: &[Vec<ArrayRef>; 2],
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let out = std::mem::take(out);
        for start in (0..out.counts.len()).step_by(CHUNK) {
            let part = out.part(start, CHUNK);
            match self.plan.counted {
                true => emit(self.rows(&part, columns)?),
                false => part.each_once(|rows| {
                    emit(self.rows(rows, columns)?);
                    Ok::<_, CodecError>(())
                })?,
            }
        }
        Ok(())
    }

    /// Whether the further condition holds, for every pair, the right side fastest.
    fn verdicts(
        &self,
        [left, right]: [&[Known]; 2],
        columns: &[Vec<ArrayRef>; 2],
    ) -> Result<Option<Verdicts>, CodecError> {
        let Some(residual) = &self.plan.residual else {
            return Ok(None);
        };
        let pairs = left
            .iter()
            .flat_map(|l| right.iter().map(|r| (l.row, r.row)));
        let (l, r): (Vec<_>, Vec<_>) = pairs.map(|(l, r)| (Some(l), Some(r))).unzip();
        let rows = self.pairs(&l, &r, columns)?;
        let evaluated = evaluate_rows(&rows, std::slice::from_ref(residual))?;
        Ok(Some(Verdicts::new(evaluated, l.len(), right.len())))
    }

    /// Notes the pairs that came and went of those that the further condition fails on. Rows that
    /// are never taken back are final: one that fails ends the run.
    fn withhold(
        &mut self,
        [left, right]: [&[Known]; 2],
        verdicts: &Verdicts,
        columns: &[Vec<ArrayRef>; 2],
    ) -> Result<(), CodecError> {
        for (at, why) in &verdicts.failed {
            let (l, r) = (left[at / right.len()], right[at % right.len()]);
            let count = l.now * r.now - l.old * r.old;
            if count == 0 {
                continue;
            }
            if !self.plan.changing {
                return Err(exec_datafusion_err!("{why}").into());
            }
            let rows = self.pairs(&[Some(l.row)], &[Some(r.row)], columns)?;
            self.withheld
                .change(self.epoch, row_text(&rows, 0), count, why.clone());
        }
        Ok(())
    }

    /// What came and what went of the pairs of these rows of the left side, and of the rows.
    fn differences(
        &self,
        left: &[Known],
        others: &Others<'_>,
        verdicts: Option<&Verdicts>,
        out: &mut Changes,
    ) {
        let verdict = |l: usize, r: usize| verdicts.map_or(Verdict::Holds, |all| all.of(l, r));
        if !self.plan.kind.is_left_only() {
            for (l, one) in left.iter().enumerate() {
                let mut pair = |r: usize| {
                    let other = others.rows[r];
                    let count = one.now * other.now - one.old * other.old;
                    if count != 0 && verdict(l, r) == Verdict::Holds {
                        out.add(Some(one.row), Some(other.row), count);
                    }
                };
                match one.old == one.now {
                    true => others.changed.iter().for_each(|&r| pair(r)),
                    false => (0..others.rows.len()).for_each(pair),
                }
            }
        }
        if let Some(wanted) = self.plan.kind.left_alone() {
            for (l, one) in left.iter().enumerate() {
                let rows = others.rows.iter().enumerate();
                let matched = match verdicts {
                    None => others.matched,
                    Some(_) => Matched::of(rows.map(|(r, other)| (other, verdict(l, r)))),
                };
                out.add(Some(one.row), None, one.alone(matched, wanted));
            }
        }
    }

    /// A batch of pairs of decoded rows.
    fn pairs(
        &self,
        left: &[Option<u32>],
        right: &[Option<u32>],
        columns: &[Vec<ArrayRef>; 2],
    ) -> Result<RecordBatch, CodecError> {
        let mut taken = pick(&columns[0], left)?;
        taken.extend(pick(&columns[1], right)?);
        Ok(batch(Arc::clone(&self.plan.both), taken, left.len())?)
    }

    fn rows(&self, out: &Changes, columns: &[Vec<ArrayRef>; 2]) -> Result<RecordBatch, CodecError> {
        let mut taken = pick(&columns[0], &out.left)?;
        if !self.plan.kind.is_left_only() {
            taken.extend(pick(&columns[1], &out.right)?);
        }
        let rows = batch(Arc::clone(&self.plan.output), taken, out.counts.len())?;
        Ok(match self.plan.counted {
            true => with_counts(&rows, &Int64Array::from(out.counts.clone())),
            false => rows,
        })
    }
}

/// Some rows of columns; `None` is a row of NULLs.
fn pick(columns: &[ArrayRef], rows: &[Option<u32>]) -> Result<Vec<ArrayRef>, CodecError> {
    let rows = UInt32Array::from(rows.to_vec());
    let picked = columns.iter().map(|column| match column.is_empty() {
        true => Ok(new_null_array(column.data_type(), rows.len())),
        false => Ok(take(column, &rows, None)?),
    });
    picked.collect()
}

/// A side of a join at a key.
struct Stored<'a> {
    /// What the epoch changed, and where in it the key stands.
    changes: Option<(&'a Delta, usize)>,
    rows: &'a mut Cursor,
    batches: &'a Vec<Batch>,
}

/// The keys that one of two sides changed, each once, ascending.
#[derive(Default)]
struct Keys {
    left: usize,
    right: usize,
}

impl Keys {
    /// The next one, and where it stands in what each side changed.
    fn next<'a>(
        &mut self,
        left: &'a Delta,
        right: &'a Delta,
    ) -> Option<(&'a [u8], [Option<usize>; 2])> {
        let one = (self.left < left.len()).then(|| left.key(self.left));
        let other = (self.right < right.len()).then(|| right.key(self.right));
        let key = match (one, other) {
            (None, None) => return None,
            (Some(key), None) | (None, Some(key)) => key,
            (Some(one), Some(other)) => one.min(other),
        };
        let at = [
            (one == Some(key)).then_some(self.left),
            (other == Some(key)).then_some(self.right),
        ];
        self.left += usize::from(at[0].is_some());
        self.right += usize::from(at[1].is_some());
        Some((key, at))
    }
}

/// The two sides of a key.
type Group = [Vec<Known>; 2];

/// Keys that are worked out together.
#[derive(Default)]
struct Round {
    rows: [Side; 2],
    groups: Vec<Group>,
    pairs: usize,
}

#[derive(Default)]
struct Side {
    rows: Rows,
}

impl Side {
    fn know(&mut self, entry: Entry<'_>) -> Known {
        Known {
            row: self.rows.add(entry.row),
            old: entry.old,
            now: entry.now,
        }
    }
}

impl Round {
    fn is_full(&self) -> bool {
        let rows = self.rows.iter().map(|side| side.rows.len());
        self.pairs >= CHUNK || rows.sum::<usize>() >= CHUNK
    }
}

/// Pairs of rows, and how many more of each there are.
#[derive(Default)]
struct Changes {
    left: Vec<Option<u32>>,
    right: Vec<Option<u32>>,
    counts: Vec<i64>,
}

impl Changes {
    fn add(&mut self, left: Option<u32>, right: Option<u32>, count: i64) {
        if count != 0 {
            self.left.push(left);
            self.right.push(right);
            self.counts.push(count);
        }
    }

    /// So many from a place on, or as many as there are.
    fn part(&self, start: usize, most: usize) -> Self {
        let end = self.counts.len().min(start + most);
        Self {
            left: self.left[start..end].to_vec(),
            right: self.right[start..end].to_vec(),
            counts: self.counts[start..end].to_vec(),
        }
    }

    /// Each row as often as it counts, so many at a time.
    fn each_once<E>(&self, mut each: impl FnMut(&Self) -> Result<(), E>) -> Result<(), E> {
        let mut once = Self::default();
        for ((left, right), &count) in self.left.iter().zip(&self.right).zip(&self.counts) {
            assert!(count > 0, "an append stream takes nothing back");
            for _ in 0..count {
                once.add(*left, *right, 1);
                if once.counts.len() == CHUNK {
                    each(&std::mem::take(&mut once))?;
                }
            }
        }
        match once.counts.is_empty() {
            true => Ok(()),
            false => each(&once),
        }
    }
}

impl JoinType {
    /// Whether rows of the left side come out by themselves, and when.
    fn left_alone(self) -> Option<Partners> {
        match self {
            Self::Left | Self::Full | Self::Anti => Some(Partners::None),
            Self::Semi => Some(Partners::Some),
            Self::Inner | Self::Right => None,
        }
    }
}
