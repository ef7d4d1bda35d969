//! Which partitions nobody answers for, and what to say of it.
//!
//! A connection that breaks is tried again many times; a person reads of it once when it lasts,
//! and once when it is over.

use std::collections::BTreeSet;
use std::time::Duration;

/// How long contact may be lost before it is worth a line: a first address that does not answer
/// (`localhost` has two) is no news.
const PATIENCE: Duration = Duration::from_secs(1);

/// Partitions without contact.
#[derive(Debug, Default)]
pub(super) struct Contact {
    lost: BTreeSet<i32>,
    since: Duration,
    said: bool,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has been lost for a while for so many partitions.
    Lost(usize),
    /// All answer again, after so long.
    Back(Duration),
}

impl Contact {
    /// Nobody answers for the partition. Returns whether that is new.
    pub fn lose(&mut self, partition: i32, now: Duration) -> bool {
        if self.lost.is_empty() && !self.said {
            self.since = now;
        }
        self.lost.insert(partition)
    }

    /// Something came from the partition's leader.
    pub fn hear(&mut self, partition: i32) {
        if !self.lost.is_empty() {
            self.lost.remove(&partition);
        }
    }

    /// Whether nobody answers for the partition.
    pub fn is_lost(&self, partition: i32) -> bool {
        self.lost.contains(&partition)
    }

    /// How long some partition has been without contact.
    pub fn lost_for(&self, now: Duration) -> Option<Duration> {
        (!self.lost.is_empty()).then(|| now.saturating_sub(self.since))
    }

    /// What there is to say now.
    pub fn news(&mut self, now: Duration) -> Option<News> {
        let lasted = now.saturating_sub(self.since);
        if !self.lost.is_empty() && !self.said && lasted >= PATIENCE {
            self.said = true;
            return Some(News::Lost(self.lost.len()));
        }
        if self.lost.is_empty() && self.said {
            self.said = false;
            return Some(News::Back(lasted));
        }
        None
    }
}

/// Whose trouble a report of librdkafka's is: it begins with `host:port/number: `. None for a
/// connection that nothing is read from: the first one, or the one to a group's coordinator.
pub(super) fn broker_of(report: &str) -> Option<i32> {
    let (name, _) = report.split_once(": ")?;
    let (address, number) = name.rsplit_once('/')?;
    if address.ends_with("Coordinator") {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn contact_that_stays_away_is_said_once_and_so_is_its_return() {
        let mut contact = Contact::default();

        assert!(contact.lose(0, SECOND));
        assert!(!contact.lose(0, SECOND));
        assert!(contact.lose(1, SECOND));
        assert_eq!(contact.news(SECOND), None);
        assert_eq!(contact.news(2 * SECOND), Some(News::Lost(2)));
        assert_eq!(contact.news(3 * SECOND), None);
        contact.hear(0);
        assert_eq!(contact.news(3 * SECOND), None);
        contact.hear(1);
        assert_eq!(contact.news(4 * SECOND), Some(News::Back(3 * SECOND)));
        assert_eq!(contact.news(5 * SECOND), None);
    }

    #[test]
    fn contact_that_is_back_at_once_is_not_worth_a_line() {
        let mut contact = Contact::default();

        contact.lose(0, SECOND);
        contact.hear(0);

        assert_eq!(contact.news(9 * SECOND), None);
    }

    #[test]
    fn a_report_names_the_broker_by_its_number() {
        let text = "127.0.0.1:9092/3: Connect to ipv4#127.0.0.1:9092 failed: Connection refused";
        assert_eq!(broker_of(text), Some(3));
        assert_eq!(
            broker_of("sasl_ssl://[::1]:9092/12: Disconnected"),
            Some(12)
        );
        assert_eq!(broker_of("localhost:9092/bootstrap: Disconnected"), None);
        assert_eq!(broker_of("GroupCoordinator/1: Disconnected"), None);
        assert_eq!(broker_of("1/1 brokers are down"), None);
    }
}
