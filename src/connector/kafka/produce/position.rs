//! How far a job is, part by part: what its producers' marks say together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::input::Part;
use crate::connector::ConnectorError;
use crate::types::Offset;

/// A part's position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// What must not have changed for the offset to mean the same.
    pub identity: Option<String>,
    /// The next record.
    pub offset: Offset,
    /// Whether there is none.
    pub ended: bool,
}

/// Positions by the names of parts: one producer's mark, or all of a job's together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Positions(pub BTreeMap<String, Position>);

impl Positions {
    /// What the marks of a job say together. A part that went from one producer to another, with
    /// another number of them, is in two marks, and the further one is the later.
    pub fn of(marks: &BTreeMap<String, Vec<u8>>) -> Result<Self, ConnectorError> {
        let mut all: BTreeMap<String, Position> = BTreeMap::new();
        for (key, text) in marks {
            let one: Self = serde_json::from_slice(text).map_err(|error| {
                ConnectorError::permanent(format!("cannot read the mark `{key}`: {error}"))
            })?;
            for (part, position) in one.0 {
                let further = |known: &Position| {
                    (known.offset, known.ended) < (position.offset, position.ended)
                };
                if all.get(&part).is_none_or(further) {
                    all.insert(part, position);
                }
            }
        }
        Ok(Self(all))
    }

    /// Refuses a part that is not what it was.
    pub fn check(&self, parts: &[Part], job: &str) -> Result<(), ConnectorError> {
        let changed = parts.iter().find(|part| {
            let before = self.0.get(&part.name);
            before.is_some_and(|before| before.identity != part.identity)
        });
        match changed {
            None => Ok(()),
            Some(part) => Err(ConnectorError::hinted(
                format!(
                    "`{}` has changed since job `{job}` began to send it",
                    part.name
                ),
                "--job NAME sends it as another job; --fresh-job sends everything of this one again",
            )),
        }
    }

    /// Where to go on with a part.
    pub fn of_part(&self, part: &Part) -> Position {
        self.0.get(&part.name).cloned().unwrap_or_else(|| Position {
            identity: part.identity.clone(),
            ..Position::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_marks_that_know_a_part_the_further_one_holds() {
        let mark = |offset, ended| {
            let position = Position {
                identity: None,
                offset: Offset(offset),
                ended,
            };
            let positions = Positions(BTreeMap::from([("a".to_owned(), position)]));
            serde_json::to_vec(&positions).unwrap()
        };
        let marks = BTreeMap::from([
            ("produce/t/j/0".to_owned(), mark(7, false)),
            ("produce/t/j/1".to_owned(), mark(7, true)),
            ("produce/t/j/2".to_owned(), mark(3, false)),
        ]);

        let positions = Positions::of(&marks).unwrap();

        assert_eq!(positions.0["a"].offset, Offset(7));
        assert!(positions.0["a"].ended);
    }
}
