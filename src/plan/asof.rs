//! The times of an as-of join, what they promise, and how it reads.

use super::join::compared;
use super::{Operator, Pipeline};

/// By which times a row is joined with the newest of another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asof {
    /// The left's time and the right's, by position, never NULL.
    pub times: [usize; 2],
    /// Whether the right row must be older, and not of the same time.
    pub older: bool,
    /// A BOOLEAN column of the right: where it is true, there is no row of its key from then on.
    pub gone: Option<usize>,
    /// By side: how far before the watermark a row may still come, in microseconds. The allowed
    /// lateness is in it.
    pub behind_us: [i64; 2],
}

impl Asof {
    /// How far before the watermark a row may come out with the left's time: it came late itself,
    /// or waited for the right rows that were still to come.
    #[must_use]
    pub fn lag_us(&self) -> i64 {
        self.behind_us[0].max(self.behind_us[1])
    }
}

/// An as-of join for people, and for the fingerprint.
pub(super) fn text(pipeline: &Pipeline, operator: &Operator) -> String {
    let Operator::AsofJoin {
        left,
        right,
        keys,
        kind,
        asof,
    } = operator
    else {
        panic!("only asked of as-of joins")
    };
    let mut on = compared(pipeline, [*left, *right], keys, "=");
    let [l, r] = asof.times;
    let [l, r] = [
        pipeline.column_name(*left, l),
        pipeline.column_name(*right, r),
    ];
    let when = if asof.older { "before" } else { "at or before" };
    on.push(format!("the newest {r} {when} {l}"));
    let gone = asof.gone.map(|gone| pipeline.column_name(*right, gone));
    on.extend(gone.map(|gone| format!("not {gone}")));
    format!("asof join ({}) on {}", kind.name(), on.join(" and "))
}

/// What it holds, and until when; `offset` says what is added to a time.
pub(super) fn held(asof: &Asof, offset: &dyn Fn(i64) -> String) -> String {
    format!(
        "holds left rows until their time{}; of the right the newest row per key, never freed",
        offset(asof.behind_us[1])
    )
}
