//! Whether two answers are the same.

use rusqlite::types::Value;

use super::query::{Compare, Term};
use super::reference::Rows;
use crate::support::Contents;

/// What a table of ours says, in the form of PostgreSQL's answer.
pub fn as_text(table: &Contents) -> Rows {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::Integer(i) => Some(i.to_string()),
        Value::Real(f) => Some(format!("{f:?}")),
        Value::Text(text) => Some(text.clone()),
        Value::Blob(bytes) => Some(bytes.escape_ascii().to_string()),
    };
    let row = |row: &Vec<Value>| row.iter().map(text).collect();
    table.rows.iter().map(row).collect()
}

/// The first difference, if there is one.
pub fn difference(columns: &[(String, Term)], ours: Rows, theirs: Rows) -> Result<(), String> {
    let ours = sorted(columns, ours);
    let theirs = sorted(columns, theirs);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for ((name, term), (our, their)) in columns.iter().zip(ours.iter().zip(theirs)) {
            if !agree(term.compare, our.as_deref(), their.as_deref()) {
                return Err(format!(
                    "column {name} = {}: we say {our:?}, PostgreSQL {their:?}\n   \
                     our row   {}\n   their row {}",
                    term.ours,
                    shown(ours),
                    shown(theirs)
                ));
            }
        }
    }
    if ours.len() == theirs.len() {
        return Ok(());
    }
    let longer = if ours.len() > theirs.len() {
        &ours
    } else {
        &theirs
    };
    Err(format!(
        "we have {} rows, PostgreSQL {}; the first one too many is {}",
        ours.len(),
        theirs.len(),
        shown(&longer[ours.len().min(theirs.len())])
    ))
}

/// By the columns that are exactly equal on both sides: they include a group's key.
fn sorted(columns: &[(String, Term)], mut rows: Rows) -> Rows {
    let exact: Vec<usize> = (0..columns.len())
        .filter(|i| columns[*i].1.compare == Compare::Exact)
        .collect();
    rows.sort_by(|a, b| {
        let key =
            |row: &[Option<String>]| exact.iter().map(|i| row[*i].clone()).collect::<Vec<_>>();
        key(a).cmp(&key(b))
    });
    rows
}

fn shown(row: &[Option<String>]) -> String {
    let values: Vec<&str> = row.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect();
    values.join(" | ")
}

fn agree(compare: Compare, ours: Option<&str>, theirs: Option<&str>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return ours == theirs;
    };
    if compare == Compare::Exact {
        return ours == theirs;
    }
    let (Ok(ours), Ok(theirs)) = (ours.parse::<f64>(), theirs.parse::<f64>()) else {
        return false;
    };
    let distance = (ours - theirs).abs();
    match compare {
        Compare::Exact => false,
        Compare::Float => distance <= 1e-12 * theirs.abs(),
        Compare::Estimate => distance <= (0.02 * theirs).max(1.0),
    }
}

#[test]
fn floats_agree_to_twelve_digits_and_texts_to_the_last() {
    assert!(agree(Compare::Float, Some("1.0000000000001"), Some("1")));
    assert!(!agree(Compare::Float, Some("1.00000000001"), Some("1")));
    assert!(!agree(Compare::Float, None, Some("0")));
    assert!(!agree(Compare::Exact, Some("1.0"), Some("1")));
}
