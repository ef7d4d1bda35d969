//! What compaction leaves of a topic: a restart reads again what was read since a snapshot, and
//! has to find all of it.
//!
//! Of a compacted topic only what is younger than `min.compaction.lag.ms` is sure to be there.

use std::time::Duration;

use super::admin::topic_settings;
use super::settings::Cluster;
use crate::connector::ConnectorError;
use crate::connector::open::{Keeps, required};
use crate::plan::Table;

pub(super) const POLICY: &str = "cleanup.policy";
const LAG: &str = "min.compaction.lag.ms";

/// What the hint asks for at least: most outages are shorter.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether the topic of `table` keeps every record for `need` after it was written.
pub(super) fn keeps(table: &Table, need: Duration) -> Result<Keeps, ConnectorError> {
    let (cluster, topic) = (Cluster::of(table)?, required(table, "topic")?);
    let settings = match topic_settings(&cluster, topic) {
        Ok(settings) => settings,
        Err(reason) => return Ok(Keeps::Unsaid(unsaid(topic, &reason, need))),
    };
    let value = |name: &str| settings.get(name).map(String::as_str);
    match judge(value(POLICY), value(LAG), need) {
        Judgement::Enough => Ok(Keeps::Enough),
        Judgement::TooShort(lag) => Err(too_short(&cluster.servers, topic, lag, need)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Enough,
    /// So many milliseconds.
    TooShort(u64),
}

/// By the topic's settings.
fn judge(policy: Option<&str>, lag: Option<&str>, need: Duration) -> Judgement {
    let mut policies = policy.unwrap_or_default().split(',');
    if !policies.any(|policy| policy.trim() == "compact") {
        return Judgement::Enough;
    }
    // Without it a broker compacts whatever is not in the last segment.
    let lag = lag.and_then(|lag| lag.parse().ok()).unwrap_or(0);
    if Duration::from_millis(lag) < need {
        Judgement::TooShort(lag)
    } else {
        Judgement::Enough
    }
}

fn too_short(servers: &str, topic: &str, lag: u64, need: Duration) -> ConnectorError {
    let wanted = need.max(DAY).as_millis();
    let least = need.as_millis();
    ConnectorError::hinted(
        format!(
            "topic `{topic}` is compacted and its `{LAG}` is {lag}: what a restart reads again may \
             be gone"
        ),
        format!(
            "it has to be at least {least}, and longer than the pipeline is ever down after a crash: \
             kafka-configs --bootstrap-server {servers} --alter --entity-type topics --entity-name \
             {topic} --add-config {LAG}={wanted}"
        ),
    )
}

fn unsaid(topic: &str, reason: &str, need: Duration) -> String {
    let least = need.as_millis();
    format!(
        "could not read the settings of topic `{topic}` ({reason}): if it is compacted, its `{LAG}` has \
         to be at least {least}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(policy: Option<&str>, lag: Option<&str>) -> Judgement {
        judge(policy, lag, Duration::from_secs(30))
    }

    #[test]
    fn a_compacted_topic_has_to_keep_records_for_as_long_as_is_needed() {
        assert_eq!(judged(Some("delete"), Some("0")), Judgement::Enough);
        assert_eq!(judged(None, None), Judgement::Enough);
        assert_eq!(judged(Some("compact"), None), Judgement::TooShort(0));
        let both = Some("delete, compact");
        assert_eq!(judged(both, Some("29999")), Judgement::TooShort(29_999));
        assert_eq!(judged(both, Some("30000")), Judgement::Enough);
        let for_ever = Some("9223372036854775807");
        assert_eq!(judged(Some("compact"), for_ever), Judgement::Enough);
    }
}
