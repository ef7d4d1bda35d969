//! `format = 'parquet'`: files of columns.
//!
//! ```text
//!   file ──footer──▶ which columns, where ──▶ the wanted ones, a few thousand rows at a time
//! ```
//!
//! A record's position is its number in the file. Of a row group only the columns are read that
//! somebody wants; row groups before the position are passed over. Whether a file is whole and has the
//! declared columns is said before a row is read. The `parquet` crate panics over some damaged pages,
//! which is an error like those that it gives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ColumnChunkMetaData;

use super::cut::block_size;
use super::find::{self, Found};
use super::known::Known;
use super::{checksums, not_as_declared, unreadable};
use crate::connector::{ConnectorError, Partition, Reader, Source};
use crate::format::{
    Block, Decoder, FormatOptions, InferredColumn, Wanted, declared, decoder, fit,
};
use crate::types::{Offset, caught};

/// How many rows become a block.
const ROWS: usize = 8192;

/// Files of columns.
pub(super) struct ParquetSource {
    partitions: Vec<Partition>,
    files: Vec<ColumnFile>,
    known: Vec<Known>,
    format: FormatOptions,
    wanted: Wanted,
}

/// A file, and what of it is read.
#[derive(Clone)]
struct ColumnFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    columns: Vec<usize>,
}

impl ParquetSource {
    /// Finds the files, looks what columns they have, and reads them whole once, for their
    /// checksums.
    pub(super) fn open(
        pattern: &str,
        base: &Path,
        format: FormatOptions,
        wanted: Wanted,
    ) -> Result<Self, ConnectorError> {
        let found = find::find(pattern, base)?;
        let files = look(&found, &format, &wanted)?;
        let known = checksums(&found)?;
        let partition = |((found, known), file): ((&Found, &Known), &ColumnFile)| Partition {
            name: found.name.clone(),
            identity: Some(known.content.identity()),
            length: u64::try_from(file.metadata.metadata().file_metadata().num_rows()).ok(),
        };
        let partitions = found.iter().zip(&known).zip(&files).map(partition);
        Ok(Self {
            partitions: partitions.collect(),
            files,
            known,
            format,
            wanted,
        })
    }

    /// Whether `open` would find files with the columns that are wanted.
    pub(super) fn inspect(
        pattern: &str,
        base: &Path,
        format: &FormatOptions,
        wanted: &Wanted,
    ) -> Result<(), ConnectorError> {
        look(&find::find(pattern, base)?, format, wanted).map(drop)
    }
}

/// What is in each file, by its footer.
fn look(
    found: &[Found],
    format: &FormatOptions,
    wanted: &Wanted,
) -> Result<Vec<ColumnFile>, ConnectorError> {
    decoder(format, wanted).map_err(|error| ConnectorError::permanent(error.to_string()))?;
    let file = |found: &Found| {
        let metadata = metadata_of(found)?;
        let columns = fit(metadata.schema(), format, wanted)
            .map_err(|unfitting| not_as_declared(found, &unfitting.difference, unfitting.hint))?;
        Ok(ColumnFile {
            path: found.path.clone(),
            metadata,
            columns,
        })
    };
    found.iter().map(file).collect()
}

fn metadata_of(found: &Found) -> Result<ArrowReaderMetadata, ConnectorError> {
    let file = File::open(&found.path).map_err(|error| unreadable(&found.name, &error))?;
    // The types are the file's own: those that a writer noted besides are of its memory only.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let broken = |error: &dyn std::fmt::Display| {
        ConnectorError::hinted(
            format!("cannot read `{}` as Parquet: {error}", found.name),
            "a file that is still being written has no footer yet; take a broken one out of the folder",
        )
    };
    let size = file.metadata().map_err(|error| broken(&error))?.len();
    let metadata = caught(|| ArrowReaderMetadata::load(&file, options))
        .map_err(|panic| broken(&panic))?
        .map_err(|error| broken(&error))?;
    let groups = metadata.metadata().row_groups().iter();
    let outside = |chunk: &ColumnChunkMetaData| {
        let start = chunk.dictionary_page_offset();
        let start = start.unwrap_or_else(|| chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size());
        // The crate trusts these.
        start < 0 || chunk.compressed_size() < 0 || end.is_none_or(|end| end.cast_unsigned() > size)
    };
    if groups.clone().any(|group| group.num_rows() < 0)
        || groups.flat_map(|group| group.columns()).any(outside)
    {
        return Err(broken(&"its footer names places that are not in it"));
    }
    Ok(metadata)
}

/// The columns of the first file that a pattern means.
pub fn parquet_columns(pattern: &str) -> Result<Vec<InferredColumn>, ConnectorError> {
    let found = find::find(pattern, Path::new(""))?;
    Ok(declared(metadata_of(&found[0])?.schema()))
}

impl Source for ParquetSource {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let (file, name) = (&self.files[index], self.partitions[index].name.clone());
        let opened = File::open(&file.path).map_err(|error| unreadable(&name, &error))?;
        self.known[index].check(&name, &opened)?;
        let (groups, skipped) = file.from(from.0);
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(opened, file.metadata.clone());
        let columns = file.columns.iter().copied();
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let builder = builder
            .with_projection(mask)
            .with_row_groups(groups)
            .with_offset(skipped)
            .with_batch_size(block_size(ROWS));
        let place = || file.groups(from.0, block_size(ROWS));
        let rows = caught(|| builder.build())
            .map_err(|panic| broken(&name, &place(), &panic))?
            .map_err(|error| broken(&name, &place(), &error))?;
        Ok(Box::new(ParquetReader {
            name,
            rows,
            file: file.clone(),
            at: from,
        }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        decoder(&self.format, &self.wanted)
            .expect("the same decoder was made when the source was opened")
    }
}

impl ColumnFile {
    /// The row groups that so many rows from this one on are in, for people.
    fn groups(&self, row: u64, rows: usize) -> String {
        let count = self.metadata.metadata().row_groups().len();
        let group = |row| count - self.from(row).0.len();
        let last = group(row.saturating_add(rows as u64).saturating_sub(1));
        let last = last.min(count.saturating_sub(1));
        match group(row).min(last) {
            first if first == last => format!("row group {first}"),
            first => format!("row groups {first} to {last}"),
        }
    }

    /// The row groups from the one with this row on, and how many rows of it come before.
    fn from(&self, row: u64) -> (Vec<usize>, usize) {
        let groups = self.metadata.metadata().row_groups();
        let (mut before, mut first) = (0, 0);
        for group in groups {
            let rows = u64::try_from(group.num_rows()).unwrap_or_default();
            if before + rows > row {
                break;
            }
            before += rows;
            first += 1;
        }
        let skipped = usize::try_from(row.saturating_sub(before));
        (
            (first..groups.len()).collect(),
            skipped.unwrap_or(usize::MAX),
        )
    }
}

fn broken(name: &str, groups: &str, error: &dyn std::fmt::Display) -> ConnectorError {
    ConnectorError::hinted(
        format!("could not read {groups} of `{name}` as Parquet: {error}"),
        "the file is damaged: write it anew, or take it out of the folder before the first run",
    )
}

struct ParquetReader {
    name: String,
    rows: ParquetRecordBatchReader,
    file: ColumnFile,
    at: Offset,
}

impl Reader for ParquetReader {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        let place = || self.file.groups(self.at.0, block_size(ROWS));
        let rows =
            caught(|| self.rows.next()).map_err(|panic| broken(&self.name, &place(), &panic))?;
        let Some(rows) = rows else {
            return Ok(None);
        };
        let rows = rows.map_err(|error| broken(&self.name, &place(), &error))?;
        let start = self.at;
        self.at = Offset(start.0 + rows.num_rows() as u64);
        Ok(Some(Block {
            bytes: Arc::default(),
            start,
            end: self.at,
            line: 0,
            header: None,
            records: None,
            columns: Some(Arc::new(rows)),
        }))
    }
}

#[cfg(test)]
mod tests;
