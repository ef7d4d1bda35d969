//! What rows were computed by. A mark says it, so that a run that would compute others is refused,
//! and is told what has changed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A plan, as far as rows tell one from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Another one for every other meaning of the file.
    pub fingerprint: String,
    /// A hash of each statement that has a say in it, by what people call it: "INSERT INTO `counts`".
    /// They do not decide whether two are alike; older marks have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statements: BTreeMap<String, String>,
    /// The version of Tidemark that planned it; older marks do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// Why a recipe is not another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file says something else.
    Statements(Vec<StatementChange>),
    /// The file says the same, and it was planned in another way.
    Planning {
        /// The version that planned the rows that are there.
        then: String,
        /// This version.
        now: String,
    },
    /// The rows are from before marks said more than a fingerprint.
    Unknown,
}

/// What became of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementChange {
    /// It says something else.
    Changed(String),
    /// It was not there.
    New(String),
    /// It is not there any more.
    Gone(String),
}

impl Recipe {
    /// What `now` says differently; `None` if rows of the two may stand in one table.
    #[must_use]
    pub fn change_to(&self, now: &Self) -> Option<Change> {
        if self.fingerprint == now.fingerprint {
            return None;
        }
        if self.statements.is_empty() {
            return Some(Change::Unknown);
        }
        let of_then =
            self.statements
                .iter()
                .filter_map(|(name, then)| match now.statements.get(name) {
                    None => Some(StatementChange::Gone(name.clone())),
                    Some(now) if now != then => Some(StatementChange::Changed(name.clone())),
                    Some(_) => None,
                });
        let new = now.statements.keys();
        let new = new.filter(|name| !self.statements.contains_key(*name));
        let all: Vec<StatementChange> = of_then
            .chain(new.map(|name| StatementChange::New(name.clone())))
            .collect();
        Some(match all.is_empty() {
            false => Change::Statements(all),
            true => Change::Planning {
                then: self.version.clone(),
                now: now.version.clone(),
            },
        })
    }
}

/// How many changes are named; whoever changed more knows what he did.
const NAMED: usize = 4;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statements(changes) => {
                let named = changes.iter().take(NAMED).map(ToString::to_string);
                let named: Vec<String> = named.collect();
                write!(f, "a different pipeline file: {}", named.join(", "))?;
                match changes.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Planning { then, now } if then == now => f.write_str(
                "another build of Tidemark, which planned the same statements in another way",
            ),
            Self::Planning { then, now } => write!(
                f,
                "Tidemark {then}, which planned the same statements in another way than {now}"
            ),
            Self::Unknown => f.write_str(
                "a different pipeline file, or by an earlier build of Tidemark that planned it in \
                 another way",
            ),
        }
    }
}

impl fmt::Display for StatementChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(name) => write!(f, "{name} has changed"),
            Self::New(name) => write!(f, "{name} is new"),
            Self::Gone(name) => write!(f, "{name} is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(fingerprint: &str, statements: &[(&str, &str)]) -> Recipe {
        let statements = statements.iter();
        let statements = statements.map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()));
        Recipe {
            fingerprint: fingerprint.to_owned(),
            statements: statements.collect(),
            version: "0.1.0".to_owned(),
        }
    }

    fn said(then: &Recipe, now: &Recipe) -> String {
        then.change_to(now)
            .map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn what_became_of_each_statement_is_said() {
        let then = recipe(
            "a",
            &[
                ("CREATE VIEW `v`", "1"),
                ("INSERT INTO `s`", "1"),
                ("x", "1"),
            ],
        );
        let now = recipe(
            "b",
            &[
                ("CREATE VIEW `v`", "2"),
                ("INSERT INTO `t`", "1"),
                ("x", "1"),
            ],
        );
        assert_eq!(
            said(&then, &now),
            "a different pipeline file: CREATE VIEW `v` has changed, INSERT INTO `s` is gone, \
             INSERT INTO `t` is new"
        );
        let many: Vec<String> = (0..9).map(|at| at.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(said(&then, &recipe("b", &many)).ends_with("and 8 more"));
    }

    #[test]
    fn statements_alone_make_no_difference() {
        let then = recipe("a", &[("CREATE VIEW `v`", "1")]);
        assert_eq!(
            then.change_to(&recipe("a", &[("CREATE VIEW `v`", "2")])),
            None
        );
    }

    #[test]
    fn a_plan_of_the_same_statements_is_of_another_version() {
        let then = recipe("a", &[("INSERT INTO `s`", "1")]);
        let now = Recipe {
            version: "0.2.0".to_owned(),
            ..recipe("b", &[("INSERT INTO `s`", "1")])
        };
        assert!(said(&then, &now).starts_with("Tidemark 0.1.0, which"));
        assert!(
            said(&then, &recipe("b", &[("INSERT INTO `s`", "1")])).starts_with("another build")
        );
        let bare: Recipe = serde_json::from_str(r#"{"fingerprint": "a"}"#).unwrap();
        assert_eq!(bare.change_to(&now), Some(Change::Unknown));
    }
}
