//! Functions over the ordered rows of a partition: what an epoch changes in them.
//!
//! Only partitions that the epoch changed are looked at, and where no more than the first rows
//! are asked for, no more of them are read. A partition's rows before and after the epoch are
//! laid out apart. Rows that stand before everything that changed, or behind it, and whose frames
//! do so too, are passed over; what is said of the others before and after is compared.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use differential_dataflow::trace::implementations::BatchContainer;

use super::codec::{Codec, CodecError, order_of};
use super::reader::{Reader, entries};
use super::rows::Rows;
use crate::dataflow::framed::{Asked, Before, Calls, Frames, Partition, Said};
use crate::dataflow::outcome::Failure;
use crate::dataflow::roles::with_counts;
use crate::dataflow::withheld::{Withheld, row_text};
use crate::plan::OverFunction;
use crate::types::{Epoch, batch};

/// How functions over partitions are computed.
pub struct Over {
    codec: Arc<Codec>,
    calls: Calls,
    /// How many rows of a partition are shown, by the number that the first call gives them.
    first: Option<u64>,
    output: SchemaRef,
    /// The rows with a result that is beyond its type.
    withheld: Withheld,
    /// The epoch that is being applied.
    epoch: Epoch,
}

/// Partitions that are worked out together: their rows before and after.
#[derive(Default)]
struct Round {
    rows: Rows,
    /// By partition.
    groups: Vec<[Partition; 2]>,
}

/// A partition before and after, the frames of its rows, and which of them may be other ones.
type LaidOut<'a> = (&'a [Partition; 2], [Frames; 2], [Range<usize>; 2]);

/// How many rows are put together.
const CHUNK: usize = 8192;

impl Over {
    /// Functions over rows that `codec` made. `first` is by the first call.
    pub fn new(
        codec: Arc<Codec>,
        calls: Calls,
        first: Option<u64>,
        output: SchemaRef,
        withheld: Withheld,
    ) -> Self {
        Self {
            codec,
            calls,
            first,
            output,
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
        reader: &mut Reader,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        self.epoch = Epoch(epoch);
        let changed = reader.changes(epoch);
        let (mut cursor, storage) = reader.contents();
        let mut round = Round::default();
        for at in 0..changed.len() {
            let mut group: [Partition; 2] = Default::default();
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
    fn shows(&self, partition: &Partition, is_peer: bool) -> bool {
        let Some(first) = self.first else {
            return true;
        };
        let next = partition.rows.len() as u64 + 1;
        let number = match self.calls.calls()[0].function {
            OverFunction::RowNumber => next,
            OverFunction::Rank => match (is_peer, partition.peers.last()) {
                (true, Some(&peer)) => peer,
                (true | false, _) => next,
            },
            // The planner asks for no first rows by what does not count them.
            OverFunction::DenseRank
            | OverFunction::PercentRank
            | OverFunction::CumulativeShare
            | OverFunction::Ntile(_)
            | OverFunction::Before { .. }
            | OverFunction::Value { .. }
            | OverFunction::Aggregate { .. } => 0,
        };
        number <= first
    }

    /// Works out the partitions of a round.
    fn finish(
        &mut self,
        round: Round,
        emit: &mut impl FnMut(RecordBatch),
    ) -> Result<(), CodecError> {
        let columns = self.codec.decode(round.rows.iter())?;
        let schema = Arc::clone(self.codec.schema());
        let rows = batch(schema, columns.clone(), round.rows.len())?;
        let counted = self.calls.counted(&rows)?;
        let frames = |partition: &Partition| self.calls.frames(partition, &counted);
        let groups = round.groups.iter().map(|group| {
            let frames = [frames(&group[0]), frames(&group[1])];
            let touched = touched(group, &frames);
            (group, frames, touched)
        });
        let groups: Vec<LaidOut<'_>> = groups.collect();
        let listing = |moment: usize| {
            let asked = groups.iter().map(|(group, frames, touched)| Asked {
                partition: &group[moment],
                frames: &frames[moment],
                places: touched[moment].clone(),
                before: Before::default(),
            });
            Listing::new(&self.calls, &rows, &asked.collect::<Vec<_>>())
        };
        let moments = [listing(0)?, listing(1)?];
        for (listing, sign) in moments.iter().zip([-1, 1]) {
            for (place, why) in &listing.said.failed {
                let text = row_text(&rows, listing.rows[*place] as usize);
                self.withheld.change(self.epoch, text, sign, why.clone());
            }
        }
        let changed = differing(&moments);
        for picked in changed.chunks(CHUNK) {
            emit(self.rows(picked, &moments, &columns)?);
        }
        Ok(())
    }

    fn rows(
        &self,
        picked: &[Picked],
        moments: &[Listing; 2],
        columns: &[ArrayRef],
    ) -> Result<RecordBatch, CodecError> {
        let rows = picked.iter().map(|p| moments[p.moment].rows[p.place]);
        let rows = UInt32Array::from_iter_values(rows);
        let calls = self.calls.calls().len();
        let mut taken = Vec::with_capacity(columns.len() + calls);
        for column in columns {
            taken.push(take(column, &rows, None)?);
        }
        let places: Vec<(usize, usize)> = picked.iter().map(|p| (p.moment, p.place)).collect();
        let [old, now] = moments;
        for (old, now) in old.said.columns.iter().zip(&now.said.columns) {
            taken.push(interleave(&[old.as_ref(), now.as_ref()], &places)?);
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), taken)?;
        let counts: Int64Array = picked.iter().map(|p| p.count).collect();
        Ok(with_counts(&rows, &counts))
    }
}

/// Where rows stand, before and after, of which something else may be said now: all but those at
/// both ends that are the same, and whose frames are.
fn touched(group: &[Partition; 2], frames: &[Frames; 2]) -> [Range<usize>; 2] {
    let [old, now] = [&group[0].rows, &group[1].rows];
    let shorter = old.len().min(now.len());
    let same = old.iter().zip(now).take_while(|(old, now)| old == now);
    let front = same.count();
    let same = old.iter().rev().zip(now.iter().rev());
    let same = same.take(shorter - front);
    let back = same.take_while(|(old, now)| old == now).count();
    let calls = || frames[0].iter().zip(&frames[1]);
    let before = |row: &usize| {
        calls().all(|(old, now)| old[*row] == now[*row] && (old[*row].end as usize) <= front)
    };
    let behind = |row: &usize| {
        calls().all(|(of_old, of_now)| {
            let end = |place: u32, rows: &Vec<u32>| rows.len() - place as usize;
            let [old_frame, now_frame] =
                [&of_old[old.len() - 1 - *row], &of_now[now.len() - 1 - *row]];
            let starts = [end(old_frame.start, old), end(now_frame.start, now)];
            let ends = [end(old_frame.end, old), end(now_frame.end, now)];
            starts[0] == starts[1] && starts[0] <= back && ends[0] == ends[1]
        })
    };
    let front = (0..front).take_while(before).count();
    let back = (0..back).take_while(behind).count();
    [front..old.len() - back, front..now.len() - back]
}

/// The rows of a moment, and what is said of each.
struct Listing {
    rows: Vec<u32>,
    said: Said,
    /// The same as bytes, to compare.
    bytes: arrow::row::Rows,
}

impl Listing {
    fn new(calls: &Calls, rows: &RecordBatch, asked: &[Asked<'_>]) -> Result<Self, CodecError> {
        let said = calls.say(rows, asked, None)?;
        let fields = said.columns.iter();
        let fields = fields.map(|column| SortField::new(column.data_type().clone()));
        let bytes = RowConverter::new(fields.collect())?.convert_columns(&said.columns)?;
        let rows = asked
            .iter()
            .flat_map(|asked| asked.partition.rows[asked.places.clone()].iter().copied());
        Ok(Self {
            rows: rows.collect(),
            said,
            bytes,
        })
    }
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
        let rows = listing.rows.iter().enumerate();
        let rows = rows.filter(|(place, _)| !listing.said.failed.contains_key(place));
        all.extend(rows.map(|(place, &row)| (row, moment, place)));
    }
    let said =
        |&(row, moment, place): &(u32, usize, usize)| (row, moments[moment].bytes.row(place));
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
