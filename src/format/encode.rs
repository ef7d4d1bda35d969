//! Rows into JSON lines and CSV. What is written here reads back as the same rows.

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema};

use super::column::{JSON, has_extension};
use super::object;
use super::options::{CsvOptions, FormatKind, FormatOptions};
use super::text::{write_json_string, write_text};
use super::time::Style;

/// Writes rows in one format.
#[derive(Clone, Debug)]
pub struct Encoder {
    kind: FormatKind,
    csv: CsvOptions,
}

impl Encoder {
    /// An encoder by a table's format options.
    #[must_use]
    pub fn new(options: &FormatOptions) -> Self {
        Self {
            kind: options.kind,
            csv: options.csv.clone(),
        }
    }

    /// Writes what stands before the first row of a file: CSV's header line, if it is to have one.
    pub fn write_header(&self, schema: &Schema, out: &mut String) {
        match self.kind {
            FormatKind::Csv if self.csv.header => {
                for (at, field) in schema.fields().iter().enumerate() {
                    self.separate(at, out);
                    self.write_field(field.name(), out);
                }
                out.push('\n');
            }
            FormatKind::Csv | FormatKind::Json | FormatKind::Parquet => {}
        }
    }

    /// Writes every row as one record with its line end.
    pub fn encode(&self, rows: &RecordBatch, out: &mut String) {
        for row in 0..rows.num_rows() {
            self.encode_row(rows, row, out);
            out.push('\n');
        }
    }

    /// Writes one row as a record without a line end.
    pub fn encode_row(&self, rows: &RecordBatch, row: usize, out: &mut String) {
        let schema = rows.schema_ref();
        match self.kind {
            FormatKind::Json | FormatKind::Parquet => {
                write_object(out, schema.fields(), rows.columns(), row);
            }
            FormatKind::Csv => {
                for (at, column) in rows.columns().iter().enumerate() {
                    self.separate(at, out);
                    let alone = rows.num_columns() == 1;
                    self.write_value(schema.field(at), column, row, alone, out);
                }
            }
        }
    }

    fn separate(&self, at: usize, out: &mut String) {
        if at > 0 {
            out.push(char::from(self.csv.delimiter));
        }
    }

    fn write_value(
        &self,
        field: &Field,
        column: &dyn Array,
        row: usize,
        alone: bool,
        out: &mut String,
    ) {
        if column.is_null(row) {
            out.push_str(&self.csv.null);
            if alone && self.csv.null.is_empty() {
                // An empty line would be no record.
                self.write_quoted("", out);
            }
            return;
        }
        let mut text = String::new();
        if column.data_type().is_nested() {
            write_json(&mut text, field, column, row);
        } else {
            write_text(&mut text, column, row, Style::Postgres);
        }
        self.write_field(&text, out);
    }

    /// Writes a field, in quotes where it would be taken for something else without.
    fn write_field(&self, text: &str, out: &mut String) {
        let special =
            |b: u8| b == self.csv.delimiter || b == self.csv.quote || matches!(b, b'\n' | b'\r');
        if text == self.csv.null || text.is_empty() || text.bytes().any(special) {
            self.write_quoted(text, out);
        } else {
            out.push_str(text);
        }
    }

    fn write_quoted(&self, text: &str, out: &mut String) {
        let quote = char::from(self.csv.quote);
        out.push(quote);
        for c in text.chars() {
            if c == quote {
                out.push(quote);
            }
            out.push(c);
        }
        out.push(quote);
    }
}

pub(super) fn write_object<'a>(
    out: &mut String,
    fields: impl IntoIterator<Item = &'a std::sync::Arc<Field>>,
    columns: &[arrow::array::ArrayRef],
    row: usize,
) {
    out.push('{');
    for (at, (field, column)) in fields.into_iter().zip(columns).enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json_string(out, field.name());
        out.push(':');
        write_json(out, field, column, row);
    }
    out.push('}');
}

/// A value as JSON text; `None` if it is NULL. `field` says whether a text is JSON itself.
#[must_use]
pub fn json_text(field: &Field, array: &dyn Array, row: usize) -> Option<String> {
    array.is_valid(row).then(|| {
        let mut out = String::new();
        write_json(&mut out, field, array, row);
        out
    })
}

/// Writes a value as JSON: numbers as numbers, exactly; what JSON has no word for as text.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types are written as text"
)]
pub(super) fn write_json(out: &mut String, field: &Field, column: &dyn Array, row: usize) {
    if column.is_null(row) {
        out.push_str("null");
        return;
    }
    match column.data_type() {
        DataType::Struct(fields) => {
            write_object(out, fields, column.as_struct().columns(), row);
        }
        DataType::List(item) => {
            let items = column.as_list::<i32>().value(row);
            out.push('[');
            for row in 0..items.len() {
                if row > 0 {
                    out.push(',');
                }
                write_json(out, item, &items, row);
            }
            out.push(']');
        }
        DataType::Utf8 => write_json_text(out, field, column.as_string::<i32>().value(row)),
        other if is_json_word(other, column, row) => write_text(out, column, row, Style::Iso),
        _ => {
            let mut text = String::new();
            write_text(&mut text, column, row, Style::Iso);
            write_json_string(out, &text);
        }
    }
}

/// Whether the text of a value is a JSON value as it stands.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Arrow sorts its other types for us"
)]
fn is_json_word(kind: &DataType, column: &dyn Array, row: usize) -> bool {
    match kind {
        DataType::Float32 => column.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).is_finite(),
        kind => kind.is_integer() || kind.is_decimal() || *kind == DataType::Boolean,
    }
}

/// A JSON column holds JSON, unless an expression made it of something else.
fn write_json_text(out: &mut String, field: &Field, text: &str) {
    match object::raw(text).filter(|_| has_extension(field, JSON)) {
        // A line end in JSON stands between its parts, where a space is as good.
        Some(raw) => out.extend(
            raw.chars()
                .map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }),
        ),
        None => write_json_string(out, text),
    }
}
