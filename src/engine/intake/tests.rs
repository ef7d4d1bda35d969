//! What comes with a record stands beside what was decoded out of it.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{BinaryArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{Field, TimeUnit};

use super::*;
use crate::format::{METADATA, Records};
use crate::plan::{Column, Place, Role, WatermarkFor};
use crate::types::Offset;

/// Decodes a block of three records as this batch of one column, without those not in `kept`.
struct Given {
    kept: Vec<u32>,
}

impl Decoder for Given {
    fn decode(&mut self, _block: &Block) -> Decoded {
        let values = Int64Array::from_iter_values(self.kept.iter().map(|at| i64::from(*at)));
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let span = |&at: &u32| Span {
            start: 2 * at,
            len: 1,
        };
        let rejected = |at: u32| RejectedRecord {
            span: span(&at),
            line: 0,
            reject: Reject::record(Reason::Malformed, "bad"),
            at: None,
        };
        let lost = (0..3).filter(|at| !self.kept.contains(at));
        Decoded {
            rows: RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap(),
            spans: self.kept.iter().map(span).collect(),
            rejects: lost.map(rejected).collect(),
        }
    }
}

fn table(not_null: bool) -> Table {
    let column = |name: &str, data_type: DataType, metadata: Option<&str>, nullable| Column {
        field: Arc::new(Field::new(name, data_type, nullable).with_metadata(
            metadata.map_or_else(HashMap::new, |what| {
                HashMap::from([(METADATA.to_owned(), what.to_owned())])
            }),
        )),
        computed: None,
        place: Place::default(),
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Table {
        name: "t".to_owned(),
        role: Role::Source,
        takes_letters: false,
        columns: vec![
            column("k", DataType::Utf8, Some("key"), !not_null),
            column("n", DataType::Int64, None, true),
            column("at", time, Some("timestamp"), false),
        ],
        primary_key: Vec::new(),
        checks: Vec::new(),
        watermark: Some(WatermarkFor {
            column: 2,
            bound_us: 0,
        }),
        connector: "kafka".to_owned(),
        options: BTreeMap::new(),
        place: Place::default(),
    }
}

/// Three records with the keys "a", nothing and a byte that is no text.
fn block(table: &Table) -> Block {
    let bytes = |of: &Column| of.field.as_ref().clone().with_nullable(true);
    let schema = Schema::new(vec![
        bytes(&table.columns[0]).with_data_type(DataType::Binary),
        bytes(&table.columns[2]),
    ]);
    let keys = BinaryArray::from(vec![Some(b"a".as_slice()), None, Some(b"\xff")]);
    let times = TimestampMicrosecondArray::from(vec![10, 20, 30]);
    let records = Records {
        places: vec![0, 2, 4, 6],
        offsets: vec![5, 6, 9],
        timestamps: vec![10, 20, 30],
        tombstones: Vec::new(),
        metadata: RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(times)])
            .unwrap(),
    };
    Block {
        bytes: Arc::new(b"x\nx\nx\n".to_vec()),
        start: Offset(5),
        end: Offset(10),
        line: 0,
        header: None,
        columns: None,
        records: Some(Arc::new(records)),
    }
}

fn take(not_null: bool, kept: Vec<u32>) -> ArrivedRows {
    let table = table(not_null);
    let intake = Intake::new(&table, &[1, 0, 2]);
    intake.take(&mut Given { kept }, &block(&table)).unwrap()
}

fn reasons(arrived: &ArrivedRows) -> Vec<(Offset, Reason, Option<&str>)> {
    let of = |r: &RejectedRecord| arrived.positions.of(r.span.start);
    let rejects = arrived.rejects.iter();
    rejects
        .map(|r| (of(r), r.reject.reason, r.reject.column.as_deref()))
        .collect()
}

#[test]
fn a_key_that_is_no_text_rejects_its_record() {
    let arrived = take(false, vec![0, 1, 2]);

    assert_eq!(arrived.times, [10, 20]);
    let keys = arrived.rows.column(1).as_string::<i32>();
    assert_eq!(keys.iter().collect::<Vec<_>>(), [Some("a"), None]);
    assert_eq!(reasons(&arrived), [(Offset(9), Reason::NotUtf8, Some("k"))]);
    // When it happened is known all the same.
    assert_eq!(arrived.rejects[0].at, Some(30));
}

#[test]
fn what_comes_with_a_rejected_record_goes_with_it() {
    let arrived = take(false, vec![1, 2]);

    assert_eq!(arrived.times, [20]);
    assert!(arrived.rows.column(1).is_null(0));
    let expected = [
        (Offset(5), Reason::Malformed, None),
        (Offset(9), Reason::NotUtf8, Some("k")),
    ];
    assert_eq!(reasons(&arrived), expected);
}

#[test]
fn a_key_that_must_be_there_rejects_a_record_without_one() {
    let arrived = take(true, vec![0, 1]);

    assert_eq!(arrived.times, [10]);
    let expected = [
        (Offset(6), Reason::Missing, Some("k")),
        (Offset(9), Reason::Malformed, None),
    ];
    assert_eq!(reasons(&arrived), expected);
}

/// Decodes a block into rows with these event times.
struct Times(Vec<i64>);

impl Decoder for Times {
    fn decode(&mut self, _block: &Block) -> Decoded {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![Field::new("at", time, false)]);
        let values = TimestampMicrosecondArray::from(self.0.clone());
        let spans = (0..self.0.len()).map(|at| Span {
            start: u32::try_from(2 * at).unwrap(),
            len: 1,
        });
        Decoded {
            rows: RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap(),
            spans: spans.collect(),
            rejects: Vec::new(),
        }
    }
}

#[test]
fn an_event_time_is_held_against_the_record_it_comes_from() {
    const DAY: i64 = 86_400_000_000;
    let mut table = table(false);
    table.columns = vec![table.columns.remove(2)];
    table.columns[0].field = Arc::new(
        table.columns[0]
            .field
            .as_ref()
            .clone()
            .with_metadata(HashMap::new()),
    );
    table.watermark = Some(WatermarkFor {
        column: 0,
        bound_us: 0,
    });
    let block = |timestamps: Vec<i64>| Block {
        columns: None,
        records: Some(Arc::new(Records {
            places: vec![0, 2, 4, 6],
            offsets: vec![5, 6, 9],
            timestamps,
            tombstones: Vec::new(),
            metadata: RecordBatch::new_empty(Arc::new(Schema::empty())),
        })),
        ..block(&self::table(false))
    };
    let intake = Intake::new(&table, &[0]);
    let mut decoder = Times(vec![DAY + 1, 2 * DAY, 5]);

    let one = intake.take(&mut decoder, &block(vec![0, DAY, 0])).unwrap();
    let none = intake.take(&mut decoder, &block(vec![DAY; 3])).unwrap();

    assert_eq!(one.times, [2 * DAY, 5]);
    assert_eq!(
        reasons(&one),
        [(Offset(5), Reason::TooFarAhead, Some("at"))]
    );
    assert_eq!(none.times, [DAY + 1, 2 * DAY, 5]);
    assert!(none.rejects.is_empty());

    // A record without a timestamp has nothing to be compared with.
    let unknown = intake
        .take(&mut decoder, &block(vec![-1000, DAY, -1000]))
        .unwrap();
    assert!(unknown.rejects.is_empty());
}
