//! Functions over the ordered rows of a partition: what an epoch changes in them.
//!
//! Only partitions that the epoch changed are looked at, and where no more than the first rows
//! are asked for, no more of them are read. A partition's rows before and after the epoch are
//! numbered apart; what is in both is no change.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use differential_dataflow::trace::implementations::BatchContainer;

use super::codec::{Codec, CodecError, order_of};
use super::reader::{Reader, entries};
use super::rows::Rows;
use crate::dataflow::roles::with_counts;
use crate::plan::{OverCall, OverFunction};
use crate::types::batch;

/// How functions over partitions are computed.
pub struct Over {
    codec: Arc<Codec>,
    calls: Vec<OverCall>,
    /// How many rows of a partition are shown, by the number that the first call gives them.
    first: Option<u64>,
    output: SchemaRef,
}

/// A partition's rows at one moment, in their order.
#[derive(Default)]
struct Ordered {
    rows: Vec<u32>,
    /// By row: the number of the first of its peers.
    peers: Vec<u64>,
}

impl Ordered {
    fn add(&mut self, row: u32, is_peer: bool) {
        let number = self.rows.len() as u64 + 1;
        let first = match (is_peer, self.peers.last()) {
            (true, Some(&first)) => first,
            (true | false, _) => number,
        };
        self.rows.push(row);
        self.peers.push(first);
    }
}

/// Partitions that are worked out together: their rows before and after.
#[derive(Default)]
struct Round {
    rows: Rows,
    /// By partition.
    groups: Vec<[Ordered; 2]>,
}

/// How many rows are put together.
const CHUNK: usize = 8192;

impl Over {
    /// Functions over rows that `codec` made. `first` is by the first call.
    pub fn new(
        codec: Arc<Codec>,
        calls: Vec<OverCall>,
        first: Option<u64>,
        output: SchemaRef,
    ) -> Self {
        Self {
            codec,
            calls,
            first,
            output,
        }
    }

    /// What `epoch` changes.
    pub fn apply(
        &self,
        epoch: u64,
        reader: &mut Reader,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let changed = reader.changes(epoch);
        let (mut cursor, storage) = reader.contents();
        let mut round = Round::default();
        for at in 0..changed.len() {
            let mut group: [Ordered; 2] = Default::default();
            let mut before: [Option<&[u8]>; 2] = [None; 2];
            entries((&mut cursor, &storage), changed.key(at), epoch, |entry| {
                let order = Some(order_of(entry.row));
                let mut row = None;
                for (moment, count) in [entry.old, entry.now].into_iter().enumerate() {
                    for _ in 0..count {
                        let is_peer = before[moment] == order;
                        if !self.shows(&group[moment], is_peer) {
                            break;
                        }
                        let row = *row.get_or_insert_with(|| round.rows.add(entry.row));
                        group[moment].add(row, is_peer);
                        before[moment] = order;
                    }
                }
                group.iter().any(|moment| self.shows(moment, true))
            });
            round.groups.push(group);
            if round.rows.len() >= CHUNK {
                self.finish(std::mem::take(&mut round), emit)?;
            }
        }
        self.finish(round, emit)
    }

    /// Whether the next row of a partition is among those that are shown.
    fn shows(&self, ordered: &Ordered, is_peer: bool) -> bool {
        let Some(first) = self.first else {
            return true;
        };
        let next = ordered.rows.len() as u64 + 1;
        let number = match self.calls[0].function {
            OverFunction::RowNumber => next,
            OverFunction::Rank => match (is_peer, ordered.peers.last()) {
                (true, Some(&peer)) => peer,
                (true | false, _) => next,
            },
            // The planner asks for no first rows by what does not count them.
            OverFunction::DenseRank | OverFunction::Before { .. } => 0,
        };
        number <= first
    }

    /// Works out the partitions of a round.
    fn finish(&self, round: Round, emit: &mut impl FnMut(RecordBatch)) -> Result<(), CodecError> {
        let columns = self.codec.decode(round.rows.iter())?;
        let moments = [0, 1].map(|moment| self.listing(&round.groups, moment, &columns));
        let [old, now] = moments;
        let moments = [old?, now?];
        let changed = differing(&moments);
        for picked in changed.chunks(CHUNK) {
            emit(self.rows(picked, &moments, &columns)?);
        }
        Ok(())
    }

    /// The rows of all partitions at one moment, with what the functions say of them.
    fn listing(
        &self,
        groups: &[[Ordered; 2]],
        moment: usize,
        columns: &[ArrayRef],
    ) -> Result<Listing, CodecError> {
        let partitions = || groups.iter().map(|group| &group[moment]);
        let rows: Vec<u32> = partitions().flat_map(|p| p.rows.iter().copied()).collect();
        let decoded = {
            let rows = columns.first().map_or(0, |column| column.len());
            batch(Arc::clone(self.codec.schema()), columns.to_vec(), rows)?
        };
        let calls = self.calls.iter().map(|call| match &call.function {
            OverFunction::RowNumber => Ok(numbers(partitions(), row_number)),
            OverFunction::Rank => Ok(numbers(partitions(), rank)),
            OverFunction::DenseRank => Ok(numbers(partitions(), dense_rank)),
            OverFunction::Before { distance, value } => {
                let places = partitions().flat_map(|p| p.shifted(-distance));
                Ok(take(
                    &value.evaluate(&decoded)?,
                    &UInt32Array::from_iter(places),
                    None,
                )?)
            }
        });
        let calls = calls.collect::<Result<Vec<ArrayRef>, CodecError>>()?;
        let fields = calls
            .iter()
            .map(|call| SortField::new(call.data_type().clone()));
        let said = RowConverter::new(fields.collect())?.convert_columns(&calls)?;
        Ok(Listing { rows, calls, said })
    }

    fn rows(
        &self,
        picked: &[Picked],
        moments: &[Listing; 2],
        columns: &[ArrayRef],
    ) -> Result<RecordBatch, CodecError> {
        let rows = picked.iter().map(|p| moments[p.moment].rows[p.place]);
        let rows = UInt32Array::from_iter_values(rows);
        let mut taken = Vec::with_capacity(columns.len() + self.calls.len());
        for column in columns {
            taken.push(take(column, &rows, None)?);
        }
        let places: Vec<(usize, usize)> = picked.iter().map(|p| (p.moment, p.place)).collect();
        for (old, now) in moments[0].calls.iter().zip(&moments[1].calls) {
            taken.push(interleave(&[old.as_ref(), now.as_ref()], &places)?);
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), taken)?;
        let counts: Int64Array = picked.iter().map(|p| p.count).collect();
        Ok(with_counts(&rows, &counts))
    }
}

/// The rows of a moment, and what is said of each.
struct Listing {
    rows: Vec<u32>,
    calls: Vec<ArrayRef>,
    /// The same as bytes, to compare.
    said: arrow::row::Rows,
}

/// A row that came or went.
struct Picked {
    moment: usize,
    place: usize,
    count: i64,
}

/// What is in one moment and not in the other.
fn differing(moments: &[Listing; 2]) -> Vec<Picked> {
    let mut all: Vec<(u32, usize, usize)> = Vec::new();
    for (moment, listing) in moments.iter().enumerate() {
        all.extend(
            listing
                .rows
                .iter()
                .enumerate()
                .map(|(place, &row)| (row, moment, place)),
        );
    }
    let said = |&(row, moment, place): &(u32, usize, usize)| (row, moments[moment].said.row(place));
    all.sort_by(|a, b| said(a).cmp(&said(b)));
    let mut picked = Vec::new();
    for same in all.chunk_by(|a, b| said(a) == said(b)) {
        let now = same.iter().filter(|(_, moment, _)| *moment == 1).count();
        let count = 2 * i64::try_from(now).expect("rows fit memory")
            - i64::try_from(same.len()).expect("rows fit memory");
        let (_, moment, place) = same[0];
        if count != 0 {
            picked.push(Picked {
                moment,
                place,
                count,
            });
        }
    }
    picked
}

fn numbers<'a>(
    partitions: impl Iterator<Item = &'a Ordered>,
    number: impl Fn(&Ordered) -> Vec<u64>,
) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(partitions.flat_map(number)))
}

fn row_number(partition: &Ordered) -> Vec<u64> {
    (1..=partition.rows.len() as u64).collect()
}

fn rank(partition: &Ordered) -> Vec<u64> {
    partition.peers.clone()
}

fn dense_rank(partition: &Ordered) -> Vec<u64> {
    let mut dense = 0;
    let mut last = 0;
    let ranks = partition.peers.iter().map(|&peer| {
        dense += u64::from(peer != last);
        last = peer;
        dense
    });
    ranks.collect()
}

impl Ordered {
    /// The row so many places on from each; none beyond the ends.
    fn shifted(&self, by: i64) -> impl Iterator<Item = Option<u32>> {
        let at = move |place: usize| {
            let place = i64::try_from(place).ok()?.checked_add(by)?;
            self.rows.get(usize::try_from(place).ok()?).copied()
        };
        (0..self.rows.len()).map(at)
    }
}
