//! Byte strings by group, in one arena: what accumulators are made of that must keep every value.

use std::hash::BuildHasher;

use arrow::array::LargeBinaryBuilder;
use arrow::error::ArrowError;
use hashbrown::HashTable;

/// No entry.
const NONE: u32 = u32::MAX;

/// Any number of byte strings per group. The order of a group's strings means nothing.
#[derive(Default)]
pub struct Lists {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The newest entry of each group.
    heads: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    length: u32,
    /// The entry of this group before.
    next: u32,
}

impl Lists {
    /// Makes room for groups.
    pub fn resize(&mut self, groups: usize) {
        self.heads.resize(groups, NONE);
    }

    /// Adds a string to a group.
    pub fn push(&mut self, group: usize, value: &[u8]) {
        let entry = u32::try_from(self.entries.len()).expect("fewer than 2^32 values");
        self.entries.push(Entry {
            start: self.bytes.len() as u64,
            length: u32::try_from(value.len()).expect("a value is shorter than 4 GB"),
            next: std::mem::replace(&mut self.heads[group], entry),
        });
        self.bytes.extend_from_slice(value);
    }

    /// The strings of a group.
    pub fn of(&self, group: usize) -> impl Iterator<Item = &[u8]> {
        let entry = |at: u32| self.entries.get(at as usize);
        std::iter::successors(entry(self.heads[group]), move |last| entry(last.next))
            .map(|entry| self.value(entry))
    }

    /// Appends the strings of a group as one value that `read` takes apart.
    pub fn write(&self, group: usize, state: &mut LargeBinaryBuilder) {
        let mut whole = Vec::new();
        for value in self.of(group) {
            let length = u32::try_from(value.len()).expect("checked when it came");
            whole.extend_from_slice(&length.to_le_bytes());
            whole.extend_from_slice(value);
        }
        state.append_value(whole);
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.heads.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.heads.capacity() * size_of::<u32>()
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let start = usize::try_from(entry.start).expect("64-bit addresses");
        &self.bytes[start..start + entry.length as usize]
    }
}

/// The strings that `Lists::write` put together.
pub fn read(mut whole: &[u8]) -> impl Iterator<Item = Result<&[u8], ArrowError>> {
    let damaged = || ArrowError::ParseError("a state of values is damaged".to_owned());
    std::iter::from_fn(move || {
        if whole.is_empty() {
            return None;
        }
        let value = whole
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let (value, rest) = value.unzip();
        whole = rest.unwrap_or_default();
        Some(value.ok_or_else(damaged))
    })
}

/// Byte strings by group, each once.
#[derive(Default)]
pub struct Sets {
    lists: Lists,
    table: HashTable<Member>,
}

#[derive(Clone, Copy)]
struct Member {
    hash: u32,
    group: u32,
    entry: u32,
}

impl Sets {
    /// Makes room for groups.
    pub fn resize(&mut self, groups: usize) {
        self.lists.resize(groups);
    }

    /// Adds a string to a group; whether it is new there.
    pub fn insert(&mut self, group: usize, value: &[u8]) -> bool {
        let group_number = u32::try_from(group).expect("groups are numbered by u32");
        let hash = foldhash::fast::FixedState::with_seed(u64::from(group_number)).hash_one(value);
        #[allow(clippy::cast_possible_truncation, reason = "half of a hash is kept")]
        let short = (hash >> 32) as u32;
        let lists = &mut self.lists;
        let found = self.table.find(spread(short), |member| {
            member.hash == short
                && member.group == group_number
                && lists.value(&lists.entries[member.entry as usize]) == value
        });
        if found.is_some() {
            return false;
        }
        lists.push(group, value);
        let member = Member {
            hash: short,
            group: group_number,
            entry: lists.heads[group],
        };
        self.table
            .insert_unique(spread(short), member, |member| spread(member.hash));
        true
    }

    /// The strings, without what finds them.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.lists.clear();
        self.table.clear();
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.lists.bytes() + self.table.allocation_size()
    }
}

/// A table's hash out of the half that members keep.
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
