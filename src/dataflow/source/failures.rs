//! What makes a source give up, in words.

use std::collections::BTreeMap;

use super::SourceSpec;
use crate::dataflow::outcome::Failure;
use crate::dataflow::partition::PartitionState;
use crate::dataflow::schedule::Stop;

/// Every record would be late.
pub(super) fn after_the_end(source: &str) -> Failure {
    Failure::new(format!("cannot read on in `{source}`"))
        .because("its event time has ended, and more records have come")
        .hint("an earlier run was told --close-windows, which is for good: start over with --fresh")
}

/// A replay has to find every record that was read the first time: the tables hold what became of
/// them. Whoever passes over what is lost wants to go on all the same.
pub(super) fn gone(
    spec: &SourceSpec,
    stop: &Stop,
    partitions: &BTreeMap<usize, PartitionState>,
) -> Option<Failure> {
    let missed = |(&index, state): (&usize, &PartitionState)| {
        let missed = state.missed(stop.of(index)?)?;
        Some((spec.partition(index), missed))
    };
    let mut partitions = partitions.iter().filter(|_| !spec.skips_lost);
    let (partition, missed) = partitions.find_map(missed)?;
    let records = if missed == 1 {
        "1 record is gone".to_owned()
    } else {
        format!("{missed} records are gone")
    };
    let message = format!("cannot bring back what was computed from `{}`", spec.name);
    let cause = format!("{records} from partition {partition} since it was read");
    let hint = "was the topic compacted? its `min.compaction.lag.ms` has to be longer than the \
                pipeline is ever down after a crash; --fresh starts over";
    Some(Failure::new(message).because(cause).hint(hint))
}
