//! What bounds a join of two append streams, what that promises, and how it reads.

use super::explain::{duration, offset};
use super::join::compared;
use super::{Operator, Pipeline};

/// What bounds an `IntervalJoin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Within {
    /// The rows' times.
    Times(Interval),
    /// How far event time was when they were read: by no more than so many microseconds apart, which
    /// is `state.ttl`.
    Ttl(i64),
}

/// How the times of two sides bound each other: rows match only if the left's time less the
/// right's lies from `lower_us` to `upper_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The left's time and the right's, by position, never NULL.
    pub times: [usize; 2],
    /// The least difference, in microseconds.
    pub lower_us: i64,
    /// The greatest.
    pub upper_us: i64,
    /// By side: how far before the watermark a row may still come, in microseconds. The allowed
    /// lateness is in it.
    pub behind_us: [i64; 2],
}

impl Interval {
    /// Times that lie no further apart than this, of rows that come in their order.
    #[must_use]
    pub fn within(us: i64) -> Self {
        Self {
            times: [0; 2],
            lower_us: -us,
            upper_us: us,
            behind_us: [0; 2],
        }
    }

    /// By side: for how long a row is held after its time, as the watermark counts. No row of the
    /// other side that is still to come matches one that the watermark left further behind.
    ///
    /// A left row matches right rows up to its time less `lower_us`, and the right rows to come
    /// are at or after the watermark less `behind_us`; a right row matches left rows up to its
    /// time and `upper_us`.
    #[must_use]
    pub fn held_us(&self) -> [i64; 2] {
        [
            self.behind_us[1].saturating_sub(self.lower_us),
            self.behind_us[0].saturating_add(self.upper_us),
        ]
    }

    /// By side: how far before the watermark a row may come out with that side's time. It came
    /// late itself, or was held.
    #[must_use]
    pub fn lag_us(&self) -> [i64; 2] {
        let held = self.held_us();
        [0, 1].map(|side| self.behind_us[side].max(held[side]))
    }
}

/// An interval join for people, and for the fingerprint.
pub(super) fn text(pipeline: &Pipeline, operator: &Operator) -> String {
    let Operator::IntervalJoin {
        left,
        right,
        keys,
        kind,
        within,
        residual,
    } = operator
    else {
        panic!("only asked of interval joins")
    };
    let kind = kind.name();
    let mut on = compared(pipeline, [*left, *right], keys, "=");
    let interval = match within {
        Within::Times(interval) => interval,
        Within::Ttl(ttl_us) => {
            on.extend(residual.iter().map(|residual| residual.text.clone()));
            let on = on.join(" and ");
            return format!("join ({kind}) within {} on {on}", duration(*ttl_us));
        }
    };
    let [l, r] = interval.times;
    if !keys.contains(&(l, r)) {
        let (lower, upper) = (offset(interval.lower_us), offset(interval.upper_us));
        let l = pipeline.column_name(*left, l);
        let r = pipeline.column_name(*right, r);
        on.push(format!("{l} between {r}{lower} and {r}{upper}"));
    }
    on.extend(residual.iter().map(|residual| residual.text.clone()));
    format!("interval join ({kind}) on {}", on.join(" and "))
}

/// Until when both sides of an interval join are held.
pub(super) fn held(within: &Within) -> String {
    let interval = match within {
        Within::Times(interval) => interval,
        Within::Ttl(_) => return "holds rows for that long (state.ttl)".to_owned(),
    };
    let [left, right] = interval
        .held_us()
        .map(|us| format!("their time{}", offset(us)));
    match left == right {
        true => format!("holds rows until {left}"),
        false => format!("holds left rows until {left}, right rows until {right}"),
    }
}
