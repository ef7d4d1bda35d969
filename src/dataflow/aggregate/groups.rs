//! Numbers keys from zero, in the order of their first appearance.
//!
//! A table of slots (open addressing, linear probing) leads from a key's hash to its number, and
//! the number to a cell of 16 bytes that holds the key if it is short, or says where it is. With
//! many groups both steps are cache misses, and what counts is how many of them are under way at
//! once. So a batch goes through in passes: the first slot of every key, then the cell of every
//! group found there, then the comparisons. The loads of a pass do not depend on each other.
//! Whatever that leaves open (a new key, a collision) is looked up one by one.

use std::ops::Range;

use arrow::array::{Array, BinaryArray};
use arrow::buffer::OffsetBuffer;

/// Keys of a batch that go through together: their intermediate results fit into the first cache.
const PASS: usize = 256;
/// Slots of the smallest table, as a power of two.
const SMALLEST: u32 = 6;
/// Slots of a table that is in the cache anyway, so that passes gain nothing.
const SMALL: u32 = 13;

/// Keys and their numbers.
pub(super) struct Groups {
    /// The low half of the hash above, the group's number plus one below; zero is free.
    slots: Vec<u64>,
    /// The number of slots is two to this.
    bits: u32,
    /// By group.
    cells: Vec<Cell>,
    /// The long keys, one after the other.
    long: Vec<u8>,
}

/// A key of up to 15 bytes after its length; or `LONG`, length (4 bytes) and start (8 bytes) of a
/// key in `Groups::long`.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Cell([u8; 16]);

const SHORT: usize = 15;
const LONG: u8 = u8::MAX;

impl Cell {
    /// The cell of a short key.
    #[inline]
    fn short(key: &[u8]) -> Option<Self> {
        let length = key.len();
        // Two loads that overlap instead of a copy of so many bytes.
        let content = if length > SHORT {
            return None;
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            let high = u128::from(u64::from_le_bytes(*last)) << 64 >> (8 * (16 - length));
            u128::from(u64::from_le_bytes(*first)) | high >> 64 << 64
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            let high = u128::from(u32::from_le_bytes(*last)) << (8 * (length - 4));
            u128::from(u32::from_le_bytes(*first)) | high
        } else {
            key.iter()
                .rev()
                .fold(0, |content, &byte| content << 8 | u128::from(byte))
        };
        Some(Self((content << 8 | length as u128).to_le_bytes()))
    }

    #[inline]
    fn number(self) -> u128 {
        u128::from_le_bytes(self.0)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            slots: vec![0; 1 << SMALLEST],
            bits: SMALLEST,
            cells: Vec::new(),
            long: Vec::new(),
        }
    }
}

impl Groups {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// The key of a group.
    #[inline]
    pub fn key(&self, group: usize) -> &[u8] {
        match &self.cells[group].0 {
            [LONG, place @ ..] => {
                let (length, place) = place.split_first_chunk().expect("15 bytes");
                let start = place.first_chunk().expect("11 bytes");
                let start = usize::try_from(u64::from_le_bytes(*start)).expect("64-bit addresses");
                &self.long[start..start + u32::from_le_bytes(*length) as usize]
            }
            [length, key @ ..] => &key[..usize::from(*length)],
        }
    }

    /// The groups of keys, of all or of some rows, in their order. New keys become groups.
    pub fn number(
        &mut self,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: Option<&[u32]>,
        groups: &mut Vec<u32>,
    ) {
        groups.clear();
        match rows {
            None => {
                for start in (0..keys.len()).step_by(PASS) {
                    let rows = start..(start + PASS).min(keys.len());
                    self.number_pass(keys, hashes, rows, groups);
                }
            }
            Some(rows) => {
                for rows in rows.chunks(PASS) {
                    self.number_pass(keys, hashes, rows.iter().map(|&row| row as usize), groups);
                }
            }
        }
    }

    /// Makes a group of each row, of keys that are there already too; nobody looks for them.
    pub fn append(&mut self, keys: &BinaryArray, rows: Option<&[u32]>, groups: &mut Vec<u32>) {
        let first = self.cells.len();
        let mut push = |row| {
            let cell = self.cell(key_of(keys, row));
            self.cells.push(cell);
        };
        match rows {
            None => (0..keys.len()).for_each(push),
            Some(rows) => rows.iter().for_each(|&row| push(row as usize)),
        }
        groups.clear();
        groups.extend((first..self.cells.len()).map(number_of));
    }

    /// At most `PASS` rows.
    fn number_pass(
        &mut self,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: impl Iterator<Item = usize> + Clone,
        groups: &mut Vec<u32>,
    ) {
        if self.bits <= SMALL {
            groups.extend(rows.map(|row| self.number_one(key_of(keys, row), tag(hashes[row]))));
            return;
        }
        let mut slots = [0u64; PASS];
        for (slot, row) in slots.iter_mut().zip(rows.clone()) {
            *slot = self.slots[self.slot(tag(hashes[row]))];
        }
        let mut cells = [0u128; PASS];
        for (cell, &slot) in cells.iter_mut().zip(&slots) {
            if let Some(group) = group_in(slot) {
                *cell = self.cells[group as usize].number();
            }
        }
        for ((row, slot), cell) in rows.zip(slots).zip(cells) {
            let (key, tag) = (key_of(keys, row), tag(hashes[row]));
            let found = group_in(slot).filter(|_| {
                slot >> 32 == tag && Cell::short(key).is_some_and(|key| key.number() == cell)
            });
            groups.push(found.unwrap_or_else(|| self.number_one(key, tag)));
        }
    }

    #[inline]
    fn number_one(&mut self, key: &[u8], tag: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let short = Cell::short(key);
        let mut at = self.slot(tag);
        while let Some(group) = group_in(self.slots[at]) {
            let same = self.slots[at] >> 32 == tag
                && match short {
                    Some(short) => self.cells[group as usize].number() == short.number(),
                    None => self.key(group as usize) == key,
                };
            if same {
                return group;
            }
            at = (at + 1) & mask;
        }
        self.insert(at, key, tag)
    }

    #[inline(never)]
    fn insert(&mut self, at: usize, key: &[u8], tag: u64) -> u32 {
        let group = number_of(self.cells.len());
        self.slots[at] = tag << 32 | (u64::from(group) + 1);
        let cell = self.cell(key);
        self.cells.push(cell);
        // Small tables are sparse: then hardly any search goes past its first slot. Large ones are
        // up to half full: two searches in three end at their first slot, which is the one that
        // was fetched ahead; a fuller table costs more in misses than it saves in memory.
        let limit = if self.bits <= SMALL {
            self.slots.len() / 4
        } else {
            self.slots.len() / 2
        };
        if self.cells.len() > limit {
            self.grow();
        }
        group
    }

    /// The cell of a new key.
    #[inline]
    fn cell(&mut self, key: &[u8]) -> Cell {
        Cell::short(key).unwrap_or_else(|| {
            let mut cell = [LONG; 16];
            let length = u32::try_from(key.len()).expect("a key is shorter than 4 GB");
            cell[1..5].copy_from_slice(&length.to_le_bytes());
            cell[5..13].copy_from_slice(&(self.long.len() as u64).to_le_bytes());
            self.long.extend_from_slice(key);
            Cell(cell)
        })
    }

    fn grow(&mut self) {
        assert!(self.bits < 33, "fewer than 2^32 groups on one worker");
        self.bits += 1;
        let old = std::mem::replace(&mut self.slots, vec![0; 1 << self.bits]);
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            let mut at = self.slot(slot >> 32);
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    /// The keys of some groups, as an array.
    pub fn keys(&self, groups: Range<usize>) -> BinaryArray {
        let mut bytes = Vec::with_capacity(groups.len() * SHORT);
        let mut ends = Vec::with_capacity(groups.len() + 1);
        ends.push(0);
        for group in groups {
            bytes.extend_from_slice(self.key(group));
            ends.push(i32::try_from(bytes.len()).expect("few groups: far below 2 GiB"));
        }
        BinaryArray::new(OffsetBuffer::new(ends.into()), bytes.into(), None)
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.cells.clear();
        self.long.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
            + self.cells.capacity() * size_of::<Cell>()
            + self.long.capacity()
    }

    /// Where a search begins. The highest bits of the product depend on all bits of the tag.
    #[inline]
    fn slot(&self, tag: u64) -> usize {
        let slot = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - self.bits);
        usize::try_from(slot).expect("64-bit addresses")
    }
}

/// The half of a hash that slots keep: the other one is alike in the keys of a worker.
#[inline]
fn tag(hash: u64) -> u64 {
    hash & u64::from(u32::MAX)
}

fn number_of(group: usize) -> u32 {
    u32::try_from(group).expect("fewer than 2^32 groups on one worker")
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is asked for"
)]
#[inline]
fn group_in(slot: u64) -> Option<u32> {
    (slot as u32).checked_sub(1)
}

#[inline]
fn key_of(keys: &BinaryArray, row: usize) -> &[u8] {
    let offsets = keys.value_offsets();
    let end = |at: usize| usize::try_from(offsets[at]).expect("offsets are not negative");
    &keys.value_data()[end(row)..end(row + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(groups: &mut Groups, keys: &[&str], hash: impl Fn(&str) -> u64) -> Vec<u32> {
        let hashes: Vec<u64> = keys.iter().map(|key| hash(key)).collect();
        let mut numbers = Vec::new();
        let keys = BinaryArray::from_iter_values(keys);
        groups.number(&keys, &hashes, None, &mut numbers);
        numbers
    }

    #[test]
    fn a_key_keeps_its_number_however_many_follow() {
        let mut groups = Groups::default();
        let keys: Vec<String> = (0..5000).map(|key| format!("key {}", key % 2500)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let hash = |key: &str| xxhash_rust::xxh3::xxh3_64(key.as_bytes());

        let numbers = number(&mut groups, &keys, hash);

        let expected: Vec<u32> = (0..5000).map(|key| key % 2500).collect();
        assert_eq!(numbers, expected);
        assert_eq!(groups.len(), 2500);
        assert_eq!(groups.key(7), b"key 7");
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut groups = Groups::default();

        let long = "a key that does not fit into a cell";
        let numbers = number(&mut groups, &["a", "", long, "a", "", "c", long], |_| 0);

        assert_eq!(numbers, [0, 1, 2, 0, 1, 3, 2]);
        assert_eq!(groups.keys(1..3), BinaryArray::from_iter_values(["", long]));
    }

    #[test]
    fn a_cell_holds_a_key_of_any_short_length() {
        let text = b"0123456789abcdef";
        for length in 0..=SHORT {
            let Cell(bytes) = Cell::short(&text[..length]).unwrap();
            assert_eq!(usize::from(bytes[0]), length);
            assert_eq!(&bytes[1..=length], &text[..length]);
            assert!(
                bytes[length + 1..].iter().all(|&byte| byte == 0),
                "{bytes:?}"
            );
        }
        assert!(Cell::short(text).is_none());
    }

    #[test]
    fn zero_bytes_at_the_end_make_another_key() {
        let numbers = number(&mut Groups::default(), &["a", "a\0", "a\0\0"], |_| 0);

        assert_eq!(numbers, [0, 1, 2]);
    }
}
