//! `connector = 'stdout'`: shows rows, as a table to people and as records to programs.
//!
//! A table with a PRIMARY KEY changes, so each of its rows says in front what it is: `+` for a row
//! that is new or replaces the one of its key, `-` for a key that is gone. There is no mark: what a
//! terminal has shown cannot be taken back, so a run that starts again shows its rows again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::catalog::{Connector, Guarantee, SinkEntry};
use super::open::{OpenSink, SinkOrigin, sink_table};
use super::option::{Absent, ConnectorOption, Side, ValueKind};
use super::{ConnectorError, Destination, Finding, SinkTable, TableChanges};
use crate::format::{Encoder, FormatOptions, value_text};
use crate::types::Mark;

/// Shows rows.
pub(super) const CONNECTOR: Connector = Connector {
    name: "stdout",
    help: "shows rows: a table on a terminal, records in a pipe",
    options: &[ConnectorOption {
        name: "format",
        help: "how rows are written",
        default: Absent::Means("`table` on a terminal, else `json`"),
        side: Side::Sink,
        kind: ValueKind::OneOf(&["table", "json", "csv"]),
    }],
    source: None,
    sink: Some(SinkEntry {
        guarantee: Guarantee::AtLeastOnce,
        keyed: true,
        takes_format: false,
        refused: None,
        letters: None,
        own_formats: &[],
        open: OpenSink {
            database: |table, _| format!("stdout {}", table.name),
            open: |origin| Stdout::from_origin(&origin),
        },
    }),
};

/// What stands in front of a row that is there, and of one that is gone.
const PRESENT: &str = "+";
const GONE: &str = "-";

/// A column is made no wider than this; a longer value moves the rest of its line.
const WIDTH_MAX: usize = 40;

/// Writes the rows of one table to standard output.
pub struct Stdout<W> {
    /// All columns, and in front of a keyed table's what became of the row.
    schema: SchemaRef,
    keyed: bool,
    style: Style,
    out: W,
}

/// How rows look.
enum Style {
    /// The widths of the columns so far; none before the first row.
    Table { widths: Vec<usize> },
    /// A row that is gone has its key and no other column.
    Json(Encoder),
    /// The header line stands before the first row.
    Csv { encoder: Encoder, header: Header },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    ToCome,
    Written,
}

impl Stdout<io::Stdout> {
    fn from_origin(origin: &SinkOrigin<'_>) -> Result<Box<dyn Destination>, ConnectorError> {
        let [table] = origin.tables[..] else {
            unreachable!("every table is a destination of its own")
        };
        let out = io::stdout();
        let format = match table.option("format") {
            Some(format) => format,
            None if out.is_terminal() => "table",
            None => "json",
        };
        Ok(Box::new(Stdout::new(
            &sink_table(table, "stdout"),
            format,
            out,
        )?))
    }
}

impl<W: Write + Send> Stdout<W> {
    /// Writes to `out`, in the format of this name.
    fn new(table: &SinkTable, format: &str, out: W) -> Result<Self, ConnectorError> {
        let encoder = |name| match FormatOptions::parse(name, &BTreeMap::new()) {
            Ok(options) => Ok(Encoder::new(&options)),
            Err(error) => Err(ConnectorError::permanent(error.to_string())),
        };
        let style = match format {
            "table" => Style::Table { widths: Vec::new() },
            "json" => Style::Json(encoder("json")?),
            other => Style::Csv {
                encoder: encoder(other)?,
                header: Header::ToCome,
            },
        };
        let keyed = !table.key.is_empty();
        let schema = if keyed {
            with_op(&table.schema)
        } else {
            SchemaRef::clone(&table.schema)
        };
        Ok(Self {
            schema,
            keyed,
            style,
            out,
        })
    }

    fn show_all(&mut self, changes: &[TableChanges]) -> io::Result<()> {
        for change in changes {
            if let Some(keys) = &change.deletes {
                self.show(keys, GONE)?;
            }
            if let Some(rows) = &change.upserts {
                self.show(rows, PRESENT)?;
            }
        }
        self.out.flush()
    }

    fn show(&mut self, rows: &RecordBatch, op: &str) -> io::Result<()> {
        let rows = if self.keyed {
            put_op(rows, op)
        } else {
            rows.clone()
        };
        let mut text = String::new();
        match &mut self.style {
            Style::Table { widths } => write_table(&widen(&rows, &self.schema), widths, &mut text),
            Style::Json(encoder) => encoder.encode(&rows, &mut text),
            Style::Csv { encoder, header } => {
                if *header == Header::ToCome {
                    encoder.write_header(&self.schema, &mut text);
                    *header = Header::Written;
                }
                encoder.encode(&widen(&rows, &self.schema), &mut text);
            }
        }
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write + Send> Destination for Stdout<W> {
    fn take_over(&mut self, _incarnation: u64) -> Result<Option<Mark>, ConnectorError> {
        Ok(None)
    }

    fn publish(&mut self, _mark: &Mark, changes: &[TableChanges]) -> Result<(), ConnectorError> {
        self.show_all(changes).map_err(|error| {
            ConnectorError::permanent(format!("cannot write to standard output: {error}"))
        })
    }

    fn empty(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn inspect(&self) -> Result<Vec<Finding>, ConnectorError> {
        Ok(Vec::new())
    }
}

/// The schema with a column in front for what became of a row, under a name that is free.
fn with_op(schema: &Schema) -> SchemaRef {
    let mut name = "op".to_owned();
    while schema.column_with_name(&name).is_some() {
        name.insert(0, '_');
    }
    let op: FieldRef = Arc::new(Field::new(name, DataType::Utf8, false));
    let fields = std::iter::once(op).chain(schema.fields().iter().map(Arc::clone));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows with what became of them in front.
fn put_op(rows: &RecordBatch, op: &str) -> RecordBatch {
    let ops: ArrayRef = Arc::new(StringArray::from(vec![op; rows.num_rows()]));
    let columns = std::iter::once(ops).chain(rows.columns().iter().map(Arc::clone));
    RecordBatch::try_new(with_op(rows.schema_ref()), columns.collect())
        .expect("the columns are as long as the new one")
}

/// The rows with all columns of `schema`; those that they do not have are NULL.
fn widen(rows: &RecordBatch, schema: &Schema) -> RecordBatch {
    let column = |field: &FieldRef| match rows.column_by_name(field.name()) {
        Some(column) => (field.name().clone(), Arc::clone(column)),
        None => (
            field.name().clone(),
            new_null_array(field.data_type(), rows.num_rows()),
        ),
    };
    RecordBatch::try_from_iter(schema.fields().iter().map(column))
        .expect("all are as long as the rows")
}

/// Writes aligned lines. The names stand above the first, and again where a column got wider.
fn write_table(rows: &RecordBatch, widths: &mut Vec<usize>, out: &mut String) {
    let schema = rows.schema();
    let lines: Vec<Vec<String>> = (0..rows.num_rows())
        .map(|row| {
            rows.columns()
                .iter()
                .map(|column| cell(column, row))
                .collect()
        })
        .collect();
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let needed = |column: usize| {
        let cells = lines
            .iter()
            .map(|line| &line[column])
            .chain([&names[column]]);
        cells
            .map(|cell| cell.chars().count().min(WIDTH_MAX))
            .max()
            .unwrap_or(0)
    };
    let needed: Vec<usize> = (0..names.len()).map(needed).collect();
    widths.resize(names.len(), 0);
    if needed
        .iter()
        .zip(widths.iter())
        .any(|(needed, width)| needed > width)
    {
        for (width, needed) in widths.iter_mut().zip(needed) {
            *width = needed.max(*width);
        }
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        write_line(&names, &schema, widths, out);
        write_line(&rule, &schema, widths, out);
    }
    for line in &lines {
        write_line(line, &schema, widths, out);
    }
}

fn write_line(cells: &[String], schema: &Schema, widths: &[usize], out: &mut String) {
    let mut line = String::new();
    for ((cell, field), &width) in cells.iter().zip(schema.fields()).zip(widths) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let write = if field.data_type().is_numeric() {
            write!(line, "{cell:>width$}")
        } else {
            write!(line, "{cell:<width$}")
        };
        write.expect("a String takes all text");
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// A value on one line; a NULL is blank.
fn cell(column: &ArrayRef, row: usize) -> String {
    let text = value_text(column, row).unwrap_or_default();
    if text.contains(char::is_control) {
        text.chars()
            .flat_map(|c| {
                if c.is_control() {
                    c.escape_default().collect::<Vec<_>>()
                } else {
                    vec![c]
                }
            })
            .collect()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;
    use crate::types::{Epoch, Recipe};

    fn table(key: &[usize]) -> SinkTable {
        SinkTable {
            name: "t".to_owned(),
            target: "stdout".to_owned(),
            schema: Arc::new(Schema::new(vec![
                Field::new("page", DataType::Utf8, false),
                Field::new("views", DataType::Int64, true),
            ])),
            key: key.to_vec(),
        }
    }

    fn rows(pages: &[&str], views: &[Option<i64>]) -> Option<RecordBatch> {
        let pages: ArrayRef = Arc::new(StringArray::from(pages.to_vec()));
        let views: ArrayRef = Arc::new(Int64Array::from(views.to_vec()));
        Some(RecordBatch::try_new(table(&[]).schema, vec![pages, views]).unwrap())
    }

    fn keys(pages: &[&str]) -> Option<RecordBatch> {
        let pages: ArrayRef = Arc::new(StringArray::from(pages.to_vec()));
        Some(RecordBatch::try_from_iter([("page", pages)]).unwrap())
    }

    /// What is shown of some epochs.
    fn shown(key: &[usize], format: &str, epochs: Vec<TableChanges>) -> String {
        let mut sink = Stdout::new(&table(key), format, Vec::new()).unwrap();
        let mark = Mark {
            generation: 1,
            incarnation: 1,
            life: 0,
            epoch: Epoch(1),
            recipe: Recipe::default(),
            sources: BTreeMap::new(),
        };
        for changes in epochs {
            sink.publish(&mark, &[changes]).unwrap();
        }
        String::from_utf8(sink.out).unwrap()
    }

    fn change(upserts: Option<RecordBatch>, deletes: Option<RecordBatch>) -> TableChanges {
        TableChanges {
            table: 0,
            upserts,
            deletes,
        }
    }

    #[test]
    fn a_table_is_aligned_and_its_names_come_again_when_a_column_gets_wider() {
        let first = change(rows(&["home", "a\tb"], &[Some(5), None]), None);
        let second = change(rows(&["shop"], &[Some(70)]), None);
        let third = change(rows(&["checkout"], &[Some(1)]), None);

        assert_eq!(
            shown(&[], "table", vec![first, second, third]),
            "page  views\n----  -----\nhome      5\na\\tb\nshop     70\n\
             page      views\n--------  -----\ncheckout      1\n"
        );
    }

    #[test]
    fn rows_of_a_keyed_table_say_what_became_of_them() {
        let epoch = || vec![change(rows(&["a"], &[Some(1)]), keys(&["b"]))];

        assert_eq!(
            shown(&[0], "json", epoch()),
            "{\"op\":\"-\",\"page\":\"b\"}\n{\"op\":\"+\",\"page\":\"a\",\"views\":1}\n"
        );
        assert_eq!(shown(&[0], "csv", epoch()), "op,page,views\n-,b,\n+,a,1\n");
        assert_eq!(
            shown(&[0], "table", epoch()),
            "op  page  views\n--  ----  -----\n-   b\n+   a         1\n"
        );
    }

    #[test]
    fn rows_of_an_append_table_stand_alone() {
        let epoch = || vec![change(rows(&["a"], &[None]), None)];

        assert_eq!(
            shown(&[], "json", epoch()),
            "{\"page\":\"a\",\"views\":null}\n"
        );
        assert_eq!(shown(&[], "csv", epoch()), "page,views\na,\n");
    }
}
