//! Whom event time waits for: who falls silent, who comes back, and where event time is then.

use std::time::Duration;

use tracing::debug;

use super::SourceTask;
use crate::dataflow::arrival::Inbox;
use crate::types::Epoch;

impl<I: Inbox> SourceTask<I> {
    /// What came so far is looked at now.
    pub(super) fn listen(&mut self, now: Duration) {
        self.forgive(now);
        self.looked = now;
    }

    /// Who has not listened for long has heard nothing: nobody is idle for having been silent meanwhile. The
    /// process was stopped, or its machine was, or what it had read before waited for a destination.
    fn forgive(&mut self, now: Duration) {
        let Some(timeout) = self.spec.idle_after else {
            return;
        };
        let patience = self.cuts.interval().unwrap_or_default() + timeout / 2;
        if now.saturating_sub(self.looked) > patience {
            for state in self.partitions.values_mut() {
                state.listen_anew(now);
            }
        }
    }

    /// Event time stops waiting for partitions that have had nothing to say for long.
    pub(super) fn rest(&mut self, now: Duration) {
        let Some(timeout) = self
            .spec
            .idle_after
            .filter(|_| self.schedule.stop().is_none())
        else {
            return;
        };
        self.forgive(now);
        for (&index, state) in &mut self.partitions {
            let was_idle = state.is_idle();
            let asks = self.inbox.is_quiet(index)
                && state.rest(now, timeout, self.inbox.reads_since(index));
            if asks {
                self.inbox.ask(index);
            }
            if state.is_idle() && !was_idle {
                let partition = self.spec.partition(index);
                let source = &self.spec.name;
                debug!(source, %partition, "is idle: event time does not wait for it");
            }
        }
    }

    /// Partitions that are idle come back where all were woken.
    pub(super) fn wake(&mut self) {
        let woken = self.tide.woken(self.spec.table);
        // In a replay the marks say who is idle.
        if woken > self.woken && self.schedule.stop().is_none() {
            self.woken = woken;
            let now = self.clock.elapsed();
            for state in self.partitions.values_mut() {
                state.wake(self.schedule.open(), now);
            }
        }
    }

    /// Partitions that have announced themselves go on where event time is.
    pub(super) fn give_floors(&mut self) {
        for (&index, state) in &mut self.partitions {
            let Some(announced) = state.returning() else {
                continue;
            };
            let before = Epoch(announced.0.saturating_sub(1));
            if let Some(watermark) = self.tide.watermark(self.spec.table, before) {
                // Where a run begins the tide has not heard yet how far event time had come.
                let watermark = watermark.max(self.reached);
                let partition = self.spec.partition(index);
                let kept = self.shared.kept_from(&self.spec.name, &partition);
                state.take_floor(watermark, kept);
                self.ready.release(index, &mut state.held);
                self.inbox.resume(index);
            }
        }
    }
}
