//! Regular expressions as PostgreSQL reads them, where Rust's reads them otherwise.
//!
//! * A point is any character, a line feed too, unless the flags say `n` (or `m`).
//! * In the replacement of `regexp_replace`, `\1` to `\9` are groups, `\&` is all that was found,
//!   `\\` is a backslash, and nothing else means anything: a `$` is a `$`.
//! * In a pattern, `\m` and `\M` are the beginning and the end of a word, `\y` is either, and `\Y`
//!   is neither; `\Z` is the end of the text.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's expressions and operators, those that match patterns are named"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::kernels::regexp::regexp_is_match_scalar;
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, binary_expr, lit,
};

use super::around::{Around, listed};

/// What makes a point match a line feed.
const DOTS: &str = "(?s)";

/// The functions, and where their arguments stand.
const FUNCTIONS: [(&str, Regex); 3] = [
    ("regexp_count", Regex::with_flags_at(3)),
    ("regexp_like", Regex::with_flags_at(2)),
    (
        "regexp_replace",
        Regex {
            flags: 3,
            replacement: Some(2),
        },
    ),
];

/// `text ~ pattern`, and its like, with points that match line feeds.
pub fn matched(mut binary: BinaryExpr) -> (BinaryExpr, bool) {
    let is_match = matches!(
        binary.op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
    );
    let instead = match binary.right.as_ref() {
        _ if !is_match => None,
        Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) => {
            let instead = never_like(pattern_of(pattern, false));
            (instead != *pattern).then(|| lit(instead))
        }
        Expr::Literal(..) => None,
        Expr::BinaryExpr(BinaryExpr { left, .. }) if **left == lit(DOTS) => None,
        other => Some(binary_expr(
            lit(DOTS),
            Operator::StringConcat,
            other.clone(),
        )),
    };
    let changed = instead.is_some();
    if let Some(pattern) = instead {
        *binary.right = pattern;
    }
    (binary, changed)
}

/// A pattern that DataFusion makes no LIKE of, if it has a backslash to find: there it would stand
/// before a sign that it takes the meaning of.
fn never_like(pattern: String) -> String {
    const GROUP: &str = "()";
    match pattern.contains(r"\\") && !pattern.ends_with(GROUP) {
        true => pattern + GROUP,
        false => pattern,
    }
}

/// The pattern as the regex crate has it; its points match line feeds unless it goes by lines.
pub fn pattern_of(pattern: &str, by_line: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + DOTS.len());
    if !by_line && pattern.contains('.') && !pattern.starts_with(DOTS) {
        out.push_str(DOTS);
    }
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('m') => out.push_str(r"\b{start}"),
            Some('M') => out.push_str(r"\b{end}"),
            Some('y') => out.push_str(r"\b"),
            Some('Y') => out.push_str(r"\B"),
            Some('Z') => out.push_str(r"\z"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    match out.contains("[:") {
        true => CLASSES
            .iter()
            .fold(out, |out, (name, class)| out.replace(name, class)),
        false => out,
    }
}

/// Classes that hold the letters of all scripts; the regex crate's hold those of ASCII.
const CLASSES: [(&str, &str); 5] = [
    ("[:alpha:]", r"\p{Alphabetic}"),
    ("[:alnum:]", r"\p{Alphabetic}\p{Nd}"),
    ("[:lower:]", r"\p{Lowercase}"),
    ("[:upper:]", r"\p{Uppercase}"),
    ("[:space:]", r"\s"),
];

/// The function with PostgreSQL's reading of its arguments, if it is one of those named here.
pub fn regex(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    listed(&FUNCTIONS, function)
}

/// Where the arguments of a function stand; the second is the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Regex {
    flags: usize,
    replacement: Option<usize>,
}

impl Regex {
    const fn with_flags_at(flags: usize) -> Self {
        Self {
            flags,
            replacement: None,
        }
    }

    /// The arguments as DataFusion should have them.
    fn translated(self, arguments: &mut [ColumnarValue], rows: usize) -> Result<()> {
        let mut by_line = false;
        if let Some(flags) = arguments.get_mut(self.flags) {
            by_line = match flags {
                ColumnarValue::Scalar(value) => {
                    let flags = value.try_as_str().flatten();
                    flags.is_some_and(|flags| flags.contains(['n', 'm']))
                }
                // Of flags that differ from row to row a pattern cannot know.
                ColumnarValue::Array(_) => false,
            };
            *flags = texts(flags, rows, |flags| flags.replace('n', "m"))?;
        }
        if let Some(pattern) = arguments.get_mut(1) {
            *pattern = texts(pattern, rows, |pattern| pattern_of(pattern, by_line))?;
        }
        let replacement = self.replacement.and_then(|at| arguments.get_mut(at));
        if let Some(replacement) = replacement {
            *replacement = texts(replacement, rows, replacement_of)?;
        }
        Ok(())
    }
}

/// Each text as `make` makes it.
fn texts(
    value: &ColumnarValue,
    rows: usize,
    make: impl Fn(&str) -> String,
) -> Result<ColumnarValue> {
    if let ColumnarValue::Scalar(value) = value {
        let text = value.try_as_str().flatten().map(make);
        return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(text)));
    }
    let texts = arrow::compute::cast(&value.to_array(rows)?, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    let made: StringArray = texts.map(|text| text.map(&make)).collect();
    Ok(ColumnarValue::Array(Arc::new(made) as ArrayRef))
}

/// The replacement as the regex crate has it: `${1}` for `\1`, `$$` for `$`.
fn replacement_of(written: &str) -> String {
    let mut out = String::new();
    let mut characters = written.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek().copied()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some(group @ '1'..='9')) => {
                out.extend(["${", group.encode_utf8(&mut [0; 4]), "}"]);
                characters.next();
            }
            ('\\', Some('&')) => {
                out.push_str("${0}");
                characters.next();
            }
            ('\\', next) => {
                out.push('\\');
                if next == Some('\\') {
                    characters.next();
                }
                // DataFusion takes a backslash and digits for a group; a group that there is not
                // is nothing, and keeps them apart.
                if characters.peek().is_some_and(char::is_ascii_digit) {
                    out.push_str("${_}");
                }
            }
            (c, _) => out.push(c),
        }
    }
    out
}

impl Around for Regex {
    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        if let [_, Some(pattern), ..] = arguments.scalar_arguments
            && let Some(Some(pattern)) = pattern.try_as_str()
        {
            // One that is none is found before it runs.
            let pattern = pattern_of(pattern, true);
            regexp_is_match_scalar(&StringArray::from(vec![""]), &pattern, None)?;
        }
        function.return_field_from_args(arguments)
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        mut arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        self.translated(&mut arguments.args, arguments.number_rows)?;
        function.invoke_with_args(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_matches_a_line_feed() {
        assert_eq!(pattern_of("a.b", false), "(?s)a.b");
        assert_eq!(pattern_of("a.b", true), "a.b");
        assert_eq!(pattern_of("(?s)a.b", false), "(?s)a.b");
        assert_eq!(pattern_of("^ab$", false), "^ab$");
    }

    #[test]
    fn words_begin_and_end_as_postgresql_says() {
        assert_eq!(
            pattern_of(r"\mab\M|\yc\Y", false),
            r"\b{start}ab\b{end}|\bc\B"
        );
        assert_eq!(pattern_of(r"\\m\d", false), r"\\m\d");
        assert_eq!(pattern_of("^[[:alpha:]_]$", false), r"^[\p{Alphabetic}_]$");
    }

    #[test]
    fn a_replacement_has_groups_behind_backslashes_only() {
        assert_eq!(replacement_of(r"<\1\2>"), "<${1}${2}>");
        assert_eq!(replacement_of(r"$1 \& \\ \x"), r"$$1 ${0} \ \x");
        assert_eq!(replacement_of(r"\\1"), r"\${_}1");
        assert_eq!(replacement_of(r"\12"), "${1}2");
    }
}
