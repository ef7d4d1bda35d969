//! What is said where a query cannot be computed above state: which one, what fails, what to write.
//!
//! ```text
//!   operator "compute 4" ──▶ INSERT INTO `out1` (line 12)        by the plan (`for_people`)
//!   value out of range, division by zero ──▶ what to write       by the causes (`hint`)
//! ```
//!
//! Operators know themselves by their number in the plan, which metrics and snapshots name; a person
//! knows the INSERT.

use std::error::Error;

use super::named::operator_name;
use super::outcome::{Failure, Shared};
use super::zones::ancestry;
use crate::plan::{NodeId, Pipeline};

/// Operators that group before rows are sent to their owners.
const BEFORE: &str = ", before the exchange";

/// For whom a node computes: `INSERT INTO a (line 12)`.
#[must_use]
pub fn for_people(pipeline: &Pipeline, id: NodeId) -> String {
    let reads_it = |input: NodeId| ancestry(pipeline, input).contains(&id);
    let inserts = pipeline.inserts.iter();
    let inserts: Vec<_> = inserts.filter(|insert| reads_it(insert.input)).collect();
    let told = inserts.iter().map(|insert| {
        // Several INSERTs into one table are one here; the node knows which of them asked for it.
        let place = match inserts.len() {
            1 => pipeline.nodes[id].place,
            _ => insert.place,
        };
        let table = &pipeline.tables[insert.table].name;
        format!("INSERT INTO `{table}` (line {})", place.line)
    });
    told.collect::<Vec<_>>().join(" and ")
}

impl Shared {
    /// Says whom the operators of a plan compute for.
    pub fn names_operators(&self, pipeline: &Pipeline) {
        for (id, node) in pipeline.nodes.iter().enumerate() {
            let text = for_people(pipeline, id);
            if !text.is_empty() {
                self.calls(operator_name(&node.operator, id), text);
            }
        }
    }

    /// An operator cannot go on.
    #[must_use]
    pub fn cannot_compute(&self, operator: &str, error: &(dyn Error + 'static)) -> Failure {
        let operator = operator.strip_suffix(BEFORE).unwrap_or(operator);
        let of = self.called(operator);
        let of = of.unwrap_or_else(|| operator.to_owned());
        let failure = Failure::new(format!("cannot compute {of}")).because_of(error);
        with_hint(failure)
    }

    /// "cannot compute the row .." of an operator, with whom it is for.
    #[must_use]
    pub fn cannot_compute_row(&self, operator: &str, failure: Failure) -> Failure {
        let operator = operator.strip_suffix(BEFORE).unwrap_or(operator);
        let Some(of) = self.called(operator) else {
            return failure;
        };
        let message = match failure.message.strip_prefix("cannot compute ") {
            Some(row) => format!("cannot compute {of}: {row}"),
            None => failure.message,
        };
        Failure { message, ..failure }
    }
}

fn with_hint(failure: Failure) -> Failure {
    match (failure.hint.is_some(), failure.causes.last()) {
        (false, Some(why)) => {
            let hint = hint(why);
            failure.hint(hint)
        }
        (true, _) | (false, None) => failure,
    }
}

/// What to write where an expression fails with `why`.
#[must_use]
pub fn hint(why: &str) -> &'static str {
    if why.contains("division by zero") {
        return "write a / nullif(b, 0), which is NULL there";
    }
    if why.ends_with("out of range for SMALLINT") {
        return "an INT or BIGINT holds it: declare the column so, or have TRY_CAST yield NULL there";
    }
    if why.ends_with("out of range for INT") {
        return "a BIGINT holds it: declare the column so, or have TRY_CAST yield NULL there";
    }
    if why.contains("out of range for BIGINT") || why.contains("verflow") {
        return "a NUMERIC holds it: declare the column so, or CAST(a AS NUMERIC) in the expression";
    }
    "make the expression yield a value there: NULLIF, TRY_CAST, CASE, or a wider type"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_called_by_whom_it_computes_for() {
        let shared = Shared::default();
        shared.calls(
            "aggregate 3".to_owned(),
            "INSERT INTO `a` (line 7)".to_owned(),
        );
        let error = std::io::Error::other("division by zero");

        let known = shared.cannot_compute("aggregate 3, before the exchange", &error);
        let unknown = shared.cannot_compute("index 4", &error);

        assert_eq!(known.message, "cannot compute INSERT INTO `a` (line 7)");
        assert!(known.hint.unwrap().contains("nullif"));
        assert_eq!(unknown.message, "cannot compute index 4");
    }

    #[test]
    fn a_row_is_named_after_whom_it_is_for() {
        let shared = Shared::default();
        shared.calls(
            "compute 3".to_owned(),
            "INSERT INTO `a` (line 7)".to_owned(),
        );
        let row = || Failure::new("cannot compute the row k = a");

        let known = shared.cannot_compute_row("compute 3", row());

        assert_eq!(
            known.message,
            "cannot compute INSERT INTO `a` (line 7): the row k = a"
        );
        assert_eq!(shared.cannot_compute_row("over 5", row()), row());
    }
}
