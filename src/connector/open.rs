//! From a declared table to an open source or destination.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{FieldRef, Schema};

use super::catalog::{Connector, Guarantee, SinkEntry, connector};
use super::lanes::{Share, lanes};
use super::{ConnectorError, Destination, SinkTable, Source};
use crate::format::{FormatOptions, Metadata, Wanted, is_record, metadata_of};
use crate::plan::Table;
use crate::types::Clock;

/// What a source is opened from.
#[derive(Debug)]
pub(super) struct SourceOrigin<'a> {
    pub(super) table: &'a Table,
    /// The columns to make, and all that are declared.
    pub(super) wanted: Wanted,
    /// The wanted columns that come with a record, in the declared order: not in `wanted`.
    pub(super) metadata: Vec<(Metadata, FieldRef)>,
    /// What relative paths are relative to.
    pub(super) base: &'a Path,
    pub(super) clock: &'a Clock,
}

/// What a destination is opened from: tables of one database.
#[derive(Debug)]
pub(super) struct SinkOrigin<'a> {
    pub(super) pipeline: &'a str,
    pub(super) tables: Vec<&'a Table>,
    /// The pipeline's other tables of that database: others write them.
    pub(super) beside: Vec<&'a Table>,
    /// What of the rows it takes, if not all.
    pub(super) share: Option<Share>,
    pub(super) base: &'a Path,
}

/// How a connector's sources are looked at and opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSource {
    /// What `open` would refuse, as far as a glance tells.
    pub(super) inspect: fn(&SourceOrigin<'_>) -> Result<(), ConnectorError>,
    pub(super) open: fn(SourceOrigin<'_>) -> Result<Arc<dyn Source>, ConnectorError>,
    /// Whether each record can be read again for so long after it was written.
    pub(super) keeps: fn(&Table, Duration) -> Result<Keeps, ConnectorError>,
    /// Whether a table, the first, reads what another of the same connector writes.
    pub(super) reads: fn(&Table, &Table, &Path) -> bool,
}

/// Whether what was read can be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// For long enough.
    Enough,
    /// Nobody says: why, and what has to be so.
    Unsaid(String),
}

/// For a source that forgets nothing that it does not miss when it is read again.
pub(super) fn keeps_all(_: &Table, _: Duration) -> Result<Keeps, ConnectorError> {
    Ok(Keeps::Enough)
}

/// For what nothing is written to.
pub(super) fn reads_none(_: &Table, _: &Table, _: &Path) -> bool {
    false
}

/// How a connector's tables are put together and opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSink {
    /// The database, file or terminal that a table is kept in: tables with the same one share
    /// one transaction and one mark.
    pub(super) database: fn(&Table, &Path) -> String,
    pub(super) open: fn(SinkOrigin<'_>) -> Result<Box<dyn Destination>, ConnectorError>,
}

/// A destination and which tables it keeps.
pub struct OpenDestination {
    /// What messages call it: the path of a file, `stdout`.
    pub name: String,
    /// Positions in the list of tables that `open_destinations` was given, ascending. A
    /// `TableChanges` names its table by the position in this list.
    pub tables: Vec<usize>,
    /// What a crash does to its rows.
    pub guarantee: Guarantee,
    /// What of its table's rows it takes, if not all.
    pub share: Option<Share>,
    /// The destination: nothing is touched before `take_over`.
    pub destination: Box<dyn Destination>,
}

/// Opens a source or a reference table. `columns` are the positions of the columns to decode, none
/// of them computed; the decoder's rows have them in this order, without those that come with a
/// record, which are in `Records::metadata`. Relative paths are relative to
/// `base`. The table has passed `validate`.
pub fn open_source(
    table: &Table,
    columns: &[usize],
    base: &Path,
    clock: &Clock,
) -> Result<Arc<dyn Source>, ConnectorError> {
    let (wanted, metadata) = wanted(table, columns);
    (source_of(table)?.open)(SourceOrigin {
        table,
        wanted,
        metadata,
        base,
        clock,
    })
}

/// What `open_source` would refuse, as far as that can be told without reading everything.
pub fn inspect_source(table: &Table, columns: &[usize], base: &Path) -> Result<(), ConnectorError> {
    let ((wanted, metadata), clock) = (wanted(table, columns), Clock::manual());
    (source_of(table)?.inspect)(&SourceOrigin {
        table,
        wanted,
        metadata,
        base,
        clock: &clock,
    })
}

/// Whether each record of a source can be read again for `need` after it was written. What is
/// shorter is refused.
pub fn keeps(table: &Table, need: Duration) -> Result<Keeps, ConnectorError> {
    (source_of(table)?.keeps)(table, need)
}

/// Whether the table `source` reads what is written to the table `sink`: as far as their options tell.
#[must_use]
pub fn reads(source: &Table, sink: &Table, base: &Path) -> bool {
    let same = source.connector == sink.connector;
    source_of(source).is_ok_and(|entry| same && (entry.reads)(source, sink, base))
}

/// Opens the destinations of all sink tables of a pipeline: the tables of one database are one
/// destination, but each lane of a table is one of its own. They come in the order in which the
/// first table of their database does.
pub fn open_destinations(
    pipeline: &str,
    tables: &[&Table],
    base: &Path,
) -> Result<Vec<OpenDestination>, ConnectorError> {
    let mut databases: Vec<(&'static Connector, String, Vec<usize>)> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let connector = known(table)?;
        let Some(sink) = &connector.sink else {
            return Err(ConnectorError::permanent(format!(
                "cannot write to `{}`: connector `{}` is only read from",
                table.name, connector.name
            )));
        };
        let database = (sink.open.database)(table, base);
        let shared = databases
            .iter_mut()
            .find(|(of, name, _)| of.name == connector.name && *name == database);
        match shared {
            Some((_, _, indices)) => indices.push(index),
            None => databases.push((connector, database, vec![index])),
        }
    }
    let mut opened = Vec::new();
    for (connector, name, indices) in databases {
        let sink = connector
            .sink
            .as_ref()
            .expect("checked when it was put here");
        let database = Database {
            pipeline,
            tables,
            base,
            name,
            indices,
        };
        opened.extend(database.open(sink)?);
    }
    Ok(opened)
}

/// A database, and which of the sink tables are in it.
struct Database<'a> {
    pipeline: &'a str,
    tables: &'a [&'a Table],
    base: &'a Path,
    name: String,
    indices: Vec<usize>,
}

impl Database<'_> {
    /// The tables that move together, and then the lanes of those that do not.
    fn open(&self, sink: &SinkEntry) -> Result<Vec<OpenDestination>, ConnectorError> {
        let has_lanes = |&index: &usize| lanes(self.tables[index]).is_some();
        let (apart, together): (Vec<usize>, Vec<usize>) =
            self.indices.iter().partition(|index| has_lanes(index));
        let mut opened = Vec::new();
        if !together.is_empty() {
            opened.push(self.destination(sink, together, None)?);
        }
        for index in apart {
            let of = lanes(self.tables[index]).expect("it has some");
            for share in (0..of).map(|index| Share { index, of }) {
                opened.push(self.destination(sink, vec![index], Some(share))?);
            }
        }
        Ok(opened)
    }

    fn destination(
        &self,
        sink: &SinkEntry,
        indices: Vec<usize>,
        share: Option<Share>,
    ) -> Result<OpenDestination, ConnectorError> {
        let others = self.indices.iter().filter(|index| !indices.contains(index));
        let origin = SinkOrigin {
            pipeline: self.pipeline,
            tables: indices.iter().map(|&index| self.tables[index]).collect(),
            beside: others.map(|&index| self.tables[index]).collect(),
            share,
            base: self.base,
        };
        let name = match share {
            None => self.name.clone(),
            Some(share) => format!("{} ({}, {share})", self.name, self.tables[indices[0]].name),
        };
        Ok(OpenDestination {
            name,
            guarantee: sink.guarantee,
            share,
            destination: (sink.open.open)(origin)?,
            tables: indices,
        })
    }
}

fn known(table: &Table) -> Result<&'static Connector, ConnectorError> {
    connector(&table.connector).ok_or_else(|| {
        ConnectorError::permanent(format!(
            "table `{}` has the unknown connector `{}`",
            table.name, table.connector
        ))
    })
}

fn source_of(table: &Table) -> Result<OpenSource, ConnectorError> {
    let connector = known(table)?;
    match &connector.source {
        Some(source) => Ok(source.open),
        None => Err(ConnectorError::permanent(format!(
            "cannot read from `{}`: connector `{}` is only written to",
            table.name, connector.name
        ))),
    }
}

/// Of the columns wanted, those to decode, and those that come with the record.
fn wanted(table: &Table, columns: &[usize]) -> (Wanted, Vec<(Metadata, FieldRef)>) {
    let field = |&column: &usize| {
        let column = &table.columns[column];
        assert!(
            column.computed.is_none(),
            "`{}` is computed, not read",
            column.field.name()
        );
        FieldRef::clone(&column.field)
    };
    let (mut fields, mut metadata) = (Vec::new(), Vec::new());
    for field in columns.iter().map(field) {
        match metadata_of(&field) {
            Some(what) => metadata.push((what, field)),
            None => fields.push(field),
        }
    }
    let declared = table.columns.iter().filter(|column| {
        let comes_out = !is_record(&column.field) && metadata_of(&column.field).is_none();
        column.computed.is_none() && comes_out
    });
    let wanted = Wanted {
        schema: Arc::new(Schema::new(fields)),
        declared: declared.map(|column| column.field.name().clone()).collect(),
        // Whether or not a query reads the column: what a record is hangs on the table alone.
        tombstones: table
            .columns
            .iter()
            .any(|column| metadata_of(&column.field) == Some(Metadata::Tombstone)),
    };
    (wanted, metadata)
}

impl SourceOrigin<'_> {
    /// The options of the table's format.
    pub(super) fn format(&self) -> Result<FormatOptions, ConnectorError> {
        format_of(self.table)
    }
}

/// The options of a table's format.
pub(super) fn format_of(table: &Table) -> Result<FormatOptions, ConnectorError> {
    FormatOptions::parse(required(table, "format")?, &table.options)
        .map_err(|error| ConnectorError::permanent(error.to_string()))
}

/// An option that `validate` has seen to.
pub(super) fn required<'a>(table: &'a Table, name: &str) -> Result<&'a str, ConnectorError> {
    table.option(name).ok_or_else(|| {
        ConnectorError::permanent(format!("table `{}` needs the option `{name}`", table.name))
    })
}

/// What a destination must know of a table; `target` is its name there.
pub(super) fn sink_table(table: &Table, target: &str) -> SinkTable {
    SinkTable {
        name: table.name.clone(),
        target: target.to_owned(),
        schema: table.schema(),
        key: table.primary_key.clone(),
    }
}

/// The file that a `path` names, spelled the same however the pipeline spells it and whatever links
/// lead there; short, where it lies below the current folder.
pub(super) fn resolve(path: &str, base: &Path) -> PathBuf {
    let whole = base.join(path);
    let found = whole.canonicalize().or_else(|error| {
        let name = whole.file_name().ok_or(error)?;
        Ok::<_, std::io::Error>(folder_of(&whole).canonicalize()?.join(name))
    });
    let Ok(found) = found else {
        return whole;
    };
    let here = Path::new(".").canonicalize();
    let below = here.ok().and_then(|here| found.strip_prefix(here).ok());
    below.map(Path::to_path_buf).unwrap_or(found)
}

/// The folder of `path`, if it is not there.
pub(super) fn missing_folder(path: &Path) -> Option<String> {
    let folder = folder_of(path);
    (!folder.is_dir()).then(|| folder.display().to_string())
}

/// The folder that a file is in: the current one has no name.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::connector::fixtures;
    use crate::plan::Role;

    fn sink(name: &str, options: &[(&str, &str)]) -> Table {
        let table = fixtures::table(Role::Sink, &[("n", DataType::Int64)], options);
        Table {
            name: name.to_owned(),
            ..table
        }
    }

    #[test]
    fn the_tables_of_one_database_are_one_destination() {
        let folder = tempfile::TempDir::new().unwrap();
        let tables = [
            sink("a", &[("connector", "sqlite"), ("path", "out.db")]),
            sink("b", &[("connector", "stdout")]),
            sink("c", &[("connector", "sqlite"), ("path", "./out.db")]),
            sink("d", &[("connector", "sqlite"), ("path", "other.db")]),
            sink("e", &[("connector", "stdout")]),
        ];
        let tables: Vec<&Table> = tables.iter().collect();

        let opened = open_destinations("p", &tables, folder.path()).unwrap();

        let groups: Vec<&[usize]> = opened.iter().map(|open| open.tables.as_slice()).collect();
        assert_eq!(groups, [&[0, 2][..], &[1], &[3], &[4]]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The base of a pipeline is the current folder, which has no name.
    #[test]
    fn one_file_has_one_name_however_it_is_spelled_and_linked() {
        let folder = tempfile::TempDir::new().unwrap();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(folder.path().join("out.db"), &link).unwrap();
        std::fs::write(folder.path().join("out.db"), "").unwrap();
        let here = Path::new("");

        for spelled in ["out.db", "./out.db", "src/../out.db"] {
            assert_eq!(resolve(spelled, here), Path::new("out.db"), "{spelled}");
        }
        assert_eq!(
            resolve(&link.display().to_string(), here),
            resolve("out.db", folder.path())
        );
    }

    #[test]
    fn two_tables_that_are_one_table_there_are_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        for (options, expected) in [
            (
                [("connector", "sqlite"), ("path", "x"), ("table", "t")],
                "`a` and `b` are the same table `t`",
            ),
            (
                [("connector", "file"), ("path", "x"), ("format", "json")],
                "`a` and `b` write to the same file",
            ),
        ] {
            let tables = [sink("a", &options), sink("b", &options)];

            let outcome = open_destinations("p", &[&tables[0], &tables[1]], folder.path());

            let Err(ConnectorError::Permanent { message, .. }) = outcome else {
                panic!("opened");
            };
            assert_eq!(message, expected);
        }
    }
}
