//! Where the sessions of each key are: disjoint intervals of event time.
//!
//! ```text
//!   key a   [10 ......... 31)      [44 .. 56)
//!                     + [29 ........... 46)       overlaps both: they become one
//! ```
//!
//! An interval holds its start and not its end. Whoever adds one asks first what it overlaps,
//! stretches the first of those and removes the others, so that intervals stay disjoint.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;

/// Sessions of all keys, each with something of the user's.
pub struct Intervals<T> {
    keys: HashTable<Keyed>,
    sessions: Vec<Option<Session<T>>>,
    /// Places in `sessions` that are free.
    free: Vec<u32>,
    /// Each session under an end that it had: it has grown since, perhaps, or is gone.
    ends: BinaryHeap<Reverse<(i64, u64, u32)>>,
    births: u64,
    key_bytes: usize,
}

/// A session.
pub struct Session<T> {
    /// Whose it is.
    pub key: Arc<[u8]>,
    /// Its first row.
    pub start: i64,
    /// The gap after its last row.
    pub end: i64,
    /// What it holds.
    pub value: T,
    hash: u64,
    birth: u64,
}

/// The sessions of a key, in their order, which is that of their starts and of their ends: they
/// are searched, and never walked. What is over stands in front.
struct Keyed {
    hash: u64,
    key: Arc<[u8]>,
    sessions: VecDeque<u32>,
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Self {
            keys: HashTable::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            births: 0,
            key_bytes: 0,
        }
    }
}

/// A hash as the table of keys wants it, which tells keys apart by the highest bits: these say the owner, and
/// are alike on a worker.
fn spread(hash: u64) -> u64 {
    hash.rotate_left(u32::BITS)
}

impl<T> Intervals<T> {
    /// The sessions of a key that share a moment with `[start, end)`, in their order.
    pub fn overlapping(
        &self,
        (key, hash): (&[u8], u64),
        (start, end): (i64, i64),
        found: &mut Vec<u32>,
    ) {
        found.clear();
        let Some(keyed) = self.keys.find(spread(hash), |keyed| *keyed.key == *key) else {
            return;
        };
        let sessions = &keyed.sessions;
        let begins = |id: &u32| self.at(*id).start < end;
        // Rows mostly belong to the last one.
        let before = match sessions.back().is_none_or(begins) {
            true => sessions.len(),
            false => sessions.partition_point(begins),
        };
        let before = sessions.range(..before).rev();
        found.extend(before.take_while(|id| self.at(**id).end > start));
        found.reverse();
    }

    /// A new session, which overlaps none.
    pub fn insert(&mut self, (key, hash): (&[u8], u64), (start, end): (i64, i64), value: T) -> u32 {
        self.births += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            u32::try_from(self.sessions.len() - 1).expect("fewer than 2^32 sessions are open")
        });
        let Self { keys, sessions, .. } = self;
        let entry = keys.entry(
            spread(hash),
            |keyed| *keyed.key == *key,
            |keyed| spread(keyed.hash),
        );
        let mut entry = entry.or_insert_with(|| {
            self.key_bytes += key.len();
            Keyed {
                hash,
                key: Arc::from(key),
                sessions: VecDeque::new(),
            }
        });
        let keyed = entry.get_mut();
        let is_before = |id: &u32| {
            sessions[*id as usize]
                .as_ref()
                .is_some_and(|s| s.start < start)
        };
        let at = keyed.sessions.partition_point(is_before);
        keyed.sessions.insert(at, id);
        sessions[id as usize] = Some(Session {
            key: Arc::clone(&keyed.key),
            start,
            end,
            value,
            hash,
            birth: self.births,
        });
        self.ends.push(Reverse((end, self.births, id)));
        id
    }

    /// Has a session reach over `[start, end)` too. What it overlaps now is removed by the caller.
    pub fn stretch(&mut self, id: u32, start: i64, end: i64) {
        let session = self.get_mut(id);
        session.start = session.start.min(start);
        session.end = session.end.max(end);
    }

    /// Takes a session away.
    pub fn remove(&mut self, id: u32) -> Session<T> {
        let Self { keys, sessions, .. } = self;
        let at = |id: u32| sessions[id as usize].as_ref().expect("it is removed once");
        let session = at(id);
        let keyed = keys.find_entry(spread(session.hash), |keyed| *keyed.key == *session.key);
        let mut keyed = keyed.unwrap_or_else(|_| panic!("the key of a session is known"));
        let of_key = &mut keyed.get_mut().sessions;
        let place = of_key.partition_point(|other| at(*other).start < session.start);
        assert_eq!(of_key.remove(place), Some(id), "sessions are disjoint");
        if of_key.is_empty() {
            self.key_bytes -= session.key.len();
            keyed.remove();
        }
        self.free.push(id);
        self.sessions[id as usize].take().expect("it was looked at")
    }

    /// The sessions whose end `is_over`, which is true up to some end: by end, start and key.
    pub fn over(&mut self, is_over: impl Fn(i64) -> bool) -> Vec<u32> {
        let mut over = Vec::new();
        while let Some(&Reverse((end, birth, id))) = self.ends.peek() {
            let now = self.sessions[id as usize]
                .as_ref()
                .filter(|session| session.birth == birth)
                .map(|session| session.end);
            match now {
                Some(now) if now > end => {
                    self.ends.pop();
                    self.ends.push(Reverse((now, birth, id)));
                }
                Some(_) if is_over(end) => {
                    self.ends.pop();
                    over.push(id);
                }
                // It has this end: no other one ends before.
                Some(_) => break,
                None => drop(self.ends.pop()),
            }
        }
        over.sort_unstable_by(|a, b| {
            let (a, b) = (self.at(*a), self.at(*b));
            (a.end, a.start, &a.key).cmp(&(b.end, b.start, &b.key))
        });
        over
    }

    /// The earliest end, as of the last `over`.
    pub fn next_end(&self) -> Option<i64> {
        self.ends.peek().map(|Reverse((end, ..))| *end)
    }

    /// A session.
    pub fn at(&self, id: u32) -> &Session<T> {
        self.get(id).expect("it was not removed")
    }

    /// A session, unless it is gone.
    pub fn get(&self, id: u32) -> Option<&Session<T>> {
        self.sessions[id as usize].as_ref()
    }

    /// A session, to work on.
    pub fn get_mut(&mut self, id: u32) -> &mut Session<T> {
        self.sessions[id as usize]
            .as_mut()
            .expect("it was not removed")
    }

    /// All sessions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Session<T>> {
        self.sessions.iter().flatten()
    }

    /// All sessions, to work on.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session<T>> {
        self.sessions.iter_mut().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// Memory held, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.sessions.capacity() * size_of::<Option<Session<T>>>()
            + self.keys.capacity() * (size_of::<Keyed>() + 1)
            + self.len() * size_of::<u32>()
            + self.ends.capacity() * size_of::<Reverse<(i64, u64, u32)>>()
            + self.key_bytes
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.sessions.clear();
        self.free.clear();
        self.ends.clear();
        self.key_bytes = 0;
    }
}

impl<T> Session<T> {
    /// The hash of its key.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walked instead of searched, they would take minutes.
    #[test]
    fn a_hundred_thousand_sessions_of_one_key_are_found_and_go_one_by_one() {
        const COUNT: i64 = 100_000;
        let key = (b"k".as_slice(), 7);
        let mut intervals = Intervals::default();
        for at in 0..COUNT {
            intervals.insert(key, (at * 10, at * 10 + 5), at);
        }

        let mut found = Vec::new();
        for at in 0..COUNT {
            intervals.overlapping(key, (at * 10 + 4, at * 10 + 11), &mut found);
            let values = found.iter().map(|id| intervals.at(*id).value);
            let next = (at + 1 < COUNT).then_some(at + 1);
            assert!(values.eq([at].into_iter().chain(next)));
            intervals.overlapping(key, (at * 10 + 5, at * 10 + 10), &mut found);
            assert!(found.is_empty());
        }
        let over = intervals.over(|end| end < COUNT * 10 - 10);
        assert_eq!(over.len(), usize::try_from(COUNT - 1).unwrap());
        for id in over {
            intervals.remove(id);
        }

        assert_eq!(intervals.len(), 1);
    }
}
