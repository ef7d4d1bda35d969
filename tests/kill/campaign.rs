//! Whom to kill and when, by a seed; and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidemark::types::Clock;

use crate::feed::{self, Feed, PARTITIONS};
use crate::oracle;
use crate::phases::Phase;
use crate::pipeline::{
    CLOSED_TOPIC, DEAD_TOPIC, MARKS_TOPIC, PARTS_TOPIC, Pipeline, SHAPES, TOPIC,
};
use crate::reader::{Reader, Seen};
use crate::say;
use crate::servers::{Killer, Server, Servers};
use crate::tables::Tables;
use crate::topics;

/// After so long without a commit the pipeline does not go on by itself.
const PROGRESS_MAX: Duration = Duration::from_secs(90);
/// A snapshot is waited for after so many kills.
const KILLS_PER_SNAPSHOT: u64 = 5;
/// A phase that does not come within this is not waited for.
const PHASE_MAX: Duration = Duration::from_secs(10);

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// Process 0, which commits.
    Leader,
    /// Another process.
    Worker,
    Supervisor,
    Postgres,
    Kafka,
}

use Victim::{Kafka, Leader, Postgres, Supervisor, Worker};

/// They take turns in an order by the seed, so that a large run has enough of each.
const VICTIMS: [Victim; 9] = [
    Leader, Leader, Leader, Worker, Worker, Supervisor, Supervisor, Postgres, Kafka,
];
/// So do these. Fifty kills are about four rounds.
const MOMENTS: [Phase; 9] = [
    Phase::Commit,
    Phase::Commit,
    Phase::Snapshot,
    Phase::Snapshot,
    Phase::Handshake,
    Phase::Handshake,
    Phase::Restore,
    Phase::Restore,
    Phase::Between,
];

/// Numbers that follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// The next of those that wait for their turn; when none does, all wait again.
    fn draw<T: Copy>(&mut self, waiting: &mut Vec<T>, all: &[T]) -> T {
        if waiting.is_empty() {
            waiting.extend_from_slice(all);
        }
        let place = self.roll(waiting.len() as u64);
        waiting.swap_remove(usize::try_from(place).unwrap())
    }
}

/// What came of it.
pub struct Outcome {
    pub report: Report,
    pub failures: Vec<String>,
    /// Where the logs are.
    pub folder: PathBuf,
}

/// What was hit.
#[derive(Debug, Default)]
pub struct Report {
    kills: u64,
    victims: BTreeMap<Victim, u64>,
    phases: BTreeMap<Phase, u64>,
    starts: u64,
    from_snapshot: u64,
    snapshots: u64,
    in_replay: u64,
    unequal: u64,
    rewound: u64,
    commits: u64,
    polls: u64,
    records: u64,
    returns: u64,
    floors: usize,
    late: usize,
    seconds: u64,
}

impl Report {
    /// What a large run should have hit and has not.
    pub fn lacks(&self) -> Vec<String> {
        let phases = [
            Phase::Commit,
            Phase::Snapshot,
            Phase::Restore,
            Phase::Handshake,
        ];
        let hit = |phase: &Phase| self.phases.get(phase).copied().unwrap_or(0);
        let phases = phases.iter().filter(|phase| hit(phase) < 5);
        let mut lacks: Vec<String> = phases
            .map(|phase| format!("only {} kills fell into {phase:?}", hit(phase)))
            .collect();
        if self.unequal < 10 {
            lacks.push(format!("only {} starts found unequal marks", self.unequal));
        }
        if self.polls < 1000 {
            lacks.push(format!("the reader looked only {} times", self.polls));
        }
        lacks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<String>| counts.join(", ");
        let victims = self.victims.iter().map(|(who, n)| format!("{n} {who:?}"));
        let phases = self.phases.iter().map(|(what, n)| format!("{n} {what:?}"));
        writeln!(
            f,
            "{} kills in {} s: {}",
            self.kills,
            self.seconds,
            list(victims.collect())
        )?;
        writeln!(f, "they fell into: {}", list(phases.collect()))?;
        writeln!(
            f,
            "{} starts, {} with a snapshot, {} with unequal marks; {} times the database lost commits",
            self.starts, self.from_snapshot, self.unequal, self.rewound
        )?;
        writeln!(
            f,
            "{} records, {} commits, {} snapshots ({} in a replay), {} looks of the reader",
            self.records, self.commits, self.snapshots, self.in_replay, self.polls
        )?;
        write!(
            f,
            "{} late letters; the stopping partition came back {} times, {} floors",
            self.late, self.returns, self.floors
        )
    }
}

/// All that takes part. Fields are dropped in this order: the servers go last.
pub struct Campaign {
    pipeline: Pipeline,
    killer: Killer,
    reader: Reader,
    feed: Feed,
    dice: Dice,
    victims: Vec<Victim>,
    moments: Vec<Phase>,
    report: Report,
    clock: Clock,
    folder: tempfile::TempDir,
    servers: Servers,
}

impl Campaign {
    /// Starts everything.
    pub fn begin(seed: u64) -> Self {
        let clock = Clock::machine();
        let servers = Servers::up();
        servers.empty(&[TOPIC, CLOSED_TOPIC, PARTS_TOPIC, DEAD_TOPIC, MARKS_TOPIC]);
        topics::create(&servers.broker, TOPIC, PARTITIONS);
        let folder = tempfile::tempdir().unwrap();
        let mut pipeline = Pipeline::new(folder.path(), &servers, &clock);
        let feed = Feed::start(&servers.broker, TOPIC, &clock);
        let reader = Reader::start(&servers.databases[0], feed.hear_idle(), &clock);
        pipeline.start(SHAPES[0]);
        Self {
            pipeline,
            killer: Killer::new(),
            reader,
            feed,
            dice: Dice(seed),
            victims: Vec::new(),
            moments: Vec::new(),
            report: Report::default(),
            clock,
            folder,
            servers,
        }
    }

    /// Kills so many times, then compares.
    pub fn run(mut self, kills: u64) -> Outcome {
        let mut failures = Vec::new();
        while self.report.kills < kills {
            if let Err(failure) = self.strike() {
                failures.push(failure);
                break;
            }
        }
        // Who has just been started does not know yet what a signal means.
        if failures.is_empty() {
            failures.extend(self.progress().err());
        }
        self.end(failures)
    }

    /// One kill at a moment that was aimed at; now and then one before it, to bring the moment about:
    /// in the middle of a commit, so that the marks differ.
    fn strike(&mut self) -> Result<(), String> {
        self.let_a_snapshot_be();
        let victim = self.dice.draw(&mut self.victims, &VICTIMS);
        let moment = self.dice.draw(&mut self.moments, &MOMENTS);
        match moment {
            Phase::Handshake | Phase::Restore => {
                let phases = self.pipeline.phases.lock().phases();
                let runs = [Phase::Commit, Phase::Snapshot, Phase::Between];
                if phases.iter().all(|phase| runs.contains(phase)) {
                    self.aim(Phase::Commit);
                    self.kill(Leader)?;
                }
            }
            // It comes in a replay as well.
            Phase::Snapshot => {}
            Phase::Down | Phase::Commit | Phase::Between => {
                self.progress()?;
                self.wait_ms(1500);
            }
        }
        self.aim(moment);
        // Within the phase, too, no moment is like another.
        let within = match moment {
            Phase::Handshake => 200_000,
            Phase::Restore => 60_000,
            Phase::Snapshot => 5_000,
            Phase::Commit | Phase::Between | Phase::Down => 2_000,
        };
        let micros = self.dice.roll(within);
        self.clock
            .wait_until(self.clock.elapsed() + Duration::from_micros(micros));
        self.kill(victim)
    }

    /// Waits for a moment, but not for ever.
    fn aim(&self, moment: Phase) {
        let phases = &self.pipeline.phases;
        phases.wait(PHASE_MAX, |known| known.phases().contains(&moment));
    }

    /// Now and then a snapshot gets done, however slow the machine: without any, every start would
    /// replay all there is, and none would begin with a snapshot.
    fn let_a_snapshot_be(&mut self) {
        if self.report.kills % KILLS_PER_SNAPSHOT == KILLS_PER_SNAPSHOT - 1 {
            let phases = std::sync::Arc::clone(&self.pipeline.phases);
            let before = phases.lock().snapshots;
            phases.wait(PROGRESS_MAX, |known| known.snapshots > before);
        }
    }

    fn kill(&mut self, victim: Victim) -> Result<(), String> {
        self.is_running()?;
        let processes = match victim {
            Leader => self.pipeline.processes().into_iter().take(1).collect(),
            Worker => {
                let all = self.pipeline.processes();
                let others = all.len().saturating_sub(1) as u64;
                let which = 1 + self.dice.roll(others.max(1));
                all.into_iter()
                    .skip(usize::try_from(which).unwrap())
                    .take(1)
                    .collect()
            }
            Supervisor => self.pipeline.supervisor().into_iter().collect(),
            Postgres => self.servers.processes(Server::Postgres),
            Kafka => self.servers.processes(Server::Kafka),
        };
        if processes.is_empty() {
            // All are between two starts.
            return Ok(());
        }
        let (phases, restarts) = {
            let known = self.pipeline.phases.lock();
            (known.phases(), known.restarts)
        };
        self.killer.kill(&processes);
        self.report.kills += 1;
        *self.report.victims.entry(victim).or_default() += 1;
        for phase in &phases {
            *self.report.phases.entry(*phase).or_default() += 1;
        }
        let (number, seconds) = (self.report.kills, self.clock.elapsed().as_secs());
        say(&format!(
            "{seconds:>4} s  kill {number:>3}: {victim:?} in {phases:?}"
        ));
        if matches!(victim, Postgres | Kafka) {
            gone(&processes, &self.clock);
        }
        self.after(victim, restarts)
    }

    /// Whoever is not started again by the pipeline is started again by us. The log may be behind: of
    /// what it says from here on nothing is of the time before the kill.
    fn after(&mut self, victim: Victim, restarts: u64) -> Result<(), String> {
        match victim {
            Leader | Worker => {
                let phases = &self.pipeline.phases;
                phases.wait(PHASE_MAX, |known| known.restarts > restarts);
            }
            Supervisor => {
                self.pipeline.bury();
                let shape = self.dice.roll(SHAPES.len() as u64);
                self.pipeline.start(SHAPES[usize::try_from(shape).unwrap()]);
            }
            Postgres => self.restart(Server::Postgres)?,
            Kafka => self.restart(Server::Kafka)?,
        }
        Ok(())
    }

    /// Starts a server again, after a while; every other time the pipeline has to start meanwhile.
    fn restart(&mut self, server: Server) -> Result<(), String> {
        self.wait_ms(1500);
        if self.dice.roll(2) == 0 {
            self.kill(Leader)?;
            self.wait_ms(3000);
        }
        self.servers.restart(server);
        Ok(())
    }

    fn wait_ms(&mut self, most: u64) {
        let pause = Duration::from_millis(self.dice.roll(most));
        self.clock.wait_until(self.clock.elapsed() + pause);
    }

    /// The pipeline has to outlive everything but a kill of its own supervisor.
    fn is_running(&mut self) -> Result<(), String> {
        match self.pipeline.ended() {
            None => Ok(()),
            Some(status) => Err(format!(
                "the supervisor ended by itself: {status}\n{}",
                self.log()
            )),
        }
    }

    /// Waits until something new is committed.
    fn progress(&mut self) -> Result<(), String> {
        let before = self.pipeline.phases.lock().published;
        let (seen, limit) = (self.reader.epoch(), self.clock.elapsed() + PROGRESS_MAX);
        while self.clock.elapsed() < limit {
            self.is_running()?;
            let phases = &self.pipeline.phases;
            let published = phases.wait(Duration::from_millis(200), |known| {
                known.published > before + 1 && known.phases() != [Phase::Down]
            });
            if published && self.reader.epoch() != seen {
                return Ok(());
            }
        }
        Err(format!(
            "nothing was committed for {PROGRESS_MAX:?}\n{}",
            self.log()
        ))
    }

    fn log(&self) -> String {
        self.pipeline.phases.lock().last.join("\n")
    }

    /// Stops, catches up, and compares.
    fn end(self, mut failures: Vec<String>) -> Outcome {
        let Self {
            mut pipeline,
            mut killer,
            reader,
            feed,
            clock,
            folder,
            servers,
            mut report,
            ..
        } = self;
        let (records, returns) = feed.end();
        say("the feed has ended; catching up");
        if failures.is_empty() {
            let phases = std::sync::Arc::clone(&pipeline.phases);
            let mut well = |what: &str, status: Option<std::process::ExitStatus>| {
                if status.is_none_or(|status| !status.success()) {
                    let log = phases.lock().last.join("\n");
                    failures.push(format!("{what} ended with {status:?}\n{log}"));
                }
            };
            well("the stop", pipeline.stop(&mut killer));
            well(
                "the run that catches up",
                pipeline.catch_up(3, &[], &mut killer),
            );
            let closing = pipeline.catch_up(10, &["--close-windows"], &mut killer);
            well("the run that closes the windows", closing);
        }
        let mut seen = reader.end();
        if failures.is_empty() {
            failures = compare(&servers, &mut seen, &records, &clock);
        }
        let torn = seen.torn.iter().take(5);
        failures.extend(torn.map(|torn| format!("a reader saw what is no consistent cut: {torn}")));
        {
            let known = pipeline.phases.lock();
            report.starts = known.starts;
            report.from_snapshot = known.from_snapshot;
            failures.extend(known.forgotten.iter().cloned());
            report.snapshots = known.snapshots;
            report.in_replay = known.in_replay;
            report.unequal = known.unequal;
            report.rewound = known.rewound;
            report.commits = known.published;
        }
        report.late = seen.late;
        report.polls = seen.polls;
        report.records = records.iter().sum();
        report.returns = returns;
        report.floors = seen
            .floors
            .iter()
            .map(std::collections::BTreeMap::len)
            .sum();
        report.seconds = clock.elapsed().as_secs();
        let kept = if failures.is_empty() {
            folder.path().to_owned()
        } else {
            folder.keep()
        };
        Outcome {
            report,
            failures,
            folder: kept,
        }
    }
}

/// Waits until processes that were killed are no more: a server does not start beside its own ghost.
fn gone(processes: &[u32], clock: &Clock) {
    let limit = clock.elapsed() + PHASE_MAX;
    let lives = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    while processes.iter().any(lives) {
        assert!(
            clock.elapsed() < limit,
            "{processes:?} were killed and live"
        );
        clock.wait_until(clock.elapsed() + Duration::from_millis(5));
    }
}

fn compare(servers: &Servers, seen: &mut Seen, records: &[u64], clock: &Clock) -> Vec<String> {
    seen.learn(&servers.mark());
    let topic = feed::read_back(&servers.broker, TOPIC, clock);
    let counts: Vec<u64> = topic
        .iter()
        .map(|partition| partition.len() as u64)
        .collect();
    if counts != records {
        return vec![format!(
            "the feed wrote {records:?} records, the topic has {counts:?}"
        )];
    }
    let expected = oracle::tables(&topic, &seen.floors);
    seen.late = expected["dead"]
        .iter()
        .filter(|line| line.starts_with("late"))
        .count();
    let topics = topics::lines(&servers.broker, clock);
    Tables::read(&servers.databases, topics).differences(&expected)
}
