//! One partition of a source, as the worker that owns it knows it.
//!
//! ```text
//!   active ──caught up for a while──▶ idle ──a record──▶ returning ──W(e-1) is known──▶ active
//!                                     event time does    its records wait        from here on its
//!                                     not wait for it                            watermark is W(e-1)
//! ```
//!
//! One that comes back where all were silent wakes the others: they return with it, and event time waits
//! for each until it has spoken or is idle anew.
//!
//! What came to it in a pause of reading nobody has looked at. So one that was silent over a pause is asked
//! anew whether its end is still its end: a slow destination makes nobody idle.
//!
//! A run that goes live waits for everyone again: a partition that was idle when the last run ended
//! may have records waiting, and how fast they are read must not decide whether they are late. Who is
//! behind event time then returns like one that was idle.
//!
//! The watermark that a partition returns with is its floor. It is kept in the mark with the
//! position from which it holds, because it does not follow from the records; a replay, in which
//! nothing goes idle, applies it there.

use std::collections::VecDeque;
use std::time::Duration;

use super::arrival::{Arrival, ArrivedRows, Found};
use crate::types::{Epoch, Floor, Offset, PartitionMark, Side, Watermark};

/// How many times the idle timeout an answer may take, which stands behind all that came of other partitions,
/// before it is asked again.
const ANSWER: u32 = 8;

/// What is known of a partition.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub mark: PartitionMark,
    /// Something to report since the last epoch closed.
    pub moved: bool,
    /// Read to its end, whether or not that ends event time.
    pub done: bool,
    /// What may not go in yet: it lies beyond the stop of this stretch, or before the floor.
    pub held: VecDeque<Arrival>,
    /// Floors further on, in a replay.
    floors: VecDeque<Floor>,
    /// It was read to its end, and nothing came since.
    silent: Option<Silence>,
    /// Announced in this epoch, its floor not known yet.
    returning: Option<Epoch>,
    /// It came back since the last epoch closed.
    came_back: bool,
    /// It does not exist yet where the replay is.
    hidden: bool,
}

/// How long a partition has had nothing to say, and how surely.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// When it was read to its end.
    since: Duration,
    word: Word,
}

/// What was heard of a silence after it had lasted for long.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// Nobody has asked.
    Unasked,
    /// It was asked then, and says nothing yet.
    Asked(Duration),
    /// It was still so.
    Confirmed,
}

impl Silence {
    fn begin(now: Duration) -> Self {
        Self {
            since: now,
            word: Word::Unasked,
        }
    }

    /// The end was reached, for the first time or still.
    fn goes_on(self) -> Self {
        let word = match self.word {
            Word::Unasked => Word::Unasked,
            Word::Asked(_) | Word::Confirmed => Word::Confirmed,
        };
        Self { word, ..self }
    }
}

impl PartitionState {
    /// A partition that stands at `mark`.
    pub fn new(mark: PartitionMark) -> Self {
        Self {
            mark,
            moved: true,
            done: false,
            held: VecDeque::new(),
            floors: VecDeque::new(),
            silent: None,
            returning: None,
            came_back: false,
            hidden: false,
        }
    }

    /// One that nobody knew of: it has yet to announce itself. `side` says which rows the others
    /// of its topic are read for.
    pub fn unknown(found: &Found, side: Option<Side>) -> Self {
        let mark = PartitionMark {
            side,
            file: found.file.clone(),
            ..PartitionMark::beginning(found.from)
        };
        Self {
            moved: false,
            hidden: true,
            ..Self::new(mark)
        }
    }

    /// A stretch of replay begins that ends at `stop`.
    pub fn begin_stretch(&mut self, stop: Option<&PartitionMark>) {
        let Some(stop) = stop else {
            let unread = self.mark.floors.is_empty() && self.mark.offset == self.mark.first;
            // A number that no file has is known by no mark, and there is nothing to come of it.
            self.hidden = unread && !self.mark.ended;
            self.moved &= !self.hidden;
            return;
        };
        self.moved |= std::mem::take(&mut self.hidden);
        // Some that are known here may be forgotten there, and the other way round: a floor that
        // is applied again changes nothing.
        let known = self
            .mark
            .floors
            .last()
            .map(|floor| (floor.offset, floor.watermark));
        let floors = stop.floors.iter().copied();
        let new = floors.filter(|floor| Some((floor.offset, floor.watermark)) > known);
        self.floors = new.collect();
        // Something will come, here or right after the stop: whoever waits for nobody must not get
        // ahead of it.
        let comes_back = stop.offset > self.mark.offset || !stop.idle;
        if self.mark.idle && comes_back {
            self.mark.idle = false;
            self.moved = true;
        }
        self.apply_floors(self.mark.offset);
    }

    /// The replay is over, if there was one; event time is at `reached`, and was since the last run
    /// ended. Whoever is behind it goes on from there: it was idle, or was coming back and had not
    /// been given its floor. Without one, rows would come that are not late for windows that have
    /// closed.
    pub fn go_live(&mut self, reached: Watermark) {
        // One that was found in the replay announces itself; one that a mark had by its number only,
        // because one with a higher number was found before it, is there from here on.
        let was_found = matches!(self.held.front(), Some(Arrival::Found(..)));
        if (self.hidden && was_found) || self.mark.ended {
            return;
        }
        self.moved |= std::mem::take(&mut self.hidden);
        self.moved |= std::mem::take(&mut self.mark.idle);
        if self.mark.watermark < reached {
            self.raise(Floor {
                offset: self.mark.offset,
                watermark: reached,
            });
        }
    }

    /// These rows went in, of so many records, and its watermark is there after them.
    pub fn went_in(&mut self, rows: &ArrivedRows, records: u64, watermark: Watermark) {
        let (from, offset) = (rows.from, self.mark.offset);
        assert!(
            from >= offset,
            "a partition went back from {offset} to {from}"
        );
        self.mark.records = self.mark.records.map(|before| before + records);
        self.mark.offset = rows.end;
        self.mark.watermark = watermark;
        self.moved = true;
    }

    /// It has been read to its end. `closes` says whether the end of a partition is that of event time
    /// in this run, `goes_on` whether there may be more of them.
    pub fn end(&mut self, stop: Option<&PartitionMark>, closes: bool, goes_on: bool) {
        self.done = true;
        let is_one_of_many = self.mark.file.is_some();
        let closes_time = match stop.filter(|mark| mark.ended) {
            // A mark that says so already has closed event time for good.
            Some(stop) => !stop.is_spent(),
            None => closes && !(is_one_of_many && goes_on),
        };
        if closes_time {
            self.close_time();
        } else if is_one_of_many {
            self.mark.ended = true;
            self.moved = true;
        }
    }

    /// Event time ends here.
    pub fn close_time(&mut self) {
        let before = (self.mark.watermark != Watermark::END).then_some(self.mark.watermark);
        self.mark.before_end = before.or(self.mark.before_end);
        self.mark.ended = true;
        self.mark.watermark = Watermark::END;
        self.moved = true;
    }

    /// The stretch ends here: what the mark says beyond its offset is so from now on.
    pub fn end_stretch(&mut self, stop: &PartitionMark) {
        self.apply_floors(stop.offset);
        if self.mark.idle != stop.idle {
            self.mark.idle = stop.idle;
            self.moved = true;
        }
    }

    /// What shows, at the end of a stretch, that other rows were read than before `stop` was written.
    /// Where `some_are_gone`, event time is brought to where it was.
    pub fn is_other(&mut self, stop: &PartitionMark, some_are_gone: bool) -> Option<String> {
        if some_are_gone && self.mark.watermark < stop.watermark {
            self.mark.watermark = stop.watermark;
            self.moved = true;
        }
        let missed = stop.records.zip(self.mark.records);
        let missed = missed.map_or(0, |(then, now)| then.saturating_sub(now));
        if missed > 0 && !some_are_gone {
            return Some(format!("so many records are gone: {missed}"));
        }
        let (now, then) = (self.mark.watermark, stop.watermark);
        (now != then).then(|| format!("event time comes to {now}, and came to {then}"))
    }

    /// Applies the floors up to `offset`.
    fn apply_floors(&mut self, offset: Offset) {
        while self
            .floors
            .front()
            .is_some_and(|floor| floor.offset <= offset)
        {
            let floor = self.floors.pop_front().expect("there is a first");
            self.raise(floor);
        }
    }

    fn raise(&mut self, floor: Floor) {
        self.mark.watermark = self.mark.watermark.max(floor.watermark);
        // Runs that begin while it stays silent each raise it where it stands.
        let stands =
            |last: &Floor| last.offset == floor.offset && last.watermark <= floor.watermark;
        if self.mark.floors.last().is_some_and(stands) {
            self.mark.floors.pop();
        }
        self.mark.floors.push(floor);
        self.moved = true;
    }

    /// In a replay: what of an arrival goes in now, and what is to be looked at right after it.
    /// The rest is held.
    pub fn admit(
        &mut self,
        arrival: Arrival,
        stop: Option<&PartitionMark>,
    ) -> (Option<Arrival>, Option<Arrival>) {
        let limit = stop.map_or(Offset(0), |mark| mark.offset);
        match arrival {
            _ if !self.held.is_empty() => self.hold(arrival),
            // Nothing goes idle in a replay. Held, it would keep back the records after it.
            Arrival::Away => (None, None),
            Arrival::End if stop.is_some_and(|mark| mark.ended) => (Some(arrival), None),
            Arrival::Rows(rows) if rows.from < limit => {
                self.apply_floors(rows.from);
                let floor = self.floors.front().map_or(limit, |floor| floor.offset);
                let cut = floor.min(limit);
                if rows.end <= cut {
                    return (Some(Arrival::Rows(rows)), None);
                }
                let (before, after) = rows.split(cut);
                (Some(Arrival::Rows(before)), Some(Arrival::Rows(after)))
            }
            Arrival::CaughtUp(end) if self.mark.offset < limit && end >= limit => {
                // What was there is there no more (compacted), or never was a record. The end may be that
                // of stretches to come, too, and is not said again.
                self.mark.offset = limit;
                self.moved = true;
                (None, Some(arrival))
            }
            Arrival::CaughtUp(_) if self.mark.offset < limit => (None, None),
            // Its end comes next and belongs to this stretch: nothing may keep it back.
            Arrival::CaughtUp(_) if stop.is_some_and(|mark| mark.ended) => (None, None),
            // What lies beyond; and that its end is here, which is not said again.
            Arrival::CaughtUp(_) | Arrival::Rows(_) | Arrival::End | Arrival::Found(..) => {
                self.hold(arrival)
            }
        }
    }

    fn hold(&mut self, arrival: Arrival) -> (Option<Arrival>, Option<Arrival>) {
        self.held.push_back(arrival);
        (None, None)
    }

    /// Live: whether an arrival goes in now; otherwise it is held, and the partition announces
    /// itself in `open` if it has not yet.
    pub fn admit_live(&mut self, arrival: Arrival, open: Epoch, now: Duration) -> Option<Arrival> {
        if self.returning.is_some() && !matches!(arrival, Arrival::Away) {
            self.held.push_back(arrival);
            return None;
        }
        match &arrival {
            Arrival::CaughtUp(_) => {
                let before = self.silent.map(Silence::goes_on);
                self.silent = before.or(Some(Silence::begin(now)));
                return None;
            }
            Arrival::Away => {
                self.silent = None;
                return None;
            }
            Arrival::Found(..) => {
                if std::mem::take(&mut self.hidden) {
                    self.come_back(open);
                }
                return None;
            }
            Arrival::End => {}
            Arrival::Rows(_) => {
                self.silent = None;
                if self.mark.idle {
                    self.come_back(open);
                    self.held.push_back(arrival);
                    return None;
                }
            }
        }
        Some(arrival)
    }

    fn come_back(&mut self, open: Epoch) {
        self.came_back = true;
        self.announce(open);
    }

    /// Another one came back where all were silent: event time waits for this one again, until it
    /// has spoken or is idle anew.
    pub fn wake(&mut self, open: Epoch, now: Duration) {
        if self.mark.idle && !self.mark.ended {
            self.listen_anew(now);
            self.announce(open);
        }
    }

    /// How long it has been silent counts from now.
    pub fn listen_anew(&mut self, now: Duration) {
        self.silent = self.silent.map(|_| Silence::begin(now));
    }

    fn announce(&mut self, open: Epoch) {
        self.mark.idle = false;
        self.moved = true;
        self.returning = Some(open);
    }

    /// The epoch that it announced itself in, as long as it has no floor.
    pub fn returning(&self) -> Option<Epoch> {
        self.returning
    }

    /// Whether it came back since the last epoch closed.
    pub fn came_back(&mut self) -> bool {
        std::mem::take(&mut self.came_back)
    }

    /// Event time is at `watermark` as of the epoch before the one that it announced itself in.
    /// No run begins before `kept` any more: what holds before it is forgotten.
    pub fn take_floor(&mut self, watermark: Watermark, kept: Offset) {
        self.returning = None;
        self.mark.floors.retain(|floor| floor.offset >= kept);
        self.raise(Floor {
            offset: self.mark.offset,
            watermark,
        });
    }

    /// Whether event time does not wait for it.
    pub fn is_idle(&self) -> bool {
        self.mark.idle
    }

    /// Event time waits for it no longer, if it has had nothing to say for `timeout`. Records may have
    /// come meanwhile that nobody has looked at, if it was not read without a pause: then it is to be asked
    /// first whether its end is still its end, which is what this returns. So nobody is idle for how
    /// slowly a destination takes rows, and one that is does not stay waited for because of that.
    pub fn rest(&mut self, now: Duration, timeout: Duration, reads_since: Duration) -> bool {
        let Some(silent) = &mut self.silent else {
            return false;
        };
        let long = now.saturating_sub(silent.since) >= timeout;
        let may = !self.mark.idle && !self.done && self.returning.is_none();
        if !long || !may || !self.held.is_empty() {
            return false;
        }
        match silent.word {
            Word::Unasked if reads_since > silent.since => {}
            Word::Asked(at) if now.saturating_sub(at) < ANSWER * timeout => return false,
            Word::Asked(_) => {}
            Word::Unasked | Word::Confirmed => {
                self.mark.idle = true;
                self.moved = true;
                return false;
            }
        }
        silent.word = Word::Asked(now);
        true
    }

    /// What is to be reported, once.
    pub fn report(&mut self) -> Option<PartitionMark> {
        (!self.hidden && std::mem::take(&mut self.moved)).then(|| self.mark.clone())
    }

    /// Whether it stands where `stop` says; one that the stop does not know stands there.
    pub fn is_at(&self, stop: Option<&PartitionMark>) -> bool {
        stop.is_none_or(|stop| self.mark.offset == stop.offset && self.mark.ended == stop.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EventTime;

    fn at(watermark: i64) -> PartitionMark {
        PartitionMark {
            watermark: Watermark::behind(EventTime(watermark), 0),
            ..PartitionMark::beginning(Offset(7))
        }
    }

    #[test]
    fn a_replay_that_comes_to_another_event_time_read_other_rows() {
        for (some_are_gone, then, is_other) in [
            (false, 50, false),
            (false, 70, true),
            (false, 30, true),
            (true, 30, true),
        ] {
            let outcome = PartitionState::new(at(50)).is_other(&at(then), some_are_gone);
            assert_eq!(outcome.is_some(), is_other, "{some_are_gone}, {then}");
        }
    }

    #[test]
    fn where_records_may_be_gone_event_time_comes_to_where_it_was() {
        let mut state = PartitionState::new(at(50));
        assert_eq!(state.is_other(&at(70), true), None);
        assert_eq!(state.mark.watermark, at(70).watermark);
    }
}
