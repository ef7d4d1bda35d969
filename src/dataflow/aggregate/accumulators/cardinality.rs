//! `approx_distinct`: HyperLogLog with 2^14 registers, as sparse as the group allows.
//!
//! Registers only ever grow to the larger of two values, so a sketch is a function of the set of
//! values. Up to 1024 values are kept as hashes of 25 bits and counted almost exactly; beyond,
//! Ertl's improved estimator (O. Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches", 2017) has a standard error of 0.8 % and needs no correction tables.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use xxhash_rust::xxh3::xxh3_64;

use super::super::keys::KeyCodec;
use super::{Accumulator, Output, counted, for_each};

/// Bits of a hash that choose a register, dense and sparse.
const DENSE_BITS: u32 = 14;
const SPARSE_BITS: u32 = 25;
const REGISTERS: usize = 1 << DENSE_BITS;
/// Sparse entries, of 4 bytes; a dense sketch has 16 KiB.
const SPARSE_ENTRIES: usize = 1024;
/// The largest rank: the other bits of the hash are all zero.
const LARGEST: usize = 64 - DENSE_BITS as usize + 1;
/// An entry is the register's number above and the rank in so many bits.
const RANK_BITS: u32 = 7;

/// How many different values each group has, about.
pub struct Cardinalities {
    codec: KeyCodec,
    sketches: Vec<Sketch>,
}

#[derive(Clone)]
enum Sketch {
    /// Sorted, one entry per register of 25 bits.
    Sparse(Vec<u32>),
    Dense(Box<Dense>),
}

#[derive(Clone)]
struct Dense {
    registers: [u8; REGISTERS],
    /// How many registers have each rank, so that an estimate need not visit them.
    histogram: [u16; LARGEST + 1],
}

impl Cardinalities {
    /// Sketches of sets of values of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(Self {
            codec: KeyCodec::new(types)?,
            sketches: Vec::new(),
        })
    }
}

/// The sparse entry of a hash.
fn entry(hash: u64) -> u32 {
    let register = hash >> (64 - SPARSE_BITS);
    let rank = (hash << SPARSE_BITS | 1 << (SPARSE_BITS - 1)).leading_zeros() + 1;
    u32::try_from(register).expect("25 bits") << RANK_BITS | rank
}

/// The dense register and rank of a sparse entry.
fn register(entry: u32) -> (usize, u8) {
    const MORE: u32 = SPARSE_BITS - DENSE_BITS;
    let register = entry >> RANK_BITS;
    let more = register & ((1 << MORE) - 1);
    let rank = match more {
        0 => (entry & ((1 << RANK_BITS) - 1)) + MORE,
        more => more.leading_zeros() - (u32::BITS - MORE) + 1,
    };
    (
        (register >> MORE) as usize,
        u8::try_from(rank).expect("at most 51"),
    )
}

impl Sketch {
    fn add(&mut self, entry: u32) {
        match self {
            Self::Sparse(entries) => {
                let at = entries.partition_point(|other| other >> RANK_BITS < entry >> RANK_BITS);
                match entries.get_mut(at) {
                    Some(other) if *other >> RANK_BITS == entry >> RANK_BITS => {
                        *other = entry.max(*other);
                    }
                    Some(_) | None => entries.insert(at, entry),
                }
                if entries.len() > SPARSE_ENTRIES {
                    self.dense();
                }
            }
            Self::Dense(dense) => {
                let (register, rank) = register(entry);
                dense.raise(register, rank);
            }
        }
    }

    fn dense(&mut self) -> &mut Dense {
        if let Self::Sparse(entries) = self {
            let mut dense = Box::new(Dense {
                registers: [0; REGISTERS],
                histogram: [0; LARGEST + 1],
            });
            dense.histogram[0] = u16::try_from(REGISTERS).expect("2^14");
            for &entry in entries.iter() {
                let (register, rank) = register(entry);
                dense.raise(register, rank);
            }
            *self = Self::Dense(dense);
        }
        match self {
            Self::Dense(dense) => dense,
            Self::Sparse(_) => unreachable!("it was made dense just now"),
        }
    }

    fn merge(&mut self, state: &[u8]) {
        if state.len() == REGISTERS {
            let dense = self.dense();
            for (register, &rank) in state.iter().enumerate() {
                dense.raise(register, rank);
            }
        } else {
            for entry in state.as_chunks().0 {
                self.add(u32::from_le_bytes(*entry));
            }
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "an estimate is a whole number below 2^53"
    )]
    fn estimate(&self) -> i64 {
        match self {
            Self::Sparse(entries) => {
                let registers = f64::from(1u32 << SPARSE_BITS);
                let empty = registers - entries.len() as f64;
                (registers * (registers / empty).ln()).round() as i64
            }
            Self::Dense(dense) => dense.estimate().round() as i64,
        }
    }
}

impl Dense {
    fn raise(&mut self, register: usize, rank: u8) {
        let before = self.registers[register];
        if rank > before {
            self.registers[register] = rank;
            self.histogram[usize::from(before)] -= 1;
            self.histogram[usize::from(rank)] += 1;
        }
    }

    fn estimate(&self) -> f64 {
        let registers = f64::from(1u32 << DENSE_BITS);
        let count = |rank: usize| f64::from(self.histogram[rank]);
        let mut sum = registers * tau(1.0 - count(LARGEST) / registers);
        for rank in (1..LARGEST).rev() {
            sum = 0.5 * (sum + count(rank));
        }
        sum += registers * sigma(count(0) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

/// Ertl's sigma: what the empty registers say.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// Ertl's tau: what the full registers say.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

impl Accumulator for Cardinalities {
    fn resize(&mut self, groups: usize) {
        self.sketches.resize(groups, Sketch::Sparse(Vec::new()));
    }

    fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ArrowError> {
        let rows = counted(arguments, filter);
        let values = self.codec.encode(arguments, groups.len())?;
        for_each(rows.as_ref(), groups, |row, group| {
            self.sketches[group].add(entry(xxh3_64(values.value(row))));
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let state: &BinaryArray = state[0].as_binary();
        assert_eq!(state.len(), groups.len());
        for (row, &group) in groups.iter().enumerate() {
            self.sketches[group as usize].merge(state.value(row));
        }
        Ok(())
    }

    fn peek(&self, _: &Output, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let estimates = groups
            .iter()
            .map(|&group| self.sketches[group as usize].estimate());
        Ok(Arc::new(Int64Array::from_iter_values(estimates)))
    }

    fn state(&self, groups: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut state = BinaryBuilder::new();
        for sketch in &self.sketches[groups] {
            match sketch {
                Sketch::Sparse(entries) => {
                    let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_le_bytes()).collect();
                    state.append_value(bytes);
                }
                Sketch::Dense(dense) => state.append_value(dense.registers),
            }
        }
        Ok(vec![Arc::new(state.finish())])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn clear(&mut self) {
        self.sketches.clear();
    }

    fn bytes(&self) -> usize {
        let heap = self.sketches.iter().map(|sketch| match sketch {
            Sketch::Sparse(entries) => entries.capacity() * size_of::<u32>(),
            Sketch::Dense(_) => size_of::<Dense>(),
        });
        self.sketches.capacity() * size_of::<Sketch>() + heap.sum::<usize>()
    }
}
