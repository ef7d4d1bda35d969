//! Exact sums of floats, rounded once, when they are read.
//!
//! ```text
//!   value = sum * 2^exponent        sum: i128       the window: 127 bits, placed by the values
//!         | Wide                    where the window does not reach (see `wide`)
//! ```
//!
//! Floating-point addition depends on order, in its last bits; integer addition does not. A float
//! is an integer of 53 bits times a power of two, so a sum of them is an integer too. The window
//! starts a few bits below the first value and moves when it must; it holds all of what people
//! sum (prices, measurements: some 2^70 between the largest and the smallest bit). Only the value
//! is a function of what was added; where the window stands is not, so states are written in a
//! canonical form. NaN and infinities are counted, so that they can be taken back.
//!
//! Zero has no sign here: the sum of negative zeros is zero.

use std::collections::BTreeMap;

use super::Sign;
use super::wide::{Wide, round};

/// Room that a new window leaves below the first value's last bit before it has to move.
const BELOW: i32 = 24;
/// Room that placing a window leaves above the sum, so that it may grow.
const SPARE: i32 = 24;
/// A float's 53 bits may stand this far above the window's first bit, and an integer's 64 bits
/// this far, without a look at how many they really are.
const FLOAT_REACH: u32 = 72;
const INTEGER_REACH: u32 = 62;
/// An exponent that no window has: the number is in `ExactSums::wide`.
const IS_WIDE: i16 = i16::MIN;
/// Where an empty window stands: above every value, so that the first one places it.
const UNPLACED: i16 = i16::MAX;
/// Bits of a count. With 47 of them, no stream that fits the world overflows.
const COUNT_SHIFT: u32 = 16;

/// One group: 24 bytes, so that an update touches one cache line or two.
#[derive(Clone, Copy)]
#[repr(C, packed(8))]
struct Cell {
    sum: i128,
    /// The count above, the window's exponent in the lowest 16 bits.
    count_and_exponent: u64,
}

impl Cell {
    const EMPTY: Self = Self::new(0, UNPLACED, 0);

    const fn new(sum: i128, exponent: i16, count: u64) -> Self {
        Self {
            sum,
            count_and_exponent: count << COUNT_SHIFT | exponent.cast_unsigned() as u64,
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "these are the lowest 16 bits"
    )]
    #[inline]
    fn exponent(self) -> i16 {
        (self.count_and_exponent as u16).cast_signed()
    }

    #[inline]
    fn count(self) -> u64 {
        self.count_and_exponent >> COUNT_SHIFT
    }
}

/// How many values of a group are not numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specials {
    /// NaNs.
    pub nan: u64,
    /// Positive infinities.
    pub infinite: u64,
    /// Negative infinities.
    pub negative: u64,
}

impl Specials {
    /// What a sum with these is, if there are any.
    pub fn value(self) -> Option<f64> {
        match self {
            Self {
                nan: 0,
                infinite: 0,
                negative: 0,
            } => None,
            Self {
                nan: 0,
                infinite: 0,
                ..
            } => Some(f64::NEG_INFINITY),
            Self {
                nan: 0,
                negative: 0,
                ..
            } => Some(f64::INFINITY),
            Self { .. } => Some(f64::NAN),
        }
    }

    fn count(&mut self, value: f64) -> &mut u64 {
        if value.is_nan() {
            &mut self.nan
        } else if value > 0.0 {
            &mut self.infinite
        } else {
            &mut self.negative
        }
    }
}

/// The state of one group, canonical: equal for equal multisets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The odd part of the sum, if it has less than 127 bits; zero otherwise.
    pub sum: i128,
    /// Its power of two.
    pub exponent: i16,
    /// How many values, the special ones included.
    pub count: u64,
    /// What does not fit above: special counts, then the bytes of a wide sum. Empty mostly.
    pub rest: Vec<u8>,
}

/// Exact sums and counts by group.
#[derive(Default)]
pub struct ExactSums {
    cells: Vec<Cell>,
    wide: BTreeMap<u32, Wide>,
    specials: BTreeMap<u32, Specials>,
}

/// A finite float as an integer and a power of two; of an infinity or NaN it means nothing.
#[inline]
pub fn split(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let biased = i32::try_from(bits >> 52 & 0x7ff).expect("eleven bits");
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let hidden = i64::from(biased != 0) << 52;
    let magnitude = fraction | hidden;
    let mantissa = if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    };
    (mantissa, biased.max(1) - 1075)
}

impl ExactSums {
    /// Makes room for groups.
    pub fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::EMPTY);
    }

    /// Adds a value to a group.
    #[inline]
    pub fn add(&mut self, group: usize, value: f64) {
        if value.is_finite() {
            let (mantissa, exponent) = split(value);
            self.add_within::<FLOAT_REACH>(group, mantissa, exponent);
        } else {
            self.add_special(group, value);
        }
    }

    /// Adds `mantissa * 2^exponent` to a group.
    #[inline]
    pub fn add_scaled(&mut self, group: usize, mantissa: i64, exponent: i32) {
        self.add_within::<INTEGER_REACH>(group, mantissa, exponent);
    }

    #[inline]
    fn add_within<const REACH: u32>(&mut self, group: usize, mantissa: i64, exponent: i32) {
        let cell = &mut self.cells[group];
        cell.count_and_exponent += 1 << COUNT_SHIFT;
        let distance = (exponent - i32::from(cell.exponent())).cast_unsigned();
        if distance <= REACH
            && let Some(sum) = { cell.sum }.checked_add(i128::from(mantissa) << distance)
        {
            cell.sum = sum;
            return;
        }
        self.add_outside(group, i128::from(mantissa), exponent);
    }

    /// Takes back a value that was added.
    pub fn subtract(&mut self, group: usize, value: f64) {
        if value.is_finite() {
            let (mantissa, exponent) = split(value);
            self.subtract_scaled(group, mantissa, exponent);
            return;
        }
        let key = number(group);
        let specials = self.specials.entry(key).or_default();
        *specials.count(value) -= 1;
        if *specials == Specials::default() {
            self.specials.remove(&key);
        }
        self.cells[group].count_and_exponent -= 1 << COUNT_SHIFT;
    }

    /// Takes back `mantissa * 2^exponent`.
    pub fn subtract_scaled(&mut self, group: usize, mantissa: i64, exponent: i32) {
        self.add_outside(group, -i128::from(mantissa), exponent);
        self.cells[group].count_and_exponent -= 1 << COUNT_SHIFT;
    }

    /// How many values a group has.
    #[inline]
    pub fn count(&self, group: usize) -> u64 {
        self.cells[group].count()
    }

    /// The special values of a group.
    pub fn specials(&self, group: usize) -> Specials {
        self.specials
            .get(&number(group))
            .copied()
            .unwrap_or_default()
    }

    /// The counts of groups, and their sums as the nearest float. An infinity without an infinite
    /// value in the group is a sum beyond the largest float.
    pub fn values(&self, groups: &[u32]) -> impl Iterator<Item = (u64, f64)> {
        // Cells are far apart; loading them all before using the first overlaps the misses.
        let cells: Vec<Cell> = groups
            .iter()
            .map(|&group| self.cells[group as usize])
            .collect();
        cells
            .into_iter()
            .zip(groups)
            .map(|(cell, &group)| (cell.count(), self.value_of(cell, group as usize)))
    }

    #[inline]
    fn value_of(&self, cell: Cell, group: usize) -> f64 {
        if !self.specials.is_empty()
            && let Some(value) = self.specials(group).value()
        {
            return value;
        }
        if cell.exponent() == IS_WIDE {
            return self.wide[&number(group)].to_f64();
        }
        let sum = cell.sum;
        let rounded = round(sum.unsigned_abs(), i32::from(cell.exponent()));
        if sum < 0 { -rounded } else { rounded }
    }

    /// The sum of a group's finite values, exactly.
    pub fn exact(&self, group: usize) -> Wide {
        let cell = self.cells[group];
        if cell.exponent() == IS_WIDE {
            self.wide[&number(group)].clone()
        } else {
            Wide::new(cell.sum, i32::from(cell.exponent()))
        }
    }

    /// A group's state.
    pub fn canonical(&self, group: usize) -> Canonical {
        let cell = self.cells[group];
        let specials = self.specials(group);
        let mut rest = Vec::new();
        if specials != Specials::default() {
            for count in [specials.nan, specials.infinite, specials.negative] {
                rest.extend_from_slice(&count.to_le_bytes());
            }
        }
        let narrow = if cell.exponent() == IS_WIDE {
            self.wide[&number(group)].narrow()
        } else {
            Some(odd(cell.sum, i32::from(cell.exponent())))
        };
        let (sum, exponent) = narrow.unwrap_or_else(|| {
            rest.resize(size_of::<[u64; 3]>(), 0);
            rest.extend_from_slice(&self.wide[&number(group)].to_bytes());
            (0, 0)
        });
        Canonical {
            sum,
            exponent: i16::try_from(exponent).expect("exponents of floats are small"),
            count: cell.count(),
            rest,
        }
    }

    /// Adds another group's state, or takes it back. `None` if its bytes were not written by
    /// `canonical`.
    #[must_use]
    pub fn merge(&mut self, group: usize, state: &Canonical, sign: Sign) -> Option<()> {
        let count = state.count << COUNT_SHIFT;
        let (cell, sum) = (&mut self.cells[group], state.sum);
        let sum = match sign {
            Sign::Plus => {
                cell.count_and_exponent += count;
                sum
            }
            Sign::Minus => {
                cell.count_and_exponent -= count;
                -sum
            }
        };
        if sum != 0 {
            self.add_outside(group, sum, i32::from(state.exponent));
        }
        if state.rest.is_empty() {
            return Some(());
        }
        let (counts, wide) = state.rest.split_at_checked(size_of::<[u64; 3]>())?;
        let count = |i: usize| Some(u64::from_le_bytes(counts.as_chunks().0.get(i).copied()?));
        let specials = Specials {
            nan: count(0)?,
            infinite: count(1)?,
            negative: count(2)?,
        };
        if specials != Specials::default() {
            self.merge_specials(group, specials, sign);
        }
        if !wide.is_empty() {
            let wide = Wide::from_bytes(wide)?;
            match sign {
                Sign::Plus => self.widen(group).add_wide(&wide),
                Sign::Minus => self.widen(group).subtract_wide(&wide),
            }
        }
        Some(())
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.wide.clear();
        self.specials.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        const NODE: usize = 48;
        self.cells.capacity() * size_of::<Cell>()
            + self
                .wide
                .values()
                .map(|wide| NODE + wide.bytes())
                .sum::<usize>()
            + self.specials.len() * NODE
    }

    fn merge_specials(&mut self, group: usize, theirs: Specials, sign: Sign) {
        let ours = self.specials.entry(number(group)).or_default();
        let pairs = [
            (&mut ours.nan, theirs.nan),
            (&mut ours.infinite, theirs.infinite),
            (&mut ours.negative, theirs.negative),
        ];
        for (ours, theirs) in pairs {
            match sign {
                Sign::Plus => *ours += theirs,
                Sign::Minus => *ours -= theirs,
            }
        }
        if *ours == Specials::default() {
            self.specials.remove(&number(group));
        }
    }

    #[cold]
    fn add_special(&mut self, group: usize, value: f64) {
        self.cells[group].count_and_exponent += 1 << COUNT_SHIFT;
        *self.specials.entry(number(group)).or_default().count(value) += 1;
    }

    /// Adds to the sum alone, moving the window or widening it.
    #[cold]
    #[inline(never)]
    fn add_outside(&mut self, group: usize, value: i128, exponent: i32) {
        let cell = self.cells[group];
        if cell.exponent() == IS_WIDE {
            self.widen(group).add(value, exponent);
            return;
        }
        if value == 0 {
            return;
        }
        match combine((cell.sum, i32::from(cell.exponent())), (value, exponent)) {
            Some((sum, exponent)) => {
                let exponent = i16::try_from(exponent).expect("exponents of floats are small");
                self.cells[group] = Cell::new(sum, exponent, cell.count());
            }
            None => self.widen(group).add(value, exponent),
        }
    }

    fn widen(&mut self, group: usize) -> &mut Wide {
        let cell = self.cells[group];
        self.cells[group] = Cell::new(0, IS_WIDE, cell.count());
        self.wide.entry(number(group)).or_insert_with(|| {
            // The exponent of an empty window means nothing.
            Wide::new(cell.sum, i32::from(cell.exponent()))
        })
    }
}

fn number(group: usize) -> u32 {
    u32::try_from(group).expect("groups are numbered by u32")
}

/// The same number with an odd integer, or zero.
fn odd(value: i128, exponent: i32) -> (i128, i32) {
    if value == 0 {
        return (0, 0);
    }
    let zeros = value.trailing_zeros();
    (value >> zeros, exponent + zeros.cast_signed())
}

/// The sum of two numbers, if a window holds it; the window reaches down to below `b`'s last bit
/// if there is room, so that more values like `b` find it where it is.
fn combine(a: (i128, i32), b: (i128, i32)) -> Option<(i128, i32)> {
    let below = b.1 - BELOW;
    let (a, b) = (odd(a.0, a.1), odd(b.0, b.1));
    let (sum, exponent) = match (a.0, b.0) {
        (0, _) => b,
        (_, 0) => a,
        _ => {
            let lowest = a.1.min(b.1);
            (aligned(a, lowest)? + aligned(b, lowest)?, lowest)
        }
    };
    let free = sum.unsigned_abs().leading_zeros().cast_signed() - 2;
    let lowered = (exponent - below).clamp(0, (free - SPARE).max(0));
    Some((sum << lowered, exponent - lowered))
}

/// The integer of a number whose power of two is `exponent`, if it stays below 2^126.
fn aligned(number: (i128, i32), exponent: i32) -> Option<i128> {
    let distance = (number.1 - exponent).cast_unsigned();
    let free = number.0.unsigned_abs().leading_zeros();
    (distance + 2 <= free).then(|| number.0 << distance)
}
