//! What a sink is waiting for, in one sentence: for whoever is on call at three in the morning.
//!
//! Reads facts, decides which one matters most, and says it with its numbers and, where there is
//! one, with what happens next. The order is the order of causes: a run that has not begun, a
//! destination that is away, a replay, event time that stands still, input that is behind.

use std::time::Duration;

use crate::dataflow::board::{DestinationFacts, SourceFacts};
use crate::dataflow::state::OpenWindows;
use crate::types::{Epoch, Fates, Watermark};

/// A commit that takes longer than this is worth a word.
const SLOW: Duration = Duration::from_secs(2);

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes its destinations over.
    Starting,
    /// It cannot start because something is away.
    Waiting {
        /// What.
        what: String,
        /// For how long.
        length: Duration,
        /// Why.
        cause: String,
    },
    /// It reads again what it read before.
    Replaying {
        /// The epoch that it reads up to.
        to: Epoch,
        /// How much of it is done, in hundredths.
        percent: u64,
    },
    /// It reads what is new.
    Live,
    /// It commits what is open, and ends.
    Stopping,
    /// It has ended well.
    Ended,
    /// It has ended otherwise.
    Failed(String),
    /// No process that runs it can be asked.
    Resting,
}

impl Stage {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting | Self::Waiting { .. } => "starting",
            Self::Replaying { .. } => "replaying",
            Self::Live => "live",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Failed(_) => "failed",
            Self::Resting => "resting",
        }
    }

    /// In a sentence, `since` the run began.
    #[must_use]
    pub fn sentence(&self, since: Duration) -> String {
        match self {
            Self::Starting => {
                "starting: it opens its sources and takes its destinations over".to_owned()
            }
            Self::Waiting {
                what,
                length: since,
                cause,
            } => format!(
                "starting: waiting for `{what}` since {}: {cause}",
                length(*since)
            ),
            Self::Replaying { to, percent } => format!(
                "replaying to epoch {to}, {percent} % done: it reads again what its tables hold, to have its state back"
            ),
            Self::Live => format!("live, started {} ago", length(since)),
            Self::Stopping => "stopping: the open epoch is committed, then it ends".to_owned(),
            Self::Ended => "it has ended".to_owned(),
            Self::Failed(why) => format!("failed: {why}"),
            Self::Resting => {
                "no process with --metrics-port was found; this is what its destinations hold"
                    .to_owned()
            }
        }
    }
}

/// A source, for one sink.
#[derive(Clone, Copy, Debug)]
pub struct Where<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its offsets count, but those of files that it follows.
    pub unit: &'a str,
    /// Whether it has a watermark.
    pub has_event_time: bool,
    /// When a silent partition is waited for no longer.
    pub idle_after: Option<Duration>,
    /// What is known of it.
    pub facts: &'a SourceFacts,
    /// Since when, and why, a table cannot be read again.
    pub stale: Option<&'a (Duration, String)>,
}

/// What can be seen of a sink.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// Where the run is.
    pub stage: &'a Stage,
    /// The time of the run.
    pub now: Duration,
    /// What the sink is kept in.
    pub destination: Option<&'a DestinationFacts>,
    /// What it reads.
    pub sources: Vec<Where<'a>>,
    /// The window of its that closes next.
    pub next: Option<OpenWindows>,
    /// Its rows come when a window closes, not before.
    pub on_close: bool,
    /// What became of all its records.
    pub fates: Fates,
    /// It takes dead letters.
    pub is_letters: bool,
}

/// What it is waiting for.
#[must_use]
pub fn waits_for(sight: &Sight<'_>) -> String {
    let away = sight
        .destination
        .and_then(|known| known.away.as_ref().map(|away| (known, away)));
    match (sight.stage, away) {
        (Stage::Waiting { what, .. }, _) => {
            format!("waits for the start, which waits for `{what}`")
        }
        (Stage::Starting, _) => "waits for the start".to_owned(),
        (Stage::Failed(why), _) => format!("gets nothing any more: {why}"),
        (Stage::Ended, _) => "done".to_owned(),
        (Stage::Resting, _) => "no process with --metrics-port was found".to_owned(),
        (
            Stage::Live | Stage::Replaying { .. } | Stage::Stopping,
            Some((known, (since, cause))),
        ) => format!(
            "waiting for `{}` since {}: {cause}; nothing is lost, it goes on when that is back",
            known.name,
            length(sight.now.saturating_sub(*since))
        ),
        (Stage::Replaying { to, percent }, None) => {
            format!("replaying to epoch {to}, {percent} % done; nothing is written until then")
        }
        (Stage::Stopping, None) => "the open epoch is committed, then it ends".to_owned(),
        (Stage::Live, None) => live(sight),
    }
}

fn live(sight: &Sight<'_>) -> String {
    if let Some(known) = sight.destination
        && let Some((epoch, since)) = known.busy
    {
        let taken = sight.now.saturating_sub(since);
        if taken >= SLOW {
            let taken = length(taken);
            return format!(
                "`{}` has taken {taken} so far to commit epoch {epoch}",
                known.name
            );
        }
    }
    if sight.is_letters {
        return "takes what is late or rejected, when it comes".to_owned();
    }
    let stale = |place: &Where<'_>| Some((place.name.to_owned(), place.stale?.clone()));
    if let Some((name, (since, cause))) = sight.sources.iter().find_map(stale) {
        let long = length(sight.now.saturating_sub(since));
        return format!(
            "`{name}` cannot be read again since {long}, and counts as it was then: {cause}"
        );
    }
    let fates = sight.fates;
    if fates.read() > 0 && fates.rejected == fates.read() {
        let all = fates.rejected;
        return format!(
            "all {all} records so far were rejected: the log and the dead letters say why"
        );
    }
    let mut reading = reading(sight);
    match sight.next {
        Some(next) if sight.on_close => return window(sight, next),
        Some(next) => {
            let end = at(Watermark::behind(next.next_end, 0));
            reading += &format!("; the window that ends {end} is the next to be final");
        }
        None => {}
    }
    if fates.read() > 0 && fates.accepted == 0 {
        return format!("no record has reached it yet ({}); {reading}", lost(fates));
    }
    reading
}

/// How the records that are not in were lost.
fn lost(fates: Fates) -> String {
    let parts = [
        (fates.filtered, "filtered"),
        (fates.late, "late"),
        (fates.rejected, "rejected"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    parts.join(", ")
}

/// Nothing waits in windows: how the input comes.
fn reading(sight: &Sight<'_>) -> String {
    let behind = |source: &&Where<'_>| source.lag().is_some_and(|lag| lag > 0);
    let furthest = sight
        .sources
        .iter()
        .filter(behind)
        .max_by_key(|source| source.lag());
    if let Some(source) = furthest {
        let lag = source.lag().unwrap_or_default();
        let facts = source.facts;
        let partition = facts.read_now().max_by_key(|&index| facts.lag(index));
        let most = partition.filter(|_| facts.read_now().count() > 1);
        let most = most.map_or_else(String::new, |index| {
            let own = facts.lag(index).unwrap_or_default();
            format!(", {own} of them in partition `{}`", facts.name(index))
        });
        let (name, unit) = (source.name, facts.unit_now(source.unit));
        return format!("reading `{name}`: {lag} {unit} to go{most}");
    }
    let all_read = |source: &Where<'_>| {
        let marks = &source.facts.marks;
        marks.len() == source.facts.partitions() && marks.values().all(|mark| mark.ended)
    };
    if sight.sources.iter().all(all_read) {
        return "all input has been read".to_owned();
    }
    let last = sight
        .sources
        .iter()
        .map(|source| source.facts.moved)
        .max()
        .unwrap_or_default();
    let silent = sight.now.saturating_sub(last);
    if silent >= SLOW {
        let names: Vec<String> = sight
            .sources
            .iter()
            .map(|source| format!("`{}`", source.name))
            .collect();
        return format!(
            "idle: nothing to read in {} for {}",
            names.join(", "),
            length(silent)
        );
    }
    "up to date: commits as records come".to_owned()
}

/// Groups wait in windows: which closes next, and what holds event time back.
fn window(sight: &Sight<'_>, next: OpenWindows) -> String {
    let end = at(Watermark::behind(next.next_end, 0));
    let allowed = if next.lateness_us > 0 {
        format!(
            " and {} of allowed lateness",
            length(micros(next.lateness_us))
        )
    } else {
        String::new()
    };
    let timed = sight.sources.iter().filter(|source| source.has_event_time);
    let Some(slowest) = timed.min_by_key(|source| source.facts.watermark) else {
        return format!(
            "the window that ends {end} closes next, when event time has passed it{allowed}"
        );
    };
    let now = slowest.facts.watermark;
    let due = next.next_end.0.saturating_add(next.lateness_us);
    let far = if now == Watermark::START {
        "event time has not begun".to_owned()
    } else {
        let missing = length(micros(due.saturating_sub(now.micros())));
        format!("event time is {}, {missing} before that", at(now))
    };
    format!(
        "the window that ends {end} closes next, when event time has passed it{allowed}: {far}; {}",
        holds_back(slowest, sight.now)
    )
}

/// Which partition holds event time back, and why.
fn holds_back(source: &Where<'_>, now: Duration) -> String {
    let facts = source.facts;
    let count = facts.partitions();
    let waited = |index: usize| Some((facts.waited_for(index)?, index));
    let Some((_, index)) = (0..count).filter_map(waited).min() else {
        return format!(
            "every partition of `{}` is idle, so it stands still until a record comes",
            source.name
        );
    };
    let name = facts.name(index);
    let which = if count == 1 {
        format!("`{}`", source.name)
    } else {
        format!("partition `{name}` of `{}`", source.name)
    };
    let never =
        !facts.marks.contains_key(&index) || facts.marks[&index].watermark == Watermark::START;
    match facts.lag(index) {
        Some(lag) if lag > 0 => {
            let unit = facts.unit(index, source.unit);
            format!("{which} is the furthest back, with {lag} {unit} still to read")
        }
        Some(_) | None if never => {
            let patience = patience(source, index);
            format!("{which} has not had a record yet{patience}")
        }
        Some(_) => {
            let patience = patience(source, index);
            format!("{which} is the furthest back and has nothing more to read{patience}")
        }
        None if now.saturating_sub(facts.moved) >= SLOW => {
            let silent = length(now.saturating_sub(facts.moved));
            format!("nothing has come from `{}` for {silent}", source.name)
        }
        None if count == 1 => format!("it moves on with the records of {which}"),
        None => format!("{which} is the furthest back and being read"),
    }
}

/// When a partition is waited for no longer. What ends is waited for.
fn patience(source: &Where<'_>, index: usize) -> String {
    match source.idle_after {
        Some(after) if source.facts.unit(index, source.unit) == "records" => {
            format!(
                "; after {} of silence event time goes on without it",
                length(after)
            )
        }
        Some(_) | None => String::new(),
    }
}

impl Where<'_> {
    fn lag(&self) -> Option<u64> {
        self.facts.lag_now()
    }
}

/// A time as people say it: fractions of a second tell nobody anything.
fn at(watermark: Watermark) -> String {
    let text = watermark.to_string();
    text.split('.').next().unwrap_or_default().to_owned()
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// A length of time as people say it: two digits are enough.
#[must_use]
pub fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let steps = [
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ];
    for (large, large_name, small, small_name) in steps {
        if seconds >= large {
            let rest = seconds % large / small;
            let whole = seconds / large;
            return if rest == 0 || whole >= 10 {
                format!("{whole} {large_name}")
            } else {
                format!("{whole} {large_name} {rest} {small_name}")
            };
        }
    }
    if seconds > 0 {
        format!("{seconds} s")
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests;
