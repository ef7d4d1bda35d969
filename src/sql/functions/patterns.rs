//! PostgreSQL's date patterns (`YYYY-MM-DD`) as chrono's (`%Y-%m-%d`), by which DataFusion reads
//! dates; `to_char` writes them.
//!
//! And the one name of `encode` that means something else there.
//!
//! A format that has a `%` is chrono's already. What has no counterpart is a problem: DataFusion
//! would copy it to the output as it stands.

use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{Expr, Operator, binary_expr, lit};

use crate::sql::problem::Problem;

/// The functions whose second argument is a format.
const FUNCTIONS: &[&str] = &["to_timestamp", "to_date"];

/// PostgreSQL's patterns and chrono's, longer ones before those that they start with.
const PATTERNS: &[(&str, &str)] = &[
    ("YYYY", "%Y"),
    ("IYYY", "%G"),
    ("YY", "%y"),
    ("Month", "%B"),
    ("MONTH", "%B"),
    ("Mon", "%b"),
    ("MON", "%b"),
    ("MM", "%m"),
    ("MI", "%M"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("Day", "%A"),
    ("Dy", "%a"),
    ("ID", "%u"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("IW", "%V"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("TZH", "%z"),
];

/// Translates the format of a call that has one; a format that is not a constant stays.
pub fn translate(name: &str, arguments: &mut [Expr]) -> Result<()> {
    if let ("encode", [_, Expr::Literal(ScalarValue::Utf8(Some(format)), _)]) =
        (name, &mut *arguments)
        && format.eq_ignore_ascii_case("base64")
    {
        // DataFusion's base64 lacks the signs that fill up the last group.
        *format = "base64pad".to_owned();
    }
    if !FUNCTIONS.contains(&name) {
        return Ok(());
    }
    for argument in arguments.iter_mut().skip(1) {
        if let Expr::Literal(ScalarValue::Utf8(Some(format)), _) = argument
            && !format.contains('%')
        {
            *format = chrono_format(format)?;
        }
    }
    with_minutes(arguments);
    Ok(())
}

/// An hour without minutes is no time to chrono, and DataFusion would take the date alone.
fn with_minutes(arguments: &mut [Expr]) {
    if let [text, Expr::Literal(ScalarValue::Utf8(Some(format)), _)] = arguments
        && (format.contains("%H") || format.contains("%I"))
        && !format.contains("%M")
    {
        format.push_str(" %M");
        let given = std::mem::take(text);
        *text = binary_expr(given, Operator::StringConcat, lit(" 00"));
    }
}

fn chrono_format(format: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some((pattern, chrono)) = PATTERNS.iter().find(|(p, _)| rest.starts_with(p)) {
            out.push_str(chrono);
            rest = &rest[pattern.len()..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            // Text in double quotes stands for itself.
            let (text, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            out.push_str(text);
            rest = after;
        } else if first.is_alphabetic() && !matches!(first, 'T' | 'Z') {
            return Err(
                Problem::of_file(format!("`{rest}` is no part of a date format"))
                    .hint("write YYYY-MM-DD HH24:MI:SS, or %Y-%m-%d %H:%M:%S")
                    .into(),
            );
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_patterns_become_those_of_chrono() {
        assert_eq!(
            chrono_format("YYYY-MM-DD HH24:MI:SS.MS").unwrap(),
            "%Y-%m-%d %H:%M:%S.%3f"
        );
        assert_eq!(chrono_format("Dy DD Mon YYYY").unwrap(), "%a %d %b %Y");
        assert_eq!(chrono_format("YYYY\"year\"").unwrap(), "%Yyear");
    }

    #[test]
    fn an_unknown_pattern_is_a_problem() {
        assert!(chrono_format("YYYY-QQ").is_err());
    }
}
