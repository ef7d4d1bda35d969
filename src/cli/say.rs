//! Text to a person. A closed pipe is no error: whoever reads has seen enough.

use std::io::{IsTerminal, Write};

use crate::dataflow::outcome::Failure;
use crate::engine::says_objects;

/// To standard output.
pub fn out(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// To standard error.
pub fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A failure with its causes and what to do.
pub use crate::engine::say_failure as failure;

/// Whether whoever is at the terminal agrees; where nobody is, says what it `would` do.
pub fn agreed(question: &str, would: &str) -> bool {
    // A question is no line of a log.
    if !std::io::stdin().is_terminal() || says_objects() {
        let refused = Failure::new(format!("{would} and nobody is here to ask"));
        failure(&refused.hint("add --yes"));
        return false;
    }
    err(question);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A table for people: columns aligned, numbers to the right.
#[must_use]
pub fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let columns = 0..header.len();
    let widths: Vec<usize> = columns
        .clone()
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([header[column].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let is_number = |cell: &String| {
        cell.chars()
            .all(|c| c.is_ascii_digit() || ",.-".contains(c))
    };
    let right: Vec<bool> = columns
        .map(|column| !rows.is_empty() && rows.iter().all(|row| is_number(&row[column])))
        .collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right[column] {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let lines = rows.iter().map(|row| line(row));
    std::iter::once(line(header)).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_numbers_to_the_right() {
        let header = ["name".to_owned(), "n".to_owned()];
        let rows = [["a", "1,000"], ["bcdef", "7"]].map(|row| row.map(str::to_owned).to_vec());

        assert_eq!(
            table(&header, &rows),
            "name       n\na      1,000\nbcdef      7\n"
        );
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234), "1,234");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
