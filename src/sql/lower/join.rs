//! Joins of streams: two inputs, the columns that must be equal, and what else must hold.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of DataFusion's plans, those of interest are named"
)]

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_common::{DFSchema, JoinType as Given, NullEquality};
use datafusion_expr::{Expr, ExprSchemable, Join, LogicalPlan};

use crate::plan::{Expression, JoinType, NodeId, Operator, Place, Within};
use crate::sql::graph::{Facts, Key};
use crate::sql::problem::Problem;

use super::expression::identity;
use super::interval::{Found, bounds};
use super::momentary::Changing;
use super::text::texts;
use super::{Ask, Finality, Lowering, Result, Rows, position};

/// The inputs of a join, with the columns that are compared.
pub(super) struct Sides {
    pub left: Rows,
    pub right: Rows,
    /// Positions in the nodes.
    pub keys: Vec<(usize, usize)>,
}

/// What must hold besides the keys.
pub(super) enum Further {
    /// Nothing.
    Nothing,
    /// Of the pairs that come out, so that a filter above the join will do.
    Above(Expr),
    /// Within the join: whether a row is alone hangs on it. With its identity.
    Within(Expression, String),
}

impl Further {
    fn within(&self) -> Option<Expression> {
        match self {
            Self::Within(expression, _) => Some(expression.clone()),
            Self::Nothing | Self::Above(_) => None,
        }
    }
}

impl Lowering<'_> {
    /// A join of which neither side is looked up.
    pub(super) fn stream_join(&mut self, join: &Join, ask: Ask) -> Result<Rows> {
        let (kind, is_swapped) = self.kind_of(join)?;
        let bounds = bounds(join, is_swapped);
        if bounds.is_empty() || ask.finality == Some(Finality::Latest) {
            self.refuse_final(kind, join, ask)?;
        }
        let sides_of = |side: fn(&(Expr, Expr)) -> &Expr| join.on.iter().map(side);
        self.refuse_nulls(join, sides_of(|(left, _)| left), join.left.schema())?;
        self.refuse_nulls(join, sides_of(|(_, right)| right), join.right.schema())?;
        let sides = self.sides(join, is_swapped, ask)?;
        if let Some(found) = self.interval(join, &sides, &bounds) {
            return self.interval_join(join, is_swapped, sides, found);
        }
        self.refuse_final(kind, join, ask)?;
        if sides.keys.is_empty() {
            self.refuse_unbounded(&sides, kind, join)?;
        }
        let further = self.residual(join, join.filter.as_ref(), is_swapped, &sides)?;
        let mut text = format!(
            "join {} {} {kind:?} {:?} {:?}",
            sides.left.node, sides.right.node, sides.keys, join.null_equality
        );
        if let Further::Within(_, identity) = &further {
            text += &format!(" if {identity}");
        }
        let (fields, mut facts) = self.of_join(&sides, kind, join.null_equality);
        if kind == JoinType::Full && matches!(further, Further::Nothing) {
            facts.merged.extend(self.merged(&sides));
        }
        let operator = Operator::Join {
            left: sides.left.node,
            right: sides.right.node,
            keys: sides.keys.clone(),
            nulls_match: join.null_equality == NullEquality::NullEqualsNull,
            kind,
            residual: further.within(),
        };
        let node = self.graph.add(text, operator, fields, facts, self.place);
        self.out_of(sides, kind, node, further)
    }

    /// A join that lets rows go by time; it says which rows are alone when that is final.
    fn interval_join(
        &mut self,
        join: &Join,
        is_swapped: bool,
        sides: Sides,
        found: Found,
    ) -> Result<Rows> {
        let (kind, _) = self.kind_of(join)?;
        let Found { interval, rest } = found;
        let mut sides = sides;
        sides.left.node = self.on_time(sides.left.node, interval.times[0]);
        sides.right.node = self.on_time(sides.right.node, interval.times[1]);
        let further = self.residual(join, rest.as_ref(), is_swapped, &sides)?;
        let mut text = format!(
            "interval join {} {} {kind:?} {:?} {interval:?}",
            sides.left.node, sides.right.node, sides.keys
        );
        if let Further::Within(_, identity) = &further {
            text += &format!(" if {identity}");
        }
        let (fields, mut facts) = self.of_join(&sides, kind, join.null_equality);
        facts.lagging = self.lags(&sides, kind, &interval).collect();
        let operator = Operator::IntervalJoin {
            left: sides.left.node,
            right: sides.right.node,
            keys: sides.keys.clone(),
            kind,
            within: Within::Times(interval),
            residual: further.within(),
        };
        let node = self.graph.add(text, operator, fields, facts, self.place);
        self.out_of(sides, kind, node, further)
    }

    /// The rows of the join `node`, of which those are kept that fulfil what is left for above it.
    pub(super) fn out_of(
        &mut self,
        sides: Sides,
        kind: JoinType,
        node: NodeId,
        further: Further,
    ) -> Result<Rows> {
        let offset = self.graph.fields(sides.left.node).len();
        let mut columns = sides.left.columns;
        if !kind.is_left_only() {
            columns.extend(sides.right.columns.iter().map(|at| offset + at));
        }
        let rows = Rows {
            node,
            columns,
            window: None,
            time: None,
            session: None,
        };
        let Further::Above(predicate) = further else {
            return Ok(rows);
        };
        let over = self.positional(&rows)?;
        let node = self.keep_if(rows.node, &predicate, &over)?;
        Ok(Rows { node, ..rows })
    }

    /// Which rows come out, and whether the sides change places for that.
    fn kind_of(&self, join: &Join) -> Result<(JoinType, bool)> {
        Ok(match join.join_type {
            Given::Inner => (JoinType::Inner, false),
            Given::Left => (JoinType::Left, false),
            Given::Right => (JoinType::Right, false),
            Given::Full => (JoinType::Full, false),
            Given::LeftSemi => (JoinType::Semi, false),
            Given::RightSemi => (JoinType::Semi, true),
            Given::LeftAnti => (JoinType::Anti, false),
            Given::RightAnti => (JoinType::Anti, true),
            Given::LeftMark | Given::RightMark => {
                return Err(self
                    .cannot("compute a query inside an expression")
                    .hint("write IN (SELECT ..) or EXISTS by itself in WHERE, or after AND"));
            }
        })
    }

    /// Where only final rows can go, a row that stands without a match for a while cannot.
    fn refuse_final(&self, kind: JoinType, join: &Join, ask: Ask) -> Result<()> {
        let Some(finality) = ask.finality else {
            return Ok(());
        };
        if finality == Finality::Latest {
            return Err(Problem::at(
                self.place,
                "'upsert.by' is for rows of a stream; these are joined from two",
            )
            .hint(
                "keep the last row per key before the join: WHERE row_number() OVER (PARTITION BY \
                 key ORDER BY ts DESC) = 1, in a sub-query; or after it",
            ));
        }
        let named = match kind {
            JoinType::Inner | JoinType::Semi => return Ok(()),
            JoinType::Left if is_asked(&join.right) => "a query inside an expression",
            JoinType::Left => "a LEFT JOIN",
            JoinType::Right => "a RIGHT JOIN",
            JoinType::Full => "a FULL JOIN",
            JoinType::Anti => "NOT EXISTS, NOT IN or EXCEPT",
        };
        let place = self.place_in(&join.right);
        let what = match is_asked(&join.right) {
            true => "its answer may be another one later",
            false => "a row without a match may find one later",
        };
        let sink = self.sink;
        let keyed = match join.null_equality {
            NullEquality::NullEqualsNothing => format!(
                "declare a PRIMARY KEY on `{sink}` to keep it current, write an inner JOIN, or \
                 bound the event times: AND b.at BETWEEN a.at AND a.at + INTERVAL '1' HOUR"
            ),
            NullEquality::NullEqualsNull => {
                format!("declare a PRIMARY KEY on `{sink}` to keep it current")
            }
        };
        Err(match finality {
            Finality::AppendOnly => Problem::at(
                place,
                format!(
                    "`{sink}` has no PRIMARY KEY, so its rows are final; those of {named} are \
                     not: {what}"
                ),
            )
            .hint(keyed),
            Finality::Asked => Problem::at(
                place,
                format!("EMIT ON WINDOW CLOSE asks for final rows, and {named} has none"),
            )
            .hint(keyed),
            Finality::Latest | Finality::Above(_) => Problem::at(
                place,
                format!("windows need rows that are final, and those of {named} are not: {what}"),
            )
            .hint("window and aggregate each side first, then join"),
        })
    }

    /// The place of the table that a side of a join is, if it is one.
    fn place_in(&self, side: &LogicalPlan) -> Place {
        let table = super::lookup::only_table(side);
        table.map_or(self.place, |table| self.place_of(&self.tables[table].name))
    }

    /// Both inputs, with what is compared as columns.
    fn sides(&mut self, join: &Join, is_swapped: bool, ask: Ask) -> Result<Sides> {
        let below = Ask::of_rows(ask.finality);
        let (ours, theirs): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let (first, first_keys) = self.side(&join.left, &ours, below)?;
        let (second, second_keys) = self.side(&join.right, &theirs, below)?;
        Ok(if is_swapped {
            Sides {
                left: second,
                right: first,
                keys: second_keys.into_iter().zip(first_keys).collect(),
            }
        } else {
            Sides {
                left: first,
                right: second,
                keys: first_keys.into_iter().zip(second_keys).collect(),
            }
        })
    }

    /// The rows of one side, and the positions of `keys` in them; what is no column yet is
    /// computed.
    pub(super) fn side(
        &mut self,
        plan: &LogicalPlan,
        keys: &[Expr],
        ask: Ask,
    ) -> Result<(Rows, Vec<usize>)> {
        let rows = self.rows(plan, ask)?;
        let rows = Rows {
            window: None,
            time: None,
            ..rows
        };
        let rows = self.narrow(rows)?;
        let over = self.positional(&rows)?;
        let keys: Vec<Expr> = keys
            .iter()
            .map(|key| self.resolve(key, plan.schema(), &rows, &over))
            .collect::<Result<_>>()?;
        self.as_columns(rows, &over, keys)
    }

    /// The same rows with `exprs`, which are over `over`, among their columns.
    pub(super) fn as_columns(
        &mut self,
        rows: Rows,
        over: &super::Positional,
        exprs: Vec<Expr>,
    ) -> Result<(Rows, Vec<usize>)> {
        let plain = |expr: &Expr| expr.try_as_col().and_then(|column| position(&column.name));
        let places: Vec<Option<usize>> = exprs.iter().map(plain).collect();
        if let Some(places) = places.iter().copied().collect() {
            return Ok((rows, places));
        }
        let fields = self.graph.fields(rows.node);
        let mut all: Vec<Expr> = (0..fields.len()).map(|at| over.column(at)).collect();
        let mut names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut found = Vec::new();
        for (expr, place) in exprs.into_iter().zip(places) {
            found.push(place.unwrap_or(all.len()));
            if place.is_none() {
                names.push(super::text::text(&expr));
                all.push(expr);
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let computed = self.compute(&rows, over, &all, &names)?;
        Ok((
            Rows {
                node: computed.node,
                ..rows
            },
            found,
        ))
    }

    /// What must hold besides the keys: within the join, or of the pairs that come out of it.
    fn residual(
        &self,
        join: &Join,
        filter: Option<&Expr>,
        is_swapped: bool,
        sides: &Sides,
    ) -> Result<Further> {
        let Some(filter) = filter else {
            return Ok(Further::Nothing);
        };
        let (kind, _) = self.kind_of(join)?;
        let df = |error| self.datafusion(&error);
        let over = self.of_both(sides)?;
        let offset = self.graph.fields(sides.left.node).len();
        let left = sides.left.columns.iter().map(|at| over.column(*at));
        let right = sides
            .right
            .columns
            .iter()
            .map(|at| over.column(offset + at));
        let by: Vec<Expr> = match is_swapped {
            false => left.chain(right).collect(),
            true => right.chain(left).collect(),
        };
        let schema: DFSchema = join.left.schema().join(join.right.schema()).map_err(df)?;
        let filter = super::expression::substitute(filter.clone(), &schema, &by).map_err(df)?;
        if kind == JoinType::Inner {
            return Ok(Further::Above(filter));
        }
        self.refuse_momentary_within(sides, &filter, &over)?;
        let (compiled, _) = self.compile(&filter, &over)?;
        Ok(Further::Within(compiled, identity(&filter)))
    }

    /// Refuses a condition within a join that would fail on many rows of a side that changes:
    /// there is nowhere to leave such a pair out.
    fn refuse_momentary_within(
        &self,
        sides: &Sides,
        filter: &Expr,
        over: &super::Positional,
    ) -> Result<()> {
        let nodes = [sides.left.node, sides.right.node];
        if !nodes.iter().any(|node| self.graph.nodes[*node].changing) {
            return Ok(());
        }
        let offset = self.graph.fields(sides.left.node).len();
        let [left, right] = nodes.map(|node| self.graph.facts(node));
        let mut facts = Facts {
            signs: left.signs.clone(),
            ..Facts::default()
        };
        let moved = right.signs.iter().map(|(at, sign)| (offset + at, *sign));
        facts.signs.extend(moved);
        let changing = Changing {
            schema: over.schema(),
            facts: &facts,
        };
        match changing.refusal(filter) {
            Some(problem) => Err(problem.or_at(self.place)),
            None => Ok(()),
        }
    }

    /// The columns of both sides.
    fn of_both(&self, sides: &Sides) -> Result<super::Positional> {
        let mut fields = self.graph.fields(sides.left.node);
        fields.extend(self.graph.fields(sides.right.node));
        let mut not_null = self.graph.facts(sides.left.node).not_null.clone();
        not_null.extend(&self.graph.facts(sides.right.node).not_null);
        super::Positional::new(&fields, &not_null).map_err(|error| self.datafusion(&error))
    }

    /// The columns of a join, and what is known of them.
    pub(super) fn of_join(
        &self,
        sides: &Sides,
        kind: JoinType,
        nulls: NullEquality,
    ) -> (Vec<FieldRef>, Facts) {
        let left = self.graph.facts(sides.left.node);
        let mut fields = self.graph.fields(sides.left.node);
        let width = fields.len();
        // A row that comes out alone has NULLs for the other side.
        let [may_miss_left, may_miss_right] = [kind.shows_alone(1), kind.shows_alone(0)];
        let mut not_null = left.not_null.clone();
        let mut signs = left.signs.clone();
        if !kind.is_left_only() {
            let right = self.graph.facts(sides.right.node);
            fields.extend(self.graph.fields(sides.right.node));
            not_null.extend(&right.not_null);
            signs.extend(right.signs.iter().map(|(at, sign)| (width + at, *sign)));
        }
        let is_equal = nulls == NullEquality::NullEqualsNothing;
        let matches = matches!(kind, JoinType::Inner | JoinType::Semi);
        for (l, r) in sides.keys.iter().filter(|_| is_equal && matches) {
            not_null[*l] = true;
            if let Some(known) = not_null.get_mut(width + r) {
                *known = true;
            }
        }
        for (at, field) in fields.iter_mut().enumerate() {
            if (at < width && may_miss_left) || (at >= width && may_miss_right) {
                not_null[at] = false;
                *field = Arc::new(field.as_ref().clone().with_nullable(true));
            }
        }
        let keys = self.keys_of(sides, kind, width);
        let kept = keys.iter().any(|key| left.keys.contains(key));
        let facts = Facts {
            event_time: vec![false; fields.len()],
            key_text: left.key_text.clone().filter(|_| kept),
            bounds: left.bounds.clone(),
            either: self.either(sides, kind),
            merged: Vec::new(),
            present: Default::default(),
            sets: None,
            lagging: Default::default(),
            windows: Default::default(),
            not_null,
            signs,
            keys,
        };
        (fields, facts)
    }

    /// The keys of a join's rows.
    fn keys_of(&self, sides: &Sides, kind: JoinType, width: usize) -> Vec<Key> {
        let left = &self.graph.facts(sides.left.node).keys;
        if kind.is_left_only() {
            return left.clone();
        }
        let moved = |key: &Key| -> Key {
            let part = |part: &Vec<usize>| part.iter().map(|at| width + at).collect();
            key.iter().map(part).collect()
        };
        let right = &self.graph.facts(sides.right.node).keys;
        // A row finds one partner at most if the partner's key is compared.
        let is_covered = |keys: &Vec<Key>, joined: &dyn Fn(usize) -> bool| {
            let covered = |key: &Key| key.iter().all(|part| part.iter().any(|at| joined(*at)));
            keys.iter().any(covered)
        };
        let one_right = is_covered(right, &|at| sides.keys.iter().any(|(_, r)| *r == at));
        let one_left = is_covered(left, &|at| sides.keys.iter().any(|(l, _)| *l == at));
        let mut keys: Vec<Key> = Vec::new();
        if one_right && matches!(kind, JoinType::Inner | JoinType::Left) {
            keys.extend(left.iter().cloned());
        }
        if one_left && matches!(kind, JoinType::Inner | JoinType::Right) {
            keys.extend(right.iter().map(moved));
        }
        for one in left {
            keys.extend(
                right
                    .iter()
                    .map(|other| [one.clone(), moved(other)].concat()),
            );
        }
        if kind == JoinType::Inner {
            // What is compared is equal: either column will do.
            for part in keys.iter_mut().flatten() {
                for (l, r) in &sides.keys {
                    let (l, r) = (*l, width + r);
                    match (part.contains(&l), part.contains(&r)) {
                        (true, false) => part.push(r),
                        (false, true) => part.push(l),
                        (true, true) | (false, false) => {}
                    }
                }
            }
        }
        keys
    }

    /// Every row with every row is allowed where one side has one row at most.
    fn refuse_unbounded(&self, sides: &Sides, kind: JoinType, join: &Join) -> Result<()> {
        let has_one = |rows: &Rows| {
            let keys = &self.graph.facts(rows.node).keys;
            keys.iter().any(Vec::is_empty)
        };
        if has_one(&sides.left) || has_one(&sides.right) || kind.is_left_only() {
            return Ok(());
        }
        let message = match &join.filter {
            Some(filter) => format!(
                "this join compares every row with every row: `{}` is no equality of a column of \
                 one side with a column of the other",
                super::text::text(filter)
            ),
            None => "this join puts every row together with every row, without a bound".to_owned(),
        };
        Err(Problem::at(self.place_in(&join.right), message)
            .hint("write ON a.column = b.column, AND whatever else must hold"))
    }

    /// NOT IN of something that may be NULL is not what people think.
    pub(super) fn refuse_nulls<'e>(
        &self,
        join: &Join,
        ours: impl Iterator<Item = &'e Expr> + Clone,
        schema: &DFSchema,
    ) -> Result<()> {
        let mut may_be_null = ours
            .clone()
            .map(|expr| expr.nullable(schema).unwrap_or(true));
        if !join.null_aware || !may_be_null.any(|nullable| nullable) {
            return Ok(());
        }
        let ours: Vec<Expr> = ours.cloned().collect();
        let message = format!("`{}` may be NULL, and NOT IN of NULL is NULL", texts(&ours));
        Err(Problem::at(self.place, message).hint("write NOT EXISTS (SELECT .. WHERE ..) instead"))
    }
}

/// Whether DataFusion made a side of a query inside an expression.
fn is_asked(plan: &LogicalPlan) -> bool {
    let alias = match plan {
        LogicalPlan::SubqueryAlias(alias) => alias,
        LogicalPlan::Projection(projection) => return is_asked(&projection.input),
        _ => return false,
    };
    alias.alias.table().starts_with("__scalar_sq")
}
