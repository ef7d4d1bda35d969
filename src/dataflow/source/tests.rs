//! The source task over an inbox that is a list and an outlet that is a log.

mod found;
mod sides;
mod silent;

use std::collections::VecDeque;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::dataflow::chain::Indexes;
use crate::dataflow::report::Positions;
use crate::dataflow::schedule::Stop;
use crate::dataflow::zones::zones;
use crate::format::Positions as Places;
use crate::plan::{
    Column, Insert, Node, Operator, Pipeline, Place as FilePlace, Role, Settings, Table,
};
use crate::types::{Floor, Offset, Recipe, Span};

fn table(name: &str) -> Table {
    let column = Column {
        field: Arc::new(Field::new("n", DataType::Int64, true)),
        computed: None,
        place: FilePlace::default(),
    };
    Table {
        name: name.to_owned(),
        role: Role::Source,
        takes_letters: false,
        columns: vec![column],
        primary_key: Vec::new(),
        checks: Vec::new(),
        watermark: None,
        connector: "discard".to_owned(),
        options: BTreeMap::new(),
        place: FilePlace::default(),
    }
}

/// One source whose rows go straight to one INSERT.
fn pipeline() -> Pipeline {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let operator = Operator::Source {
        table: 0,
        columns: vec![0],
        counted: false,
    };
    let node = Node {
        operator,
        schema,
        changing: false,
        place: FilePlace::default(),
    };
    Pipeline {
        name: "test".to_owned(),
        settings: Settings::default(),
        tables: vec![table("numbers"), table("t")],
        nodes: vec![node],
        inserts: vec![Insert {
            narrowed: Vec::new(),
            table: 1,
            input: 0,
            place: FilePlace::default(),
            views: Vec::new(),
        }],
        recipe: Recipe::default(),
    }
}

#[derive(Default)]
struct List {
    arrivals: VecDeque<(usize, Arrival)>,
    parked: Vec<usize>,
    /// When reading last paused.
    reads_since: Duration,
    asked: Vec<usize>,
}

impl Inbox for List {
    fn take(&mut self) -> Option<(usize, Arrival)> {
        self.arrivals.pop_front()
    }

    fn park(&mut self, partition: usize) {
        self.parked.push(partition);
    }

    fn resume(&mut self, partition: usize) {
        self.parked.retain(|&other| other != partition);
    }

    fn is_quiet(&self, partition: usize) -> bool {
        !self.arrivals.iter().any(|(other, _)| *other == partition)
    }

    fn reads_since(&self, _: usize) -> Duration {
        self.reads_since
    }

    fn ask(&mut self, partition: usize) {
        self.asked.push(partition);
    }
}

/// Rows and closings, as text.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    reports: Vec<(Epoch, Report)>,
    open: u64,
}

impl Outlet for Log {
    fn rows(&mut self, _: NodeId, rows: RecordBatch) {
        let values = rows
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap()
            .values()
            .to_vec();
        self.lines.push(format!("{}: {values:?}", self.open));
    }

    fn letters(&mut self, _: RecordBatch) {}

    fn close(&mut self, report: Report, next: Option<Epoch>) {
        let at = |(partition, mark): &(usize, PartitionMark)| {
            let end = if mark.ended { " end" } else { "" };
            format!("{partition}@{}{end}", mark.offset)
        };
        let partitions: Vec<String> = report.partitions.iter().map(at).collect();
        self.lines
            .push(format!("{} closes: {}", self.open, partitions.join(" ")));
        self.reports.push((Epoch(self.open), report));
        self.open = next.map_or(0, |epoch| epoch.0);
    }
}

/// Rows whose offsets, values and event times are all the same numbers.
fn rows(range: std::ops::Range<i64>) -> Arrival {
    let values: Vec<i64> = range.clone().collect();
    let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    let start = Offset(range.start as u64);
    let span = |value: &i64| Span {
        start: (value - range.start) as u32,
        len: 0,
    };
    Arrival::Rows(ArrivedRows {
        rows: RecordBatch::try_from_iter([("n", column)]).unwrap(),
        spans: values.iter().map(span).collect(),
        times: ScalarBuffer::from(values),
        rejects: Vec::new(),
        bytes: Arc::default(),
        line: 0,
        positions: Places::Bytes { start },
        from: start,
        end: Offset(range.end as u64),
    })
}

fn mark(offset: u64, ended: bool) -> PartitionMark {
    let watermark = match (offset, ended) {
        (_, true) => Watermark::END,
        (0, false) => Watermark::START,
        (next, false) => Watermark::behind(crate::types::EventTime(next as i64 - 1), 0),
    };
    PartitionMark {
        watermark,
        ended,
        records: Some(offset),
        first: Offset(0),
        ..PartitionMark::beginning(Offset(offset))
    }
}

fn run(arrivals: Vec<(usize, Arrival)>, partitions: usize, schedule: Schedule) -> Vec<String> {
    run_until(AtEnd::Close, arrivals, partitions, schedule)
}

fn run_until(
    at_end: AtEnd,
    arrivals: Vec<(usize, Arrival)>,
    partitions: usize,
    schedule: Schedule,
) -> Vec<String> {
    let (mut task, mut log) = task(at_end, arrivals, partitions, schedule);
    while task.step(true, &mut log) == Progress::Worked {}
    log.lines
}

fn task(
    at_end: AtEnd,
    arrivals: Vec<(usize, Arrival)>,
    partitions: usize,
    schedule: Schedule,
) -> (SourceTask<List>, Log) {
    let start = (vec![mark(0, false); partitions], Watermark::START);
    task_from(start, at_end, arrivals, schedule)
}

fn task_from(
    (marks, watermark): (Vec<PartitionMark>, Watermark),
    at_end: AtEnd,
    arrivals: Vec<(usize, Arrival)>,
    schedule: Schedule,
) -> (SourceTask<List>, Log) {
    let partitions = marks.len();
    let pipeline = pipeline();
    let zones = zones(&pipeline);
    let none = std::collections::BTreeSet::new();
    let names = (0..partitions).map(|index| format!("p{index}")).collect();
    let spec = SourceSpec {
        table: 0,
        name: "numbers".to_owned(),
        chain: Chain::new(&pipeline, &zones, 0, &Indexes::new(), &none),
        bound_us: 0,
        partitions: Arc::new(names),
        letters: None,
        inserts: Arc::new(vec!["t".to_owned()]),
        // A manual clock stands still: epochs close only where a stop or the end says so.
        pace: Pace::Interval(Duration::from_secs(1)),
        at_end,
        idle_after: Some(Duration::from_secs(15)),
        history: None,
        goes_on: false,
        expected: 0,
        reject_limit: 1.0,
        skips_lost: false,
    };
    let inbox = List {
        arrivals: arrivals.into(),
        ..List::default()
    };
    let start = Start {
        partitions: marks.into_iter().enumerate().collect(),
        watermark,
        tide: Tide::new(Positions::new([(0, partitions)]), Epoch(0)),
    };
    let shared = Arc::new(Shared::default());
    let log = Log {
        open: schedule.open().0,
        ..Log::default()
    };
    let task = SourceTask::new(spec, inbox, start, schedule, shared, Clock::manual());
    (task, log)
}

/// A file and a partition of the topic that takes over at 3.
fn with_history(arrivals: Vec<(usize, Arrival)>) -> (SourceTask<List>, Log) {
    let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));
    let (mut task, log) = task(AtEnd::Wait, arrivals, 2, schedule);
    let from = EventTime(3);
    task.spec.history = Some(Followed { files: 1, from });
    let file = PartitionMark {
        side: Some(Side::Before(from)),
        identity: Some("3 bytes".to_owned()),
        ..PartitionMark::beginning(Offset(0))
    };
    let topic = PartitionMark::following(Offset(0), from);
    task.partitions = [file, topic]
        .map(PartitionState::new)
        .into_iter()
        .enumerate()
        .collect();
    (task, log)
}

#[test]
fn each_row_counts_on_its_own_side_of_where_files_and_topic_meet() {
    let arrivals = vec![
        (0, rows(0..5)),
        (1, rows(1..6)),
        (0, Arrival::End),
        (1, Arrival::End),
    ];
    let (mut task, mut log) = with_history(arrivals);

    while task.step(true, &mut log) == Progress::Worked {}

    assert_eq!(
        log.lines,
        ["1: [0, 1, 2]", "1: [3, 4, 5]", "1 closes: 0@5 end 1@6"]
    );
    let fates = &task.shared.fates()[&(0, 0)];
    assert_eq!((fates.accepted, fates.filtered), (6, 4));
    // The file says no more; the topic is where its last row was.
    let watermarks = task.partitions.values().map(|state| state.mark.watermark);
    let expected = [Watermark::END, Watermark::behind(EventTime(5), 0)];
    assert_eq!(watermarks.collect::<Vec<_>>(), expected);
}

#[test]
fn rows_on_the_wrong_side_do_not_move_event_time() {
    let (mut task, mut log) = with_history(vec![(0, rows(0..5)), (1, rows(0..2))]);

    while task.step(true, &mut log) == Progress::Worked {}

    let watermarks = task.partitions.values().map(|state| state.mark.watermark);
    let expected = [2, 3].map(|time| Watermark::behind(EventTime(time), 0));
    assert_eq!(watermarks.collect::<Vec<_>>(), expected);
}

#[test]
fn a_partition_has_one_number_with_the_files_before_it_and_without() {
    let (mut task, _) = with_history(Vec::new());

    assert_eq!(task.spec.ordinal(1), 0);
    assert_eq!(task.spec.ordinal(0), 1 << 19);
    task.spec.history = None;
    assert_eq!(task.spec.ordinal(0), 0);
}

/// As `run`, with credit only every second time it is asked for.
fn run_short_of_credit(arrivals: Vec<(usize, Arrival)>, schedule: Schedule) -> Vec<String> {
    let (mut task, mut log) = task(AtEnd::Close, arrivals, 1, schedule);
    let mut credit = false;
    for _ in 0..1000 {
        credit = !credit;
        if task.step(credit, &mut log) == Progress::Finished {
            break;
        }
    }
    log.lines
}

#[test]
fn a_first_run_reads_to_the_end_and_says_so() {
    let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));

    let log = run(vec![(0, rows(0..3)), (0, Arrival::End)], 1, schedule);

    assert_eq!(log, ["1: [0, 1, 2]", "1 closes: 0@3 end"]);
}

#[test]
fn a_replay_is_cut_exactly_at_the_offset_of_the_mark() {
    let stop = Stop {
        epoch: Epoch(7),
        partitions: vec![Some(mark(2, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(7));

    let log = run(vec![(0, rows(0..5)), (0, Arrival::End)], 1, schedule);

    assert_eq!(
        log,
        [
            "1: [0, 1]",
            "1 closes: 0@2",
            "7 closes: ",
            "8: [2, 3, 4]",
            "8 closes: 0@5 end"
        ]
    );
}

#[test]
fn a_partition_that_is_at_its_stop_waits_for_the_others() {
    let partitions = vec![Some(mark(1, false)), Some(mark(3, true))];
    let stop = Stop {
        epoch: Epoch(4),
        partitions,
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(4));
    let arrivals = vec![
        (0, rows(0..2)),
        (0, Arrival::End),
        (1, rows(0..3)),
        (1, Arrival::End),
    ];

    let log = run(arrivals, 2, schedule);

    assert_eq!(
        log,
        [
            "1: [0]",
            "1: [0, 1, 2]",
            "1 closes: 0@1 1@3 end",
            "4 closes: ",
            "5: [1]",
            "5 closes: 0@2 end"
        ]
    );
}

#[test]
fn event_time_is_where_the_mark_says_in_the_epoch_of_the_mark_and_not_before() {
    // Another worker's rows of this stretch may come in any epoch up to the last. What closed
    // before them would close again with them.
    let event_time = Watermark::behind(crate::types::EventTime(9), 0);
    let stop = Stop {
        epoch: Epoch(7),
        partitions: vec![Some(mark(2, false))],
        watermark: event_time,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(7));
    let (mut task, mut log) = task(AtEnd::Close, vec![(0, rows(0..5))], 1, schedule);

    while task.step(true, &mut log) == Progress::Worked {}

    let reached: Vec<_> = log
        .reports
        .iter()
        .map(|(epoch, report)| (epoch.0, report.reached))
        .collect();
    assert_eq!(reached, [(1, Watermark::START), (7, event_time)]);
}

#[test]
fn rows_and_the_position_that_covers_them_are_in_one_epoch() {
    // A destination that stands before the stretch publishes its first epoch as it is: the
    // mark it writes then must cover the rows.
    let stop = Stop {
        epoch: Epoch(9),
        partitions: vec![Some(mark(2, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(3), vec![stop], Epoch(9));

    let log = run(vec![(0, rows(0..5)), (0, Arrival::End)], 1, schedule);

    assert_eq!(log[..2], ["4: [0, 1]", "4 closes: 0@2"]);
}

#[test]
fn an_end_that_the_mark_did_not_know_belongs_to_a_later_epoch() {
    let stop = Stop {
        epoch: Epoch(4),
        partitions: vec![Some(mark(2, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(4));

    let log = run(vec![(0, rows(0..2)), (0, Arrival::End)], 1, schedule);

    assert_eq!(
        log,
        [
            "1: [0, 1]",
            "1 closes: 0@2",
            "4 closes: ",
            "5 closes: 0@2 end"
        ]
    );
}

#[test]
fn an_end_that_the_mark_knows_is_not_kept_back_by_what_stands_before_it() {
    let stop = Stop {
        epoch: Epoch(4),
        partitions: vec![Some(mark(2, true))],
        watermark: Watermark::END,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(4));

    // Behind the last record of a topic stands the mark of a transaction.
    let caught_up = Arrival::CaughtUp(Offset(3));
    let arrivals = vec![(0, rows(0..2)), (0, caught_up), (0, Arrival::End)];
    let log = run(arrivals, 1, schedule);

    assert_eq!(
        log.last().map(String::as_str),
        Some("5 closes: "),
        "{log:?}"
    );
}

#[test]
fn a_run_until_caught_up_leaves_event_time_open() {
    let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));

    let log = run_until(
        AtEnd::Wait,
        vec![(0, rows(0..3)), (0, Arrival::End)],
        1,
        schedule,
    );

    assert_eq!(log, ["1: [0, 1, 2]", "1 closes: 0@3"]);
}

#[test]
fn event_time_that_a_mark_has_ended_stays_ended() {
    let stop = Stop {
        epoch: Epoch(4),
        partitions: vec![Some(mark(2, true))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(4));

    let log = run_until(
        AtEnd::Wait,
        vec![(0, rows(0..2)), (0, Arrival::End)],
        1,
        schedule,
    );

    assert_eq!(
        log,
        ["1: [0, 1]", "1 closes: 0@2 end", "4 closes: ", "5 closes: "]
    );
}

#[test]
fn a_replay_spends_an_epoch_when_its_bytes_ask_for_it_and_reads_on_in_the_last_one() {
    // Three epochs for four arrivals, without credit half of the time.
    let stop = Stop {
        epoch: Epoch(3),
        partitions: vec![Some(mark(4, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(3));
    let arrivals = (0..4).map(|n| (0, rows(n..n + 1)));

    let log = run_short_of_credit(arrivals.chain([(0, Arrival::End)]).collect(), schedule);

    assert_eq!(
        log,
        [
            "1: [0]",
            "1 closes: 0@1",
            "2: [1]",
            "2 closes: 0@2",
            "3: [2]",
            "3: [3]",
            "3 closes: 0@4",
            "4 closes: 0@4 end"
        ]
    );
}

/// The epochs of the reports, and which of them cut a snapshot.
fn cuts(log: &Log) -> Vec<(u64, bool)> {
    let reports = log.reports.iter();
    reports
        .map(|(epoch, report)| (epoch.0, report.cut))
        .collect()
}

fn stop_at(epoch: u64, offset: u64) -> Stop {
    Stop {
        epoch: Epoch(epoch),
        partitions: vec![Some(mark(offset, false))],
        watermark: Watermark::START,
    }
}

#[test]
fn a_snapshot_that_is_wanted_in_a_replay_is_cut_there() {
    let schedule = Schedule::new(Epoch(0), vec![stop_at(9, 5)], Epoch(9));
    let (mut task, mut log) = task(AtEnd::Close, Vec::new(), 1, schedule);
    task.shared.want_cut();
    while task.step(true, &mut log) == Progress::Worked {}
    assert_eq!(cuts(&log), [], "nothing has been read");

    task.inbox
        .arrivals
        .extend([(0, rows(0..2)), (0, rows(2..7))]);
    while task.step(true, &mut log) == Progress::Worked {}

    assert_eq!(
        log.lines[..2],
        ["1: [0, 1]", "1 closes: 0@2"],
        "its position covers its rows"
    );
    assert_eq!(cuts(&log), [(1, true), (2, false), (9, false)]);
}

#[test]
fn an_epoch_of_a_replay_closes_for_the_snapshot_that_another_worker_cuts() {
    let schedule = Schedule::new(Epoch(0), vec![stop_at(9, 5)], Epoch(9));
    let (mut task, mut log) = task(AtEnd::Close, vec![(0, rows(0..2))], 1, schedule);
    while task.step(true, &mut log) == Progress::Worked {}
    assert_eq!(cuts(&log), []);

    let cut = Report {
        cut: true,
        ..Report::default()
    };
    task.tide.hear(Epoch(3), cut);
    task.inbox.arrivals.push_back((0, rows(2..5)));
    while task.step(true, &mut log) == Progress::Worked {}

    assert_eq!(
        log.lines[..3],
        ["1: [0, 1]", "1 closes: 0@2", "4: [2, 3, 4]"]
    );
    assert_eq!(cuts(&log), [(1, false), (4, false), (9, false)]);
}

#[test]
fn whoever_is_a_stretch_ahead_leaves_a_snapshot_to_the_others() {
    let stops = vec![stop_at(4, 2), stop_at(9, 5)];
    let schedule = Schedule::new(Epoch(0), stops, Epoch(9));
    let (mut task, mut log) = task(AtEnd::Wait, vec![(0, rows(0..3))], 1, schedule);
    while task.step(true, &mut log) == Progress::Worked {}

    task.shared.want_cut();
    while task.step(true, &mut log) == Progress::Worked {}
    assert!(task.shared.wants_cut(), "somebody is before epoch 4");

    task.tide.advance(Some(Epoch(5)));
    while task.step(true, &mut log) == Progress::Worked {}
    assert_eq!(cuts(&log), [(1, false), (4, false), (5, true)]);
}

/// Event time had come to 49 without partition 1, which came back in the last epoch of the mark.
#[test]
fn event_time_does_not_get_ahead_of_a_partition_that_comes_back_at_the_stop() {
    let idle = PartitionMark {
        idle: true,
        ..mark(5, false)
    };
    let back = PartitionMark {
        idle: false,
        ..idle.clone()
    };
    let stop = Stop {
        epoch: Epoch(9),
        partitions: vec![Some(mark(60, false)), Some(back)],
        watermark: at(49),
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(9));
    let start = (vec![mark(40, false), idle], at(39));
    let arrivals = vec![(0, rows(40..60))];
    let (mut task, mut log) = task_from(start, AtEnd::Wait, arrivals, schedule);
    let tide = task.tide.clone();

    // Without credit the rows are in an epoch of their own.
    while task.step(false, &mut log) == Progress::Worked {}
    task.step(true, &mut log);
    while task.step(false, &mut log) == Progress::Worked {}
    for (epoch, report) in log.reports.drain(..) {
        tide.hear(epoch, report);
        tide.advance(Some(epoch.next()));
        assert!(
            tide.reached(0) <= at(49),
            "{:?} in {epoch}",
            tide.reached(0)
        );
    }
    assert_eq!(tide.reached(0), at(49));
}

#[test]
fn a_stop_in_the_middle_of_a_replay_publishes_nothing() {
    let stop = Stop {
        epoch: Epoch(9),
        partitions: vec![Some(mark(5, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(9));
    let (mut task, mut log) = task(AtEnd::Close, vec![(0, rows(0..2))], 1, schedule);
    assert_eq!(task.step(true, &mut log), Progress::Worked);

    task.shared.stop();

    assert_eq!(task.step(true, &mut log), Progress::Finished);
    assert!(log.reports.last().unwrap().1.stops_short);
}

#[test]
fn a_stop_after_the_replay_publishes_what_is_complete() {
    let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));
    let (mut task, mut log) = task(AtEnd::Close, vec![(0, rows(0..2))], 1, schedule);
    assert_eq!(task.step(true, &mut log), Progress::Worked);

    task.shared.stop();

    assert_eq!(task.step(true, &mut log), Progress::Finished);
    assert!(!log.reports.last().unwrap().1.stops_short);
    assert_eq!(log.lines, ["1: [0, 1]", "1 closes: 0@2"]);
}

/// A source whose epochs are a second long, on a clock that the test moves.
struct Live {
    task: SourceTask<List>,
    log: Log,
    clock: Clock,
    tide: Tide,
}

impl Live {
    fn new(partitions: usize) -> Self {
        Self::from(vec![mark(0, false); partitions], Watermark::START)
    }

    /// A run that begins where a snapshot stands, event time at `reached`.
    fn from(marks: Vec<PartitionMark>, reached: Watermark) -> Self {
        let schedule = Schedule::new(Epoch(0), vec![], Epoch(0));
        let start = (marks, reached);
        let (mut task, log) = task_from(start, AtEnd::Wait, Vec::new(), schedule);
        let (clock, tide) = (Clock::manual(), task.tide.clone());
        task.clock = clock.clone();
        Self {
            task,
            log,
            clock,
            tide,
        }
    }

    /// Takes in `arrivals` in the second `second` of the run, with a turn in each second before.
    fn at(&mut self, second: u64, arrivals: impl IntoIterator<Item = (usize, Arrival)>) {
        for before in self.clock.elapsed().as_secs() + 1..second {
            self.turn(before);
        }
        self.task.inbox.arrivals.extend(arrivals);
        self.turn(second);
    }

    fn turn(&mut self, second: u64) {
        self.clock.wait_until(Duration::from_secs(second));
        while self.task.step(true, &mut self.log) == Progress::Worked {}
    }

    /// All that was said is heard, and the frontier stands at the open epoch.
    fn heard(&mut self) {
        for (epoch, report) in self.log.reports.drain(..) {
            self.tide.hear(epoch, report);
        }
        self.tide.advance(Some(self.task.open()));
    }

    fn watermark(&self) -> i64 {
        let epoch = Epoch(self.task.open().0 - 1);
        self.tide.watermark(0, epoch).unwrap().micros()
    }
}

#[test]
fn a_partition_that_comes_back_goes_on_where_event_time_is_and_a_replay_does_the_same() {
    let mut live = Live::new(2);
    live.at(0, [(0, rows(0..5)), (1, rows(0..50))]);
    live.at(1, [(0, Arrival::CaughtUp(Offset(5)))]);
    live.at(16, []);
    live.at(17, []);
    live.heard();

    live.at(18, [(0, rows(5..70))]);
    // It has announced itself, and waits for the epochs before that one.
    assert!(!live.log.lines.iter().any(|line| line.contains("[5,")));
    live.heard();
    live.at(19, []);
    live.at(20, []);

    assert!(live.log.lines.iter().any(|line| line.contains("[5,")));
    live.heard();
    let position = |partition: usize| live.task.partitions[&partition].mark.clone();
    let floor = Floor {
        offset: Offset(5),
        watermark: Watermark::behind(crate::types::EventTime(49), 0),
    };
    assert_eq!(position(0).floors, [floor]);

    let stop = Stop {
        epoch: Epoch(19),
        partitions: vec![Some(position(0)), Some(position(1))],
        watermark: Watermark::behind(crate::types::EventTime(49), 0),
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(19));
    let arrivals = vec![(0, rows(0..90)), (1, rows(0..60))];
    let (mut task, mut log) = task(AtEnd::Wait, arrivals, 2, schedule);
    while task.step(true, &mut log) == Progress::Worked {}
    // The first records are stamped by their own watermark, those from the floor on by it.
    assert!(
        log.lines[0].starts_with("1: [0, 1, 2, 3, 4]"),
        "{:?}",
        log.lines
    );
    assert!(log.lines[1].starts_with("1: [5, 6,"), "{:?}", log.lines);
    assert_eq!(task.partitions[&0].mark.floors, [floor]);
}

fn at(time: i64) -> Watermark {
    Watermark::behind(crate::types::EventTime(time), 0)
}

/// What was read of partition 0 up to 50, and of partition 1, which is idle, up to 5.
fn one_idle() -> Vec<PartitionMark> {
    let idle = PartitionMark {
        idle: true,
        ..mark(5, false)
    };
    vec![mark(50, false), idle]
}

#[test]
fn a_run_waits_for_the_records_that_came_to_an_idle_partition_while_nobody_ran() {
    let mut live = Live::from(one_idle(), at(49));

    // The other partition is read first, and far ahead.
    live.at(0, [(0, rows(50..500))]);
    live.at(1, []);
    live.heard();
    assert_eq!(live.watermark(), 49);

    live.at(2, [(1, rows(5..150))]);
    live.at(3, []);
    live.heard();
    assert_eq!(live.watermark(), 149);
}

#[test]
fn a_partition_that_comes_back_first_thing_in_a_run_goes_on_where_event_time_was() {
    let mut live = Live::from(one_idle(), at(49));

    live.at(0, [(1, rows(5..20))]);

    let floor = Floor {
        offset: Offset(5),
        watermark: at(49),
    };
    let position = &live.task.partitions[&1].mark;
    assert_eq!(
        (position.watermark, &position.floors[..]),
        (at(49), &[floor][..])
    );
}

#[test]
fn records_that_come_after_event_time_was_ended_for_good_are_refused_and_not_late() {
    let mut live = Live::from(vec![mark(5, true)], Watermark::END);

    live.at(0, [(0, rows(5..9))]);

    let failure = live.task.shared.failure().expect("it is refused");
    assert!(failure.message.contains("cannot read on in `numbers`"));
    assert!(live.log.lines.is_empty(), "{:?}", live.log.lines);
}

#[test]
fn a_silent_partition_has_one_floor_however_many_runs_begin() {
    let mut marks = one_idle();
    for time in [49, 49, 60] {
        let mut live = Live::from(marks, at(time));
        live.at(0, []);
        marks = live
            .task
            .partitions
            .values()
            .map(|state| state.mark.clone())
            .collect();
        marks[1].idle = true;
    }

    let floor = Floor {
        offset: Offset(5),
        watermark: at(60),
    };
    assert_eq!(marks[1].floors, [floor]);
}

/// It is no longer idle in the mark, and its floor was to come in the next epoch.
#[test]
fn a_partition_whose_run_ended_while_it_came_back_is_given_its_floor_by_the_next() {
    let mut marks = one_idle();
    marks[1].idle = false;
    let mut live = Live::from(marks, at(49));

    live.at(0, [(1, rows(5..20))]);

    assert_eq!(live.task.partitions[&1].mark.watermark, at(49));
}

#[test]
fn a_start_between_the_announcement_and_its_floor_goes_on_from_where_event_time_stood() {
    // The mark is of an epoch in which partition 0 had come back and not yet had its floor: event
    // time was past it, and its first record belongs to windows that have closed.
    let reached = Watermark::behind(crate::types::EventTime(49), 0);
    let behind = |offset, watermark| PartitionMark {
        watermark: Watermark::behind(crate::types::EventTime(watermark), 0),
        ..mark(offset, false)
    };
    let stop = Stop {
        epoch: Epoch(19),
        partitions: vec![Some(behind(5, 4)), Some(behind(50, 49))],
        watermark: reached,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(19));
    let arrivals = vec![(0, rows(0..7)), (1, rows(0..50))];
    let (mut task, mut log) = task(AtEnd::Wait, arrivals, 2, schedule);

    while task.step(true, &mut log) == Progress::Worked {}

    let floor = Floor {
        offset: Offset(5),
        watermark: reached,
    };
    assert_eq!(task.partitions[&0].mark.floors, [floor]);
    assert_eq!(task.partitions[&0].mark.watermark, reached);
    assert_eq!(task.partitions[&1].mark.floors, []);
}

#[test]
fn how_far_event_time_was_at_a_stop_is_said_in_its_last_epoch_and_not_before() {
    // In an earlier epoch of the stretch partitions of other workers may be behind.
    let stop = Stop {
        epoch: Epoch(7),
        partitions: vec![Some(mark(2, false))],
        watermark: Watermark::behind(crate::types::EventTime(1), 0),
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(7));
    let (mut task, mut log) = task(AtEnd::Close, vec![(0, rows(0..5))], 1, schedule);

    while task.step(true, &mut log) == Progress::Worked {}

    let reached = log.reports.iter();
    let reached = reached.map(|(epoch, report)| (epoch.0, report.reached.is_start()));
    assert_eq!(reached.collect::<Vec<_>>(), [(1, true), (7, false)]);
}

#[test]
fn contact_that_is_lost_in_a_replay_keeps_no_record_back() {
    let stop = Stop {
        epoch: Epoch(7),
        partitions: vec![Some(mark(4, false))],
        watermark: Watermark::START,
    };
    let schedule = Schedule::new(Epoch(0), vec![stop], Epoch(7));
    let arrivals = vec![
        (0, Arrival::Away),
        (0, rows(0..2)),
        (0, Arrival::Away),
        (0, rows(2..5)),
        (0, Arrival::End),
    ];

    let log = run(arrivals, 1, schedule);

    assert_eq!(log[..2], ["1: [0, 1]", "1: [2, 3]"]);
    assert_eq!(log.last().unwrap(), "8 closes: 0@5 end");
}

/// A record is its offset here: of what the tables hold, 2 and 3 have been compacted away.
#[test]
fn a_replay_that_does_not_find_what_was_read_before_is_refused_before_anything_is_published() {
    let stop = || Stop {
        epoch: Epoch(7),
        partitions: vec![Some(mark(6, false))],
        watermark: Watermark::START,
    };
    let arrivals = || vec![(0, rows(0..2)), (0, rows(4..6))];

    let schedule = Schedule::new(Epoch(0), vec![stop()], Epoch(7));
    let (mut refusing, mut log) = task(AtEnd::Wait, arrivals(), 1, schedule);
    while refusing.step(true, &mut log) == Progress::Worked {}
    let failure = refusing.shared.failure().expect("it is refused");
    assert_eq!(
        failure.causes,
        ["partition 0 is not what it was: so many records are gone: 2"]
    );
    assert!(!refusing.shared.may_publish());

    let schedule = Schedule::new(Epoch(0), vec![stop()], Epoch(7));
    let (mut skipping, mut log) = task(AtEnd::Wait, arrivals(), 1, schedule);
    skipping.spec.skips_lost = true;
    while skipping.step(true, &mut log) == Progress::Worked {}
    assert!(skipping.shared.failure().is_none());
}
