//! Declared tables for tests, as the planner would make them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use crate::plan::{Column, OptionValue, Place, Role, Table};

/// A table with these columns and options. The connector stands on line 1, and each option on
/// the line after the one before it.
pub(super) fn table(role: Role, columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Table {
    let column = |(name, data_type): &(&str, DataType)| Column {
        field: Arc::new(Field::new(*name, data_type.clone(), true)),
        computed: None,
        place: Place::default(),
    };
    let place = |line| Place { line, column: 1 };
    let mut table = Table {
        name: "t".to_owned(),
        role,
        takes_letters: false,
        columns: columns.iter().map(column).collect(),
        primary_key: Vec::new(),
        checks: Vec::new(),
        watermark: None,
        connector: String::new(),
        options: BTreeMap::new(),
        place: place(1),
    };
    for (line, (name, text)) in (2..).zip(options) {
        if *name == "connector" {
            table.connector = (*text).to_owned();
            continue;
        }
        let value = OptionValue {
            text: (*text).to_owned(),
            place: place(line),
        };
        table.options.insert((*name).to_owned(), value);
    }
    table
}
