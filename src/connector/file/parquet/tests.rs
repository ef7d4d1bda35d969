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
