//! How values of every type are kept in SQLite's four.
//!
//! Integers and booleans are INTEGER, floats REAL (NaN, which SQLite takes for NULL, is the text
//! `NaN`), `bytea` is BLOB, lists and structs are JSON, and everything else is its text as PostgreSQL
//! prints it: exact, and readable in any tool.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, ToSql};

use crate::format::{json_text, value_text};

/// What SQLite keeps a type as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    Integer,
    Real,
    /// Text that may look like a number: texts, decimals.
    Text,
    /// Text that never looks like a number: dates, times, lists.
    Label,
    Blob,
}

impl Storage {
    /// The type in CREATE TABLE.
    pub(super) fn declared(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Text | Self::Label => "TEXT",
            Self::Blob => "BLOB",
        }
    }
}

/// What a type is kept as.
pub(super) fn storage(data_type: &DataType) -> Storage {
    if data_type.is_signed_integer() || *data_type == DataType::Boolean {
        Storage::Integer
    } else if data_type.is_floating() {
        Storage::Real
    } else if data_type.is_binary() {
        Storage::Blob
    } else if data_type.is_temporal() || data_type.is_nested() {
        Storage::Label
    } else {
        Storage::Text
    }
}

/// A column, ready to be bound row by row.
pub(super) enum Values {
    Integer(Int64Array),
    Real(Float64Array),
    Text(StringArray),
    Blob(BinaryArray),
}

impl Values {
    /// Converts a column of any type, all rows at once.
    pub(super) fn new(field: &Field, array: &ArrayRef) -> Self {
        let cast = |to: &DataType| cast(array, to).expect("widening always works");
        match storage(array.data_type()) {
            Storage::Integer => {
                Self::Integer(cast(&DataType::Int64).as_primitive::<Int64Type>().clone())
            }
            Storage::Real => Self::Real(
                cast(&DataType::Float64)
                    .as_primitive::<Float64Type>()
                    .clone(),
            ),
            Storage::Blob => Self::Blob(cast(&DataType::Binary).as_binary::<i32>().clone()),
            Storage::Text | Storage::Label => Self::Text(texts(field, array)),
        }
    }

    /// Binds the value of `row` to parameter `index`, from 1.
    pub(super) fn bind(
        &self,
        statement: &mut Statement<'_>,
        index: usize,
        row: usize,
    ) -> rusqlite::Result<()> {
        statement.raw_bind_parameter(index, Cell(self.value(row)))
    }

    fn value(&self, row: usize) -> ValueRef<'_> {
        let array: &dyn Array = match self {
            Self::Integer(array) => array,
            Self::Real(array) => array,
            Self::Text(array) => array,
            Self::Blob(array) => array,
        };
        if array.is_null(row) {
            return ValueRef::Null;
        }
        match self {
            Self::Integer(array) => ValueRef::Integer(array.value(row)),
            Self::Real(array) if array.value(row).is_nan() => ValueRef::Text(b"NaN"),
            Self::Real(array) => ValueRef::Real(array.value(row)),
            Self::Text(array) => ValueRef::Text(array.value(row).as_bytes()),
            Self::Blob(array) => ValueRef::Blob(array.value(row)),
        }
    }
}

/// The text of every value.
fn texts(field: &Field, array: &ArrayRef) -> StringArray {
    if let Some(texts) = array.as_string_opt::<i32>() {
        return texts.clone();
    }
    let text = |row| {
        if array.data_type().is_nested() {
            json_text(field, array, row)
        } else {
            value_text(array, row)
        }
    };
    (0..array.len()).map(text).collect()
}

/// A value that is bound without being copied first.
struct Cell<'a>(ValueRef<'a>);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}
