//! Looks at the tables all the time, as a reader would, in REPEATABLE READ: a total is the sum of
//! its parts at every moment, and the mark accounts for every record. On the way it collects the
//! floors, which a mark forgets after a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::{Client, IsolationLevel, NoTls};
use serde_json::Value;
use tidemark::engine::spawn_named;
use tidemark::types::Clock;

use crate::feed::PARTITIONS;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(4);
/// Every so many looks at the small tables there is one at those that grow.
const THOROUGH: u64 = 40;

/// From an offset on, the least watermark of a partition in microseconds.
pub type Floors = Vec<BTreeMap<u64, i64>>;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub polls: u64,
    pub floors: Floors,
    /// Letters about late rows, as the oracle has them.
    pub late: usize,
    /// Whether there was a mark, and how far it was.
    pub epoch: Option<i64>,
    /// Moments at which the tables did not fit together.
    pub torn: Vec<String>,
}

impl Seen {
    /// Takes in the mark's floors. A mark knows all since some offset, and none beyond its own: what
    /// was known there and is no more went with a crash of the database.
    pub fn learn(&mut self, mark: &Value) {
        let partitions = mark["sources"]["events"]["partitions"].as_object().unwrap();
        self.floors
            .resize(usize::try_from(PARTITIONS).unwrap(), BTreeMap::new());
        for (name, partition) in partitions {
            let known = &mut self.floors[name.parse::<usize>().unwrap()];
            let none = Vec::new();
            let floors = partition["floors"].as_array().unwrap_or(&none);
            let offset = |floor: &Value| floor["offset"].as_u64().unwrap();
            let from = floors
                .first()
                .map_or(partition["offset"].as_u64().unwrap(), offset);
            known.split_off(&from);
            for floor in floors {
                let watermark = floor["watermark"].as_i64().unwrap();
                let least = known.entry(offset(floor)).or_insert(watermark);
                *least = watermark.max(*least);
            }
        }
    }
}

/// Reads until it is told to stop.
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    /// `idle` is told whether the last partition counts as idle.
    pub fn start(database: &str, idle: Arc<AtomicBool>, clock: &Clock) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let reading = Reading {
            database: database.to_owned(),
            seen: Arc::clone(&seen),
            stop: Arc::clone(&stop),
            idle,
            clock: clock.clone(),
        };
        let thread = spawn_named("reader", move || reading.run());
        Self { seen, stop, thread }
    }

    /// How far the mark was when it was last seen.
    pub fn epoch(&self) -> Option<i64> {
        self.lock().epoch
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *seen)
    }
}

struct Reading {
    database: String,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    clock: Clock,
}

impl Reading {
    fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            // A server that is away is not what is tested here; it will be back.
            if let Ok(mut client) = Client::connect(&self.database, NoTls) {
                while !self.stop.load(Ordering::SeqCst) && self.look(&mut client).is_ok() {
                    self.pause();
                }
            }
            self.pause();
        }
    }

    fn pause(&self) {
        self.clock.wait_until(self.clock.elapsed() + PAUSE);
    }

    fn look(&self, client: &mut Client) -> Result<(), postgres::Error> {
        let there =
            "select to_regclass('tidemark_marks') is not null and to_regclass('seen') is not null";
        if !client.query_one(there, &[])?.get::<_, bool>(0) {
            return Ok(());
        }
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()?;
        let total = transaction.query_one(
            "select coalesce(sum(n), 0)::bigint, coalesce(sum(amount), 0)::bigint from total",
            &[],
        )?;
        let parts = transaction.query_one(
            "select coalesce(sum(n), 0)::bigint, coalesce(sum(amount), 0)::bigint from parts",
            &[],
        )?;
        let mark = "select epoch, mark from tidemark_marks where pipeline = 'crash'";
        let mark = transaction.query_opt(mark, &[])?;
        let (total, parts): ((i64, i64), (i64, i64)) =
            ((total.get(0), total.get(1)), (parts.get(0), parts.get(1)));
        let polls = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.polls += 1;
            if total != parts {
                seen.torn
                    .push(format!("the total is {total:?}, its parts are {parts:?}"));
            }
            seen.polls
        };
        let Some(mark) = mark else { return Ok(()) };
        let (epoch, mark): (Option<i64>, Option<Value>) = (mark.get(0), mark.get(1));
        let Some(mark) = mark else { return Ok(()) };
        if polls.is_multiple_of(THOROUGH) {
            let seen = transaction
                .query_one("select count(*) from seen", &[])?
                .get(0);
            let rejected = "select count(*) from dead where kind = 'rejected'";
            let rejected = transaction.query_one(rejected, &[])?.get(0);
            self.compare(&mark, total.0, (seen, rejected));
        }
        self.learn(epoch, &mark);
        Ok(())
    }

    /// Every record up to the mark is in the tables, and none beyond.
    fn compare(&self, mark: &Value, total: i64, (rows, rejected): (i64, i64)) {
        let partitions = mark["sources"]["events"]["partitions"].as_object().unwrap();
        let offsets = partitions.values().map(|p| p["offset"].as_i64().unwrap());
        let read: i64 = offsets.sum();
        if rows != total || total + rejected != read {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.torn.push(format!(
                "the mark is at {read} records; {rows} rows, {rejected} rejected, a total of {total}"
            ));
        }
    }

    fn learn(&self, epoch: Option<i64>, mark: &Value) {
        let last = (PARTITIONS - 1).to_string();
        let last = &mark["sources"]["events"]["partitions"][last];
        let idle = last["idle"].as_bool().unwrap_or(false);
        self.idle.store(idle, Ordering::SeqCst);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.epoch = epoch;
        seen.learn(mark);
    }
}
