//! Files of columns that are not as they were written.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::connector::fixtures::table;
use crate::connector::open_source;
use crate::plan::Role;
use crate::types::Clock;

fn file(packing: Compression) -> Vec<u8> {
    let texts = (0..40).map(|n| (n % 3 > 0).then(|| format!("text {}", n % 7)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(0..40))),
        ("text", Arc::new(StringArray::from_iter(texts))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(15))
        .set_compression(packing);
    let properties = Some(properties.build());
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), properties).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap()
}

/// Reads all rows; how many there are.
fn read(bytes: &[u8], from: u64) -> Result<usize, ConnectorError> {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("a.parquet"), bytes).unwrap();
    let columns = [("n", DataType::Int64), ("text", DataType::Utf8)];
    let options = [
        ("connector", "file"),
        ("path", "a.parquet"),
        ("format", "parquet"),
    ];
    let table = table(Role::Source, &columns, &options);
    let source = open_source(&table, &[0, 1], folder.path(), &Clock::manual())?;
    let mut reader = source.open(0, Offset(from))?;
    let (mut decoder, mut count) = (source.decoder(), 0);
    while let Some(block) = reader.next()? {
        let decoded = decoder.decode(&block);
        count += decoded.rows.num_rows() + decoded.rejects.len();
    }
    Ok(count)
}

#[test]
fn reading_begins_at_any_row() {
    let bytes = file(Compression::SNAPPY);

    for from in [0, 1, 14, 15, 16, 30, 39, 40] {
        assert_eq!(read(&bytes, from).unwrap() as u64, 40 - from);
    }
}

#[test]
fn a_file_that_is_torn_anywhere_is_refused() {
    let bytes = file(Compression::UNCOMPRESSED);

    for len in 0..bytes.len() {
        assert!(read(&bytes[..len], 0).is_err(), "{len} bytes");
    }
}

/// Flips bits of the pages, of the footer and of both: rows or an error, always, and soon.
#[test]
fn bytes_that_flipped_are_rows_or_an_error_that_names_the_row_group() {
    let (done, finished) = std::sync::mpsc::sync_channel(1);
    let flips = move || {
        let mut said = std::collections::BTreeSet::new();
        for (seed, packing) in [Compression::UNCOMPRESSED, Compression::SNAPPY]
            .iter()
            .enumerate()
        {
            let bytes = file(*packing);
            let mut random = 0x9e37_79b9_7f4a_7c15_u64 + seed as u64;
            let mut draw = |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                usize::try_from(random % below as u64).unwrap()
            };
            for _ in 0..300 {
                let mut damaged = bytes.clone();
                for _ in 0..=draw(3) {
                    let at = draw(damaged.len());
                    damaged[at] ^= 1 << draw(8);
                }
                match read(&damaged, 0) {
                    Err(ConnectorError::Permanent { message, .. }) => {
                        assert!(message.contains("`a.parquet`"), "{message}");
                        said.extend(message.contains(" row group").then_some(message));
                    }
                    Err(other) => panic!("{other:?}"),
                    Ok(_) => {}
                }
            }
        }
        done.send(said).unwrap();
    };
    std::thread::Builder::new().spawn(flips).unwrap();
    let said = finished.recv_timeout(std::time::Duration::from_secs(100));

    let said = said.expect("reading ends, and no panic comes through");
    assert!(said.len() > 10, "{said:?}");
    // As the crate's panics are worded, which came through before.
    let panicked =
        |message: &String| message.contains("out of range") || message.contains("out of bounds");
    assert!(said.iter().any(panicked), "{said:#?}");
}
