//! Assignments of INSERT that hold fewer values than the query yields, or fewer digits.
//!
//! PostgreSQL makes them without a word, and so do we. But above state there is no record to
//! reject: one value that does not fit ends the run, at every start again. So `check` says it.
//!
//! Left alone is what is meant as written (`NUMERIC(10, 2)` takes an average with two digits) or
//! does not happen (a sum of BIGINTs beyond BIGINT).

use arrow::datatypes::DataType;

use super::{NodeId, Operator, Pipeline, Place};

/// A column of a sink that takes less than what goes into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// The column of the sink.
    pub column: String,
    /// What the query yields, as SQL writes it.
    pub from: String,
    /// What the sink declares, as SQL writes it.
    pub to: String,
    /// What becomes of the values.
    pub loss: Loss,
    /// Where the expression stands.
    pub place: Place,
    /// The INSERT's own node.
    pub node: NodeId,
}

/// What an assignment does to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It fails on those beyond the range of the sink's type.
    Range,
    /// It rounds them, and fails on those beyond the range.
    Digits,
}

/// What is lost from one type to another, if that is worth a word.
#[must_use]
pub fn loss(from: &DataType, to: &DataType) -> Option<Loss> {
    let bits = |data_type: &DataType| data_type.is_integer().then(|| data_type.primitive_width());
    let to = bits(to).flatten()?;
    if let Some(from) = bits(from).flatten() {
        return (from > to).then_some(Loss::Range);
    }
    if let DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) = from {
        return match (*scale > 0, to < 8) {
            (true, _) => Some(Loss::Digits),
            (false, true) => Some(Loss::Range),
            (false, false) => None,
        };
    }
    from.is_floating().then_some(Loss::Digits)
}

/// The assignments above state that hold less than what the query yields, with the sink's name.
#[must_use]
pub fn narrowed_above_state(pipeline: &Pipeline) -> Vec<(&str, &Narrowed)> {
    // Where what a node yields is nobody's record any more.
    let mut above: Vec<bool> = Vec::with_capacity(pipeline.nodes.len());
    for node in &pipeline.nodes {
        let is_reloaded = matches!(node.operator, Operator::Source { counted: true, .. });
        let mut inputs = node.operator.inputs().into_iter();
        let is_above = is_reloaded || node.operator.is_stateful() || inputs.any(|it| above[it]);
        above.push(is_above);
    }
    let inserts = pipeline.inserts.iter();
    let narrowed = inserts.flat_map(|insert| {
        let sink = pipeline.tables[insert.table].name.as_str();
        insert.narrowed.iter().map(move |narrowed| (sink, narrowed))
    });
    narrowed.filter(|(_, it)| above[it.node]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surprises_is_worth_a_word() {
        use DataType as T;
        let cases = [
            (T::Int64, T::Int32, Some(Loss::Range)),
            (T::Int64, T::Int16, Some(Loss::Range)),
            (T::Int32, T::Int64, None),
            (T::Decimal128(38, 0), T::Int64, None),
            (T::Decimal128(38, 0), T::Int32, Some(Loss::Range)),
            (T::Decimal128(38, 16), T::Int64, Some(Loss::Digits)),
            (T::Decimal128(38, 16), T::Decimal128(10, 2), None),
            (T::Float64, T::Int64, Some(Loss::Digits)),
            (T::Int64, T::Float64, None),
            (T::Int64, T::Utf8, None),
        ];
        for (from, to, expected) in cases {
            assert_eq!(loss(&from, &to), expected, "{from} into {to}");
        }
    }
}
