//! The pattern of a MATCH_RECOGNIZE.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of the syntax of patterns, what can be searched for is named"
)]

use datafusion_sql::sqlparser::ast::{
    MatchRecognizePattern as Given, MatchRecognizeSymbol as Symbol, RepetitionQuantifier as Often,
};

use crate::plan::{Pattern, Place};
use crate::sql::normalise;
use crate::sql::problem::Problem;

/// More repetitions than anyone means: each is a step of the search.
const REPETITIONS_MAX: u32 = 1000;

/// The variables of a pattern, by number.
#[derive(Debug, Default)]
pub struct Variables {
    pub names: Vec<String>,
}

impl Variables {
    /// The number of a variable.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The pattern; its variables are numbered as they occur.
    pub fn pattern(&mut self, given: &Given, place: Place) -> Result<Pattern, Problem> {
        let pattern = self.part(given, place)?;
        if pattern.least() == 0 {
            return Err(
                Problem::at(place, "the pattern is found where there is no row")
                    .hint("write + instead of * for one of its variables"),
            );
        }
        if size(&pattern) > REPETITIONS_MAX as usize {
            return Err(
                Problem::at(place, "the pattern has too many parts").hint(format!(
                    "at most {REPETITIONS_MAX}, where `A{{10}}` has ten"
                )),
            );
        }
        Ok(pattern)
    }

    fn part(&mut self, given: &Given, place: Place) -> Result<Pattern, Problem> {
        let cannot = |what: &str, hint: &str| {
            Problem::at(
                place,
                format!("a pipeline cannot compute {what} in a pattern"),
            )
            .hint(hint)
        };
        Ok(match given {
            Given::Symbol(Symbol::Named(name)) => {
                let name = normalise(name);
                Pattern::Row(self.find(&name).unwrap_or_else(|| {
                    self.names.push(name);
                    self.names.len() - 1
                }))
            }
            Given::Symbol(Symbol::Start | Symbol::End) => {
                return Err(cannot("^ or $", "leave it out: partitions have no end"));
            }
            Given::Exclude(_) => {
                return Err(cannot("{- -}", "leave it out: a match is one row"));
            }
            Given::Permute(_) => {
                return Err(cannot("PERMUTE", "write the orders with |: (A B | B A)"));
            }
            Given::Concat(parts) => Pattern::Then(self.parts(parts, place)?),
            Given::Alternation(parts) => Pattern::Either(self.parts(parts, place)?),
            Given::Group(inner) => self.part(inner, place)?,
            // `A*?` arrives as `?` of `A*`; that in brackets is another thing, and a group.
            Given::Repetition(inner, often) => match (inner.as_ref(), often) {
                (Given::Repetition(inner, often), Often::AtMostOne) => {
                    self.repeated(inner, often, false, place)?
                }
                (Given::Repetition(..), _) => {
                    return Err(
                        Problem::at(place, "a part of the pattern is repeated twice")
                            .hint("put the inner one in brackets: (A+){2}"),
                    );
                }
                _ => self.repeated(inner, often, true, place)?,
            },
        })
    }

    fn parts(&mut self, parts: &[Given], place: Place) -> Result<Vec<Pattern>, Problem> {
        parts.iter().map(|part| self.part(part, place)).collect()
    }

    fn repeated(
        &mut self,
        inner: &Given,
        often: &Often,
        greedy: bool,
        place: Place,
    ) -> Result<Pattern, Problem> {
        let (least, most) = match *often {
            Often::ZeroOrMore => (0, None),
            Often::OneOrMore => (1, None),
            Often::AtMostOne => (0, Some(1)),
            Often::Exactly(times) => (times, Some(times)),
            Often::AtLeast(times) => (times, None),
            Often::AtMost(times) => (0, Some(times)),
            Often::Range(least, most) => (least, Some(most)),
        };
        if most.is_some_and(|most| most < least || most == 0) {
            return Err(
                Problem::at(place, "a part of the pattern is repeated less than once")
                    .hint("write {1,3}: at least, at most"),
            );
        }
        if most.unwrap_or(least) > REPETITIONS_MAX {
            return Err(
                Problem::at(place, "a part of the pattern is repeated too often").hint(format!(
                    "at most {REPETITIONS_MAX} times, or without a limit"
                )),
            );
        }
        let inner = self.part(inner, place)?;
        if most.is_none() && inner.least() == 0 {
            return Err(
                Problem::at(place, "what is repeated in the pattern may be no row")
                    .hint("write (A | B)* instead of (A* | B)*"),
            );
        }
        if most.is_none() && (is_endless(&inner) || is_endless_alone(&inner)) {
            return Err(Problem::at(
                place,
                "the pattern can take the same rows in ever more ways: what is repeated without \
                 limit is so inside already",
            )
            .hint("repeat it once: A+ for (A+)+, (A | B)+ for (A+ | B)+, (A B*)+ for (A+ B*)+"));
        }
        Ok(Pattern::Repeat {
            inner: Box::new(inner),
            least,
            most,
            greedy,
        })
    }
}

/// Whether it is a repetition without limit.
fn is_endless(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Repeat { most, .. } => most.is_none(),
        Pattern::Row(_) | Pattern::Then(_) | Pattern::Either(_) => false,
    }
}

/// Whether it may be nothing but one thing several times, however often, or once: repeated, it
/// takes the rows of that thing in as many ways as they can be cut.
fn is_endless_alone(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Row(_) => false,
        Pattern::Repeat {
            inner, least, most, ..
        } => *least <= 1 && (most.is_none() || is_endless_alone(inner)),
        Pattern::Either(parts) => parts.iter().any(is_endless_alone),
        Pattern::Then(parts) => parts.iter().enumerate().any(|(at, part)| {
            let mut others = parts.iter().enumerate().filter(|(other, _)| *other != at);
            is_endless_alone(part) && others.all(|(_, other)| other.least() == 0)
        }),
    }
}

/// How many steps a search for it has.
fn size(pattern: &Pattern) -> usize {
    match pattern {
        Pattern::Row(_) => 1,
        Pattern::Then(parts) | Pattern::Either(parts) => parts.iter().map(size).sum(),
        Pattern::Repeat {
            inner, least, most, ..
        } => {
            let times = most.unwrap_or(least + 1).max(1) as usize;
            times.saturating_mul(size(inner))
        }
    }
}
