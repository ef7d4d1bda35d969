//! Functions over an append stream in the order of its event time: rows that come out once.

use crate::plan::{FrameBound, FrameUnits, Operator, OverCall, OverFunction, RowOfFrame};
use crate::sql::problem::Problem;

use super::over::Computed;
use super::{Lowering, Result, Rows};

impl Lowering<'_> {
    /// A node whose last columns are the calls; `refused` says why their rows are not final if the
    /// order is not by the event time.
    pub(super) fn add_running(&mut self, computed: Computed, refused: Problem) -> Result<Rows> {
        let node = computed.rows.node;
        let ascending = computed.order.first().filter(|key| !key.descending);
        let time = computed.order_at.filter(|_| ascending.is_some());
        let behind = time.and_then(|time| Some((time, self.behind_us(node, time)?)));
        let Some((time, behind_us)) = behind.filter(|_| !self.graph.nodes[node].changing) else {
            return Err(refused);
        };
        for call in &computed.calls {
            self.refuse_endless(call)?;
        }
        let node = self.on_time(node, time);
        let computed = Computed {
            rows: Rows {
                node,
                ..computed.rows
            },
            ..computed
        };
        let (fields, mut facts) = self.of_over(&computed);
        let Computed {
            rows,
            partition,
            order,
            calls,
            ..
        } = computed;
        facts.windows.clear();
        facts.lagging.clear();
        let waits = calls.iter().map(waits_us).collect::<Option<Vec<i64>>>();
        if let Some(most) = waits.and_then(|waits| waits.into_iter().max()) {
            facts.lagging.insert(time, behind_us.saturating_add(most));
        }
        let text = format!("running {node} {partition:?} {order:?} {calls:?} {behind_us}");
        let operator = Operator::Running {
            input: node,
            partition,
            order,
            calls,
            time,
            behind_us,
        };
        Ok(Rows {
            node: self.graph.add(text, operator, fields, facts, self.place),
            ..rows
        })
    }

    /// Refuses what is known at the end of a partition only, or would keep all of it.
    fn refuse_endless(&self, call: &OverCall) -> Result<()> {
        let frame = call.function.frame();
        if frame.end == FrameBound::Unbounded {
            let message = format!(
                "`{}` reads all rows of a partition, and the rows of a stream never end",
                call.text
            );
            return Err(Problem::at(self.place, message).hint(format!(
                "end the frame at CURRENT ROW, or declare a PRIMARY KEY on `{}` to keep its rows \
                 current",
                self.sink
            )));
        }
        let kept = match &call.function {
            OverFunction::Value {
                row: RowOfFrame::Nth(_),
                ..
            } => "the first rows",
            OverFunction::Aggregate { call, .. } if call.function.keeps_values() => "all rows",
            OverFunction::Aggregate { .. }
            | OverFunction::Value { .. }
            | OverFunction::RowNumber
            | OverFunction::Rank
            | OverFunction::DenseRank
            | OverFunction::PercentRank
            | OverFunction::CumulativeShare
            | OverFunction::Ntile(_)
            | OverFunction::Before { .. } => return Ok(()),
        };
        if frame.start == FrameBound::Unbounded {
            let message = format!("`{}` would keep {kept} of every partition", call.text);
            return Err(Problem::at(self.place, message)
                .hint("start the frame later: ROWS BETWEEN 10 PRECEDING AND CURRENT ROW"));
        }
        Ok(())
    }
}

/// How long after its time a row waits for its frame; unknown where it waits for further rows.
fn waits_us(call: &OverCall) -> Option<i64> {
    let frame = call.function.frame();
    match (frame.units, frame.end) {
        (_, FrameBound::Unbounded) => None,
        (_, FrameBound::At(distance)) if distance <= 0 => Some(0),
        (FrameUnits::Range, FrameBound::At(distance)) => i64::try_from(distance).ok(),
        (FrameUnits::Rows | FrameUnits::Groups, FrameBound::At(_)) => None,
    }
}
