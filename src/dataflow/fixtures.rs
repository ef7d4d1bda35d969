//! What tests of operators share: a vault in memory, and the two ends of a dataflow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use super::packet::{Packet, Packets};
use super::shell::Edge;
use super::state::{Part, StateError, Vault};

/// Keeps parts in memory.
#[derive(Default)]
pub struct Memory {
    before: BTreeMap<String, Arc<Vec<RecordBatch>>>,
    saved: Mutex<Vec<Part>>,
}

impl Vault for Memory {
    fn saved(&self, operator: &str) -> Result<Arc<Vec<RecordBatch>>, StateError> {
        Ok(self.before.get(operator).cloned().unwrap_or_default())
    }

    fn save(&self, part: Part) {
        self.saved.lock().unwrap().push(part);
    }
}

impl Memory {
    /// A vault for a run that begins with what was saved in this one.
    pub fn after(&self) -> Self {
        let mut before: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        for part in self.saved.lock().unwrap().iter() {
            let batches = before.entry(part.operator.clone()).or_default();
            batches.extend(part.batches.iter().cloned());
        }
        let before = before.into_iter().map(|(name, all)| (name, Arc::new(all)));
        Self {
            before: before.collect(),
            saved: Mutex::default(),
        }
    }

    /// How many rows were saved.
    pub fn rows(&self) -> usize {
        let saved = self.saved.lock().unwrap();
        let batches = saved.iter().flat_map(|part| &part.batches);
        batches.map(RecordBatch::num_rows).sum()
    }
}

/// A stream of packets, an epoch at a time.
pub fn feed<'scope>(
    scope: Scope<'scope, u64>,
    mut epochs: Vec<(u64, Vec<Packet>)>,
) -> Edge<'scope> {
    epochs.reverse();
    let mut builder = OperatorBuilder::new("feed".to_owned(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let (mut output, stream) = builder.new_output::<Packets>();
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        move |_: &[MutableAntichain<u64>]| {
            let mut output = output.activate();
            let Some((epoch, packets)) = epochs.pop() else {
                capability = None;
                return;
            };
            let capability = capability.as_mut().unwrap();
            capability.downgrade(&epoch);
            for packet in packets {
                output.give(&*capability, &mut Packets::from(vec![packet]));
            }
            activator.activate();
        }
    });
    stream
}

/// Hands over the rows that come out, with their epochs.
pub fn collect(edge: Edge<'_>, mut take: impl FnMut(u64, &RecordBatch) + 'static) {
    let mut builder = OperatorBuilder::new("collect".to_owned(), edge.scope());
    let mut input = builder.new_input(edge, Pipeline);
    builder.build(move |_| {
        move |_: &[MutableAntichain<u64>]| {
            input.for_each(|capability, packets| {
                for packet in packets.packets.drain(..) {
                    if let Packet::Rows { batch, .. } = packet {
                        take(*capability.time(), &batch);
                    }
                }
            });
        }
    });
}
