//! How many rows a second one thread decodes: `cargo bench --bench decode`.
//!
//! Prints, for each case, the median of several runs over the same blocks, by the time that the
//! thread had the processor, and by the clock on the wall. The data is made here
//! and always the same; blocks are as large as those of a file reader.

#![expect(clippy::print_stdout, reason = "figures are for people")]
#![expect(clippy::disallowed_methods, reason = "this measures time")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tidemark::format::{Block, FormatOptions, Wanted, decoder};
use tidemark::types::Offset;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: u64 = 400_000;
const BLOCK_BYTES: usize = 1 << 20;
const RUNS: usize = 11;

fn main() {
    let all: Vec<&str> = fields().iter().map(|(name, _)| *name).collect();
    let some = ["event_type", "amount", "event_time"];

    measure("json, 7 of 7 columns", "json", json_line, &all);
    measure("json, 3 of 7 columns", "json", json_line, &some);
    measure("json with spaces, 7 of 7", "json", spaced_line, &all);
    measure("json, every line escaped", "json", escaped_line, &all);
    measure("csv, 7 of 7 columns", "csv", csv_line, &all);
    measure("csv, 3 of 7 columns", "csv", csv_line, &some);
    measure("csv, one field quoted", "csv", quoted_line, &all);
}

fn fields() -> [(&'static str, DataType); 7] {
    [
        ("event_id", DataType::Utf8),
        ("user_id", DataType::Int64),
        ("event_type", DataType::Utf8),
        ("pickup_location", DataType::Utf8),
        ("amount", DataType::Float64),
        ("quantity", DataType::Int32),
        (
            "event_time",
            DataType::Timestamp(TimeUnit::Microsecond, None),
        ),
    ]
}

/// The values of one event.
struct Event {
    id: u64,
    user: u64,
    kind: &'static str,
    place: &'static str,
    cents: u64,
    quantity: u64,
    time: String,
}

fn event(row: u64) -> Event {
    // Fibonacci hashing: spread, and the same every time.
    let hash = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let second = row / 50;
    Event {
        id: hash,
        user: 1000 + hash % 9_000_000,
        kind: ["view", "cart", "purchase", "refund", "search"][(hash >> 20) as usize % 5],
        place: ["Berlin", "Lisbon", "Nairobi", "Osaka", "Montevideo"][(hash >> 30) as usize % 5],
        cents: 100 + (hash >> 7) % 99_900,
        quantity: 1 + (hash >> 40) % 9,
        time: format!(
            "2024-05-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            1 + second / 86_400 % 28,
            second / 3600 % 24,
            second / 60 % 60,
            second % 60,
            row * 20_011 % 1_000_000
        ),
    }
}

fn uuid(hash: u64) -> String {
    let hex = format!("{hash:016x}{:016x}", hash.rotate_left(17));
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

fn json_line(row: u64, out: &mut String) {
    let Event {
        id,
        user,
        kind,
        place,
        cents,
        quantity,
        time,
    } = event(row);
    let id = uuid(id);
    let (whole, rest) = (cents / 100, cents % 100);
    writeln!(
        out,
        "{{\"event_id\":\"{id}\",\"user_id\":{user},\"event_type\":\"{kind}\",\
         \"pickup_location\":\"{place}\",\"amount\":{whole}.{rest:02},\
         \"quantity\":{quantity},\"event_time\":\"{time}\"}}"
    )
    .expect("a String takes all text");
}

fn spaced_line(row: u64, out: &mut String) {
    let start = out.len();
    json_line(row, out);
    let spaced = out[start..].replace("\":", "\": ").replace(",\"", ", \"");
    out.truncate(start);
    out.push_str(&spaced);
}

fn escaped_line(row: u64, out: &mut String) {
    let start = out.len();
    json_line(row, out);
    let escaped = out[start..].replacen("-", "\\u002d", 1);
    out.truncate(start);
    out.push_str(&escaped);
}

fn csv_line(row: u64, out: &mut String) {
    let Event {
        id,
        user,
        kind,
        place,
        cents,
        quantity,
        time,
    } = event(row);
    let id = uuid(id);
    let (whole, rest) = (cents / 100, cents % 100);
    writeln!(
        out,
        "{id},{user},{kind},{place},{whole}.{rest:02},{quantity},{time}"
    )
    .expect("a String takes all text");
}

fn quoted_line(row: u64, out: &mut String) {
    let start = out.len();
    csv_line(row, out);
    let comma = start + out[start..].find(',').expect("a line has commas");
    out.insert(comma, '"');
    out.insert(start, '"');
}

/// Blocks of whole lines, and how many bytes a line has.
fn blocks(line: impl Fn(u64, &mut String)) -> (Vec<Block>, u64) {
    let (mut blocks, mut text, mut bytes) = (Vec::new(), String::new(), 0);
    for row in 0..ROWS {
        line(row, &mut text);
        if text.len() >= BLOCK_BYTES || row + 1 == ROWS {
            bytes += text.len() as u64;
            blocks.push(Block {
                columns: None,
                bytes: Arc::new(std::mem::take(&mut text).into_bytes()),
                start: Offset(0),
                end: Offset(0),
                line: 1,
                header: None,
                records: None,
            });
        }
    }
    (blocks, bytes / ROWS)
}

fn measure(title: &str, format: &str, line: impl Fn(u64, &mut String), names: &[&str]) {
    // `cargo bench --bench decode -- csv` measures the cases whose title has `csv` in it.
    let mut filters = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    if filters
        .next()
        .is_some_and(|filter| !title.contains(&filter))
    {
        return;
    }
    let (blocks, bytes) = blocks(line);
    let options = FormatOptions::parse(format, &BTreeMap::new()).expect("the defaults are valid");
    let all = fields();
    let chosen = all.iter().filter(|(name, _)| names.contains(name));
    let chosen = chosen.map(|(name, kind)| Field::new(*name, kind.clone(), true));
    let wanted = Wanted {
        schema: Arc::new(Schema::new(chosen.collect::<Vec<_>>())),
        declared: all.iter().map(|(name, _)| (*name).to_owned()).collect(),
        tombstones: false,
    };
    let mut decoder = decoder(&options, &wanted).expect("every format reads these types");
    let mut runs: Vec<(f64, f64)> = (0..RUNS)
        .map(|_| {
            let (start, start_ns) = (Instant::now(), processor_ns());
            let mut rows = 0;
            for block in &blocks {
                rows += decoder.decode(block).rows.num_rows() as u64;
            }
            assert_eq!(rows, ROWS, "every line is a row");
            let seconds = start.elapsed().as_secs_f64();
            let busy = processor_ns().zip(start_ns);
            let busy = busy.map_or(seconds, |(end, start)| (end - start) as f64 / 1e9);
            (ROWS as f64 / seconds / 1e6, ROWS as f64 / busy / 1e6)
        })
        .collect();
    runs.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (wall, busy) = runs[RUNS / 2];
    let best = runs[RUNS - 1].1;
    println!(
        "{title:<26} {busy:6.2} M rows/s, best {best:.2}, by the wall clock {wall:.2}; {bytes} bytes a row"
    );
}

/// Nanoseconds that this thread has run, where the system says: on a machine that does other
/// things too, rows per second of work are steadier than rows per second.
fn processor_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
