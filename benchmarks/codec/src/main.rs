//! Which codec a snapshot's parts should have: sizes, and how fast they are written and read.
//!
//! ```text
//!   a part of a real snapshot ──▶ columns: a vector per column, texts side by side ──▶ three codecs
//!                             └─▶ rows: a struct per row, a vector per text          ──▶ two of them
//! ```
//!
//! `cargo run --release -- PART.arrow ..`, with parts out of the state of a pipeline. Each figure is
//! the median of several runs, by the time that the thread had the processor. Reading ends with a
//! look at every value, so that none is put off; Arrow's reading checks what it reads.
#![allow(
    deprecated,
    reason = "abomonation's macro, instead of a second crate that writes the same"
)]

use std::fs::File;
use std::hint::black_box;

use abomonation::{Abomonation, unsafe_abomonate};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, UInt64Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

const RUNS: usize = 7;

/// A column.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Column {
    /// Its numbers; wide ones are two.
    numbers: Vec<u64>,
    /// Where each of its texts ends.
    ends: Vec<u32>,
    texts: Vec<u8>,
    /// Which values are there; empty if all are.
    valid: Vec<bool>,
}
unsafe_abomonate!(Column: numbers, ends, texts, valid);

/// A row, as an operator written without Arrow would keep it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    numbers: Vec<u64>,
    texts: Vec<Vec<u8>>,
}
unsafe_abomonate!(Row: numbers, texts);

fn main() {
    println!("| part | rows | codec | bytes a row | write, M rows/s | read, M rows/s |");
    println!("|---|---|---|---|---|---|");
    for path in std::env::args().skip(1) {
        let file = File::open(&path).expect("the part is there");
        let batches = StreamReader::try_new(file, None).expect("a part begins with its schema");
        let batches: Vec<RecordBatch> = batches
            .map(|batch| batch.expect("a part is whole"))
            .collect();
        let name = path.rsplit('/').next().unwrap_or(&path);
        let part = Part {
            name,
            rows: batches.iter().map(RecordBatch::num_rows).sum(),
        };

        part.measure("Arrow IPC", &batches, write_arrow, |bytes| {
            look_at_batches(&read_arrow(bytes))
        });

        let columns: Vec<Vec<Column>> = batches.iter().map(columns_of).collect();
        part.measure("bincode, columns", &columns, write_bincode, |bytes| {
            look_at_columns(&read_bincode(bytes))
        });
        part.measure(
            "abomonation, columns",
            &columns,
            write_abomonation,
            |bytes| look_at_columns(read_abomonation(&mut bytes.to_vec())),
        );

        let rows: Vec<Row> = columns
            .iter()
            .flat_map(|columns| rows_of(columns))
            .collect();
        part.measure("bincode, rows", &rows, write_bincode, |bytes| {
            look_at_rows(&read_bincode(bytes))
        });
        part.measure("abomonation, rows", &rows, write_abomonation, |bytes| {
            look_at_rows(read_abomonation(&mut bytes.to_vec()))
        });
    }
}

/// One operator's state on one worker.
struct Part<'a> {
    name: &'a str,
    rows: usize,
}

impl Part<'_> {
    fn measure<T>(
        &self,
        codec: &str,
        state: &T,
        write: impl Fn(&T) -> Vec<u8>,
        read: impl Fn(&[u8]) -> u64,
    ) {
        let bytes = write(state);
        let rate = |work: &dyn Fn() -> u64| {
            let mut runs: Vec<f64> = (0..RUNS)
                .map(|_| {
                    let start = processor_ns();
                    black_box(work());
                    (processor_ns() - start) as f64
                })
                .collect();
            runs.sort_by(f64::total_cmp);
            self.rows as f64 * 1e3 / runs[RUNS / 2]
        };
        let written = rate(&|| write(black_box(state)).len() as u64);
        let read = rate(&|| read(black_box(&bytes)));
        let size = bytes.len() as f64 / self.rows as f64;
        println!(
            "| {} | {} | {codec} | {size:.1} | {written:.1} | {read:.1} |",
            self.name, self.rows
        );
    }
}

fn write_arrow(batches: &Vec<RecordBatch>) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("memory takes all bytes");
    batches
        .iter()
        .for_each(|batch| writer.write(batch).expect("memory takes all bytes"));
    writer.finish().expect("memory takes all bytes");
    writer.into_inner().expect("memory takes all bytes")
}

fn read_arrow(bytes: &[u8]) -> Vec<RecordBatch> {
    let reader = StreamReader::try_new(bytes, None).expect("it was just written");
    reader
        .map(|batch| batch.expect("it was just written"))
        .collect()
}

fn write_bincode<T: Serialize>(state: &T) -> Vec<u8> {
    bincode::serialize(state).expect("memory takes all bytes")
}

fn read_bincode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> T {
    bincode::deserialize(bytes).expect("it was just written")
}

fn write_abomonation<T: Abomonation>(state: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // SAFETY: there is none: that is why this is a benchmark. Padding is written out as it is.
    unsafe { abomonation::encode(state, &mut bytes) }.expect("memory takes all bytes");
    bytes
}

fn read_abomonation<T: Abomonation>(bytes: &mut [u8]) -> &T {
    // SAFETY: none either: it believes every byte, and reads numbers where they are not aligned.
    let (state, _) = unsafe { abomonation::decode(bytes) }.expect("it was just written");
    state
}

fn columns_of(batch: &RecordBatch) -> Vec<Column> {
    let column = |array: &arrow::array::ArrayRef| {
        let mut column = Column::default();
        match array.data_type() {
            DataType::UInt64 => {
                column.numbers = array.as_primitive::<UInt64Type>().values().to_vec()
            }
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>().values().iter();
                column.numbers = values.map(|value| value.cast_unsigned()).collect();
            }
            DataType::Decimal128(..) => {
                for value in array.as_primitive::<Decimal128Type>().values() {
                    column
                        .numbers
                        .extend([*value as u64, (*value >> 64) as u64]);
                }
            }
            DataType::Binary => {
                let texts = array.as_binary::<i32>();
                for at in 0..texts.len() {
                    column.texts.extend_from_slice(texts.value(at));
                    column.ends.push(column.texts.len() as u32);
                }
            }
            other => panic!("a part has a column of {other}, which this benchmark does not know"),
        }
        if array.null_count() > 0 {
            column.valid = (0..array.len()).map(|at| array.is_valid(at)).collect();
        }
        column
    };
    batch.columns().iter().map(column).collect()
}

fn rows_of(columns: &[Column]) -> Vec<Row> {
    let rows = columns[0].numbers.len();
    let row = |at: usize| {
        let mut row = Row::default();
        for column in columns {
            if column.ends.is_empty() {
                let width = column.numbers.len() / rows;
                row.numbers
                    .extend_from_slice(&column.numbers[at * width..(at + 1) * width]);
            } else {
                let start = if at == 0 {
                    0
                } else {
                    column.ends[at - 1] as usize
                };
                row.texts
                    .push(column.texts[start..column.ends[at] as usize].to_vec());
            }
        }
        row
    };
    (0..rows).map(row).collect()
}

fn look_at_batches(batches: &[RecordBatch]) -> u64 {
    let mut sum = 0_u64;
    for array in batches.iter().flat_map(RecordBatch::columns) {
        for buffer in array.to_data().buffers() {
            sum = sum.wrapping_add(look(buffer.as_slice()));
        }
    }
    sum
}

fn look_at_columns(parts: &Vec<Vec<Column>>) -> u64 {
    let mut sum = 0_u64;
    for column in parts.iter().flatten() {
        sum = column
            .numbers
            .iter()
            .fold(sum, |sum, number| sum.wrapping_add(*number));
        sum = column
            .ends
            .iter()
            .fold(sum, |sum, end| sum.wrapping_add(u64::from(*end)));
        sum = sum.wrapping_add(look(&column.texts));
    }
    sum
}

fn look_at_rows(rows: &Vec<Row>) -> u64 {
    let mut sum = 0_u64;
    for row in rows {
        sum = row
            .numbers
            .iter()
            .fold(sum, |sum, number| sum.wrapping_add(*number));
        sum = row
            .texts
            .iter()
            .fold(sum, |sum, text| sum.wrapping_add(look(text)));
    }
    sum
}

fn look(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

/// Nanoseconds that this thread has run.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    let first = text.split_ascii_whitespace().next();
    first
        .and_then(|ns| ns.parse().ok())
        .expect("it begins with a number")
}
