//! `${NAME}` and `${NAME:-default}` inside string literals, from the environment.
//!
//! They are replaced in tokens, not in the text, so that every place in the file stays what it is
//! and a value can never be read as SQL.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::plan::Place;

use super::problem::{Problem, did_you_mean};

/// Replaces the variables in every string literal; a missing one is a problem that names it.
pub fn replace(
    tokens: &mut [TokenWithSpan],
    variables: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    for token in tokens {
        let place = super::place_of(token.span);
        let (Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) =
            &mut token.token
        else {
            continue;
        };
        if text.contains("${") {
            match expand(text, variables, place) {
                Ok(expanded) => *text = expanded,
                Err(problem) => problems.push(problem),
            }
        }
    }
}

fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
    place: Place,
) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            return Err(Problem::at(place, "`${` without a closing `}`")
                .hint("write ${NAME} or ${NAME:-default}"));
        };
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        // As in a shell, `:-` also stands in for a variable that is set to nothing.
        let value = variables.get(name).map(String::as_str);
        let value = match default {
            Some(default) => value.filter(|v| !v.is_empty()).or(Some(default)),
            None => value,
        };
        let Some(value) = value else {
            return Err(missing(name, variables, place));
        };
        out.push_str(value);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn missing(name: &str, variables: &BTreeMap<String, String>, place: Place) -> Problem {
    let hint = did_you_mean(name, variables.keys().map(String::as_str))
        .unwrap_or_else(|| format!("set {name}, or give a default: ${{{name}:-...}}"));
    Problem::at(
        place,
        format!("the environment variable `{name}` is not set"),
    )
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { line: 1, column: 1 };

    fn given() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("HOST".to_owned(), "db".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ])
    }

    #[test]
    fn a_variable_is_replaced_wherever_it_stands_in_the_text() {
        let text = expand("x=${HOST}:${PORT:-5432}/", &given(), HERE).unwrap();

        assert_eq!(text, "x=db:5432/");
    }

    #[test]
    fn a_default_also_stands_in_for_an_empty_variable() {
        assert_eq!(expand("${EMPTY:-x}", &given(), HERE).unwrap(), "x");
        assert_eq!(expand("${EMPTY}", &given(), HERE).unwrap(), "");
    }

    #[test]
    fn a_missing_variable_is_a_problem_that_names_it() {
        let problem = expand("${PASSWORD}", &given(), HERE).unwrap_err();

        assert_eq!(
            problem.message,
            "the environment variable `PASSWORD` is not set"
        );
    }

    #[test]
    fn a_value_that_looks_like_a_variable_is_not_expanded_again() {
        let variables = BTreeMap::from([("A".to_owned(), "${B}".to_owned())]);

        assert_eq!(expand("${A}", &variables, HERE).unwrap(), "${B}");
    }
}
