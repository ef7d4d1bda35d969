//! `connector = 'file'`: files of records, each a partition of its own.
//!
//! The list of files is fixed when the source is opened, and with it each file's size and checksum,
//! which the marks keep: a file that has changed since cannot be resumed. `.gz` and `.zst` are
//! unpacked on the way; offsets count unpacked bytes. As a sink: `sink`.

mod cut;
mod find;
mod head;
mod known;
mod parquet;
mod sink;
#[cfg(test)]
mod tests;
mod watch;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use self::cut::Cutter;
use self::find::{Compression, Found};
use self::head::Head;
use self::known::Known;
use self::parquet::ParquetSource;
pub use self::parquet::parquet_columns;
pub use self::sink::FileSink;
use self::watch::Watched;
use super::catalog::{Connector, Guarantee, SinkEntry, SourceEntry};
use super::open::{OpenSink, OpenSource, keeps_all, required, resolve};
use super::option::{Absent, ConnectorOption, Side, ValueKind};
use super::{ConnectorError, Partition, Reader, Source};
use crate::format::{Block, Decoder, FormatOptions, Wanted, check_header, decoder, format};
use crate::plan::{Role, Table};
use crate::types::Offset;

/// Reads files; writes one.
pub(super) const CONNECTOR: Connector = Connector {
    name: "file",
    help: "files of records; .gz and .zst are unpacked; a sink appends to one",
    options: &[
        ConnectorOption {
            name: "path",
            help: "a file, a folder, or a pattern such as data/*.json; a sink writes one file",
            default: Absent::Required,
            side: Side::Both,
            kind: ValueKind::Text,
        },
        super::reload::OPTION,
        ConnectorOption::source(
            WATCH,
            "whether new files are read as they appear; then event time does not end",
            "false",
            ValueKind::OneOf(&["true", "false"]),
        ),
    ],
    source: Some(SourceEntry {
        reference: true,
        takes_format: true,
        takes_columns: true,
        has_metadata: false,
        check: |table| {
            if is_columns(table) && is_watched(table) {
                let message = "a folder is watched for CSV or JSON lines, not for Parquet";
                return vec![(WATCH.to_owned(), message.to_owned())];
            }
            let looked_up = table.role == Role::Reference && is_watched(table);
            let message = "a table that is looked up in is read whole, so nothing is added to it";
            Vec::from_iter(looked_up.then(|| (WATCH.to_owned(), message.to_owned())))
        },
        open: OpenSource {
            inspect: |origin| {
                let path = required(origin.table, "path")?;
                if is_columns(origin.table) {
                    let format = origin.format()?;
                    return ParquetSource::inspect(path, origin.base, &format, &origin.wanted);
                }
                if is_watched(origin.table) {
                    let format = origin.format()?;
                    return Watched::inspect(path, origin.base, &format, &origin.wanted);
                }
                FileSource::inspect(path, origin.base, &origin.format()?, &origin.wanted)
            },
            open: |origin| {
                let (path, format) = (required(origin.table, "path")?, origin.format()?);
                if is_columns(origin.table) {
                    let source = ParquetSource::open(path, origin.base, format, origin.wanted)?;
                    return Ok(Arc::new(source));
                }
                if is_watched(origin.table) {
                    let source =
                        Watched::open(path, origin.base, format, origin.wanted, origin.clock)?;
                    return Ok(Arc::new(source));
                }
                let source = FileSource::open(path, origin.base, format, origin.wanted)?;
                Ok(Arc::new(source))
            },
            keeps: keeps_all,
            reads: find::reads,
        },
    }),
    sink: Some(SinkEntry {
        guarantee: Guarantee::ExactlyOnce,
        keyed: false,
        takes_format: true,
        refused: None,
        letters: None,
        own_formats: &[],
        open: OpenSink {
            database: |table, base| {
                resolve(table.option("path").unwrap_or_default(), base)
                    .display()
                    .to_string()
            },
            open: |origin| Ok(Box::new(FileSink::from_origin(&origin)?)),
        },
    }),
};

/// The option.
const WATCH: &str = "watch";

/// Whether new files are read as they appear.
pub fn is_watched(table: &Table) -> bool {
    table.connector == CONNECTOR.name && table.option(WATCH) == Some("true")
}

/// Whether its files are of columns.
fn is_columns(table: &Table) -> bool {
    let format = table.option("format").and_then(format);
    format.is_some_and(|format| !format.is_of_bytes())
}

/// Files of one format.
pub struct FileSource {
    partitions: Vec<Partition>,
    files: Vec<SourceFile>,
    known: Vec<Known>,
    format: FormatOptions,
    wanted: Wanted,
}

struct SourceFile {
    path: PathBuf,
    compression: Compression,
    size: u64,
    head: Head,
}

impl Source for FileSource {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn open(&self, index: usize, from: Offset) -> Result<Box<dyn Reader>, ConnectorError> {
        let (file, known) = (&self.files[index], self.known[index]);
        let name = self.partitions[index].name.clone();
        let failed = |error| unreadable(&name, &error);
        let opened = Arc::new(File::open(&file.path).map_err(failed)?);
        known.check(&name, &opened)?;
        let bytes = file.compression.unpack(Arc::clone(&opened), file.size);
        let reader = bytes.and_then(|bytes| read_from(bytes, file, &name, &self.format, from));
        Ok(Box::new(SteadyReader {
            reader: reader.map_err(failed)?,
            opened,
            known,
        }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        decoder(&self.format, &self.wanted)
            .expect("the same decoder was made when the source was opened")
    }
}

fn open_file(
    file: &SourceFile,
    name: String,
    format: &FormatOptions,
    from: Offset,
) -> Result<Box<dyn Reader>, ConnectorError> {
    let bytes = file.compression.open(&file.path, file.size);
    let reader = bytes.and_then(|bytes| read_from(bytes, file, &name, format, from));
    Ok(Box::new(reader.map_err(|error| unreadable(&name, &error))?))
}

fn read_from(
    bytes: Box<dyn io::Read + Send>,
    file: &SourceFile,
    name: &str,
    format: &FormatOptions,
    from: Offset,
) -> io::Result<FileReader> {
    let mut cutter = Cutter::new(bytes, format.framing(), format.record_bytes_max)
        .with_header(file.head.header.clone());
    // Not by a seek: the lines before have to be counted, so that a reject can name its
    // own. The checksum has just read them, so they are at hand.
    cutter.skip_to(from.max(file.head.first))?;
    Ok(FileReader {
        name: name.to_owned(),
        cutter,
    })
}

/// Reads a file that may not become another meanwhile.
struct SteadyReader {
    reader: FileReader,
    opened: Arc<File>,
    known: Known,
}

impl Reader for SteadyReader {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        let block = self.reader.next()?;
        if block.is_none() {
            self.known.check(&self.reader.name, &self.opened)?;
        }
        Ok(block)
    }
}

struct FileReader {
    name: String,
    cutter: Cutter<Box<dyn io::Read + Send>>,
}

impl Reader for FileReader {
    fn next(&mut self) -> Result<Option<Block>, ConnectorError> {
        self.cutter
            .next()
            .map_err(|error| unreadable(&self.name, &error))
    }
}

fn unreadable(name: &str, error: &io::Error) -> ConnectorError {
    ConnectorError::permanent(format!("cannot read `{name}`: {error}"))
}

impl FileSource {
    /// Finds the files, reads their headers, and reads them whole once, for their checksums.
    pub(super) fn open(
        pattern: &str,
        base: &Path,
        format: FormatOptions,
        wanted: Wanted,
    ) -> Result<Self, ConnectorError> {
        let found = find::find(pattern, base)?;
        let heads = heads(&found, &format, &wanted)?;
        let known = checksums(&found)?;
        let mut partitions = Vec::new();
        let mut files = Vec::new();
        for ((found, head), known) in found.into_iter().zip(heads).zip(&known) {
            let content = known.content;
            let compression = Compression::of(&found.path);
            partitions.push(Partition {
                name: found.name,
                identity: Some(content.identity()),
                length: (compression == Compression::None).then_some(content.size),
            });
            files.push(SourceFile {
                path: found.path,
                compression,
                size: content.size,
                head,
            });
        }
        Ok(Self {
            partitions,
            files,
            known,
            format,
            wanted,
        })
    }

    /// The name of the first file that has something in it, and the start of that.
    pub fn sample(
        pattern: &str,
        base: &Path,
        bytes: u64,
    ) -> Result<(String, Vec<u8>), ConnectorError> {
        let found = find::find(pattern, base)?;
        for file in &found {
            let mut sample = Vec::new();
            let read = Compression::of(&file.path).open(&file.path, u64::MAX);
            read.and_then(|file| io::Read::take(file, bytes).read_to_end(&mut sample))
                .map_err(|error| unreadable(&file.name, &error))?;
            if !sample.trim_ascii().is_empty() {
                return Ok((file.name.clone(), sample));
            }
        }
        Ok((found[0].name.clone(), Vec::new()))
    }

    /// The files' header lines, each with the name of its file.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[String])> {
        let names = self.partitions.iter().map(|file| file.name.as_str());
        let files = names.zip(&self.files);
        files.filter_map(|(name, file)| Some((name, file.head.header.as_deref()?.as_slice())))
    }

    /// Whether `open` would find files with the columns that are wanted. Reads no more than
    /// their headers.
    pub(super) fn inspect(
        pattern: &str,
        base: &Path,
        format: &FormatOptions,
        wanted: &Wanted,
    ) -> Result<(), ConnectorError> {
        heads(&find::find(pattern, base)?, format, wanted).map(drop)
    }
}

fn heads(
    found: &[Found],
    format: &FormatOptions,
    wanted: &Wanted,
) -> Result<Vec<Head>, ConnectorError> {
    let head = |found: &Found| {
        let head = Head::read(&found.path, format).map_err(|e| unreadable(&found.name, &e))?;
        match head
            .header
            .as_deref()
            .map(|header| check_header(header, wanted))
        {
            Some(Err(difference)) => Err(not_as_declared(
                found,
                &difference,
                "declare the columns as they are named there, or say 'csv.header' = 'false' if the first line is a record",
            )),
            Some(Ok(())) | None => Ok(head),
        }
    };
    decoder(format, wanted).map_err(|error| ConnectorError::permanent(error.to_string()))?;
    found.iter().map(head).collect()
}

fn not_as_declared(
    found: &Found,
    difference: &impl std::fmt::Display,
    hint: impl Into<String>,
) -> ConnectorError {
    let name = &found.name;
    let message = format!("`{name}` does not have the declared columns: {difference}");
    ConnectorError::hinted(message, hint)
}

/// What each file is, read whole by as many threads as there are cores.
fn checksums(found: &[Found]) -> Result<Vec<Known>, ConnectorError> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(found.len());
    let share = found.len().div_ceil(threads.max(1));
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for files in found.chunks(share.max(1)) {
            let work = move || -> Result<Vec<Known>, ConnectorError> {
                let known = |found: &Found| {
                    Known::of(&found.path).map_err(|error| unreadable(&found.name, &error))
                };
                files.iter().map(known).collect()
            };
            let worker = thread::Builder::new()
                .name("checksum".to_owned())
                .spawn_scoped(scope, work)
                .map_err(|e| ConnectorError::permanent(format!("cannot start a thread: {e}")))?;
            workers.push(worker);
        }
        let mut all = Vec::with_capacity(found.len());
        for worker in workers {
            all.extend(worker.join().expect("reading a file does not panic")?);
        }
        Ok(all)
    })
}
