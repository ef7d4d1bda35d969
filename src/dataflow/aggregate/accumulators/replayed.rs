//! Any aggregate over rows that may be taken back, unless it is made of sums: each group keeps
//! its rows with how often they are there, and a result is what a fresh accumulator says of them.
//!
//! So a result is the one that an append stream of the remaining rows would have, by
//! construction. Rows are bytes that compare in the order that the aggregate asks for: where one
//! end of it decides, such as for `min`, one row is read and not all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeBinaryArray, LargeBinaryBuilder, UInt32Array,
};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::super::keys::without_signs;
use super::lists::read;
use super::{Accumulator, Output, counted, for_each};

/// Which of a group's rows a result is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The first in the order.
    First,
    /// The last.
    Last,
    /// All.
    All,
    /// Each once, however often it is there.
    Once,
    /// The same by an accumulator that takes values back itself: it is told of each that comes or
    /// goes, and nothing is read again.
    OnceAtATime,
}

/// Makes the accumulator that says what a group's rows come to.
pub type Make = Box<dyn Fn() -> Box<dyn Accumulator> + Send>;

/// The rows of each group, with their counts.
pub struct Replayed {
    converter: RowConverter,
    groups: Vec<Counted>,
    read: Read,
    /// So many arguments, the last ones, must have a value for a row to count.
    needed: usize,
    make: Make,
    /// With `Read::OnceAtATime`, what has been told of all rows.
    told: Option<Box<dyn Accumulator>>,
    /// Bytes of all rows.
    heap: usize,
}

/// Whether a row that came or goes is the only one of its kind in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Only,
    OneOfSeveral,
}

/// Rows in their order; no count is zero.
type Counted = BTreeMap<Box<[u8]>, u64>;

impl Replayed {
    /// Rows of columns in an order; `make` is given those that `read` names.
    pub fn new(
        types: &[DataType],
        orders: &[SortOptions],
        (read, needed): (Read, usize),
        make: Make,
    ) -> Result<Self, ArrowError> {
        let fields = types.iter().zip(orders);
        let fields = fields.map(|(t, order)| SortField::new_with_options(t.clone(), *order));
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            groups: Vec::new(),
            read,
            needed,
            told: (read == Read::OnceAtATime).then(&make),
            make,
            heap: 0,
        })
    }

    /// Counts rows in or out.
    fn apply(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
        count: impl Fn(&mut Self, usize, &[u8]) -> Seen,
    ) -> Result<(Vec<ArrayRef>, Vec<u32>), ArrowError> {
        let needed = &arguments[arguments.len() - self.needed..];
        let counts = counted(needed, filter);
        let columns: Vec<ArrayRef> = arguments.iter().map(without_signs).collect();
        let rows = self.converter.convert_columns(&columns)?;
        let (mut new, mut owners) = (Vec::new(), Vec::new());
        for_each(counts.as_ref(), groups, |row, group| {
            if count(self, group, rows.row(row).data()) == Seen::Only {
                new.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
                owners.push(groups[row]);
            }
        });
        if self.told.is_none() {
            return Ok((Vec::new(), Vec::new()));
        }
        let new = UInt32Array::from(new);
        let values = columns.iter().map(|column| take(column, &new, None));
        Ok((values.collect::<Result<_, _>>()?, owners))
    }

    /// Counts the rows of states in or out: those that are the only ones of their kind, and their
    /// groups.
    fn join(
        &mut self,
        state: &LargeBinaryArray,
        groups: &[u32],
        count: impl Fn(&mut Self, usize, &[u8], u64) -> Seen,
    ) -> Result<(Vec<ArrayRef>, Vec<u32>), ArrowError> {
        assert_eq!(state.len(), groups.len());
        let damaged = || ArrowError::ParseError("a state of counted rows is damaged".to_owned());
        let (mut seen, mut owners) = (Vec::new(), Vec::new());
        for (row, &group) in groups.iter().enumerate() {
            for entry in read(state.value(row)) {
                let (times, row) = entry?.split_first_chunk().ok_or_else(damaged)?;
                if count(self, group as usize, row, u64::from_le_bytes(*times)) == Seen::Only {
                    seen.push(row);
                    owners.push(group);
                }
            }
        }
        if self.told.is_none() {
            return Ok((Vec::new(), Vec::new()));
        }
        Ok((self.values(seen.into_iter())?, owners))
    }

    fn give(&mut self, group: usize, row: &[u8], times: u64) -> Seen {
        let rows = &mut self.groups[group];
        if let Some(count) = rows.get_mut(row) {
            *count += times;
            return Seen::OneOfSeveral;
        }
        rows.insert(row.into(), times);
        self.heap += row.len();
        Seen::Only
    }

    fn take_back(&mut self, group: usize, row: &[u8], times: u64) -> Seen {
        let rows = &mut self.groups[group];
        let count = rows.get_mut(row);
        let count = count.expect("what is taken back was given, and comes first in its epoch");
        *count -= times;
        if *count > 0 {
            return Seen::OneOfSeveral;
        }
        rows.remove(row);
        self.heap -= row.len();
        Seen::Only
    }

    fn values<'a>(
        &self,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let parser = self.converter.parser();
        self.converter
            .convert_rows(rows.map(|row| parser.parse(row)))
    }

    /// The rows that the result of a group is made of.
    fn rows_of<'a>(&'a self, group: u32, picked: &mut Vec<&'a [u8]>) {
        let rows = &self.groups[group as usize];
        match self.read {
            Read::First => picked.extend(rows.first_key_value().map(|(row, _)| &**row)),
            Read::Last => picked.extend(rows.last_key_value().map(|(row, _)| &**row)),
            Read::Once | Read::OnceAtATime => picked.extend(rows.keys().map(|row| &**row)),
            Read::All => {
                for (row, &count) in rows {
                    let count = usize::try_from(count).expect("fewer rows than addresses");
                    picked.extend(std::iter::repeat_n(&**row, count));
                }
            }
        }
    }
}

impl Accumulator for Replayed {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Counted::new);
        if let Some(told) = &mut self.told {
            told.resize(groups);
        }
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let give = |own: &mut Self, group, row: &[u8]| own.give(group, row, 1);
        let (values, owners) = self.apply(arguments, groups, filter, give)?;
        match &mut self.told {
            Some(told) => told.update(&values, &owners, None),
            None => Ok(()),
        }
    }

    fn retract(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let take_back = |own: &mut Self, group, row: &[u8]| own.take_back(group, row, 1);
        let (values, owners) = self.apply(arguments, groups, filter, take_back)?;
        match &mut self.told {
            Some(told) => told.retract(&values, &owners, None),
            None => Ok(()),
        }
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let (values, owners) = self.join(state[0].as_binary(), groups, Self::give)?;
        match &mut self.told {
            Some(told) => told.update(&values, &owners, None),
            None => Ok(()),
        }
    }

    fn unmerge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let (values, owners) = self.join(state[0].as_binary(), groups, Self::take_back)?;
        match &mut self.told {
            Some(told) => told.retract(&values, &owners, None),
            None => Ok(()),
        }
    }

    fn peek(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        if let Some(told) = &self.told {
            return told.peek(output, groups);
        }
        let (mut rows, mut owners) = (Vec::new(), Vec::new());
        for (owner, &group) in (0u32..).zip(groups) {
            self.rows_of(group, &mut rows);
            owners.resize(rows.len(), owner);
        }
        let columns = self.values(rows.into_iter())?;
        let mut result = (self.make)();
        result.resize(groups.len());
        result.update(&columns, &owners, None)?;
        let all: Vec<u32> = (0u32..).take(groups.len()).collect();
        result.peek(output, &all)
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut state = LargeBinaryBuilder::new();
        for rows in &self.groups[groups] {
            let mut whole = Vec::new();
            for (row, count) in rows {
                let length = u32::try_from(row.len() + size_of::<u64>());
                let length = length.expect("a row is shorter than 4 GB");
                whole.extend_from_slice(&length.to_le_bytes());
                whole.extend_from_slice(&count.to_le_bytes());
                whole.extend_from_slice(row);
            }
            state.append_value(whole);
        }
        Ok(vec![Arc::new(state.finish())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn clear(&mut self) {
        self.groups.clear();
        self.heap = 0;
        if let Some(told) = &mut self.told {
            told.clear();
        }
    }

    fn bytes(&self) -> usize {
        // A node of a B-tree is two thirds full or so.
        let entries: usize = self.groups.iter().map(BTreeMap::len).sum();
        let told = self.told.as_ref().map_or(0, |told| told.bytes());
        self.groups.capacity() * size_of::<Counted>() + entries * 40 + self.heap + told
    }
}
