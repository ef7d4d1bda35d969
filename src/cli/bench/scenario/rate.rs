//! A scenario at a rate: how old records are when they are committed, and the highest rate at which that
//! stays so.
//!
//! ```text
//!   feed ──a record each 1/rate s, with the time at which it is due──▶ topic ──▶ a run of its own
//! ```
//!
//! The load waits for nobody. If it fails, the run is ended: it would wait for records that never come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Serialize;

use super::commits::Span;
use super::load::{self, PARTITIONS};
use super::search::Search;
use super::spec::Scenario;
use super::task::{Measured, Paced};
use super::{Bench, Wrong, failed};
use crate::cli::say;
use crate::connector::{ConnectorError, Feed, KafkaBench};
use crate::types::Clock;

/// A load begins with so many seconds that do not count.
const WARM_SECONDS: u64 = 3;

/// How far a load may get behind its schedule, and how long a run may take for what it has not read when
/// all has been sent.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// At a rate.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Records per second.
    pub rate: u64,
    /// How far the load was behind its schedule at worst: that is in the latency too.
    pub behind_ms: f64,
    /// What came of it.
    pub measured: Measured,
}

/// What a search came to.
#[derive(Clone, Debug, Serialize)]
pub struct Sought {
    /// The bound of the 99th percentile.
    pub bound_ms: u32,
    /// The highest rate that was held, if one was.
    pub held: Option<u64>,
    /// Everything that was tried, in turn.
    pub tried: Vec<Tried>,
}

/// A step of a search.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Records per second.
    pub rate: u64,
    /// Why it was not held, if it was not.
    pub why_not: Option<String>,
    /// What came of it, unless it failed.
    pub latency: Option<Latency>,
}

impl Latency {
    /// Why the rate is not held: latency is not bounded, lag grows, or the load is behind.
    fn why_not(&self, bound_ms: f64, interval_ms: f64) -> Option<String> {
        let quarters = &self.measured.latency_by_quarter_ms;
        let grows = match quarters.as_slice() {
            [first, _, _, last] => last - first,
            _ => return Some("in a part of the time nothing was committed".to_owned()),
        };
        match self.measured.latency_ms.get(2) {
            None => Some("nothing was committed".to_owned()),
            Some(p99) if *p99 > bound_ms => Some(format!("p99 {p99:.0} ms")),
            Some(_) if grows > interval_ms => Some(format!("lag grows by {grows:.0} ms")),
            Some(_) if self.behind_ms > bound_ms => {
                Some(format!("the load is {:.0} ms behind", self.behind_ms))
            }
            Some(_) => None,
        }
    }
}

impl Bench<'_> {
    /// Sends records at a rate while a run reads them.
    pub fn latency(
        &self,
        scenario: &Scenario,
        rate: u64,
        patience: Duration,
    ) -> Result<Latency, Wrong> {
        let (name, seconds) = (&scenario.name, self.arguments.seconds);
        let grouped = say::grouped(rate);
        say::err(&format!("{name}: {seconds} s at {grouped} records/s\n"));
        let kafka = KafkaBench::new(self.servers.as_deref().unwrap_or_default());
        let wrong = |error: ConnectorError| failed(error.to_string());
        let (id, dashed) = (std::process::id(), name.replace('_', "-"));
        let topic = format!("bench-rate-{dashed}-{id}");
        kafka.make(&topic, PARTITIONS).map_err(wrong)?;
        let outcome = self.under_load(scenario, &topic, (rate, patience));
        let removed = kafka.remove(&topic).map_err(wrong);
        outcome.and_then(|latency| removed.map(|()| latency))
    }

    fn under_load(
        &self,
        scenario: &Scenario,
        topic: &str,
        (rate, patience): (u64, Duration),
    ) -> Result<Latency, Wrong> {
        let (clock, servers) = (
            Clock::machine(),
            self.servers.as_deref().unwrap_or_default(),
        );
        let lines = load::lines(scenario, 100_000).map_err(failed)?;
        let seconds = WARM_SECONDS.saturating_add(self.arguments.seconds);
        // The times of records are whole milliseconds.
        let from = clock.wall() / 1000 * 1000;
        let after = |seconds: u64| from + i64::try_from(seconds * 1_000_000).unwrap_or(0);
        let feed = Feed {
            topic,
            partitions: PARTITIONS,
            lines: &lines,
            #[allow(clippy::cast_precision_loss, reason = "a rate")]
            rate: rate as f64,
            records: rate * seconds,
            from,
            warm: rate * WARM_SECONDS,
            patience,
        };
        let paced = Paced {
            records: feed.records,
            span: Span {
                from: after(WARM_SECONDS),
                until: after(seconds),
            },
        };
        let run = self.run(scenario, load::read_topic(topic, servers), Some(paced))?;
        let (leash, enough) = (run.child.leash(), AtomicBool::new(false));
        let (ended, end) = sync_channel::<()>(1);
        let (enough, kafka, clock) = (&enough, KafkaBench::new(servers), &clock);
        let (fed, measured) = std::thread::scope(|scope| {
            let unheld = leash.clone();
            let feeding = move || {
                let fed = kafka.feed(&feed, enough, clock);
                let left = || end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
                if fed.is_err() || left() {
                    leash.cut();
                }
                fed
            };
            let feeding = std::thread::Builder::new()
                .name("feed".to_owned())
                .spawn_scoped(scope, feeding);
            if feeding.is_err() {
                unheld.cut();
            }
            let measured = run.end();
            enough.store(true, Ordering::Relaxed);
            drop(ended);
            let fed = feeding.map(|feeding| feeding.join().expect("feeding does not panic"));
            (fed, measured)
        });
        let fed = fed.map_err(|error| failed(format!("could not start a thread: {error}")))?;
        // A load that failed is why its run was ended.
        let fed = fed.map_err(|error| failed(format!("could not send the load: {error}")))?;
        Ok(Latency {
            rate,
            behind_ms: fed.as_secs_f64() * 1000.0,
            measured: measured?,
        })
    }

    /// The highest rate that is held. A step that fails is a rate that is not held; if all of them fail,
    /// so does the search.
    pub fn search(&self, scenario: &Scenario, guess: u64) -> Result<Sought, Wrong> {
        let bound = f64::from(self.arguments.bound);
        let patience = Duration::from_millis(self.arguments.bound.into());
        let pipeline = super::task::plan(&scenario.name, &scenario.text, 1).map_err(failed)?;
        let interval = pipeline.settings.commit_interval.as_secs_f64() * 1000.0;
        let (mut search, mut tried, mut last) = (Search::new(guess), Vec::new(), None);
        while let Some(rate) = search.next() {
            let (why_not, latency) = match self.latency(scenario, rate, patience) {
                Ok(latency) => (latency.why_not(bound, interval), Some(latency)),
                Err(wrong) => (Some(last.insert(wrong).1.trim_end().to_owned()), None),
            };
            if let Some(why) = &why_not {
                let (name, rate) = (&scenario.name, say::grouped(rate));
                say::err(&format!("{name}: {rate} records/s are not held: {why}\n"));
            }
            search.tell(why_not.is_none());
            tried.push(Tried {
                rate,
                why_not,
                latency,
            });
        }
        match last {
            Some(wrong) if tried.iter().all(|step| step.latency.is_none()) => Err(wrong),
            Some(_) | None => Ok(Sought {
                bound_ms: self.arguments.bound,
                held: search.held(),
                tried,
            }),
        }
    }
}
