//! Matches against a naive evaluator, however the rows are cut and spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt64Type};
use arrow::util::display::array_value_to_string;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::Matches;
use super::search::Program;
use crate::dataflow::group::Groups as _;
use crate::dataflow::roles::with_positions;
use crate::dataflow::state::{Stateful, owner};
use crate::plan::{
    AfterMatch, AggregateCall, AggregateFunction, Expression, Matching, Navigated, Navigation,
    Pattern, RowsFrom, Variable,
};
use crate::types::{EventTime, Watermark};

/// Time, place, key, value.
type Row = (i64, u64, &'static str, i64);

/// What a variable asks of a row.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Nothing,
    Is(i64),
    AbovePrevious,
    SumBelow(i64),
    AboveFirstOf(usize),
    NotBelowLastOf(usize),
}

#[derive(Clone, Debug)]
struct Case {
    pattern: Pattern,
    asks: Vec<Asks>,
    after: AfterMatch,
    within: Option<i64>,
    open: i64,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % limit as u64) as usize
    }
}

const VARIABLES: usize = 3;

fn pattern(random: &mut Random, depth: usize) -> Pattern {
    let parts = |random: &mut Random| -> Vec<Pattern> {
        (0..2 + random.below(2))
            .map(|_| pattern(random, depth - 1))
            .collect()
    };
    match if depth == 0 { 0 } else { random.below(5) } {
        1 | 2 => Pattern::Then(parts(random)),
        3 => Pattern::Either(parts(random)),
        4 => {
            let inner = pattern(random, depth - 1);
            let least = random.below(3) as u32;
            let most = [None, Some(least + 1), Some(least + 2)][random.below(3)];
            let most = if inner.least() == 0 {
                most.or(Some(least + 1))
            } else {
                most
            };
            Pattern::Repeat {
                inner: Box::new(inner),
                least,
                most,
                greedy: random.below(3) > 0,
            }
        }
        _ => Pattern::Row(random.below(VARIABLES)),
    }
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let pattern = loop {
            let pattern = pattern(random, 2);
            if pattern.least() > 0 {
                break pattern;
            }
        };
        let asks = (0..VARIABLES).map(|_| match random.below(8) {
            0 => Asks::Nothing,
            1..=3 => Asks::Is(random.below(3) as i64),
            4 => Asks::AbovePrevious,
            5 => Asks::SumBelow(random.below(8) as i64),
            6 => Asks::AboveFirstOf(random.below(VARIABLES)),
            _ => Asks::NotBelowLastOf(random.below(VARIABLES)),
        });
        let asks = asks.collect();
        let variable = random.below(VARIABLES);
        let after = match random.below(4) {
            0 => AfterMatch::ToNextRow,
            1 => AfterMatch::ToFirst(variable),
            2 => AfterMatch::ToLast(variable),
            _ => AfterMatch::PastLastRow,
        };
        Self {
            pattern,
            asks,
            after,
            within: (random.below(2) == 0).then(|| 1 + random.below(30) as i64),
            open: [0, 7][random.below(2)],
        }
    }

    fn matching(&self) -> Matching {
        let row = |variable, from, back| Navigation {
            variable,
            what: Navigated::Row {
                column: 1,
                from,
                skip: 0,
                back,
            },
            text: String::new(),
        };
        let total = |variable| Navigation {
            variable,
            what: Navigated::Aggregate(Box::new(sum())),
            text: String::new(),
        };
        // The row itself, and for each measure one.
        let mut navigations = vec![
            row(None, RowsFrom::Last, 0),
            row(None, RowsFrom::First, 0),
            total(None),
            total(Some(0)),
            row(Some(1), RowsFrom::Last, 0),
        ];
        let mut variables = Vec::new();
        for (variable, asks) in self.asks.iter().enumerate() {
            let other = navigations.len();
            let (navigation, condition) = match asks {
                Asks::Nothing => (None, None),
                Asks::Is(value) => (None, Some(compare(0, Operator::Eq, constant(*value)))),
                Asks::AbovePrevious => (
                    Some(row(Some(variable), RowsFrom::Last, 1)),
                    Some(compare(0, Operator::Gt, column(other))),
                ),
                Asks::SumBelow(limit) => (
                    Some(total(Some(variable))),
                    Some(compare(other, Operator::Lt, constant(*limit))),
                ),
                Asks::AboveFirstOf(of) => (
                    Some(row(Some(*of), RowsFrom::First, 0)),
                    Some(compare(0, Operator::Gt, column(other))),
                ),
                Asks::NotBelowLastOf(of) => (
                    Some(row(Some(*of), RowsFrom::Last, 0)),
                    Some(compare(0, Operator::GtEq, column(other))),
                ),
            };
            let mut reads = vec![0];
            reads.extend(navigation.is_some().then_some(other));
            navigations.extend(navigation);
            variables.push(Variable {
                name: format!("v{variable}"),
                condition,
                reads,
            });
        }
        Matching {
            partition: 1,
            time: 2,
            navigations,
            variables,
            measures: (0..5).map(column).collect(),
            pattern: self.pattern.clone(),
            after: self.after,
            within_us: self.within,
            open_us: self.open,
        }
    }

    /// The rows of matches, found one after the other in all rows of each key.
    fn naive(&self, all: &[Row]) -> Vec<String> {
        let mut keys: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
        for row in all {
            keys.entry(row.2).or_default().push(*row);
        }
        let mut out = Vec::new();
        for (key, mut rows) in keys {
            rows.sort_unstable_by_key(|row| (row.0, row.1));
            let mut start = 0;
            while start < rows.len() {
                let naive = Naive {
                    case: self,
                    rows: &rows,
                    start,
                };
                let Some(labels) = naive.find() else {
                    start += 1;
                    continue;
                };
                let value = |at: usize| rows[start + at].3;
                let of = |variable: usize| -> Vec<i64> {
                    let labels = labels.iter().enumerate();
                    labels
                        .filter(|(_, l)| **l == variable)
                        .map(|(at, _)| value(at))
                        .collect()
                };
                let every: Vec<i64> = (0..labels.len()).map(value).collect();
                let shown = |value: Option<i64>| value.map_or(String::new(), |v| v.to_string());
                let zero = of(0);
                out.push(format!(
                    "{key} {} {} {} {} {}",
                    every[every.len() - 1],
                    every[0],
                    every.iter().sum::<i64>(),
                    shown((!zero.is_empty()).then(|| zero.iter().sum())),
                    shown(of(1).last().copied()),
                ));
                let wanted = match self.after {
                    AfterMatch::PastLastRow => Some(labels.len()),
                    AfterMatch::ToNextRow => Some(1),
                    AfterMatch::ToFirst(v) => labels.iter().position(|l| *l == v),
                    AfterMatch::ToLast(v) => labels.iter().rposition(|l| *l == v),
                };
                start += wanted.unwrap_or(1).max(1);
            }
        }
        out.sort();
        out
    }
}

/// Tries everything, in the order of preference.
struct Naive<'a> {
    case: &'a Case,
    rows: &'a [Row],
    start: usize,
}

impl Naive<'_> {
    fn find(&self) -> Option<Vec<usize>> {
        let mut found = None;
        self.part(&self.case.pattern, &mut Vec::new(), &mut |labels| {
            found = Some(labels.clone());
            true
        });
        found
    }

    fn part(
        &self,
        pattern: &Pattern,
        labels: &mut Vec<usize>,
        rest: &mut dyn FnMut(&mut Vec<usize>) -> bool,
    ) -> bool {
        match pattern {
            Pattern::Row(variable) => {
                if !self.may_take(*variable, labels) {
                    return false;
                }
                labels.push(*variable);
                let done = rest(labels);
                labels.pop();
                done
            }
            Pattern::Then(parts) => self.sequence(parts, labels, rest),
            Pattern::Either(parts) => parts.iter().any(|part| self.part(part, labels, rest)),
            Pattern::Repeat {
                inner,
                least,
                most,
                greedy,
            } => self.repeat(inner, (*least, *most, *greedy), 0, labels, rest),
        }
    }

    fn sequence(
        &self,
        parts: &[Pattern],
        labels: &mut Vec<usize>,
        rest: &mut dyn FnMut(&mut Vec<usize>) -> bool,
    ) -> bool {
        match parts {
            [] => rest(labels),
            [first, others @ ..] => self.part(first, labels, &mut |labels| {
                self.sequence(others, labels, rest)
            }),
        }
    }

    fn repeat(
        &self,
        inner: &Pattern,
        how: (u32, Option<u32>, bool),
        times: u32,
        labels: &mut Vec<usize>,
        rest: &mut dyn FnMut(&mut Vec<usize>) -> bool,
    ) -> bool {
        let (least, most, greedy) = how;
        if times >= least && !greedy && rest(labels) {
            return true;
        }
        let more = most.is_none_or(|most| times < most);
        if more
            && self.part(inner, labels, &mut |labels| {
                self.repeat(inner, how, times + 1, labels, rest)
            })
        {
            return true;
        }
        times >= least && greedy && rest(labels)
    }

    fn may_take(&self, variable: usize, labels: &[usize]) -> bool {
        let at = self.start + labels.len();
        let Some(row) = self.rows.get(at) else {
            return false;
        };
        let apart = row.0 - self.rows[self.start].0;
        if at > self.start && self.case.within.is_some_and(|within| apart >= within) {
            return false;
        }
        let mut labels = labels.to_vec();
        labels.push(variable);
        let of = |variable: usize| -> Vec<i64> {
            let labels = labels.iter().enumerate();
            labels
                .filter(|(_, label)| **label == variable)
                .map(|(at, _)| self.rows[self.start + at].3)
                .collect()
        };
        match self.case.asks[variable] {
            Asks::Nothing => true,
            Asks::Is(value) => row.3 == value,
            Asks::AbovePrevious => at > 0 && row.3 > self.rows[at - 1].3,
            Asks::SumBelow(limit) => of(variable).iter().sum::<i64>() < limit,
            Asks::AboveFirstOf(other) => of(other).first().is_some_and(|first| row.3 > *first),
            Asks::NotBelowLastOf(other) => of(other).last().is_some_and(|last| row.3 >= *last),
        }
    }
}

fn sum() -> AggregateCall {
    let data_type =
        crate::plan::aggregate_types::result_type(&AggregateFunction::Sum, &[DataType::Int64]);
    AggregateCall {
        function: AggregateFunction::Sum,
        distinct: false,
        arguments: vec![Expression {
            physical: Arc::new(Column::new("value", 1)),
            text: "value".to_owned(),
            data_type: DataType::Int64,
            nullable: true,
        }],
        filter: None,
        order_by: Vec::new(),
        output: Arc::new(Field::new("sum", data_type.unwrap(), true)),
        text: "sum(value)".to_owned(),
    }
}

fn column(at: usize) -> Expression {
    Expression {
        physical: Arc::new(Column::new(&format!("n{at}"), at)),
        text: format!("n{at}"),
        data_type: DataType::Int64,
        nullable: true,
    }
}

fn constant(value: i64) -> Expression {
    Expression {
        physical: Arc::new(Literal::new(ScalarValue::Int64(Some(value)))),
        text: value.to_string(),
        data_type: DataType::Int64,
        nullable: false,
    }
}

/// A comparison; sums are decimals, which are compared as such.
fn compare(left: usize, operator: Operator, right: Expression) -> Expression {
    let left = column(left);
    let right_is_constant = right.text.parse::<i64>();
    let right = match (right_is_constant, operator) {
        (Ok(value), Operator::Lt) => Expression {
            physical: Arc::new(Literal::new(ScalarValue::Decimal128(
                Some(i128::from(value)),
                38,
                0,
            ))),
            ..right
        },
        _ => right,
    };
    Expression {
        text: format!("{} {operator} {}", left.text, right.text),
        physical: Arc::new(BinaryExpr::new(left.physical, operator, right.physical)),
        data_type: DataType::Boolean,
        nullable: true,
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
        Field::new("at", time, false),
    ]))
}

fn output() -> SchemaRef {
    let sums = sum().output.data_type().clone();
    let types = [
        DataType::Int64,
        DataType::Int64,
        sums.clone(),
        sums,
        DataType::Int64,
    ];
    let measures = types.into_iter().enumerate();
    let measures = measures.map(|(at, of)| Field::new(format!("m{at}"), of, true));
    let key = [Field::new("key", DataType::Utf8, true)];
    Arc::new(Schema::new(
        key.into_iter().chain(measures).collect::<Vec<_>>(),
    ))
}

fn input(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            rows.iter().map(|row| row.0),
        )),
        Arc::new(UInt32Array::from_value(0, rows.len())),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    RecordBatch::try_new(with_positions(&schema()), columns).unwrap()
}

fn own(rows: &RecordBatch, hashes: &ArrayRef, worker: usize, peers: usize) -> RecordBatch {
    let hashes = hashes.as_primitive::<UInt64Type>().values();
    let own: BooleanArray = hashes
        .iter()
        .map(|hash| Some(owner(*hash, peers) == worker))
        .collect();
    filter_record_batch(rows, &own).unwrap()
}

/// A run of several workers.
struct Run {
    case: Case,
    workers: Vec<Matches>,
    found: Vec<String>,
}

impl Run {
    fn workers(case: &Case, count: usize) -> Vec<Matches> {
        let make = |_| Matches::new(&case.matching(), schema(), output(), true).unwrap();
        (0..count).map(make).collect()
    }

    fn take(&mut self, rows: &[Row]) {
        let rows = input(rows);
        let hashes: ArrayRef = Arc::new(self.workers[0].hashes(&rows).unwrap());
        let peers = self.workers.len();
        for (worker, matches) in self.workers.iter_mut().enumerate() {
            matches.update(&own(&rows, &hashes, worker, peers)).unwrap();
        }
    }

    fn close(&mut self, watermark: Watermark) {
        for matches in &mut self.workers {
            for batch in matches.close(watermark).unwrap() {
                for row in 0..batch.num_rows() {
                    let columns = batch.columns().iter();
                    let columns = columns.map(|c| array_value_to_string(c, row).unwrap());
                    self.found.push(columns.collect::<Vec<_>>().join(" "));
                }
            }
        }
    }

    fn restart(&mut self, count: usize) {
        let saved = self
            .workers
            .iter()
            .flat_map(|matches| matches.save().unwrap());
        let saved: Vec<RecordBatch> = saved.collect();
        self.workers = Self::workers(&self.case, count);
        for (worker, matches) in self.workers.iter_mut().enumerate() {
            for saved in &saved {
                matches
                    .restore(&own(saved, saved.column(0), worker, count))
                    .unwrap();
            }
        }
    }
}

#[test]
fn matches_are_a_function_of_the_rows() {
    let mut matched = 0;
    for seed in 0..1500 {
        let mut random = Random(seed * 7919 + 17);
        let case = Case::random(&mut random);
        let keys = 1 + random.below(3);
        let mut run = Run {
            workers: Run::workers(&case, 1 + random.below(4)),
            case: case.clone(),
            found: Vec::new(),
        };
        let disorder = 1 + random.below(10);
        let (mut now, mut watermark, mut place) = (0, i64::MIN, 0);
        let mut all = Vec::new();
        for _ in 0..1 + random.below(8) {
            let mut new: Vec<Row> = Vec::new();
            for _ in 0..random.below(12) {
                now += random.below(4) as i64;
                let time = now - random.below(disorder) as i64;
                // What is late does not come here.
                if time >= watermark.saturating_sub(case.open) {
                    place += 1;
                    new.push((
                        time,
                        place,
                        ["a", "b", "c"][random.below(keys)],
                        random.below(4) as i64,
                    ));
                }
            }
            all.extend(new.iter().copied());
            let (first, second) = new.split_at(random.below(new.len() + 1));
            run.take(second);
            run.take(first);
            watermark = watermark.max(now - random.below(12) as i64);
            run.close(Watermark::behind(EventTime(watermark), 0));
            if random.below(4) == 0 {
                run.restart(1 + random.below(4));
            }
        }
        run.close(Watermark::END);

        run.found.sort();
        assert_eq!(run.found, case.naive(&all), "seed {seed}: {case:?}");
        matched += run.found.len();
    }
    assert!(matched > 3000, "{matched} matches say little");
}

#[test]
fn rows_that_no_match_needs_are_forgotten() {
    let case = Case {
        pattern: Pattern::Then(vec![Pattern::Row(0), Pattern::Row(1)]),
        asks: vec![Asks::Is(1), Asks::AbovePrevious, Asks::Nothing],
        after: AfterMatch::PastLastRow,
        within: Some(10),
        open: 0,
    };
    let mut matches = Run::workers(&case, 1).remove(0);
    matches
        .update(&input(&[(0, 1, "a", 1), (5, 2, "b", 0), (7, 3, "c", 1)]))
        .unwrap();

    assert!(
        matches
            .close(Watermark::behind(EventTime(8), 0))
            .unwrap()
            .is_empty()
    );
    assert_eq!(matches.rows(), 2, "b begins no match");
    assert!(
        matches
            .close(Watermark::behind(EventTime(10), 0))
            .unwrap()
            .is_empty()
    );
    assert_eq!(matches.rows(), 1, "nothing comes in time for a");
    matches.close(Watermark::END).unwrap();
    assert_eq!((matches.rows(), matches.bytes()), (0, 0));
}

/// Whether a row is tried too often, where `most` are not; the rows come in as many epochs as they
/// are, or in one.
fn gives_up(most: u32, one_by_one: bool) -> bool {
    let case = Case {
        pattern: Pattern::Then(vec![
            Pattern::Repeat {
                inner: Box::new(Pattern::Row(0)),
                least: 1,
                most: None,
                greedy: true,
            },
            Pattern::Row(1),
        ]),
        asks: vec![Asks::SumBelow(1000), Asks::Is(9), Asks::Nothing],
        after: AfterMatch::PastLastRow,
        within: Some(10),
        open: 0,
    };
    let make = || {
        let mut matches = Run::workers(&case, 1).remove(0);
        matches.program = Program::new(&case.pattern).with_row_tries_max(most);
        matches
    };
    let mut matches = make();
    for row in 0..40 {
        matches
            .update(&input(&[(row, row as u64, "a", 1)]))
            .unwrap();
        if one_by_one {
            let watermark = Watermark::behind(EventTime(row + 1), 0);
            if matches.close(watermark).is_err() {
                return true;
            }
        }
        if one_by_one && row % 7 == 0 {
            let saved = matches.save().unwrap();
            matches = make();
            for saved in &saved {
                matches.restore(saved).unwrap();
            }
        }
    }
    matches.close(Watermark::END).is_err()
}

#[test]
fn how_often_a_row_is_tried_hangs_on_the_rows_and_not_on_epochs_or_restarts() {
    // As the first of a match once, and twice from each of the nine rows before it.
    for one_by_one in [false, true] {
        assert!(!gives_up(19, one_by_one));
        assert!(gives_up(18, one_by_one));
    }
}
