//! What a regular expression finds in a text: `regexp_match`, `regexp_substr`,
//! `regexp_split_to_array`, and the list of what `regexp_matches` yields as rows.
//!
//! A group that took no part is NULL, and keeps its place; Arrow leaves it out. A text is not split
//! where nothing is found at its ends or behind what was found.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the values of DataFusion's, texts are named"
)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_datafusion_err, exec_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use regex::{Captures as Captured, Regex};

use super::folded::folded;
use super::regexes::pattern_of;

/// The list of PostgreSQL's `regexp_matches`, which yields its elements as rows.
pub const ALL_MATCHES: &str = "regexp_all_matches";

/// The functions.
pub fn all() -> [Arc<ScalarUDF>; 4] {
    [Finds::Groups, Finds::All, Finds::Pieces, Finds::Every].map(|finds| {
        let texts = |count| TypeSignature::Exact(vec![DataType::Utf8; count]);
        let signature = Signature::one_of(vec![texts(2), texts(3)], Volatility::Immutable);
        Arc::new(ScalarUDF::from(Captures { finds, signature }))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Finds {
    /// The groups of the first match, or all of it where the pattern has none.
    Groups,
    /// All of the first match.
    All,
    /// What is between the matches.
    Pieces,
    /// The groups of every match, or of the first one without the flag `g`.
    Every,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Captures {
    finds: Finds,
    signature: Signature,
}

impl Captures {
    fn regex(&self, pattern: &str, flags: &str) -> Result<Regex> {
        let is_every = self.finds == Finds::Every;
        let flags: &str = &match is_every {
            true => flags.replace('g', ""),
            false => flags.to_owned(),
        };
        if flags.contains('g') {
            let name = self.name();
            return exec_err!("{name} has no flag g");
        }
        if let Some(unknown) = flags.chars().find(|flag| !"icnmsx".contains(*flag)) {
            return exec_err!("a regular expression has no flag {unknown}");
        }
        let by_line = flags.contains(['n', 'm']);
        let mut set = String::new();
        for (known, flag) in [
            (flags.contains('i'), 'i'),
            (by_line, 'm'),
            (flags.contains('x'), 'x'),
        ] {
            if known {
                set.push(flag);
            }
        }
        let pattern = pattern_of(pattern, by_line);
        let pattern = match set.is_empty() {
            true => pattern,
            false => format!("(?{set}){pattern}"),
        };
        Regex::new(&pattern).map_err(|error| exec_datafusion_err!("{error}"))
    }
}

impl ScalarUDFImpl for Captures {
    fn name(&self) -> &str {
        match self.finds {
            Finds::Groups => "regexp_match",
            Finds::All => "regexp_substr",
            Finds::Pieces => "regexp_split_to_array",
            Finds::Every => ALL_MATCHES,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let list = DataType::new_list(DataType::Utf8, true);
        Ok(match self.finds {
            Finds::Groups | Finds::Pieces => list,
            Finds::Every => DataType::new_list(list, true),
            Finds::All => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let text = |at: usize| {
            let given = arguments.scalar_arguments.get(at).copied().flatten();
            given.and_then(|text| text.try_as_str().flatten())
        };
        if let Some(pattern) = text(1) {
            // One that is none is found before it runs.
            self.regex(pattern, text(2).unwrap_or_default())?;
        }
        let is_strict = matches!(self.finds, Finds::Pieces | Finds::Every);
        let mut fields = arguments.arg_fields.iter();
        let nullable = !is_strict || fields.any(|field| field.is_nullable());
        let data_type = self.return_type(&[])?;
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        folded(&arguments, |rows| {
            let arrays = arguments
                .args
                .iter()
                .map(|argument| argument.to_array(rows));
            let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
            let arrays: Vec<&StringArray> = arrays.iter().map(|it| it.as_string()).collect();
            self.find(&arrays, rows)
        })
    }
}

impl Captures {
    fn find(&self, arguments: &[&StringArray], rows: usize) -> Result<ArrayRef> {
        let (mut lists, mut texts) = (ListBuilder::new(StringBuilder::new()), StringBuilder::new());
        let mut every = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
        let mut regexes: HashMap<(&str, &str), Regex> = HashMap::new();
        for row in 0..rows {
            let is_null = arguments.iter().any(|argument| argument.is_null(row));
            let given = |at: usize| arguments.get(at).map_or("", |argument| argument.value(row));
            if is_null {
                lists.append_null();
                texts.append_null();
                every.append_null();
                continue;
            }
            let (text, key) = (given(0), (given(1), given(2)));
            let regex = match regexes.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => free.insert(self.regex(key.0, key.1)?),
            };
            match self.finds {
                Finds::Groups => groups(regex, text, &mut lists),
                Finds::All => texts.append_option(regex.find(text).map(|found| found.as_str())),
                Finds::Pieces => pieces(regex, text, &mut lists),
                Finds::Every => {
                    matches(regex, text, key.1.contains('g'), every.values());
                    every.append(true);
                }
            }
        }
        Ok(match self.finds {
            Finds::Groups | Finds::Pieces => Arc::new(lists.finish()),
            Finds::Every => Arc::new(every.finish()),
            Finds::All => Arc::new(texts.finish()),
        })
    }
}

fn groups(regex: &Regex, text: &str, out: &mut ListBuilder<StringBuilder>) {
    match regex.captures(text) {
        Some(found) => captured(&found, out),
        None => out.append_null(),
    }
}

/// The groups of the first match, or of each: the next one is looked for where the last one ends, or a
/// character on if that is where it began.
fn matches(regex: &Regex, text: &str, each: bool, out: &mut ListBuilder<StringBuilder>) {
    let mut from = 0;
    while from <= text.len()
        && let Some(found) = regex.captures_at(text, from)
    {
        captured(&found, out);
        let whole = found.get_match();
        let behind = text[whole.end()..].chars().next();
        from = match whole.is_empty() {
            true => whole.end() + behind.map_or(1, char::len_utf8),
            false => whole.end(),
        };
        if !each {
            return;
        }
    }
}

fn captured(found: &Captured, out: &mut ListBuilder<StringBuilder>) {
    // The first of them is all that was found.
    let skipped = usize::from(found.len() > 1);
    for group in found.iter().skip(skipped) {
        out.values()
            .append_option(group.map(|group| group.as_str()));
    }
    out.append(true);
}

fn pieces(regex: &Regex, text: &str, out: &mut ListBuilder<StringBuilder>) {
    let mut from = 0;
    for found in regex.find_iter(text) {
        if found.start() < text.len() && found.end() > from {
            out.values().append_value(&text[from..found.start()]);
            from = found.end();
        }
    }
    out.values().append_value(&text[from..]);
    out.append(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, pattern: &str) -> Vec<String> {
        let mut out = ListBuilder::new(StringBuilder::new());
        pieces(&Regex::new(pattern).unwrap(), text, &mut out);
        let pieces = out.finish().value(0);
        let pieces = pieces.as_string::<i32>().iter().flatten();
        pieces.map(str::to_owned).collect()
    }

    #[test]
    fn a_text_is_not_split_where_nothing_is_found_at_its_ends() {
        assert_eq!(split("a, b,c", ", *"), ["a", "b", "c"]);
        assert_eq!(split("abc", ""), ["a", "b", "c"]);
        assert_eq!(split(",a,", ","), ["", "a", ""]);
        assert_eq!(split("", ","), [""]);
        assert_eq!(split("ab12c", "[0-9]*"), ["a", "b", "c"]);
    }

    #[test]
    fn every_match_is_found_and_empty_ones_behind_others_too() {
        let all = |text: &str, pattern: &str| -> Vec<String> {
            let mut out = ListBuilder::new(StringBuilder::new());
            matches(&Regex::new(pattern).unwrap(), text, true, &mut out);
            let groups = out.finish();
            let texts = groups.values().as_string::<i32>();
            texts.iter().flatten().map(str::to_owned).collect()
        };

        assert_eq!(all("abbcb", "b*"), ["", "bb", "", "b", ""]);
        assert_eq!(all("a=1 b=2", "([a-z])=([0-9])"), ["a", "1", "b", "2"]);
        assert_eq!(all("", "a*"), [""]);
        assert_eq!(all("aü", "ü?"), ["", "ü", ""]);
    }
}
