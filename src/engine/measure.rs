//! The board and the counts as metrics: set when somebody scrapes, not while rows move.

use crate::dataflow::board::Facts;
use crate::dataflow::outcome::Shared;
use crate::metrics::{self, Metrics};
use crate::plan::Pipeline;
use crate::types::{Clock, Watermark};

use super::status::status;

/// Everything that `/metrics` says of the run of `pipeline` in this process.
#[must_use]
pub fn measure(pipeline: &Pipeline, shared: &Shared) -> String {
    let facts = shared.board.facts();
    let metrics = &shared.metrics;
    metrics.set(
        &metrics::BUILD,
        &[env!("CARGO_PKG_VERSION"), &pipeline.name],
        1.0,
    );
    metrics.add(&metrics::RESTARTS, &[], 0);
    if let Some(clock) = &facts.clock {
        let now = clock.elapsed();
        metrics.set(&metrics::UP, &[], now.as_secs_f64());
        metrics.set(&metrics::GENERATION, &[], number(facts.generation));
        fates(pipeline, shared);
        sources(pipeline, &facts, clock, metrics);
        destinations(&facts, clock, metrics);
        operators(pipeline, shared);
        metrics.refresh(now);
    }
    metrics.text()
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The counts of this process: whoever adds up processes counts each record once.
fn fates(pipeline: &Pipeline, shared: &Shared) {
    let metrics = &shared.metrics;
    for (table, progress) in shared.progress() {
        let name = &pipeline.tables[table].name;
        metrics.set(&metrics::READ, &[name], number(progress.records));
    }
    for ((insert, source), fates) in shared.fates() {
        let into = &pipeline.tables[pipeline.inserts[insert].table].name;
        let source = &pipeline.tables[source].name;
        for (fate, count) in [
            ("accepted", fates.accepted),
            ("filtered", fates.filtered),
            ("late", fates.late),
            ("rejected", fates.rejected),
        ] {
            metrics.set(&metrics::FATES, &[source, into, fate], number(count));
        }
    }
}

fn sources(pipeline: &Pipeline, facts: &Facts, clock: &Clock, metrics: &Metrics) {
    metrics.set(&metrics::EPOCH, &[], number(facts.complete.0));
    let replaying = facts.complete < facts.replay_to && !facts.ended;
    metrics.set(&metrics::REPLAYING, &[], f64::from(u8::from(replaying)));
    for (&table, source) in &facts.sources {
        let name = &pipeline.tables[table].name;
        metrics.set(&metrics::QUEUED, &[name], number(source.queued as u64));
        if let Some(at) = seconds(source.watermark) {
            metrics.set(&metrics::WATERMARK, &[name], at);
            #[allow(clippy::cast_precision_loss, reason = "microseconds since 1970")]
            let now = clock.wall() as f64 / 1e6;
            metrics.set(&metrics::WATERMARK_LAG, &[name], now - at);
        }
        for index in 0..source.partitions() {
            let partition = source.name(index);
            let labels = [name.as_str(), &partition];
            metrics.set(&metrics::OFFSET, &labels, number(source.offset(index).0));
            // Whoever adds up processes counts each partition once, and it is 0 when all is read.
            if let Some(lag) = source.lag(index).filter(|_| facts.reads(index)) {
                metrics.set(&metrics::LAG, &labels, number(lag));
            }
            let Some(mark) = source.marks.get(&index) else {
                continue;
            };
            metrics.set(&metrics::IDLE, &labels, f64::from(u8::from(mark.idle)));
            if let Some(at) = seconds(mark.watermark) {
                metrics.set(&metrics::PARTITION_WATERMARK, &labels, at);
            }
        }
    }
}

/// A watermark that is a time: neither the start nor the end.
#[allow(clippy::cast_precision_loss, reason = "microseconds since 1970")]
fn seconds(watermark: Watermark) -> Option<f64> {
    let is_time = watermark != Watermark::START && watermark != Watermark::END;
    is_time.then(|| watermark.micros() as f64 / 1e6)
}

fn destinations(facts: &Facts, clock: &Clock, metrics: &Metrics) {
    let now = clock.elapsed();
    for known in &facts.destinations {
        let labels = [known.name.as_str()];
        metrics.set(&metrics::COMMITTED, &labels, number(known.committed.0));
        let up = u8::from(known.away.is_none());
        metrics.set(&metrics::DESTINATION_UP, &labels, f64::from(up));
        let waiting = known
            .busy
            .map_or(0.0, |(_, since)| now.saturating_sub(since).as_secs_f64());
        metrics.set(&metrics::DESTINATION_WAITING, &labels, waiting);
    }
}

fn operators(pipeline: &Pipeline, shared: &Shared) {
    let metrics = &shared.metrics;
    for operator in status(pipeline, shared).operators {
        let labels = [operator.name.as_str()];
        metrics.set(&metrics::STATE_ROWS, &labels, number(operator.rows as u64));
        metrics.set(
            &metrics::STATE_BYTES,
            &labels,
            number(operator.bytes as u64),
        );
        if let Some(windows) = operator.windows {
            metrics.set(&metrics::OPEN_WINDOWS, &labels, number(windows as u64));
        }
    }
}
