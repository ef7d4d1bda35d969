//! Declared tables: sources, reference tables and sinks, as the file says them.

use std::collections::BTreeMap;

use arrow::datatypes::{FieldRef, SchemaRef};

use super::Expression;

/// The option that says how often a table is read again: its rows are then a changing stream.
pub const RELOAD: &str = "reload.interval";

/// Index into `Pipeline::tables`.
pub type TableId = usize;

/// A place in the pipeline file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// How the file uses a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read as a stream.
    Source,
    /// Read whole before the first stream row, and looked up by key.
    Reference,
    /// Inserted into, or named by `'dead.letter'`.
    Sink,
    /// Declared and not used.
    Unused,
}

/// A `CREATE TABLE`.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in the file.
    pub name: String,
    /// What the file does with it.
    pub role: Role,
    /// Whether a `'dead.letter'` names it: then its rows hold what strangers sent.
    pub takes_letters: bool,
    /// All declared columns, computed ones included, in the declared order.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the PRIMARY KEY, in key order; empty if there is none.
    pub primary_key: Vec<usize>,
    /// CHECK constraints, over all columns.
    pub checks: Vec<Check>,
    /// The event-time column and its bound.
    pub watermark: Option<WatermarkFor>,
    /// `connector = ..`, in lower case; empty if the file gives none.
    pub connector: String,
    /// The other `WITH` options, by canonical name.
    pub options: BTreeMap<String, OptionValue>,
    /// Where its name stands in the file.
    pub place: Place,
}

/// A declared column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name, Arrow type, and nullability; extension metadata marks `uuid` and `json`.
    pub field: FieldRef,
    /// `GENERATED ALWAYS AS (..)` or `name AS expr`, over the columns that are not computed.
    pub computed: Option<Computed>,
    /// Where it stands in the file.
    pub place: Place,
}

/// The expression of a computed column. Its input is the table's full schema; it reads only
/// columns that are not computed.
#[derive(Clone, Debug)]
pub struct Computed(pub Expression);

/// A CHECK constraint: a row for which it is false is rejected (NULL passes, as in SQL).
#[derive(Clone, Debug)]
pub struct Check {
    /// What must not be false, over the table's full schema.
    pub predicate: Expression,
    /// The column it was written on, if on one.
    pub column: Option<String>,
}

/// `WATERMARK FOR column AS column - INTERVAL '..'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkFor {
    /// Position in `columns`; its type is a timestamp in microseconds.
    pub column: usize,
    /// How far rows may be out of order, in microseconds.
    pub bound_us: i64,
}

/// An option as written, with its place for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionValue {
    /// The value, variables replaced.
    pub text: String,
    /// Where the option's name stands in the file.
    pub place: Place,
}

impl Table {
    /// The schema of all declared columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<FieldRef> = self
            .columns
            .iter()
            .map(|c| FieldRef::clone(&c.field))
            .collect();
        std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
    }

    /// Whether it is read again and again, and is a changing stream.
    #[must_use]
    pub fn is_reloaded(&self) -> bool {
        self.options.contains_key(RELOAD)
    }

    /// An option's text, if it was given.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|value| value.text.as_str())
    }
}
