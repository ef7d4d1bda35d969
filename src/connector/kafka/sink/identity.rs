//! Which topics have the rows that a mark counts: those of its ids, and not ones that were made anew
//! under their names.

use std::collections::BTreeMap;

use super::TopicTable;
use crate::connector::ConnectorError;
use crate::connector::kafka::ask::{not_named, same_records};

/// Ids by the names of topics; those that have none are left out.
pub(super) type Ids = BTreeMap<String, String>;

/// Refuses topics that are not what the mark or their table says.
pub(super) fn check(tables: &[TopicTable], known: &Ids, now: &Ids) -> Result<(), ConnectorError> {
    for TopicTable { topic, id, .. } in tables {
        let (Some(now), known) = (now.get(topic), known.get(topic)) else {
            continue;
        };
        match (id, known) {
            (Some(named), _) if named != now => return Err(not_named(topic, named, now)),
            (None, Some(known)) if known != now => return Err(emptied(topic, known, now)),
            (Some(_) | None, _) => {}
        }
    }
    Ok(())
}

fn emptied(topic: &str, known: &str, now: &str) -> ConnectorError {
    ConnectorError::hinted(
        format!(
            "topic `{topic}` was deleted and made anew (its id was {known}, and is {now}), but the mark says \
             that its rows are there"
        ),
        same_records("`--fresh` starts over", now),
    )
}
