//! One aggregate over the frames of rows.
//!
//! Partitions take their steps together: at each, every partition's aggregate goes from one frame
//! to the next, giving what comes into it and taking back what leaves. Sums subtract exactly, and
//! whatever cannot subtract keeps its rows, so a result is that of the frame's rows alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, UInt64Array, new_empty_array};
use arrow::compute::{concat, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_physical_expr::expressions::Column;

use crate::dataflow::aggregate::{AggregateError, Aggregation, Input, Moving, Read};
use crate::plan::{AggregateCall, AggregateFunction, Emit, Expression, Frame, FrameBound, SortKey};

/// An aggregate, and over which rows.
pub struct FrameAggregate {
    aggregation: Aggregation,
    output: DataType,
    /// Where its order is the partition's: the input and the place in the partition.
    placed: Option<SchemaRef>,
}

/// Some rows of a partition whose results are wanted.
pub struct Piece<'a> {
    /// All rows of the partition, as numbers in the batch.
    pub rows: &'a [u32],
    /// The frames of those that are wanted.
    pub frames: &'a [Range<u32>],
    /// Where its aggregate is held.
    pub group: u32,
    /// The rows that are in the aggregate.
    pub held: Range<u32>,
    /// How many rows of the partition came before these.
    pub before: u64,
}

/// A result per row.
pub struct Results {
    /// NULL where it failed.
    pub values: ArrayRef,
    /// Why it is beyond its type.
    pub failed: BTreeMap<usize, String>,
}

impl FrameAggregate {
    /// `call` over frames of rows of `input`.
    pub fn new(
        call: &AggregateCall,
        frame: Frame,
        input: &SchemaRef,
    ) -> Result<Self, AggregateError> {
        let width = input.fields().len();
        let mut call = call.clone();
        let is_ordered = matches!(
            call.function,
            AggregateFunction::ArrayAgg
                | AggregateFunction::StringAgg
                | AggregateFunction::First
                | AggregateFunction::Last
        );
        let placed = is_ordered.then(|| {
            call.order_by = vec![by_place(width)];
            let mut fields = input.fields().to_vec();
            fields.push(Arc::new(Field::new("place", DataType::UInt64, false)));
            Arc::new(Schema::new(fields))
        });
        // Frames that only grow take nothing back.
        let kind = match frame.start {
            FrameBound::Unbounded => Input::Final { width },
            FrameBound::At(_) => Input::Changing { width },
        };
        let output = Arc::new(Schema::new(vec![Arc::clone(&call.output)]));
        let data_type = call.output.data_type().clone();
        Ok(Self {
            aggregation: Aggregation::new(kind, &[], &[call], None, Emit::Changes, output)?,
            output: data_type,
            placed,
        })
    }

    /// Aggregates of no rows and no groups yet.
    pub fn moving(&self) -> Moving {
        self.aggregation.moving()
    }

    /// The results for the wanted rows of all pieces, one after the other.
    pub fn evaluate(
        &self,
        moving: &mut Moving,
        rows: &RecordBatch,
        pieces: &[Piece<'_>],
    ) -> Result<Results, AggregateError> {
        match &self.placed {
            None => self.over(moving, rows, pieces),
            Some(schema) => {
                let (rows, places) = with_places(rows, schema, pieces)?;
                let pieces = pieces.iter().zip(&places);
                let pieces = pieces.map(|(piece, rows)| Piece {
                    rows,
                    held: piece.held.clone(),
                    ..*piece
                });
                self.over(moving, &rows, &pieces.collect::<Vec<_>>())
            }
        }
    }

    fn over(
        &self,
        moving: &mut Moving,
        rows: &RecordBatch,
        pieces: &[Piece<'_>],
    ) -> Result<Results, AggregateError> {
        // Rows with one frame have one result.
        let stages: Vec<Vec<Range<u32>>> = pieces
            .iter()
            .map(|piece| {
                let mut frames = piece.frames.to_vec();
                frames.dedup();
                frames
            })
            .collect();
        // Longest first: whoever has no further stage is behind those that have.
        let mut groups: Vec<usize> = (0..pieces.len()).collect();
        groups.sort_by_key(|&group| std::cmp::Reverse(stages[group].len()));
        let read = moving.read_of(rows)?;
        let mut answers: Vec<ArrayRef> = vec![new_empty_array(&self.output)];
        let mut answered: Vec<Vec<u32>> = vec![Vec::new(); pieces.len()];
        let (mut failures, mut count) = (BTreeMap::new(), 0);
        for stage in 0.. {
            while groups
                .pop_if(|group| stages[*group].len() <= stage)
                .is_some()
            {}
            if groups.is_empty() {
                break;
            }
            step((moving, &read), pieces, &stages, &groups, stage)?;
            let asked: Vec<u32> = groups.iter().map(|&group| pieces[group].group).collect();
            let (values, failed) = moving.results(&asked)?;
            failures.extend(failed.into_iter().map(|(at, why)| (count + at, why)));
            for &group in &groups {
                answered[group].push(number(count));
                count += 1;
            }
            answers.push(values);
        }
        let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
        let answers = concat(&answers)?;
        let places: Vec<u32> = pieces
            .iter()
            .zip(&answered)
            .flat_map(|(piece, answered)| by_row(piece.frames, answered))
            .collect();
        let failed = places.iter().enumerate().filter_map(|(row, answer)| {
            let why = failures.get(&(*answer as usize))?;
            Some((row, why.clone()))
        });
        Ok(Results {
            failed: failed.collect(),
            values: take(&answers, &UInt32Array::from(places), None)?,
        })
    }
}

/// The answer of each row: rows of equal frames stand together.
fn by_row(frames: &[Range<u32>], answered: &[u32]) -> Vec<u32> {
    let same = frames.chunk_by(|a, b| a == b).zip(answered);
    same.flat_map(|(frames, answer)| std::iter::repeat_n(*answer, frames.len()))
        .collect()
}

/// Goes on to the next frame of each group.
fn step(
    (moving, read): (&mut Moving, &Read),
    pieces: &[Piece<'_>],
    stages: &[Vec<Range<u32>>],
    groups: &[usize],
    stage: usize,
) -> Result<(), AggregateError> {
    let (mut comes, mut goes) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for &group in groups {
        let before = match stage.checked_sub(1) {
            Some(before) => stages[group][before].clone(),
            None => pieces[group].held.clone(),
        };
        let now = stages[group][stage].clone();
        let (gone, new) = match now.start < before.end {
            true => (before.start..now.start, before.end..now.end),
            false => (before, now),
        };
        for (rows, range) in [(&mut goes, gone), (&mut comes, new)] {
            let range = range.start as usize..(range.end.max(range.start)) as usize;
            let (rows, of): &mut (Vec<u32>, Vec<u32>) = rows;
            of.extend(std::iter::repeat_n(pieces[group].group, range.len()));
            rows.extend_from_slice(&pieces[group].rows[range]);
        }
    }
    moving.give(read, &comes.0, &comes.1)?;
    moving.take_back(read, &goes.0, &goes.1)
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 rows at a time")
}

/// The order of a column behind `width` others.
fn by_place(width: usize) -> SortKey {
    SortKey {
        expression: Expression {
            physical: Arc::new(Column::new("place", width)),
            text: "place".to_owned(),
            data_type: DataType::UInt64,
            nullable: false,
        },
        descending: false,
        nulls_first: false,
    }
}

/// A row for each place in a partition, which it says in a further column; and by piece, where
/// its rows are now.
fn with_places(
    rows: &RecordBatch,
    schema: &SchemaRef,
    pieces: &[Piece<'_>],
) -> Result<(RecordBatch, Vec<Vec<u32>>), AggregateError> {
    let all = pieces.iter().flat_map(|piece| piece.rows.iter().copied());
    let all = UInt32Array::from_iter_values(all);
    let places = pieces
        .iter()
        .flat_map(|piece| piece.before..piece.before + piece.rows.len() as u64);
    let mut columns = take_record_batch(rows, &all)?.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from_iter_values(places)));
    let mut next = 0;
    let numbers = pieces.iter().map(|piece| {
        let start = next;
        next += number(piece.rows.len());
        (start..next).collect()
    });
    let numbers = numbers.collect();
    Ok((RecordBatch::try_new(Arc::clone(schema), columns)?, numbers))
}
