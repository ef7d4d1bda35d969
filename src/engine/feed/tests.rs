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

pub(super) fn rows(times: &[i64]) -> Arrival {
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
    let intake = Intake::new(&table(), &[]);
    let start = vec![Offset(0); times.len()];
    let feed = Feed::new("t", source, intake, &start, crew, Arc::default());
    let replay_to = vec![Offset(replay_to); times.len()];
    let feed = feed.replaying(replay_to);
    Arc::new(feed.by_time(in_time(times, None), None))
}

/// As `feed`, for files that come in by a clock.
pub(super) fn paced(times: &[Option<i64>], pacing: Pacing) -> Arc<Feed> {
    let feed = Arc::into_inner(feed(times)).unwrap();
    Arc::new(feed.by_time(in_time(times, None), Some(Arc::new(pacing))))
}

fn in_time(times: &[Option<i64>], side: Option<Side>) -> InTime {
    InTime {
        times: times.to_vec(),
        watermarks: vec![Watermark::START; times.len()],
        bound_us: 0,
        side,
    }
}

fn table() -> Table {
    Table {
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
    }
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
    let feed = paced(&files, pacing);

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
    let feed = paced(&files, pacing);

    let mut read = [0; 2];
    while let Some((partition, sequence)) = claim(&feed) {
        let from = 60_000_000 * (1 + i64::try_from(sequence).unwrap());
        feed.deliver(partition, sequence, rows(&[from, from + 1_000_000]));
        read[partition] += 1;
    }

    assert_eq!(read, [2; 2]);
}

#[test]
fn a_file_whose_rows_are_of_the_other_side_is_read_first_to_its_end() {
    let files = [Some(0), None];
    let side = Some(Side::Before(EventTime(100)));
    let feed = Arc::into_inner(feed(&files)).unwrap();
    let feed = feed.by_time(in_time(&files, side), None);

    for block in 0..3 {
        assert_eq!(claim(&feed), Some((1, block)));
        feed.deliver(1, block, rows(&[100, 200]));
    }
    let (_, sequence) = claim(&feed).unwrap();
    feed.deliver(1, sequence, rows(&[70, 300]));

    assert_eq!(claim(&feed), Some((0, 0)), "now it is known where it is");
}

/// The feed of one of two processes, one worker each.
fn of_process(process: usize, times: &[i64], limit: usize) -> Arc<Feed> {
    let crew = Crew {
        process,
        processes: 2,
        threads: 1,
        before: 0,
    };
    let times: Vec<Option<i64>> = times.iter().copied().map(Some).collect();
    let watermark = |time: &Option<i64>| Watermark::behind(EventTime(time.unwrap()), 0);
    let in_time = InTime {
        watermarks: times.iter().map(watermark).collect(),
        ..in_time(&times, None)
    };
    let start = vec![Offset(0); times.len()];
    let (source, intake) = (Arc::new(Nothing), Intake::new(&table(), &[]));
    let feed = Feed::new("t", source, intake, &start, crew, Arc::default());
    Arc::new(feed.by_time(in_time, None).beside_others(Some(limit)))
}

fn take_all(feed: &Feed) {
    let mut state = feed.lock();
    state.inboxes.iter_mut().for_each(Vec::clear);
    state
        .lanes
        .iter_mut()
        .for_each(|lane| lane.taken = lane.delivered);
}

#[test]
fn a_file_ahead_of_those_of_others_is_read_so_far_and_then_waits_for_them() {
    let block = rows(&[0, 1]).bytes();
    let feed = of_process(1, &[0, 1000], 3 * block);
    let read = |reached| {
        feed.tell(Some(Watermark::behind(EventTime(reached), 0)));
        let mut read = 0;
        while let Some((partition, sequence)) = claim(&feed) {
            assert_eq!(partition, 1);
            let time = 1000 + 10 * i64::try_from(sequence).unwrap();
            feed.deliver(partition, sequence, rows(&[time, time + 9]));
            take_all(&feed);
            read += 1;
        }
        read
    };

    assert_eq!(read(0), 3);
    assert_eq!(read(500), 0, "the other file goes on");
    assert_eq!(read(1009), 1);
    assert_eq!(read(1029), 2);
    feed.tell(None);
    assert!(claim(&feed).is_some(), "all others are read");
}

/// Two sources, each with files in two processes; some rows are wild, some files far ahead. Whoever is
/// chosen claims, decodes, takes, or hears how far event time is.
#[test]
fn whatever_happens_when_all_files_are_read_to_their_ends() {
    const FILES: usize = 4;
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |end: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % end
        };
        let starts: Vec<i64> = (0..2 * FILES).map(|_| below(5000).cast_signed()).collect();
        let limit = usize::try_from(1 + below(3000)).unwrap();
        let feeds: Vec<(usize, Arc<Feed>)> = (0..4)
            .map(|feed| {
                let source = feed / 2;
                let starts = &starts[source * FILES..][..FILES];
                (source, of_process(feed % 2, starts, limit))
            })
            .collect();
        let mut went_in: Vec<Watermark> = starts
            .iter()
            .map(|&start| Watermark::behind(EventTime(start), 0))
            .collect();
        let mut idle = 0;
        while went_in.iter().any(|&at| at != Watermark::END) {
            let (source, feed) = &feeds[usize::try_from(below(4)).unwrap()];
            idle += 1;
            assert!(idle < 1000, "seed {seed}: nobody goes on at {went_in:?}");
            if below(3) == 0 {
                let least = went_in.iter().copied().min();
                feed.tell(least.filter(|&at| at != Watermark::END));
                continue;
            }
            let Some(partition) = feed.next_claim(&feed.lock()) else {
                continue;
            };
            idle = 0;
            feed.lock().lanes[partition].reader = Cursor::Busy;
            let place = source * FILES + partition;
            let reader: Option<(Box<dyn Reader>, Offset)> = match below(8) {
                0 => None,
                _ => Some((Box::new(NoReader), Offset(0))),
            };
            let ends = reader.is_none();
            let sequence = feed.put_back(partition, reader).unwrap();
            if ends {
                feed.deliver(partition, sequence, Arrival::End);
                went_in[place] = Watermark::END;
            } else {
                let step = match below(20) {
                    0 => 100_000_000,
                    1..10 => 100,
                    _ => 10,
                };
                let time = went_in[place].micros() + step;
                feed.deliver(partition, sequence, rows(&[time - 5, time]));
                went_in[place] = Watermark::behind(EventTime(time), 0);
            }
            take_all(feed);
        }
    }
}
