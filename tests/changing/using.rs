//! `JOIN .. USING` and `NATURAL JOIN`: columns of both sides that are one.

use super::relation::{Column, Kind, Relation, pairs};
use crate::oracle::random::Random;

/// Both sides joined by columns that have one name in each, if there are some to compare. The names of
/// the others differ, so that a natural join is by these alone.
pub fn using(random: &mut Random, left: &Relation, right: &Relation) -> Option<Relation> {
    let shared = shared(random, left, right);
    if shared.is_empty() {
        return None;
    }
    let kind = *random.pick(&["INNER", "LEFT", "RIGHT", "FULL"]);
    let names = names(kind, &shared, (left, right));
    // All of them in the order that SELECT * has, or the first of those that are one and some others.
    let (selected, chosen) = if random.chance(40) {
        ("*".to_owned(), names)
    } else {
        let count = 1 + random.below(3);
        let mut chosen = random.choose(&names[1..], count);
        chosen.push(names[0].clone());
        let texts: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
        (texts.join(", "), chosen)
    };
    let left_side = side("x", left, |place| {
        shared.iter().position(|pair| pair.0 == place)
    });
    let right_side = side("y", right, |place| {
        shared.iter().position(|pair| pair.1 == place)
    });
    let join = if random.chance(40) {
        format!("NATURAL {kind} JOIN {right_side}")
    } else {
        let keys: Vec<String> = (0..shared.len()).map(|index| format!("k{index}")).collect();
        format!("{kind} JOIN {right_side} USING ({})", keys.join(", "))
    };
    let given: Vec<String> = (0..chosen.len()).map(|index| format!("c{index}")).collect();
    Some(Relation {
        sql: format!(
            "SELECT * FROM (SELECT {selected} FROM {left_side} {join}) z({})",
            given.join(", ")
        ),
        columns: chosen.into_iter().map(|(_, column)| column).collect(),
        append: kind == "INNER" && left.append && right.append,
        key: None,
    })
}

/// One or two pairs of columns of both sides that can be compared.
fn shared(random: &mut Random, left: &Relation, right: &Relation) -> Vec<(usize, usize)> {
    let count = 1 + usize::from(random.chance(30));
    let mut shared: Vec<(usize, usize)> = Vec::new();
    for (l, r) in random.choose(&pairs(left, right), count) {
        if shared.iter().all(|known| known.0 != l && known.1 != r) {
            shared.push((l, r));
        }
    }
    shared
}

/// The columns that `SELECT *` yields: those that are one, then the others of each side.
fn names(
    kind: &str,
    shared: &[(usize, usize)],
    (left, right): (&Relation, &Relation),
) -> Vec<(String, Column)> {
    let merged = |(index, &(l, r)): (usize, &(usize, usize))| {
        let (left, right) = (left.columns[l], right.columns[r]);
        let nullable = match kind {
            "RIGHT" => right.nullable,
            "FULL" => left.nullable || right.nullable,
            _ => left.nullable,
        };
        let kind = match left.kind == right.kind {
            true => left.kind,
            false => Kind::Long,
        };
        (format!("k{index}"), Column { kind, nullable })
    };
    let mut names: Vec<(String, Column)> = shared.iter().enumerate().map(merged).collect();
    let lefts = left.columns.iter().enumerate();
    let lefts = lefts.filter(|(place, _)| shared.iter().all(|(l, _)| l != place));
    names.extend(lefts.map(|(place, column)| {
        let nullable = column.nullable || matches!(kind, "RIGHT" | "FULL");
        (
            format!("x{place}"),
            Column {
                nullable,
                ..*column
            },
        )
    }));
    let rights = right.columns.iter().enumerate();
    let rights = rights.filter(|(place, _)| shared.iter().all(|(_, r)| r != place));
    names.extend(rights.map(|(place, column)| {
        let nullable = column.nullable || matches!(kind, "LEFT" | "FULL");
        (
            format!("y{place}"),
            Column {
                nullable,
                ..*column
            },
        )
    }));
    names
}

/// A side whose columns are called `k0` and so on where they are shared, and by the side's own
/// letter otherwise.
fn side(name: &str, relation: &Relation, shared: impl Fn(usize) -> Option<usize>) -> String {
    let columns = (0..relation.columns.len()).map(|place| match shared(place) {
        Some(index) => format!("{name}.c{place} AS k{index}"),
        None => format!("{name}.c{place} AS {name}{place}"),
    });
    let columns: Vec<String> = columns.collect();
    let sql = &relation.sql;
    format!("(SELECT {} FROM ({sql}) {name}) {name}", columns.join(", "))
}
