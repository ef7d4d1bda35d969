//! Whether sources keep what a restart reads again: from the older of the two snapshots that are kept
//! up to the marks.

use std::time::Duration;

use super::check::Looked;
use crate::connector::{Guarantee, Keeps, connector, keeps};
use crate::plan::{Pipeline, Role};

/// While a snapshot is written, two are there, each an interval older than the next.
const INTERVALS: u32 = 3;

/// How old a record may be that a restart reads again, of a pipeline that is never down. None where
/// no destination says what it holds: then a restart begins where the first run did.
fn need(pipeline: &Pipeline) -> Option<Duration> {
    let sinks = pipeline.tables.iter().filter(|it| it.role == Role::Sink);
    let mut sinks = sinks.filter_map(|table| connector(&table.connector)?.sink.as_ref());
    let keeps_mark = sinks.any(|sink| sink.guarantee == Guarantee::ExactlyOnce);
    let interval = pipeline.settings.snapshot_interval;
    keeps_mark.then(|| interval.saturating_mul(INTERVALS))
}

/// What sources would forget too soon.
#[must_use]
pub fn look_what_is_kept(pipeline: &Pipeline) -> Looked {
    let mut looked = Looked::default();
    let Some(need) = need(pipeline) else {
        return looked;
    };
    for (table, _) in pipeline.sources() {
        let table = &pipeline.tables[table];
        match keeps(table, need) {
            Ok(Keeps::Enough) => {}
            Ok(Keeps::Unsaid(why)) => looked.notes.push(format!("{}: {why}", table.name)),
            Err(error) => looked.add(table.place, error),
        }
    }
    looked
}
