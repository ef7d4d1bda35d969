//! How functions over partitions read in `explain`.

use arrow::datatypes::FieldRef;

use super::explain::{duration, named};
use super::{Frame, FrameBound, OverCall, SortKey};

/// What is computed, of which rows, in which order.
pub fn over(
    partition: &[String],
    order: &[SortKey],
    calls: &[OverCall],
    fields: &[FieldRef],
    first: Option<u64>,
) -> String {
    let calls: Vec<String> = calls
        .iter()
        .zip(fields)
        .map(|(call, field)| named(&call.text, field.name()))
        .collect();
    let mut out = match first {
        Some(first) => format!("first {first} by {}", calls.join(", ")),
        None => format!("over {}", calls.join(", ")),
    };
    if !partition.is_empty() {
        out += &format!(" per {}", partition.join(", "));
    }
    let order: Vec<String> = order
        .iter()
        .map(|key| {
            let down = if key.descending { " DESC" } else { "" };
            let nulls = if key.nulls_first { " NULLS FIRST" } else { "" };
            format!("{}{down}{nulls}", key.expression.text)
        })
        .collect();
    if !order.is_empty() {
        out += &format!(" in the order of {}", order.join(", "));
    }
    out
}

/// Whether a frame begins where the partition does: what it comes to is a total that goes on.
fn is_total(frame: &Frame) -> bool {
    frame.start == FrameBound::Unbounded
}

/// Whether a frame begins some rows before, or ends some rows after: those stay, or wait, however long no
/// row comes.
fn counts(frame: &Frame) -> bool {
    let is_away = |bound: FrameBound, side: i128| match bound {
        FrameBound::Unbounded => false,
        FrameBound::At(distance) => distance.signum() == side && !frame.counts_values(),
    };
    is_away(frame.start, -1) || is_away(frame.end, 1)
}

/// Whether functions over an append stream hold something of every partition for ever.
pub fn holds_partitions(calls: &[OverCall]) -> bool {
    let mut frames = calls.iter().map(|call| call.function.frame());
    frames.any(|frame| is_total(&frame) || counts(&frame))
}

/// What functions over an append stream hold.
pub fn held_by_frames(calls: &[OverCall]) -> String {
    let frames = || calls.iter().map(|call| call.function.frame());
    let has_total = frames().any(|frame| is_total(&frame));
    let reach = frames().filter(|frame| frame.counts_values());
    let reach = reach.filter_map(|frame| match frame.start {
        FrameBound::Unbounded => None,
        FrameBound::At(distance) => i64::try_from(-distance).ok().filter(|us| *us > 0),
    });
    let mut held = Vec::new();
    if has_total {
        held.push("a total per partition, never freed".to_owned());
    }
    if frames().any(|frame| counts(&frame)) {
        held.push("the last rows of each partition, never freed".to_owned());
    }
    if let Some(reach) = reach.max() {
        held.push(format!("rows for {} after their time", duration(reach)));
    }
    match held.is_empty() {
        true => "holds rows until the watermark passes them".to_owned(),
        false => format!("holds {}", held.join(", and ")),
    }
}
