//! Every metric: its name, kind, unit, labels and help, in one table; and the store of their
//! values, which `/metrics` prints.
//!
//! A metric is a constant and a line of `METRICS`. Whoever knows a value sets it by that constant;
//! the number of labels is checked. What nobody has set yet is printed by its name and help alone,
//! so the list that a scrape sees is the table. Nothing is counted per row: count in a local and
//! add once per batch, or set a level when somebody asks.

mod latency;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use latency::Latency;
pub use latency::{QUANTILES, Times};

/// One metric. Its full name has the unit behind it, and a counter's `total` behind that.
#[derive(Debug)]
pub struct Metric {
    /// What it counts or measures.
    pub name: &'static str,
    /// What may be done with it.
    pub kind: Kind,
    /// In what, where it is not a plain number.
    pub unit: Option<&'static str>,
    /// What tells its values apart.
    pub labels: &'static [&'static str],
    /// One sentence, without a full stop.
    pub help: &'static str,
}

/// What a metric is to whoever adds, subtracts and divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while a process lives: look at its rate.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// The name that queries use; a histogram's has `_bucket`, `_sum` or `_count` behind it.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self
            .unit
            .map_or_else(String::new, |unit| format!("_{unit}"));
        let total = if self.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        format!("{}{unit}{total}", self.name)
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $(in $unit:literal)? $([$($label:literal),*])?: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                labels: &[$($($label),*)?],
                help: $help,
            };
        )*
        /// All of them, in the order in which they are printed.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

metrics! {
    READ: Counter "tidemark_read_records" ["source"]:
        "Records read by this process";
    FATES: Counter "tidemark_records" ["source", "insert_into", "fate"]:
        "What became of the records for each INSERT: accepted, filtered, late or rejected";
    OFFSET: Gauge "tidemark_partition_offset" ["source", "partition"]:
        "The next position to read: records of a topic, bytes of a file, rows of a Parquet file";
    LAG: Gauge "tidemark_partition_lag" ["source", "partition"]:
        "How far the partition's end is away, in the same unit; only where it is known, and only from the process that reads the partition";
    PARTITION_WATERMARK: Gauge "tidemark_partition_watermark" in "seconds" ["source", "partition"]:
        "The partition's watermark, in seconds since 1970";
    IDLE: Gauge "tidemark_partition_idle" ["source", "partition"]:
        "1 if event time does not wait for the partition because nothing has come for a while";
    WATERMARK: Gauge "tidemark_watermark" in "seconds" ["source"]:
        "The source's watermark: how far event time has come, in seconds since 1970";
    WATERMARK_LAG: Gauge "tidemark_watermark_lag" in "seconds" ["source"]:
        "How far the source's watermark is behind the clock of this machine";
    QUEUED: Gauge "tidemark_queued" in "bytes" ["source"]:
        "Input that is decoded and waits for a worker";
    EPOCH: Gauge "tidemark_epoch":
        "The last epoch that is complete on all workers";
    REPLAYING: Gauge "tidemark_replaying":
        "1 while the input is read again up to the marks";
    COMMITTED: Gauge "tidemark_committed_epoch" ["destination"]:
        "The last epoch that the destination holds";
    COMMITS: Counter "tidemark_commits" ["destination"]:
        "Transactions committed";
    COMMITTED_ROWS: Counter "tidemark_committed_rows" ["destination", "table", "change"]:
        "Rows committed: upserts and deletes; rows per commit is the rate of this by that of commits";
    COMMIT_DURATION: Histogram "tidemark_commit_duration" in "seconds" ["destination"]:
        "How long a commit took, with all waiting for the destination";
    COMMIT_QUANTILE: Gauge "tidemark_commit_duration_quantile" in "seconds" ["destination", "quantile"]:
        "The same over the last one to two minutes, exact to a hundredth";
    LATENCY: Histogram "tidemark_latency" in "seconds" ["destination"]:
        "From the record's own timestamp (where it has none: from when it was read) to the commit of its epoch";
    LATENCY_QUANTILE: Gauge "tidemark_latency_quantile" in "seconds" ["destination", "quantile"]:
        "The same over the last one to two minutes, exact to a hundredth";
    DESTINATION_UP: Gauge "tidemark_destination_up" ["destination"]:
        "0 while the destination is away and waited for";
    DESTINATION_WAITING: Gauge "tidemark_destination_waiting" in "seconds" ["destination"]:
        "How long the commit that is under way has taken; 0 if none is";
    STATE_ROWS: Gauge "tidemark_state_rows" ["operator"]:
        "Groups or rows that an operator holds in this process";
    STATE_BYTES: Gauge "tidemark_state" in "bytes" ["operator"]:
        "Memory that they take, about";
    OPEN_WINDOWS: Gauge "tidemark_open_windows" ["operator"]:
        "Windows that have not closed, in this process";
    SNAPSHOTS: Counter "tidemark_snapshots":
        "Snapshots taken";
    SNAPSHOT_EPOCH: Gauge "tidemark_snapshot_epoch":
        "The epoch of the last snapshot";
    SNAPSHOT_BYTES: Gauge "tidemark_snapshot" in "bytes":
        "Size of the last snapshot";
    SNAPSHOT_DURATION: Gauge "tidemark_snapshot_duration" in "seconds":
        "How long the last snapshot took";
    SNAPSHOT_AGE: Gauge "tidemark_snapshot_age" in "seconds":
        "How old the last snapshot is";
    RESTARTS: Counter "tidemark_restarts":
        "How often the run began again: started by the supervisor, or by itself";
    GENERATION: Gauge "tidemark_generation":
        "How many starts have taken the destinations over, this one included";
    UP: Gauge "tidemark_up" in "seconds":
        "How long this process has been running the pipeline";
    BUILD: Gauge "tidemark_build_info" ["version", "pipeline"]:
        "1; the version and the pipeline are its labels";
    PRODUCED: Counter "tidemark_produced_records" ["topic"]:
        "Records that `produce` has sent and committed";
    PRODUCE_FAILED: Counter "tidemark_produce_failed_records" ["topic"]:
        "Records that `produce` has sent and could not commit: it ends then, and sends them again when it is run again";
    PRODUCE_LATENCY: Histogram "tidemark_produce_latency" in "seconds" ["topic"]:
        "How long records of `produce` take until they are committed: from the first of their transaction on";
    CPU: Counter "process_cpu" in "seconds":
        "User and system CPU time of this process";
    RSS: Gauge "process_resident_memory" in "bytes":
        "Memory of this process";
}

type ByLabels<T> = BTreeMap<Vec<String>, T>;

/// The values of all metrics in this process.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Values>>);

#[derive(Default)]
struct Values {
    numbers: BTreeMap<&'static str, ByLabels<f64>>,
    latencies: BTreeMap<&'static str, ByLabels<Latency>>,
    /// When the last snapshot was done, by the clock of the run.
    snapshot_at: Option<Duration>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn labels(metric: &Metric, values: &[&str]) -> Vec<String> {
    assert_eq!(
        values.len(),
        metric.labels.len(),
        "labels of {}",
        metric.name
    );
    values.iter().map(|&value| value.to_owned()).collect()
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Values> {
        // What a thread that panicked has counted is counted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A level, or a count that is kept elsewhere.
    pub fn set(&self, metric: &Metric, labelled: &[&str], value: f64) {
        let labels = labels(metric, labelled);
        let mut values = self.lock();
        values
            .numbers
            .entry(metric.name)
            .or_default()
            .insert(labels, value);
    }

    /// Counts some more.
    pub fn add(&self, metric: &Metric, labelled: &[&str], more: u64) {
        let labels = labels(metric, labelled);
        let mut values = self.lock();
        let count = values.numbers.entry(metric.name).or_default();
        *count.entry(labels).or_default() += count_of(more);
    }

    /// What a gauge says of things that may be gone is forgotten before they are said anew.
    pub fn forget(&self, metric: &Metric) {
        self.lock().numbers.remove(metric.name);
    }

    /// Something took this long, so many times, at `now` by the clock of the run.
    pub fn observe(
        &self,
        metric: &Metric,
        labelled: &[&str],
        took: Duration,
        times: u64,
        now: Duration,
    ) {
        let labels = labels(metric, labelled);
        let mut values = self.lock();
        let latencies = values.latencies.entry(metric.name).or_default();
        latencies
            .entry(labels)
            .or_default()
            .observe(took, times, now);
    }

    /// The quantiles (`QUANTILES`) of a histogram over the last minute or two; `None` if nothing
    /// was observed in that time.
    #[must_use]
    pub fn quantiles(
        &self,
        metric: &Metric,
        labelled: &[&str],
        now: Duration,
    ) -> Option<Vec<Duration>> {
        let labels = labels(metric, labelled);
        let mut values = self.lock();
        values
            .latencies
            .get_mut(metric.name)?
            .get_mut(&labels)?
            .quantiles(now)
    }

    /// A snapshot of `epoch` was done at `now`.
    pub fn snapshot(&self, epoch: u64, bytes: u64, took: Duration, now: Duration) {
        self.add(&SNAPSHOTS, &[], 1);
        self.set(&SNAPSHOT_EPOCH, &[], count_of(epoch));
        self.set(&SNAPSHOT_BYTES, &[], count_of(bytes));
        self.set(&SNAPSHOT_DURATION, &[], took.as_secs_f64());
        self.lock().snapshot_at = Some(now);
    }

    /// Brings what only a look can tell up to `now`: ages, the quantiles, the process itself.
    pub fn refresh(&self, now: Duration) {
        let snapshot_at = self.lock().snapshot_at;
        if let Some(at) = snapshot_at {
            self.set(&SNAPSHOT_AGE, &[], now.saturating_sub(at).as_secs_f64());
        }
        for (from, to) in [
            (&COMMIT_DURATION, &COMMIT_QUANTILE),
            (&LATENCY, &LATENCY_QUANTILE),
        ] {
            self.forget(to);
            let known: Vec<Vec<String>> = match self.lock().latencies.get(from.name) {
                Some(latencies) => latencies.keys().cloned().collect(),
                None => continue,
            };
            for labelled in known {
                let mut labelled: Vec<&str> = labelled.iter().map(String::as_str).collect();
                let quantiles = self.quantiles(from, &labelled, now).unwrap_or_default();
                for (quantile, took) in QUANTILES.iter().zip(quantiles) {
                    labelled.push(quantile.0);
                    self.set(to, &labelled, took.as_secs_f64());
                    labelled.pop();
                }
            }
        }
        if let Some((cpu, rss)) = process() {
            self.set(&CPU, &[], cpu);
            self.set(&RSS, &[], count_of(rss));
        }
    }

    /// All of them, as `/metrics` prints them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("a string takes what is written");
        text
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, which nothing counts to"
)]
fn count_of(count: u64) -> f64 {
    count as f64
}

/// CPU seconds and resident bytes of this process, where the system says so.
fn process() -> Option<(f64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
    // Linux counts in hundredths of a second for everyone who asks this way.
    Some((count_of(ticks) / 100.0, kilobytes * 1024))
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let values = self.lock();
        for metric in METRICS {
            let unit = metric.unit.map(|unit| match unit {
                "bytes" => Unit::Bytes,
                "seconds" => Unit::Seconds,
                other => Unit::Other(other.to_owned()),
            });
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut described =
                encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for (labels, value) in values.numbers.get(metric.name).into_iter().flatten() {
                if labels.is_empty() {
                    number(&mut described, metric.kind, *value)?;
                } else {
                    let pairs = pairs(metric, labels);
                    number(&mut described.encode_family(&pairs)?, metric.kind, *value)?;
                }
            }
            for (labels, latency) in values.latencies.get(metric.name).into_iter().flatten() {
                let pairs = pairs(metric, labels);
                let (sum, count, buckets) = latency.buckets();
                let mut encoder = described.encode_family(&pairs)?;
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

fn number(encoder: &mut MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "only whole numbers that a f64 holds exactly"
    )]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    match (kind, whole) {
        (Kind::Counter, Some(whole)) => {
            encoder.encode_counter::<NoLabelSet, u64, f64>(&whole.unsigned_abs(), None)
        }
        (Kind::Counter, None) => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        (Kind::Gauge, Some(whole)) => encoder.encode_gauge(&whole),
        (Kind::Gauge, None) => encoder.encode_gauge(&value),
        (Kind::Histogram, _) => panic!("a histogram is observed, not set"),
    }
}

fn pairs<'a>(metric: &Metric, values: &'a [String]) -> Vec<(&'static str, &'a str)> {
    let values = values.iter().map(String::as_str);
    metric.labels.iter().copied().zip(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_metric_has_a_name_of_its_own_and_is_printed_before_it_has_a_value() {
        let text = Metrics::default().text();

        for metric in METRICS {
            let total = metric.full_name();
            let described = total.trim_end_matches("_total");
            let line = format!("# TYPE {described} {}", metric.kind.name());
            assert_eq!(text.matches(&format!("{line}\n")).count(), 1, "{line}");
        }
    }

    #[test]
    fn values_stand_under_their_labels() {
        let metrics = Metrics::default();
        metrics.add(&READ, &["a \"quoted\" name"], 40);
        metrics.add(&READ, &["a \"quoted\" name"], 2);
        metrics.set(&EPOCH, &[], 7.0);

        let text = metrics.text();

        assert!(
            text.contains("tidemark_read_records_total{source=\"a \\\"quoted\\\" name\"} 42\n"),
            "{text}"
        );
        assert!(text.contains("\ntidemark_epoch 7\n"), "{text}");
    }

    #[test]
    fn a_histogram_comes_with_its_quantiles() {
        let metrics = Metrics::default();
        metrics.observe(&LATENCY, &["db"], 20 * MS, 99, MS);
        metrics.observe(&LATENCY, &["db"], 900 * MS, 1, MS);

        metrics.refresh(2 * MS);

        let text = metrics.text();
        assert!(text.contains("tidemark_latency_seconds_count{destination=\"db\"} 100\n"));
        assert!(
            text.contains("tidemark_latency_seconds_bucket{le=\"0.025\",destination=\"db\"} 99\n"),
            "{text}"
        );
        let quantiles = metrics.quantiles(&LATENCY, &["db"], 2 * MS).unwrap();
        let near =
            |took: Duration, ms: u32| took >= ms * MS * 99 / 100 && took <= ms * MS * 101 / 100;
        assert!(
            near(quantiles[0], 20) && near(quantiles[3], 900),
            "{quantiles:?}"
        );
    }

    #[test]
    fn a_snapshot_grows_older() {
        let metrics = Metrics::default();
        metrics.snapshot(41, 1000, 30 * MS, 500 * MS);

        metrics.refresh(2500 * MS);

        assert!(metrics.text().contains("tidemark_snapshot_age_seconds 2\n"));
    }

    #[test]
    fn the_process_knows_what_it_uses() {
        let (cpu, rss) = process().unwrap();

        assert!(cpu >= 0.0 && rss > 1 << 20, "{cpu} s, {rss} bytes");
    }
}
