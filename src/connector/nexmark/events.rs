//! Which event a row is, when it happens, and who and what is there by then.
//!
//! The proportions and the windows of activity are those of the public benchmark.

/// Events of a round, in this order: persons, auctions, bids.
const ROUND: u64 = 50;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = ROUND - PERSONS - AUCTIONS;

/// The last so many auctions are open for bids.
const OPEN_AUCTIONS: u64 = 100;

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    /// Events of this kind in a round.
    pub(super) fn per_round(self) -> u64 {
        match self {
            Self::Person => PERSONS,
            Self::Auction => AUCTIONS,
            Self::Bid => BIDS,
        }
    }

    /// Where in a round they begin.
    fn first(self) -> u64 {
        match self {
            Self::Person => 0,
            Self::Auction => PERSONS,
            Self::Bid => PERSONS + AUCTIONS,
        }
    }

    /// Which part of all events they are.
    pub(super) fn share(self) -> f64 {
        self.per_round() as f64 / ROUND as f64
    }

    /// How many of the first `events` are of this kind.
    pub(super) fn among(self, events: u64) -> u64 {
        let begun = (events % ROUND).saturating_sub(self.first());
        events / ROUND * self.per_round() + begun.min(self.per_round())
    }

    /// The number of the event that is the row `row` of this kind's table.
    fn event(self, row: u64) -> u64 {
        let (round, place) = (row / self.per_round(), row % self.per_round());
        round.wrapping_mul(ROUND).wrapping_add(self.first() + place)
    }
}

/// When event `n` happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventTimes {
    pub(super) start_us: i64,
    pub(super) events_per_second: f64,
}

impl EventTimes {
    /// Microseconds since 1970.
    pub(super) fn of(self, event: u64) -> i64 {
        let since = (event as f64 * 1e6 / self.events_per_second) as i64;
        self.start_us.saturating_add(since)
    }

    /// How long it takes until as many auctions have been opened as are open at a time.
    pub(super) fn horizon_us(self, event: u64) -> u64 {
        let later = event.saturating_add(OPEN_AUCTIONS * ROUND / AUCTIONS);
        self.of(later).abs_diff(self.of(event))
    }
}

/// Rows of a table, by their events.
pub(super) struct Rows {
    pub(super) times: EventTimes,
    /// The number of each row in its table.
    pub(super) numbers: Vec<u64>,
    pub(super) events: Vec<u64>,
}

impl Rows {
    pub(super) fn new(kind: Kind, times: EventTimes, numbers: impl Iterator<Item = u64>) -> Self {
        let numbers: Vec<u64> = numbers.collect();
        Self {
            times,
            events: numbers.iter().map(|&number| kind.event(number)).collect(),
            numbers,
        }
    }
}

/// The last person, counted from 0, when an auction or a bid happens.
pub(super) fn last_person(event: u64) -> u64 {
    event / ROUND
}

/// The last auction, counted from 0, when a bid happens.
pub(super) fn last_auction(event: u64) -> u64 {
    event / ROUND * AUCTIONS + AUCTIONS - 1
}

/// The auctions that are open when a bid happens: from, and how many.
pub(super) fn open_auctions(event: u64) -> (u64, u64) {
    let last = last_auction(event);
    let first = last.saturating_sub(OPEN_AUCTIONS);
    (first, last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_share_out_all_events() {
        let kinds = [Kind::Person, Kind::Auction, Kind::Bid];
        for events in 0..205 {
            let rows: u64 = kinds.iter().map(|kind| kind.among(events)).sum();
            assert_eq!(rows, events);
        }
        let mut all: Vec<u64> = kinds
            .iter()
            .flat_map(|kind| (0..kind.among(120)).map(|row| kind.event(row)))
            .collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..120));
    }

    #[test]
    fn what_is_there_is_what_came_before() {
        let bids = (0..500).map(|row| Kind::Bid.event(row));
        for event in bids {
            assert_eq!(last_person(event) + 1, Kind::Person.among(event));
            assert_eq!(last_auction(event) + 1, Kind::Auction.among(event));
        }
    }
}
