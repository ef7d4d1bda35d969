//! Which partition a feed reads next.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use super::*;
use crate::connector::{ConnectorError, Partition};
use crate::dataflow::arrival::ArrivedRows;
use crate::format::{Block, Decoder, Positions};
use crate::plan::{Place, Role, Table};
use crate::types::{Clock, EventTime, Span};

/// Never read: the test claims, and says what was decoded.
struct Nothing;

impl Source for Nothing {
    fn partitions(&self) -> &[Partition] {
        &[]
    }

    fn open(&self, _: usize, _: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        Ok(Box::new(NoReader))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        unreachable!("nothing is decoded")
    }
}

struct NoReader;

impl Reader for NoReader {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        Ok(None)
    }
}

fn rows(times: &[i64]) -> Arrival {
    let column: ArrayRef = Arc::new(Int64Array::from(times.to_vec()));
    Arrival::Rows(ArrivedRows {
        rows: RecordBatch::try_from_iter([("at", column)]).unwrap(),
        times: times.to_vec().into(),
        spans: vec![Span { start: 0, len: 1 }; times.len()],
        rejects: Vec::new(),
        bytes: Arc::default(),
        line: 1,
        positions: Positions::Bytes { start: Offset(0) },
        from: Offset(0),
        end: Offset(1),
    })
}

fn feed(times: &[Option<i64>]) -> Arc<Feed> {
    replaying(times, 0, 1)
}

/// As `feed`, for so many workers, with so much of each file to be read again.
fn replaying(times: &[Option<i64>], replay_to: u64, threads: usize) -> Arc<Feed> {
    let crew = Crew {
        process: 0,
        processes: 1,
        threads,
        before: 0,
    };
    let source = Arc::new(Nothing);
    let table = Table {
        name: "t".to_owned(),
        role: Role::Source,
        takes_letters: false,
        columns: Vec::new(),
        primary_key: Vec::new(),
        checks: Vec::new(),
        watermark: None,
        connector: "file".to_owned(),
        options: BTreeMap::new(),
        place: Place::default(),
    };
    let intake = Intake::new(&table, &[]);
    let start = vec![Offset(0); times.len()];
    let feed = Feed::new("t", source, intake, &start, crew, Arc::default());
    let replay_to = vec![Offset(replay_to); times.len()];
    Arc::new(feed.replaying(replay_to).by_time(times.to_vec(), None))
}

/// Claims a block; whose it is.
fn claim(feed: &Feed) -> Option<(usize, u64)> {
    let partition = feed.next_claim(&feed.lock())?;
    feed.lock().lanes[partition].reader = Cursor::Busy;
    let sequence = feed.put_back(partition, Some((Box::new(NoReader), Offset(0))))?;
    Some((partition, sequence))
}

#[test]
fn the_file_that_is_furthest_back_in_event_time_is_read_next() {
    let feed = feed(&[Some(100), Some(10), None]);
    // Nobody knows when what is in the last begins.
    assert_eq!(claim(&feed), Some((2, 0)));
    feed.deliver(2, 0, rows(&[300, 310]));

    let mut read = Vec::new();
    for _ in 0..4 {
        let (partition, sequence) = claim(&feed).unwrap();
        read.push(partition);
        let from = [100, 10][partition] + 40 * i64::try_from(sequence).unwrap();
        feed.deliver(partition, sequence, rows(&[from, from + 39]));
    }
    assert_eq!(read, [1, 1, 1, 0]);
}

#[test]
fn what_is_not_decoded_yet_is_taken_to_go_as_far_as_the_last_block() {
    let feed = feed(&[Some(0), Some(50)]);
    let (_, sequence) = claim(&feed).unwrap();
    feed.deliver(0, sequence, rows(&[0, 20]));

    let claims: Vec<usize> = (0..4).map(|_| claim(&feed).unwrap().0).collect();

    // At 20, then at 40 and, with two under way, at 60: the other one's turn, as far as is known.
    assert_eq!(claims, [0, 0, 1, 1]);
}

#[test]
fn no_file_goes_ahead_while_the_one_whose_turn_it_is_is_cut_from() {
    let feed = feed(&[Some(0), Some(50)]);
    feed.lock().lanes[0].reader = Cursor::Busy;
    assert_eq!(feed.next_claim(&feed.lock()), None);

    feed.lock().lanes[0].parked = true;
    assert_eq!(feed.next_claim(&feed.lock()), Some(1));
}

#[test]
fn in_a_replay_a_worker_with_nothing_to_do_does_not_wait_for_its_turn() {
    let claims = |replay_to| -> Vec<usize> {
        let feed = replaying(&[Some(0), Some(50)], replay_to, 2);
        let claims = std::iter::from_fn(|| Some(claim(&feed)?.0));
        claims.take(100).collect()
    };

    // Nothing is taken: the first worker has no room for more of the first file.
    let live = claims(0);
    assert!(live.iter().all(|&partition| partition == 0), "{live:?}");
    let replay = claims(1);
    assert_eq!(
        replay.iter().filter(|&&partition| partition == 1).count(),
        1
    );
}

#[test]
fn what_is_not_due_yet_keeps_no_other_file_from_being_read() {
    let files = [Some(0); 30];
    let pacing = Pacing::new(1.0, EventTime(0), Clock::manual());
    let feed = Arc::into_inner(feed(&files)).unwrap();
    let feed = feed.by_time(files.to_vec(), Some(Arc::new(pacing)));

    let mut read = [0; 30];
    while let Some((partition, sequence)) = claim(&feed) {
        feed.deliver(partition, sequence, rows(&[60_000_000, 61_000_000]));
        read[partition] += 1;
    }

    // Of so many no more than that one block is held.
    assert_eq!(read, [1; 30]);
}

#[test]
fn of_a_few_files_the_next_block_is_there_before_the_last_one_is_due() {
    let files = [Some(0); 2];
    let pacing = Pacing::new(1.0, EventTime(0), Clock::manual());
    let feed = Arc::into_inner(feed(&files)).unwrap();
    let feed = feed.by_time(files.to_vec(), Some(Arc::new(pacing)));

    let mut read = [0; 2];
    while let Some((partition, sequence)) = claim(&feed) {
        let from = 60_000_000 * (1 + i64::try_from(sequence).unwrap());
        feed.deliver(partition, sequence, rows(&[from, from + 1_000_000]));
        read[partition] += 1;
    }

    assert_eq!(read, [2; 2]);
}
