//! A file as a sink: rows are appended, exactly once.
//!
//! ```text
//!   out.json             rows, rows, rows│rows of an epoch in the making
//!   out.json.tidemark    mark, length ───┘
//! ```
//!
//! A second file beside it holds the mark and how long the file was then; it is replaced as a whole,
//! after the rows are on the disk. So a crash at any moment leaves a mark and at least its rows, and
//! the next start cuts off what came after. A reader may see rows of an epoch that is not marked yet;
//! what stands within the length does not change any more.
//!
//! Whoever writes holds the file's lock meanwhile and looks first whether the second file still has
//! its own incarnation: if not, another process took over.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::find::Compression;
use crate::connector::open::missing_folder;
use serde::{Deserialize, Serialize};

use crate::connector::open::{SinkOrigin, folder_of, format_of, required, resolve, sink_table};
use crate::connector::{ConnectorError, Destination, Finding, SinkTable, TableChanges};
use crate::format::Encoder;
use crate::types::Mark;

/// Appends to one file.
pub struct FileSink {
    path: PathBuf,
    pipeline: String,
    table: SinkTable,
    encoder: Encoder,
    /// Of this start, once it has taken over.
    incarnation: Option<u64>,
}

/// What the second file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sidecar {
    pipeline: String,
    generation: u64,
    incarnation: u64,
    /// How many bytes of the file the mark stands for.
    length: u64,
    /// None until the first publish.
    mark: Option<Mark>,
}

impl FileSink {
    pub(super) fn from_origin(origin: &SinkOrigin<'_>) -> Result<Self, ConnectorError> {
        let [table] = origin.tables[..] else {
            let names: Vec<String> = origin
                .tables
                .iter()
                .map(|t| format!("`{}`", t.name))
                .collect();
            return Err(ConnectorError::hinted(
                format!("{} write to the same file", names.join(" and ")),
                "insert into one of them twice, or give each its own `path`",
            ));
        };
        let path = resolve(required(table, "path")?, origin.base);
        if Compression::of(&path) != Compression::None {
            return Err(ConnectorError::hinted(
                format!(
                    "cannot write to `{}`: files are written as they are, not packed",
                    path.display()
                ),
                "give `path` another extension",
            ));
        }
        Ok(Self {
            path,
            pipeline: origin.pipeline.to_owned(),
            table: sink_table(table, &table.name),
            encoder: Encoder::new(&format_of(table)?),
            incarnation: None,
        })
    }

    /// Opens the file for this process alone, until it is dropped.
    fn lock(&self) -> Result<File, ConnectorError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        let file = file.map_err(|error| self.failed("open", &error))?;
        file.lock().map_err(|error| self.failed("lock", &error))?;
        Ok(file)
    }

    /// Puts the names of both files onto the disk: what they hold is worth nothing without.
    fn keep_names(&self) -> Result<(), ConnectorError> {
        let folder = File::open(folder_of(&self.path));
        let kept = folder.and_then(|folder| folder.sync_all());
        kept.map_err(|error| self.failed("keep", &error))
    }

    fn failed(&self, doing: &str, error: &io::Error) -> ConnectorError {
        let message = format!("could not {doing} `{}`: {error}", self.path.display());
        if error.kind() == io::ErrorKind::StorageFull {
            ConnectorError::Transient(message)
        } else if error.kind() == io::ErrorKind::NotFound {
            ConnectorError::hinted(message, "the folder must exist")
        } else {
            ConnectorError::permanent(message)
        }
    }

    fn sidecar_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".tidemark");
        name.into()
    }

    fn read_sidecar(&self) -> Result<Option<Sidecar>, ConnectorError> {
        let path = self.sidecar_path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read the mark of", &error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            ConnectorError::hinted(
                format!("cannot read the mark in `{}`: {error}", path.display()),
                "it was written by another version, or by hand; remove it and the file beside it",
            )
        })
    }

    /// Replaces the second file as a whole. Its own bytes are on the disk before its name is, so
    /// that even a loss of power leaves the old one or the new.
    fn write_sidecar(&self, sidecar: &Sidecar) -> Result<(), ConnectorError> {
        let path = self.sidecar_path();
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            serde_json::to_writer(&mut file, sidecar)?;
            file.sync_data()?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(|error| self.failed("write the mark of", &error))
    }

    /// Whether this pipeline may append to a file of `length` bytes with this mark beside it.
    fn admit(&self, length: u64, sidecar: Option<&Sidecar>) -> Result<(), (String, &'static str)> {
        let path = self.path.display();
        match sidecar {
            None if length > 0 => Err((
                format!("`{path}` holds rows that no mark accounts for"),
                "choose another `path`, or move the file away if nothing needs it there",
            )),
            Some(other) if other.pipeline != self.pipeline => Err((
                format!("`{path}` is kept by pipeline `{}`", other.pipeline),
                "choose another `path`",
            )),
            Some(sidecar) if length < sidecar.length => Err((
                format!(
                    "`{path}` has {length} bytes, but its mark is of {}",
                    sidecar.length
                ),
                "start over with --fresh",
            )),
            None | Some(_) => Ok(()),
        }
    }

    /// Puts the rows behind `length` bytes, and onto the disk; returns the new length.
    fn append(&self, mut file: &File, length: u64, changes: &[TableChanges]) -> io::Result<u64> {
        let mut text = String::new();
        for change in changes {
            assert!(
                change.deletes.is_none(),
                "`{}` has no key to delete by",
                self.table.name
            );
            if let Some(rows) = &change.upserts {
                if length == 0 && text.is_empty() {
                    self.encoder.write_header(&self.table.schema, &mut text);
                }
                self.encoder.encode(rows, &mut text);
            }
        }
        if text.is_empty() {
            return Ok(length);
        }
        // An epoch that failed half-way may have left something.
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        Ok(length + text.len() as u64)
    }
}

impl Destination for FileSink {
    fn take_over(&mut self, incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        let file = self.lock()?;
        let length = file
            .metadata()
            .map_err(|error| self.failed("read", &error))?
            .len();
        let before = self.read_sidecar()?;
        self.admit(length, before.as_ref())
            .map_err(|(message, hint)| ConnectorError::hinted(message, hint))?;

        let generation = before.as_ref().map_or(1, |before| before.generation + 1);
        let kept = before.as_ref().map_or(0, |before| before.length);
        let mark = before.and_then(|before| before.mark);
        let mark = mark.map(|mark| Mark {
            generation,
            incarnation,
            ..mark
        });
        file.set_len(kept)
            .map_err(|error| self.failed("cut", &error))?;
        self.write_sidecar(&Sidecar {
            pipeline: self.pipeline.clone(),
            generation,
            incarnation,
            length: kept,
            mark: mark.clone(),
        })?;
        self.keep_names()?;
        self.incarnation = Some(incarnation);
        Ok(mark)
    }

    fn publish(&mut self, mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        let incarnation = self
            .incarnation
            .expect("a destination is taken over before it publishes");
        let file = self.lock()?;
        let before = match self.read_sidecar()? {
            Some(before) if before.incarnation == incarnation => before,
            Some(_) | None => {
                return Err(ConnectorError::Fenced {
                    destination: self.path.display().to_string(),
                    epoch: mark.epoch,
                });
            }
        };
        let length = file
            .metadata()
            .map_err(|error| self.failed("read", &error))?
            .len();
        self.admit(length, Some(&before))
            .map_err(|(message, hint)| ConnectorError::hinted(message, hint))?;

        let length = self
            .append(&file, before.length, changes)
            .map_err(|error| self.failed("write to", &error))?;
        self.write_sidecar(&Sidecar {
            length,
            mark: Some(mark.clone()),
            ..before
        })
    }

    fn make_durable(&mut self) -> Result<(), ConnectorError> {
        self.keep_names()
    }

    fn empty(&mut self) -> Result<(), ConnectorError> {
        let Some(before) = self.read_sidecar()? else {
            return Ok(());
        };
        if before.pipeline != self.pipeline {
            return Ok(());
        }
        let file = self.lock()?;
        // In this order, so that a crash in between leaves a mark that the file can serve.
        self.write_sidecar(&Sidecar {
            incarnation: 0,
            length: 0,
            mark: None,
            ..before
        })?;
        file.set_len(0)
            .map_err(|error| self.failed("empty", &error))?;
        std::fs::remove_file(self.sidecar_path())
            .map_err(|error| self.failed("remove the mark of", &error))
    }

    fn peek(&self) -> Result<Option<Mark>, ConnectorError> {
        let sidecar = self
            .read_sidecar()?
            .filter(|sidecar| sidecar.pipeline == self.pipeline);
        Ok(sidecar.and_then(|sidecar| sidecar.mark))
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        let finding = |message: String, hint: &str| {
            Ok(vec![Finding {
                table: 0,
                message,
                hint: Some(hint.to_owned()),
            }])
        };
        if let Some(folder) = missing_folder(&self.path) {
            return finding(
                format!("the folder `{folder}` does not exist"),
                "create it, or change `path`",
            );
        }
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        match self.admit(length, self.read_sidecar()?.as_ref()) {
            Ok(()) => Ok(Vec::new()),
            Err((message, hint)) => finding(message, hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::DataType;
    use tempfile::TempDir;

    use super::*;
    use crate::connector::fixtures::table;
    use crate::connector::open_destinations;
    use crate::plan::Role;
    use crate::types::{Epoch, Recipe};

    fn open(folder: &TempDir, pipeline: &str, format: &str) -> Box<dyn Destination> {
        let options = [("connector", "file"), ("path", "out"), ("format", format)];
        let table = table(Role::Sink, &[("n", DataType::Int64)], &options);
        let mut opened = open_destinations(pipeline, &[&table], folder.path()).unwrap();
        opened.remove(0).destination
    }

    fn mark(epoch: u64) -> Mark {
        Mark {
            generation: 1,
            incarnation: 7,
            life: 0,
            epoch: Epoch(epoch),
            recipe: Recipe {
                fingerprint: "f".to_owned(),
                ..Recipe::default()
            },
            sources: BTreeMap::new(),
        }
    }

    fn rows(numbers: &[i64]) -> [TableChanges; 1] {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let upserts = Some(RecordBatch::try_from_iter([("n", column)]).unwrap());
        [TableChanges {
            table: 0,
            upserts,
            deletes: None,
        }]
    }

    fn content(folder: &TempDir) -> String {
        std::fs::read_to_string(folder.path().join("out")).unwrap()
    }

    fn append(folder: &TempDir, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.path().join("out"))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, ConnectorError>) -> String {
        match outcome {
            Err(ConnectorError::Permanent {
                message,
                hint: Some(_),
            }) => message,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn rows_are_appended_below_one_header_line() {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "p", "csv");

        assert_eq!(sink.take_over(7).unwrap(), None);
        sink.publish(&mark(1), &[]).unwrap();
        sink.publish(&mark(2), &rows(&[1, 2])).unwrap();
        drop(sink);
        let mut sink = open(&folder, "p", "csv");
        assert_eq!(sink.take_over(8).unwrap().unwrap().epoch, Epoch(2));
        sink.publish(&mark(3), &rows(&[3])).unwrap();

        assert_eq!(content(&folder), "n\n1\n2\n3\n");
    }

    #[test]
    fn what_a_crash_left_behind_the_mark_is_cut_off() {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "p", "json");
        sink.take_over(7).unwrap();
        sink.publish(&mark(1), &rows(&[1])).unwrap();
        append(&folder, "{\"n\":2}\n{\"n");

        let found = open(&folder, "p", "json").take_over(8).unwrap().unwrap();

        assert_eq!(
            (found.epoch, found.generation, found.incarnation),
            (Epoch(1), 2, 8)
        );
        assert_eq!(content(&folder), "{\"n\":1}\n");
    }

    #[test]
    fn what_a_failed_epoch_left_is_overwritten_by_its_next_try() {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "p", "json");
        sink.take_over(7).unwrap();
        append(&folder, "{\"n\":1}\n{\"n\":2");

        sink.publish(&mark(1), &rows(&[1])).unwrap();

        assert_eq!(content(&folder), "{\"n\":1}\n");
    }

    #[test]
    fn a_process_that_was_taken_over_cannot_publish() {
        let folder = TempDir::new().unwrap();
        let mut old = open(&folder, "p", "json");
        old.take_over(7).unwrap();
        open(&folder, "p", "json").take_over(8).unwrap();

        let outcome = old.publish(&mark(1), &rows(&[1]));

        assert!(
            matches!(outcome, Err(ConnectorError::Fenced { .. })),
            "{outcome:?}"
        );
        assert_eq!(content(&folder), "");
    }

    #[test]
    fn a_file_that_this_pipeline_did_not_write_is_refused_and_left_alone() {
        let folder = TempDir::new().unwrap();
        append(&folder, "mine\n");
        let mut sink = open(&folder, "p", "json");

        let found = sink.inspect().unwrap().remove(0).message;
        sink.empty().unwrap();
        let message = refusal(sink.take_over(7));

        assert!(
            message.ends_with("out` holds rows that no mark accounts for"),
            "{message}"
        );
        assert_eq!(found, message);
        assert_eq!(content(&folder), "mine\n");
    }

    #[test]
    fn a_file_of_another_pipeline_or_shorter_than_its_mark_is_refused() {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "one", "json");
        sink.take_over(7).unwrap();
        sink.publish(&mark(1), &rows(&[1])).unwrap();

        let other = refusal(open(&folder, "two", "json").take_over(8));
        std::fs::write(folder.path().join("out"), "{").unwrap();
        let short = refusal(open(&folder, "one", "json").take_over(8));

        assert!(other.ends_with("out` is kept by pipeline `one`"), "{other}");
        assert!(
            short.ends_with("out` has 1 bytes, but its mark is of 8"),
            "{short}"
        );
    }

    #[test]
    fn emptying_leaves_no_row_and_no_mark() {
        let folder = TempDir::new().unwrap();
        let mut sink = open(&folder, "p", "csv");
        sink.take_over(7).unwrap();
        sink.publish(&mark(1), &rows(&[1])).unwrap();

        open(&folder, "p", "csv").empty().unwrap();

        assert_eq!(content(&folder), "");
        let outcome = sink.publish(&mark(2), &rows(&[2]));
        assert!(
            matches!(outcome, Err(ConnectorError::Fenced { .. })),
            "{outcome:?}"
        );
        assert_eq!(open(&folder, "p", "csv").take_over(8).unwrap(), None);
    }
}
