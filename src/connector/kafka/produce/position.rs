//! How far a job is, part by part: each part has a mark of its own.
//!
//! ```text
//!   produce/TOPIC/JOB/PART        ──▶ the position of the part
//!   produce/TOPIC/JOB/producers   ──▶ how many producers the job has had
//! ```
//!
//! So a commit writes marks of what it sent of, however many parts there are, and a run that sends
//! other parts leaves these alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::input::Part;
use crate::connector::ConnectorError;
use crate::types::Offset;

/// Ends the key that counts producers. No part is called that: their names are paths.
const PRODUCERS: &str = "producers";

/// The name of a job among the keys of marks and the transactional ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobName(String);

impl JobName {
    /// Of this job into this topic. No job's name begins with that of another: what would end it early is escaped.
    pub fn new(topic: &str, job: &str) -> Self {
        let job = job.replace('%', "%25").replace('/', "%2F");
        Self(format!("produce/{topic}/{job}/"))
    }

    /// What the keys of all its marks begin with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// The key of a part's mark.
    pub fn of_part(&self, part: &str) -> String {
        format!("{}{part}", self.0)
    }

    /// The key that counts producers.
    pub fn of_producers(&self) -> String {
        self.of_part(PRODUCERS)
    }

    /// The transactional id of a producer.
    pub fn of_producer(&self, index: usize) -> String {
        format!("{}{index}", self.0)
    }
}

/// A part's position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// What must not have changed for the offset to mean the same.
    pub identity: Option<String>,
    /// Which topic it was sent to; older marks do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The next record.
    pub offset: Offset,
    /// Whether there is none.
    pub ended: bool,
}

/// Positions by the names of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions {
    parts: BTreeMap<String, Position>,
    /// Which topic is sent to, where that is told.
    topic: Option<String>,
}

impl Positions {
    /// What the marks of a job say.
    pub fn of(job: &JobName, marks: &BTreeMap<String, Vec<u8>>) -> Result<Self, ConnectorError> {
        let parts = marks.iter().filter_map(|(key, text)| {
            let part = key.strip_prefix(job.prefix())?;
            (part != PRODUCERS).then_some((key, part, text))
        });
        let position = |(key, part, text): (&String, &str, &Vec<u8>)| {
            let position = serde_json::from_slice(text).map_err(|error| unreadable(key, &error))?;
            Ok((part.to_owned(), position))
        };
        Ok(Self {
            parts: parts.map(position).collect::<Result<_, _>>()?,
            topic: None,
        })
    }

    /// The same, in this topic: refused where it is not the one that was sent to.
    pub fn in_topic(
        mut self,
        (topic, id): (&str, Option<String>),
        job: &str,
    ) -> Result<Self, ConnectorError> {
        let known = self.parts.values().filter_map(|part| part.topic.as_deref());
        let mut others = known.filter(|known| id.as_deref().is_some_and(|id| id != *known));
        match (others.next(), &id) {
            (Some(known), Some(id)) => Err(ConnectorError::hinted(
                format!(
                    "topic `{topic}` was deleted and made anew (its id was {known}, and is {id}), and with it went what \
                     job `{job}` has sent there"
                ),
                "--fresh-job sends everything again",
            )),
            (Some(_) | None, _) => {
                self.topic = id;
                Ok(self)
            }
        }
    }

    /// Whether nothing was sent of any part.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Refuses a part that is not what it was.
    pub fn check(&self, parts: &[Part], job: &str) -> Result<(), ConnectorError> {
        let changed = parts.iter().find(|part| {
            let before = self.parts.get(&part.name);
            before.is_some_and(|before| before.identity != part.identity)
        });
        match changed {
            None => Ok(()),
            Some(part) => Err(ConnectorError::hinted(
                format!(
                    "`{}` has changed since job `{job}` began to send it",
                    part.name
                ),
                "--job NAME sends it as another job; --fresh-job sends everything of this one again",
            )),
        }
    }

    /// Where to go on with a part.
    pub fn of_part(&self, part: &Part) -> Position {
        let position = self.parts.get(&part.name).cloned();
        let mut position = position.unwrap_or_else(|| Position {
            identity: part.identity.clone(),
            ..Position::default()
        });
        position.topic = self.topic.clone().or(position.topic);
        position
    }
}

/// How many producers a job has had at most.
pub(super) fn producers(
    job: &JobName,
    marks: &BTreeMap<String, Vec<u8>>,
) -> Result<usize, ConnectorError> {
    let key = job.of_producers();
    let Some(text) = marks.get(&key) else {
        return Ok(0);
    };
    serde_json::from_slice(text).map_err(|error| unreadable(&key, &error))
}

fn unreadable(key: &str, error: &serde_json::Error) -> ConnectorError {
    ConnectorError::hinted(
        format!("cannot read the mark `{key}`: {error}"),
        "another version may have written it: --job NAME sends as another job, which knows of nothing that was sent; \
         --fresh-job forgets it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_whose_name_begins_like_another_has_marks_of_its_own() {
        let of = |job: &str| JobName::new("trips", job).prefix().to_owned();

        assert_eq!(of("a"), "produce/trips/a/");
        assert!(!of("a/b").starts_with(&of("a")), "{}", of("a/b"));
        assert_ne!(of("a/b"), of("a%2Fb"));
    }

    #[test]
    fn a_mark_is_of_one_part_or_counts_producers() {
        let job = JobName::new("trips", "a");
        let position = br#"{"identity":null,"offset":7,"ended":true}"#.to_vec();
        let marks = BTreeMap::from([
            (job.of_part("/data/a.csv"), position),
            (job.of_producers(), b"3".to_vec()),
        ]);

        let positions = Positions::of(&job, &marks).unwrap();

        assert_eq!(positions.parts.len(), 1);
        assert_eq!(positions.parts["/data/a.csv"].offset, Offset(7));
        assert_eq!(producers(&job, &marks).unwrap(), 3);
        assert_eq!(producers(&job, &BTreeMap::new()).unwrap(), 0);
        let broken = BTreeMap::from([(job.of_part("/a"), b"{".to_vec())]);
        assert!(Positions::of(&job, &broken).is_err());
    }
}
