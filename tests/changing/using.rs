//! `JOIN .. USING` and `NATURAL JOIN`: columns of both sides that are one.

use super::relation::{Column, Relation, pairs};
use crate::oracle::random::Random;

/// Both sides joined by columns that have one name in each, if there are some to compare. The names of
/// the others differ, so that a natural join is by these alone.
pub fn using(random: &mut Random, left: &Relation, right: &Relation) -> Option<Relation> {
    let pairs = pairs(left, right);
    if pairs.is_empty() {
        return None;
    }
    let count = 1 + usize::from(random.chance(30));
    let mut shared: Vec<(usize, usize)> = Vec::new();
    for (l, r) in random.choose(&pairs, count) {
        let is_new = |known: &(usize, usize)| known.0 != l && known.1 != r;
        if shared.iter().all(is_new) {
            shared.push((l, r));
        }
    }
    let kind = *random.pick(&["INNER", "LEFT", "RIGHT", "FULL"]);
    let (outer_left, outer_right) = (
        matches!(kind, "RIGHT" | "FULL"),
        matches!(kind, "LEFT" | "FULL"),
    );
    let mut names = Vec::new();
    for (index, &(l, r)) in shared.iter().enumerate() {
        let (left, right) = (left.columns[l], right.columns[r]);
        let nullable = match kind {
            "LEFT" | "INNER" => left.nullable,
            "RIGHT" => right.nullable,
            _ => left.nullable || right.nullable,
        };
        // The wider of both, where they differ.
        let wider = if left.kind == right.kind {
            left.kind
        } else {
            super::relation::Kind::Long
        };
        let column = Column {
            kind: wider,
            nullable,
        };
        names.push((format!("k{index}"), column));
    }
    for (side, outer, relation) in [("x", outer_left, left), ("y", outer_right, right)] {
        let others = relation.columns.iter().enumerate();
        let others = others.filter(|(place, _)| match side {
            "x" => shared.iter().all(|(l, _)| l != place),
            _ => shared.iter().all(|(_, r)| r != place),
        });
        names.extend(others.map(|(place, column)| {
            let nullable = column.nullable || outer;
            (
                format!("{side}{place}"),
                Column {
                    nullable,
                    ..*column
                },
            )
        }));
    }
    // All of them in the order that SELECT * has, or some.
    let (selected, columns): (String, Vec<Column>) = if random.chance(40) {
        let columns = names.iter().map(|(_, column)| *column).collect();
        ("*".to_owned(), columns)
    } else {
        let first = names.remove(0);
        let count = 1 + random.below(3);
        let mut chosen = random.choose(&names, count);
        chosen.push(first);
        let texts: Vec<String> = chosen.iter().map(|(name, _)| name.clone()).collect();
        let columns = chosen.iter().map(|(_, column)| *column).collect();
        (texts.join(", "), columns)
    };
    let join = if random.chance(40) {
        format!(
            "NATURAL {kind} JOIN {}",
            side("y", right, &shared, |pair| pair.1)
        )
    } else {
        let keys: Vec<String> = (0..shared.len()).map(|index| format!("k{index}")).collect();
        let right = side("y", right, &shared, |pair| pair.1);
        format!("{kind} JOIN {right} USING ({})", keys.join(", "))
    };
    let left_side = side("x", left, &shared, |pair| pair.0);
    let given: Vec<String> = (0..columns.len())
        .map(|index| format!("c{index}"))
        .collect();
    Some(Relation {
        sql: format!(
            "SELECT * FROM (SELECT {selected} FROM {left_side} {join}) z({})",
            given.join(", ")
        ),
        columns,
        append: kind == "INNER" && left.append && right.append,
        key: None,
    })
}

/// A side whose columns are called `k0` and so on where they are shared, and by the side's own
/// letter otherwise.
fn side(
    name: &str,
    relation: &Relation,
    shared: &[(usize, usize)],
    of: impl Fn(&(usize, usize)) -> usize,
) -> String {
    let columns = (0..relation.columns.len()).map(|place| {
        match shared.iter().position(|pair| of(pair) == place) {
            Some(index) => format!("{name}.c{place} AS k{index}"),
            None => format!("{name}.c{place} AS {name}{place}"),
        }
    });
    let columns: Vec<String> = columns.collect();
    format!(
        "(SELECT {} FROM ({}) {name}) {name}",
        columns.join(", "),
        relation.sql
    )
}
