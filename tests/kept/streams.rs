//! Random streams, and which of their records are there when so much of them was read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::oracle::random::Random;

/// How far records are out of order at most, and `WATERMARK FOR` allows; in seconds.
const BOUND: i64 = 5;
/// `state.ttl`, in seconds.
pub const TTL: i64 = 40;
const SECOND: i64 = 1_000_000;
/// 2024-05-01 12:00:00.
const NOON: i64 = 1_714_564_800;

/// A stream; every file is a partition.
pub struct Stream {
    pub name: &'static str,
    pub files: Vec<Vec<Record>>,
}

/// A record, and where it ends in its file.
#[derive(Clone)]
pub struct Record {
    /// Seconds since 1970.
    at: i64,
    k: Option<&'static str>,
    v: i64,
    seq: i64,
    end: u64,
}

impl Record {
    fn text(&self) -> String {
        let second = self.at - NOON;
        let (hour, minute) = (12 + second / 3600, second / 60 % 60);
        let k = self.k.unwrap_or_default();
        format!(
            "2024-05-01 {hour:02}:{minute:02}:{:02},{k},{},{}\n",
            second % 60,
            self.v,
            self.seq
        )
    }
}

impl Stream {
    /// Records that follow each other by a few seconds; now and then there are none for minutes.
    pub fn random(random: &mut Random, name: &'static str, seq: &mut i64) -> Self {
        const KEYS: [Option<&str>; 5] = [Some("x"), Some("y"), Some("zz"), Some("Ü"), None];
        let files = (0..random.between(1, 4)).map(|_| {
            let (mut time, mut end) = (NOON + random.between(10, 40), 0);
            let count = *random.pick(&[0, 5, 40, 80, 120]);
            let records = (0..count).map(|_| {
                time += random.between(0, 6);
                if random.chance(4) {
                    time += random.between(20, 200);
                }
                *seq += 1;
                let mut record = Record {
                    at: time - random.between(0, BOUND + 1),
                    k: *random.pick(&KEYS),
                    v: random.between(0, 6),
                    seq: *seq,
                    end: 0,
                };
                end += record.text().len() as u64;
                record.end = end;
                record
            });
            records.collect()
        });
        Self {
            name,
            files: files.collect(),
        }
    }

    pub fn create(&self) -> String {
        let name = self.name;
        format!(
            "CREATE TABLE {name} (at TIMESTAMP NOT NULL, k TEXT, v INT NOT NULL, seq BIGINT NOT NULL,\n  \
             WATERMARK FOR at AS at - INTERVAL '{BOUND}' SECOND)\n  \
             WITH (connector = 'file', path = '{name}/*.csv', format = 'csv', 'csv.header' = 'false');\n"
        )
    }

    pub fn write(&self, folder: &Path) {
        let folder = folder.join(self.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (index, records) in self.files.iter().enumerate() {
            let mut text = String::new();
            for record in records {
                let _ = write!(text, "{}", record.text());
            }
            std::fs::write(folder.join(format!("{index}.csv")), text).unwrap();
        }
    }

    /// What a mark says was read of it.
    pub fn read(&self, mark: &Mark) -> Read<'_> {
        let of = |(index, records): (usize, &'_ Vec<Record>)| {
            let name = format!("{}/{index}.csv", self.name);
            let source = mark.sources.get(self.name);
            let partition = source.and_then(|source| source.partitions.get(&name));
            let offset = partition.map_or(0, |partition| partition.offset);
            let count = records.iter().take_while(|record| record.end <= offset);
            let is_over = partition.is_some_and(|partition| partition.ended);
            (count.count(), is_over)
        };
        Read {
            stream: self,
            partitions: self.files.iter().enumerate().map(of).collect(),
        }
    }
}

/// A mark, as far as it is needed.
#[derive(serde::Deserialize)]
pub struct Mark {
    pub epoch: u64,
    sources: BTreeMap<String, Source>,
}

#[derive(serde::Deserialize)]
struct Source {
    partitions: BTreeMap<String, Partition>,
}

#[derive(serde::Deserialize)]
struct Partition {
    offset: u64,
    ended: bool,
}

/// What was read of a stream.
pub struct Read<'a> {
    stream: &'a Stream,
    /// By partition: how many records, and whether that is known to be all.
    partitions: Vec<(usize, bool)>,
}

/// A key's last record, what says that it is the last, and the turn of the last that came.
#[derive(Clone, Copy)]
struct Last<'a> {
    order: (i64, usize, u64),
    record: &'a Record,
    turn: i64,
}

impl Read<'_> {
    /// The records that were read, with the watermark after each, in seconds, and their partition.
    fn records(&self) -> Vec<(i64, usize, &Record)> {
        let mut records = Vec::new();
        let partitions = self.stream.files.iter().zip(&self.partitions);
        for (index, (file, (count, _))) in partitions.enumerate() {
            let mut watermark = i64::MIN;
            for record in &file[..*count] {
                watermark = watermark.max(record.at - BOUND);
                records.push((watermark, index, record));
            }
        }
        records
    }

    /// By partition: its watermark, if it had a record, and whether it is over.
    fn watermarks(&self) -> Vec<(Option<i64>, bool)> {
        let records = self.records();
        let partitions = self.partitions.iter().enumerate();
        let watermark = |(index, (_, is_over)): (usize, &(usize, bool))| {
            let own = records.iter().filter(|(_, of, _)| *of == index);
            (own.map(|(watermark, ..)| *watermark).max(), *is_over)
        };
        partitions.map(watermark).collect()
    }

    /// How far event time is.
    pub fn event_time(&self) -> Option<i64> {
        event_time(&self.watermarks())
    }

    /// The records that are there when event time is so far: none of a turn that is over.
    pub fn kept(&self, now: Option<i64>) -> Vec<&Record> {
        let turn = |seconds: i64| (seconds * SECOND).div_euclid(TTL * SECOND / 256);
        let records = self.records().into_iter();
        let is_there = |at: &i64| now.is_none_or(|now| turn(now) - turn(*at) <= 256);
        let there = records.filter(|(watermark, ..)| is_there(watermark));
        there.map(|(.., record)| record).collect()
    }

    /// What `'upsert.by' = 'v'` holds: of each key the last record, unless the key had none for more
    /// than eight turns.
    pub fn last_of_each(&self) -> Vec<Vec<Value>> {
        let turn = |seconds: i64| seconds.div_euclid(TTL / 8);
        let Some(now) = self.event_time().map(turn) else {
            return Vec::new();
        };
        let mut by_turn: BTreeMap<i64, Vec<(usize, &Record)>> = BTreeMap::new();
        for (watermark, index, record) in self.records() {
            if turn(watermark) <= now {
                by_turn
                    .entry(turn(watermark))
                    .or_default()
                    .push((index, record));
            }
        }
        let mut last: BTreeMap<&str, Last<'_>> = BTreeMap::new();
        for (turn, records) in by_turn {
            last.retain(|_, last| turn - last.turn <= 8);
            for (index, record) in records {
                let order = (record.v, index, record.end);
                let this = Last {
                    order,
                    record,
                    turn,
                };
                let key = record.k.unwrap_or_default();
                let known = last.entry(key).or_insert(this);
                known.turn = turn;
                if order > known.order {
                    *known = this;
                }
            }
        }
        last.retain(|_, last| now - last.turn <= 8);
        let rows = last.into_iter().map(|(key, Last { record, .. })| {
            let numbers = [record.v, record.seq].map(Value::Integer);
            [vec![Value::Text(key.to_owned())], numbers.to_vec()].concat()
        });
        rows.collect()
    }
}

/// How many records of the one stream match how many of the other.
pub fn matching(streams: &[Stream; 2]) -> usize {
    let [a, b] = streams
        .each_ref()
        .map(|stream| stream.files.iter().flatten());
    let of = |a: &Record| b.clone().filter(|b| a.k.is_some() && a.k == b.k).count();
    a.map(of).sum()
}

/// Records of both streams that match and were read when event time was no further apart than
/// `state.ttl`: their numbers.
pub fn pairs(read: &[Read<'_>; 2]) -> Vec<Vec<Value>> {
    let mut pairs = Vec::new();
    let right = read[1].records();
    for (at, _, a) in read[0].records() {
        let near = right.iter().filter(|(other, ..)| (at - other).abs() <= TTL);
        let equal = near.filter(|(_, _, b)| a.k.is_some() && a.k == b.k && a.v == b.v);
        pairs.extend(equal.map(|(_, _, b)| [a.seq, b.seq].map(Value::Integer).to_vec()));
    }
    pairs
}

/// How far the event time of streams is that are read as one.
pub fn event_time_of_all(read: &[Read<'_>]) -> Option<i64> {
    let watermarks: Vec<_> = read.iter().flat_map(Read::watermarks).collect();
    event_time(&watermarks)
}

/// Event time is where the partition is that is furthest back; when all are over, where the one is
/// that is furthest.
fn event_time(partitions: &[(Option<i64>, bool)]) -> Option<i64> {
    let open = partitions.iter().filter(|(_, is_over)| !is_over);
    let open: Option<Option<i64>> = open.map(|(watermark, _)| *watermark).min();
    open.unwrap_or_else(|| {
        partitions
            .iter()
            .filter_map(|(watermark, _)| *watermark)
            .max()
    })
}

/// What SQLite says of a query over the records of the two streams.
pub fn answer(kept: &[Vec<&Record>; 2], query: &str) -> Vec<Vec<Value>> {
    let database = Connection::open_in_memory().unwrap();
    for (name, records) in ["a", "b"].iter().zip(kept) {
        let create = format!("CREATE TABLE {name} (k TEXT, v INT, seq BIGINT)");
        database.execute_batch(&create).unwrap();
        let insert = format!("INSERT INTO {name} VALUES (?, ?, ?)");
        let mut insert = database.prepare(&insert).unwrap();
        for record in records {
            insert.execute((record.k, record.v, record.seq)).unwrap();
        }
    }
    let mut query = database.prepare(query).unwrap();
    let width = query.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..width).map(|column| row.get(column)).collect();
    let rows = query.query_map([], row).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
