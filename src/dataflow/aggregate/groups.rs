//! Numbers keys from zero, in the order of their first appearance.
//!
//! A table of slots (open addressing, linear probing) leads from a key's hash to its number, and
//! an arena holds the keys. With many groups nearly every step is a cache miss, and what counts
//! is how many of them are under way at once. So a batch goes through in passes: the first slot
//! of every key, then the place of every key found there, then the comparisons. Loads of a pass
//! do not depend on each other. Whatever that leaves open (a new key, a collision) is looked up
//! one by one.

use std::ops::Range;

use arrow::array::{Array, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

/// Keys of a batch that go through together: their intermediate results fit into the first cache.
const PASS: usize = 256;
/// Slots of the smallest table, as a power of two.
const SMALLEST: u32 = 6;

/// Keys and their numbers.
pub(super) struct Groups {
    /// Half of the hash above, the group's number plus one below; zero is free.
    slots: Vec<u64>,
    /// The number of slots is two to this.
    bits: u32,
    /// All keys, one after the other.
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<u64>,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            slots: vec![0; 1 << SMALLEST],
            bits: SMALLEST,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl Groups {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key of a group.
    #[inline]
    pub fn key(&self, group: usize) -> &[u8] {
        &self.bytes[self.place(group)]
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

    /// At most `PASS` rows.
    fn number_pass(
        &mut self,
        keys: &BinaryArray,
        hashes: &[u64],
        rows: impl Iterator<Item = usize> + Clone,
        groups: &mut Vec<u32>,
    ) {
        let mut first_slots = [0u64; PASS];
        for (slot, row) in first_slots.iter_mut().zip(rows.clone()) {
            *slot = self.slots[self.slot(tag(hashes[row]))];
        }
        let mut places = [(0usize, 0usize); PASS];
        for ((place, &slot), row) in places.iter_mut().zip(&first_slots).zip(rows.clone()) {
            if slot >> 32 == tag(hashes[row])
                && let Some(group) = group_in(slot)
            {
                let found = self.place(group as usize);
                *place = (found.start, found.end);
            }
        }
        for ((row, slot), (start, end)) in rows.zip(first_slots).zip(places) {
            let key = key_of(keys, row);
            let hash = hashes[row];
            // A place is empty where nothing was found; so may a key be, but then all are one.
            let group = match group_in(slot) {
                Some(group) if slot >> 32 == tag(hash) && self.bytes[start..end] == *key => group,
                Some(_) | None => self.number_one(key, tag(hash)),
            };
            groups.push(group);
        }
    }

    fn number_one(&mut self, key: &[u8], tag: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = self.slot(tag);
        while let Some(group) = group_in(self.slots[at]) {
            if self.slots[at] >> 32 == tag && self.key(group as usize) == key {
                return group;
            }
            at = (at + 1) & mask;
        }
        let group = self.ends.len();
        self.slots[at] = tag << 32 | (group as u64 + 1);
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u64);
        // Three quarters full, a search takes 2.5 steps on average, and they are neighbours.
        if self.ends.len() * 4 > self.slots.len() * 3 {
            self.grow();
        }
        u32::try_from(group).expect("fewer than 2^32 groups on one worker")
    }

    #[cold]
    fn grow(&mut self) {
        assert!(self.bits < 32, "fewer than 2^32 groups on one worker");
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
        let start = groups
            .start
            .checked_sub(1)
            .map_or(0, |group| self.ends[group]);
        let ends = &self.ends[groups];
        let shifted = ends.iter().map(|end| {
            i32::try_from(end - start).expect("keys are cut into pieces of less than 2 GB")
        });
        let offsets: ScalarBuffer<i32> = std::iter::once(0).chain(shifted).collect();
        let end = ends.last().copied().unwrap_or(start);
        let bytes = &self.bytes[index(start)..index(end)];
        BinaryArray::new(OffsetBuffer::new(offsets), Buffer::from(bytes), None)
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.bytes.clear();
        self.ends.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        (self.slots.capacity() + self.ends.capacity()) * size_of::<u64>() + self.bytes.capacity()
    }

    /// Where a search begins. The highest bits of the product depend on all bits of the tag.
    #[inline]
    fn slot(&self, tag: u64) -> usize {
        index(tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - self.bits))
    }

    #[inline]
    fn place(&self, group: usize) -> Range<usize> {
        let start = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        index(start)..index(self.ends[group])
    }
}

/// The half of a hash that slots keep.
#[inline]
fn tag(hash: u64) -> u64 {
    hash >> 32
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

#[inline]
fn index(value: u64) -> usize {
    usize::try_from(value).expect("64-bit addresses")
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

        let numbers = number(&mut groups, &["a", "", "b", "a", "", "c"], |_| 0);

        assert_eq!(numbers, [0, 1, 2, 0, 1, 3]);
        assert_eq!(groups.keys(1..3), BinaryArray::from_iter_values(["", "b"]));
    }
}
