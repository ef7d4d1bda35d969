//! Which arrangements the operators of a plan want: equal ones are made once.

use std::fmt::Write as _;

use super::index::NullKeys;
use crate::plan::{NodeId, Operator, Pipeline, SortKey};

/// The rows of a node by key, in an order.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The node.
    pub input: NodeId,
    /// Positions of its columns.
    pub keys: Vec<usize>,
    /// The order of the rows under a key.
    pub order: Vec<SortKey>,
    /// What becomes of rows with a NULL in their key.
    pub nulls: NullKeys,
}

impl Wanted {
    /// What it is called, the same for equal ones: by `explain`, the metrics and snapshots.
    #[must_use]
    pub fn name(&self, pipeline: &Pipeline) -> String {
        let schema = &pipeline.nodes[self.input].schema;
        let keys = self
            .keys
            .iter()
            .map(|&key| schema.field(key).name().as_str());
        let keys: Vec<&str> = keys.collect();
        let mut name = format!("index {} by {}", self.input, keys.join(", "));
        if self.keys.is_empty() {
            name = format!("index {}", self.input);
        }
        for (at, key) in self.order.iter().enumerate() {
            let before = if at == 0 { " in the order of" } else { "," };
            let down = if key.descending { " DESC" } else { "" };
            let nulls = if key.nulls_first { " NULLS FIRST" } else { "" };
            let _ = write!(name, "{before} {}{down}{nulls}", key.expression.text);
        }
        // Columns of one name are told apart by their places.
        let order = self.order.iter().map(|key| key.expression.as_column());
        let places = self.keys.iter().copied().map(Some).chain(order);
        let places = places.map(|place| place.map_or_else(String::new, |place| place.to_string()));
        let _ = write!(name, " ({})", places.collect::<Vec<_>>().join(" "));
        if self.nulls == NullKeys::Dropped {
            name.push_str(" but NULL");
        }
        name
    }
}

/// The arrangements that an operator reads, in the order of its inputs.
#[must_use]
pub fn wanted(operator: &Operator) -> Vec<Wanted> {
    match operator {
        Operator::Join {
            left,
            right,
            keys,
            nulls_match,
            kind,
            ..
        } => {
            // A row that matches nothing is needed where it comes out by itself.
            let nulls = |side: usize| match *nulls_match || kind.shows_alone(side) {
                true => NullKeys::Kept,
                false => NullKeys::Dropped,
            };
            let side = |side: usize, input: NodeId, keys: Vec<usize>| Wanted {
                input,
                keys,
                order: Vec::new(),
                nulls: nulls(side),
            };
            let (of_left, of_right) = keys.iter().copied().unzip();
            vec![side(0, *left, of_left), side(1, *right, of_right)]
        }
        Operator::Over {
            input,
            partition,
            order,
            ..
        } => vec![Wanted {
            input: *input,
            keys: partition.clone(),
            order: order.clone(),
            nulls: NullKeys::Kept,
        }],
        Operator::Source { .. }
        | Operator::Filter { .. }
        | Operator::Project { .. }
        | Operator::Union { .. }
        | Operator::Unnest { .. }
        | Operator::Lookup { .. }
        | Operator::Window { .. }
        | Operator::OnTime { .. }
        | Operator::IntervalJoin { .. }
        | Operator::AsofJoin { .. }
        | Operator::Aggregate { .. }
        | Operator::Match { .. }
        | Operator::Running { .. }
        | Operator::Latest { .. }
        | Operator::Keep { .. } => Vec::new(),
    }
}
