//! What is wrong with a pipeline file: one sentence, where, and what to type instead.
//!
//! ```text
//! error: column `prise` not found
//!   --> dataflows/orders.sql:12:8
//!    |
//! 12 | SELECT prise FROM orders;
//!    |        ^^^^^
//!   hint:  did you mean `price`?
//! ```

use std::fmt::Write as _;

use crate::plan::Place;
use crate::types::nearest;

use super::SourceText;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// What to type instead.
    pub hint: Option<String>,
    /// Where, unless it is the file as a whole.
    pub place: Option<Place>,
}

impl Problem {
    /// A problem at a place.
    pub fn at(place: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            place: Some(place),
        }
    }

    /// A problem of the whole file, or of the command line.
    pub fn of_file(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            place: None,
        }
    }

    /// The same with what to type instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same, at `place` unless it already has one.
    #[must_use]
    pub fn or_at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    /// The whole message as a person reads it, with the line of the file.
    #[must_use]
    pub fn render(&self, file: &SourceText) -> String {
        let mut out = format!("error: {}\n", self.message);
        match self.place {
            Some(place) => render_place(&mut out, file, place),
            None => writeln!(out, "  --> {}", file.path).expect("writing to a string works"),
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "  hint:  {hint}").expect("writing to a string works");
        }
        out
    }
}

/// The arrow, the line and the carets under the word at `place`.
fn render_place(out: &mut String, file: &SourceText, place: Place) {
    let Place { line, column } = place;
    let text = usize::try_from(line)
        .ok()
        .and_then(|line| file.text.lines().nth(line.checked_sub(1)?))
        .unwrap_or_default();
    // Tabs would put the carets elsewhere than the word.
    let text = super::secrets::covered(&text.replace('\t', " "));
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let word: String = text.chars().skip(before).collect();
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    writeln!(
        out,
        "  --> {}:{line}:{column}\n{gutter} |\n{number} | {text}\n{gutter} | {}{}",
        file.path,
        " ".repeat(before.min(text.chars().count())),
        "^".repeat(word_length(&word)),
    )
    .expect("writing to a string works");
}

/// How many characters the word or the quoted text that `text` starts with has, at least one.
fn word_length(text: &str) -> usize {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return 1;
    };
    if matches!(first, '\'' | '"' | '`') {
        return characters.position(|c| c == first).map_or(1, |at| at + 2);
    }
    let is_word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    text.chars().take_while(is_word).count().max(1)
}

/// `did you mean ..?` for a name that is not there.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_carets_under_the_word() {
        let file = SourceText {
            path: "a.sql",
            text: "SELECT a,\n       prise\nFROM t",
        };
        let problem = Problem::at(Place { line: 2, column: 8 }, "column `prise` not found")
            .hint("did you mean `price`?");

        assert_eq!(
            problem.render(&file),
            "error: column `prise` not found\n  --> a.sql:2:8\n  |\n2 |        prise\n  |        \
             ^^^^^\n  hint:  did you mean `price`?\n"
        );
    }
}
