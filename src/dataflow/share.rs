//! Cuts the rows of an INSERT by the lanes of its table: `sink.lanes`.
//!
//! ```text
//!   rows ──▶ hash of all columns ──▶ lane 0 ──▶ its destination's home
//!                                    lane 1 ──▶ its destination's home
//! ```
//!
//! The lane follows from the row's values and nothing else, so that a replay sends each row where
//! it went before: equal rows go the same way, and how often they come is the lane's to count.
//! Rows are cut once where they are, however many lanes there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt64Array;
use arrow::datatypes::{DataType, SchemaRef};

use super::aggregate::{KeyCodec, routes};
use super::outcome::Shared;
use super::shell::{self, Address, Edge};
use super::spread::{Hashes, Spread};
use crate::connector::Share;
use crate::plan::NodeId;

/// The streams that are cut already: by node, and by how many lanes.
pub struct Shares<'scope> {
    shared: Arc<Shared>,
    cut: BTreeMap<(NodeId, usize), Vec<Edge<'scope>>>,
}

impl<'scope> Shares<'scope> {
    /// Nothing is cut yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            cut: BTreeMap::new(),
        }
    }

    /// The rows of a node on their way to a destination: all, or its share of them.
    pub fn addressed(
        &mut self,
        rows: (NodeId, &SchemaRef),
        edges: Vec<Edge<'scope>>,
        share: Option<Share>,
        to: Address,
    ) -> Vec<Edge<'scope>> {
        let (edges, only) = match share {
            None => (edges, None),
            Some(share) => (self.cut(rows, edges, share.of), Some(share.index)),
        };
        let addressed = |edge| shell::address(edge, "address", to, only);
        edges.into_iter().map(addressed).collect()
    }

    /// The rows of a node, each batch with its lane as its target.
    fn cut(
        &mut self,
        (node, schema): (NodeId, &SchemaRef),
        edges: Vec<Edge<'scope>>,
        of: usize,
    ) -> Vec<Edge<'scope>> {
        let shared = &self.shared;
        let cut = self.cut.entry((node, of)).or_insert_with(|| {
            let cut = |edge| {
                let core = Spread::new(format!("lanes of {node}"), by_content(schema), of);
                shell::spread(edge, core, Arc::clone(shared))
            };
            edges.into_iter().map(cut).collect()
        });
        cut.clone()
    }
}

/// The hash of each row's own columns, without what batches carry besides.
fn by_content(schema: &SchemaRef) -> Hashes {
    let types: Vec<DataType> = schema
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    let codec = KeyCodec::new(&types).expect("every column of a sink can be put in order");
    let width = types.len();
    Box::new(move |rows| -> Result<UInt64Array, _> {
        let keys = codec.encode(&rows.columns()[..width], rows.num_rows())?;
        Ok(routes(&keys))
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;

    use super::super::packet::Packet;
    use super::super::roles::with_counts;
    use super::*;

    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        let texts = numbers.clone().map(|n| format!("row {n}"));
        let floats = numbers
            .clone()
            .map(|n| Some(n as f64).filter(|_| n % 7 > 0));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let floats: ArrayRef = Arc::new(Float64Array::from_iter(floats));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter_with_nullable([
            ("n", numbers, false),
            ("text", texts, true),
            ("x", floats, true),
        ])
        .unwrap()
    }

    /// The lane of each row, by its number.
    fn lanes(batches: &[RecordBatch], of: usize) -> BTreeMap<i64, usize> {
        let core = Spread::new("lanes".to_owned(), by_content(&rows(0..1).schema()), of);
        let mut lanes = BTreeMap::new();
        for packet in batches.iter().flat_map(|rows| core.run(rows).unwrap()) {
            let Packet::Rows { target, batch, .. } = packet else {
                panic!("only rows came in")
            };
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            lanes.extend(numbers.values().iter().map(|&number| (number, target)));
        }
        lanes
    }

    #[test]
    fn a_rows_lane_does_not_depend_on_the_batch_that_it_came_in() {
        let whole = lanes(&[rows(0..1000)], 3);
        let parts: Vec<RecordBatch> = (0..100).rev().map(|i| rows(i * 10..i * 10 + 10)).collect();

        assert_eq!(whole, lanes(&parts, 3));
        for lane in 0..3 {
            let share = whole.values().filter(|&&other| other == lane).count();
            assert!((250..420).contains(&share), "lane {lane} takes {share}");
        }
    }

    #[test]
    fn a_rows_lane_does_not_depend_on_what_its_batch_carries_besides() {
        let plain = rows(0..100);
        let counted = with_counts(&plain, &Int64Array::from(vec![1; 100]));

        assert_eq!(lanes(&[plain], 4), lanes(&[counted], 4));
    }

    #[test]
    fn a_rows_lane_is_the_same_in_every_version() {
        // Were it not, an upgrade would write rows twice and lose others.
        let lanes: Vec<usize> = lanes(&[rows(0..12)], 3).into_values().collect();

        assert_eq!(lanes, [0, 2, 1, 0, 1, 0, 2, 2, 0, 1, 1, 1]);
    }
}
