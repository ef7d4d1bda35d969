//! The pipeline's graph while it grows: equal nodes become one, and what is known about each
//! node's rows is kept beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{CastExpr, Column};

use crate::plan::{Expression, Node, NodeId, Operator, Place};

use super::assign::is_lossless;
use super::functions::casts::is_lossless_text;
use super::sets::Sets;

/// A set of columns whose values no two rows of the accumulated table share. Each part of the
/// key is the positions that hold it: a column may have been copied.
pub type Key = Vec<Vec<usize>>;

/// Pairs of columns: of each, whichever is not NULL.
pub type Pairs = Vec<(usize, usize)>;

/// What is known of the numbers of a column, NULLs aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    NotNegative,
    Positive,
}

/// What is known about the rows of a node.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Per column: whether it never holds NULL, though its type may.
    pub not_null: Vec<bool>,
    /// Per column: whether it is the event time of its source.
    pub event_time: Vec<bool>,
    /// Times of windows, and how far behind the watermark a row may come with them, in
    /// microseconds.
    pub lagging: BTreeMap<usize, i64>,
    /// The same of rows that were put into windows and not grouped: no time for further windows.
    pub windows: BTreeMap<usize, i64>,
    /// Expressions over the columns, by identity, that a filter keeps from being NULL.
    pub present: BTreeSet<String>,
    /// The keys of the rows; empty if there is none.
    pub keys: Vec<Key>,
    /// Pairs of columns, ascending, each of which says what the other is: the bounds of windows of
    /// one length.
    pub bounds: BTreeSet<(usize, usize)>,
    /// Pairs of columns that are never both NULL, ascending.
    pub either: BTreeSet<(usize, usize)>,
    /// Pairs of those that are a key together.
    pub merged: Vec<Pairs>,
    /// Per column, where something is known: whether its numbers are above zero.
    pub signs: BTreeMap<usize, Sign>,
    /// What is known where the rows are those of GROUPING SETS.
    pub sets: Option<Sets>,
    /// How the key reads where the rows were made, for messages.
    pub key_text: Option<String>,
}

impl Facts {
    /// The parts of a key of these columns: of those of which one says what the other is, either.
    pub fn parts(&self, columns: &[usize]) -> Key {
        let mut parts = Key::new();
        for at in columns {
            let others = self.bounds.iter().filter_map(|(one, other)| match at {
                at if at == one => Some(*other),
                at if at == other => Some(*one),
                _ => None,
            });
            let part: Vec<usize> = [*at].into_iter().chain(others).collect();
            if !parts.iter().any(|known| known.contains(at)) {
                parts.push(part);
            }
        }
        parts
    }

    /// How far behind the watermark a row may come with the time in a column; `None` if nothing is
    /// known of that.
    pub fn lag(&self, column: usize) -> Option<i64> {
        match self.event_time[column] {
            true => Some(0),
            false => self.lagging.get(&column).copied(),
        }
    }
}

/// Nodes, each once.
#[derive(Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    facts: Vec<Facts>,
    by_text: HashMap<String, NodeId>,
}

impl Graph {
    /// The node that does this; an equal one is used again. `text` says everything that makes
    /// two operators the same, their inputs included, but for the types of their columns: a NULL
    /// reads alike in all of them.
    pub fn add(
        &mut self,
        text: String,
        operator: Operator,
        fields: Vec<FieldRef>,
        facts: Facts,
        place: Place,
    ) -> NodeId {
        let mut text = text;
        for field in &fields {
            text += &format!(" {}", field.data_type());
        }
        if let Some(node) = self.by_text.get(&text) {
            return *node;
        }
        assert_eq!(fields.len(), facts.not_null.len(), "facts of every column");
        assert_eq!(
            fields.len(),
            facts.event_time.len(),
            "facts of every column"
        );
        let changing = operator.is_changing(|input| self.nodes[input].changing);
        self.nodes.push(Node {
            operator,
            schema: Arc::new(Schema::new(fields)),
            changing,
            place,
        });
        self.facts.push(facts);
        let node = self.nodes.len() - 1;
        self.by_text.insert(text, node);
        node
    }

    pub fn facts(&self, node: NodeId) -> &Facts {
        &self.facts[node]
    }

    pub fn fields(&self, node: NodeId) -> Vec<FieldRef> {
        self.nodes[node].schema.fields().iter().cloned().collect()
    }

    /// All rows of nodes that have the same columns.
    pub fn union_of(&mut self, inputs: &[NodeId], place: Place) -> NodeId {
        if let [only] = inputs {
            return *only;
        }
        let all: Vec<&Facts> = inputs.iter().map(|input| self.facts(*input)).collect();
        let width = all[0].not_null.len();
        let every = |known: fn(&Facts) -> &Vec<bool>| {
            (0..width)
                .map(|at| all.iter().all(|facts| known(facts)[at]))
                .collect()
        };
        let facts = Facts {
            not_null: every(|facts| &facts.not_null),
            event_time: every(|facts| &facts.event_time),
            lagging: (0..width)
                .filter_map(|at| {
                    let lags = all.iter().map(|facts| facts.lag(at));
                    let most = lags.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
                    // Rows of a source would have to be turned away where they are late, and
                    // among those of windows nobody does.
                    all.iter()
                        .all(|facts| !facts.event_time[at])
                        .then_some((at, most))
                })
                .collect(),
            ..Facts::default()
        };
        let mut fields = self.fields(inputs[0]);
        for (at, field) in fields.iter_mut().enumerate() {
            let nullable = inputs
                .iter()
                .any(|input| self.nodes[*input].schema.field(at).is_nullable());
            *field = Arc::new(field.as_ref().clone().with_nullable(nullable));
        }
        let operator = Operator::Union {
            inputs: inputs.to_vec(),
        };
        self.add(format!("union {inputs:?}"), operator, fields, facts, place)
    }

    /// What is known of a projection's rows.
    pub fn facts_through(&self, input: NodeId, columns: &[Expression]) -> Facts {
        let known = self.facts(input);
        let sources: Vec<Option<usize>> = columns.iter().map(Expression::as_column).collect();
        let schema = &self.nodes[input].schema;
        let same: Vec<Option<usize>> = columns
            .iter()
            .map(|column| carried(column, schema))
            .collect();
        let copies = |from: &usize| -> Vec<usize> {
            (0..same.len())
                .filter(|to| same[*to] == Some(*from))
                .collect()
        };
        let keys = known.keys.iter().filter_map(|key| {
            let parts: Key = key
                .iter()
                .map(|part| part.iter().flat_map(copies).collect())
                .collect();
            parts.iter().all(|part| !part.is_empty()).then_some(parts)
        });
        let pair = |(one, other): &(usize, usize)| -> Option<(usize, usize)> {
            let [one, other] = [one, other].map(|from| copies(from).first().copied());
            let (one, other) = one.zip(other)?;
            Some((one.min(other), one.max(other)))
        };
        let sets = known.sets.as_ref();
        let sets = sets.and_then(|sets| sets.through(columns, schema));
        let of_sets = sets.iter().flat_map(Sets::keys);
        let mut keys: Vec<Key> = keys.collect();
        keys.extend(
            of_sets
                .filter(|key| !keys.contains(key))
                .collect::<Vec<_>>(),
        );
        Facts {
            not_null: columns.iter().map(|column| !column.nullable).collect(),
            event_time: sources
                .iter()
                .map(|from| from.is_some_and(|from| known.event_time[from]))
                .collect(),
            lagging: (0..sources.len())
                .filter_map(|to| Some((to, *known.lagging.get(&sources[to]?)?)))
                .collect(),
            windows: (0..sources.len())
                .filter_map(|to| Some((to, *known.windows.get(&sources[to]?)?)))
                .collect(),
            keys,
            sets,
            key_text: known.key_text.clone(),
            signs: (0..sources.len())
                .filter_map(|to| Some((to, *known.signs.get(&sources[to]?)?)))
                .collect(),
            present: BTreeSet::new(),
            bounds: known.bounds.iter().filter_map(pair).collect(),
            either: known.either.iter().filter_map(pair).collect(),
            merged: known
                .merged
                .iter()
                .filter_map(|pairs| pairs.iter().map(pair).collect())
                .collect(),
        }
    }
}

/// The input column whose values `column` keeps apart: the column itself, or a lossless cast.
fn carried(column: &Expression, schema: &Schema) -> Option<usize> {
    if let Some(at) = column.as_column() {
        return Some(at);
    }
    let type_at = |at: usize| schema.field(at).data_type();
    if let Some(call) = column.physical.downcast_ref::<ScalarFunctionExpr>() {
        let at = call.args().first()?.downcast_ref::<Column>()?.index();
        return is_lossless_text(call.fun().name(), type_at(at)).then_some(at);
    }
    let cast = column.physical.downcast_ref::<CastExpr>()?;
    let at = cast.expr().downcast_ref::<Column>()?.index();
    is_lossless(type_at(at), &column.data_type).then_some(at)
}
