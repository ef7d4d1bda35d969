//! An event depends on the seed and its number, and the three tables fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};

use crate::connector::fixtures::table;
use crate::connector::{SharedSource, open_source, validate};
use crate::format::value_text;
use crate::plan::{Role, Table};
use crate::types::{Clock, Offset};

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

const PERSON: [(&str, DataType); 8] = [
    ("id", DataType::Int64),
    ("name", DataType::Utf8),
    ("email_address", DataType::Utf8),
    ("credit_card", DataType::Utf8),
    ("city", DataType::Utf8),
    ("state", DataType::Utf8),
    ("date_time", MICROS),
    ("extra", DataType::Utf8),
];
const AUCTION: [(&str, DataType); 10] = [
    ("id", DataType::Int64),
    ("item_name", DataType::Utf8),
    ("description", DataType::Utf8),
    ("initial_bid", DataType::Int64),
    ("reserve", DataType::Int64),
    ("date_time", MICROS),
    ("expires", MICROS),
    ("seller", DataType::Int64),
    ("category", DataType::Int64),
    ("extra", DataType::Utf8),
];
const BID: [(&str, DataType); 7] = [
    ("auction", DataType::Int64),
    ("bidder", DataType::Int64),
    ("price", DataType::Int64),
    ("channel", DataType::Utf8),
    ("url", DataType::Utf8),
    ("date_time", MICROS),
    ("extra", DataType::Utf8),
];

fn nexmark(kind: &str, columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let mut all = vec![("connector", "nexmark"), ("table", kind)];
    all.extend(options);
    table(Role::Source, columns, &all)
}

fn open(table: &Table) -> SharedSource {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    open_source(table, &columns, std::path::Path::new("."), &Clock::manual()).unwrap()
}

fn batches(
    source: &SharedSource,
    partition: usize,
    from: u64,
) -> Vec<(u64, RecordBatch, Vec<u32>)> {
    let mut reader = source.open(partition, Offset(from)).unwrap();
    let mut decoder = source.decoder();
    let mut found = Vec::new();
    while let Some(block) = reader.next().unwrap() {
        let decoded = decoder.decode(&block);
        assert_eq!(decoded.rejects, []);
        let places = decoded.spans.iter().map(|span| span.start).collect();
        found.push((block.start.0, decoded.rows, places));
    }
    found
}

/// The rows of a partition as text, by their offsets.
fn read(source: &SharedSource, partition: usize, from: u64) -> BTreeMap<u64, String> {
    let mut rows = BTreeMap::new();
    for (start, batch, places) in batches(source, partition, from) {
        assert_eq!(places.len(), batch.num_rows());
        for (row, place) in places.into_iter().enumerate() {
            let texts: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| value_text(column, row).unwrap())
                .collect();
            rows.insert(start + u64::from(place), texts.join("|"));
        }
    }
    rows
}

/// A column of numbers of a whole table.
fn numbers(kind: &str, columns: &[(&str, DataType)], events: &str, name: &str) -> Vec<i64> {
    let source = open(&nexmark(kind, columns, &[("events", events)]));
    let of = |(_, batch, _): (u64, RecordBatch, Vec<u32>)| {
        let column = Arc::clone(batch.column_by_name(name).unwrap());
        if *column.data_type() == MICROS {
            return column
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .to_vec();
        }
        column.as_primitive::<Int64Type>().values().to_vec()
    };
    batches(&source, 0, 0).into_iter().flat_map(of).collect()
}

#[test]
fn an_event_is_the_same_however_rows_are_shared_out() {
    for (kind, columns) in [
        ("person", &PERSON[..]),
        ("auction", &AUCTION),
        ("bid", &BID),
    ] {
        let whole = read(&open(&nexmark(kind, columns, &[("events", "30000")])), 0, 0);
        let shared = [("events", "30000"), ("partitions", "3")];
        let shared = open(&nexmark(kind, columns, &shared));

        let mut together = BTreeMap::new();
        for partition in 0..3 {
            together.extend(read(&shared, partition, 0));
        }

        assert_eq!(together, whole, "{kind}");
    }
}

#[test]
fn reading_may_start_at_any_row() {
    let options = [("events", "100"), ("partitions", "3")];
    let source = open(&nexmark("bid", &BID, &options));

    for partition in 0..3 {
        let whole = read(&source, partition, 0);
        for from in 0..=92 {
            let rest: BTreeMap<u64, String> = whole.clone().split_off(&from);
            assert_eq!(read(&source, partition, from), rest);
        }
    }
}

#[test]
fn another_seed_gives_other_events() {
    let rows = |seed| {
        let options = [("events", "200"), ("seed", seed)];
        read(&open(&nexmark("bid", &BID, &options)), 0, 0)
    };

    assert_eq!(rows("1"), rows("1"));
    assert_ne!(rows("1"), rows("2"));
}

#[test]
fn a_column_has_the_same_values_whatever_stands_beside_it() {
    let table = nexmark("bid", &BID, &[("events", "500")]);
    let alone = open_source(&table, &[4], std::path::Path::new("."), &Clock::manual()).unwrap();

    let beside = read(&open(&table), 0, 0);
    let urls: Vec<&str> = beside
        .values()
        .map(|row| row.split('|').nth(4).unwrap())
        .collect();
    let alone = read(&alone, 0, 0);

    assert!(alone.values().map(String::as_str).eq(urls));
}

#[test]
fn a_row_is_what_it_was_in_every_version() {
    let first = |kind, columns: &[(&str, DataType)]| {
        let source = open(&nexmark(kind, columns, &[("events", "50")]));
        read(&source, 0, 0).remove(&0).unwrap()
    };

    assert_eq!(
        [
            first("person", &PERSON[..7]),
            first("auction", &AUCTION[3..9]),
            first("bid", &BID[..6])
        ],
        [
            "1000|Carla Iverson|Castle3524@example.com|9817 1626 0905 5550|Nampa|OR|2026-01-01 00:00:00",
            "2190|427838|2026-01-01 00:00:00.0001|2026-01-01 00:00:00.156589|1000|11",
            "1008|1001|97032466|Facebook|https://www.nexmark.com/uvjju/cmudn/vhuli/item.htm?query=1|2026-01-01 00:00:00.0004"
        ]
    );
}

#[test]
fn events_come_in_the_order_of_their_times_and_ten_thousand_a_second() {
    for (kind, columns) in [
        ("person", &PERSON[..]),
        ("auction", &AUCTION),
        ("bid", &BID),
    ] {
        let times = numbers(kind, columns, "10001", "date_time");

        assert!(times.is_sorted(), "{kind}");
        assert!(times.last().unwrap() - times[0] > 990_000, "{kind}");
        assert!(times.last().unwrap() - times[0] <= 1_000_000, "{kind}");
    }
}

#[test]
fn bids_are_on_auctions_that_are_open_or_about_to_open() {
    let opened = numbers("auction", &AUCTION, "50000", "id");
    let bid_on = numbers("bid", &BID, "50000", "auction");
    let early = bid_on.iter().filter(|id| !opened.contains(id)).count();

    assert_eq!(opened.len(), 3_000);
    assert_eq!(bid_on.len(), 46_000);
    assert!(early < 50, "{early}");
    for (bid, auction) in bid_on.into_iter().enumerate() {
        let last = 1000 + i64::try_from(bid / 46 * 3 + 2).unwrap();
        assert!(
            (last - 100..=last + 10).contains(&auction),
            "{auction} {last}"
        );
    }
}

#[test]
fn half_of_the_bids_are_on_hot_auctions_and_three_quarters_by_hot_bidders() {
    let hot = |values: Vec<i64>, place: i64| {
        let hot = values.iter().filter(|id| *id % 100 == place).count();
        hot as f64 / values.len() as f64
    };

    let auctions = hot(numbers("bid", &BID, "100000", "auction"), 0);
    let bidders = hot(numbers("bid", &BID, "100000", "bidder"), 1);
    let sellers = hot(numbers("auction", &AUCTION, "100000", "seller"), 0);

    assert!((auctions - 0.505).abs() < 0.01, "{auctions}");
    assert!((bidders - 0.7525).abs() < 0.01, "{bidders}");
    assert!((sellers - 0.7525).abs() < 0.01, "{sellers}");
}

#[test]
fn bidders_and_sellers_are_persons() {
    let persons: BTreeSet<i64> = numbers("person", &PERSON, "50000", "id")
        .into_iter()
        .collect();
    let ahead = |ids: Vec<i64>| ids.iter().filter(|id| !persons.contains(id)).count();

    // Only those who come a moment later.
    assert!(ahead(numbers("bid", &BID, "50000", "bidder")) < 150);
    assert!(ahead(numbers("auction", &AUCTION, "50000", "seller")) < 10);
}

#[test]
fn auctions_expire_after_they_open_and_within_the_horizon() {
    let opened = numbers("auction", &AUCTION, "20000", "date_time");
    let expires = numbers("auction", &AUCTION, "20000", "expires");

    let lengths: Vec<i64> = opened.iter().zip(&expires).map(|(a, b)| b - a).collect();

    assert!(lengths.iter().all(|length| (1..=333_200).contains(length)));
    assert!(lengths.iter().any(|length| *length > 300_000));
}

#[test]
fn columns_may_be_written_as_others_write_them() {
    let one = open(&nexmark(
        "auction",
        &[("initialBid", DataType::Int64)],
        &[("events", "500")],
    ));
    let other = open(&nexmark(
        "auction",
        &[("initial_bid", DataType::Int64)],
        &[("events", "500")],
    ));

    assert_eq!(read(&one, 0, 0), read(&other, 0, 0));
}

#[test]
fn a_column_that_there_is_not_is_refused_with_those_there_are() {
    let problems = |columns: &[(&str, DataType)]| -> Vec<String> {
        validate(&nexmark("bid", columns, &[]))
            .into_iter()
            .map(|problem| format!("{}: {}", problem.place.line, problem.message))
            .collect()
    };

    assert_eq!(
        problems(&[("item", DataType::Int64), ("price", DataType::Utf8)]),
        [
            "3: there is no column `item`; there is auction, bidder, price, channel, url, date_time, extra",
            "3: column `price` must be BIGINT",
        ]
    );
    assert_eq!(problems(&BID), Vec::<String>::new());
}

#[test]
fn a_table_to_look_up_in_must_have_an_end() {
    let table = table(
        Role::Reference,
        &PERSON,
        &[("connector", "nexmark"), ("table", "person")],
    );

    let problems = validate(&table);

    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("give `events`"));
}
