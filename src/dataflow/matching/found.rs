//! What conditions and measures read of the rows of a match.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::ahead::Local;
use super::search::{Conditions, Path};
use crate::dataflow::aggregate::{Aggregation, Input};
use crate::dataflow::group::GroupError;
use crate::dataflow::step::{Evaluated, evaluate_rows, failing};
use crate::dataflow::withheld::row_text;
use crate::plan::{Emit, Matching, Navigated, Navigation, RowsFrom, Variable};
use crate::types::batch;

/// Navigations, ready to be followed.
pub struct Navigator {
    matching: Matching,
    /// By navigation.
    aggregations: Vec<Option<Aggregation>>,
    /// What conditions and measures are over.
    schema: SchemaRef,
    /// By variable: whether its condition reads the row and its neighbours alone.
    local: Vec<bool>,
}

/// Rows of several partitions, one partition after the other.
pub struct Chunk<'a> {
    pub navigator: &'a Navigator,
    pub rows: &'a RecordBatch,
    /// By variable, where its condition is local: the outcome for each row.
    pub known: Vec<Option<Vec<Outcome>>>,
}

/// What a condition came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true, or it is not.
    Holds(bool),
    /// It failed. That is an error if the search asks for it.
    Failed(String),
}

/// A partition of a chunk.
pub struct Within<'a, 'c> {
    pub chunk: &'a Chunk<'c>,
    /// Where the partition begins in the chunk.
    pub base: usize,
}

impl Navigator {
    /// Over rows of a node with these columns.
    pub fn new(matching: Matching, input: &SchemaRef) -> Result<Self, GroupError> {
        let (mut fields, mut aggregations) = (Vec::new(), Vec::new());
        for (at, navigation) in matching.navigations.iter().enumerate() {
            let (data_type, aggregation) = match &navigation.what {
                Navigated::Row { column, .. } => (input.field(*column).data_type().clone(), None),
                Navigated::Aggregate(call) => {
                    let output = Arc::new(Schema::new(vec![Arc::clone(&call.output)]));
                    let calls = std::slice::from_ref(call.as_ref());
                    let width = input.fields().len();
                    let kind = Input::Final { width };
                    let aggregation =
                        Aggregation::new(kind, &[], calls, None, Emit::OnClose, output)?;
                    (call.output.data_type().clone(), Some(aggregation))
                }
            };
            fields.push(Field::new(format!("n{at}"), data_type, true));
            aggregations.push(aggregation);
        }
        let local = (0..matching.variables.len()).map(|variable| is_local(&matching, variable));
        Ok(Self {
            local: local.collect(),
            aggregations,
            schema: Arc::new(Schema::new(fields)),
            matching,
        })
    }

    pub fn matching(&self) -> &Matching {
        &self.matching
    }

    /// The rows, with what is known of each whatever the search comes to. `bases` says where
    /// the partitions begin.
    pub fn chunk<'a>(
        &'a self,
        rows: &'a RecordBatch,
        bases: &[usize],
    ) -> Result<Chunk<'a>, GroupError> {
        let mut known = Vec::new();
        for (at, variable) in self.matching.variables.iter().enumerate() {
            known.push(match (&variable.condition, self.local[at]) {
                (Some(_), true) => Some(self.outcomes(variable, rows, bases)?),
                (Some(_), false) | (None, _) => None,
            });
        }
        Ok(Chunk {
            navigator: self,
            rows,
            known,
        })
    }

    fn outcomes(
        &self,
        variable: &Variable,
        rows: &RecordBatch,
        bases: &[usize],
    ) -> Result<Vec<Outcome>, GroupError> {
        let count = rows.num_rows();
        // How many rows of its partition are before each.
        let mut before = vec![0; count];
        let ends = bases.iter().skip(1).copied().chain([count]);
        for (base, end) in bases.iter().copied().zip(ends) {
            (base..end).for_each(|row| before[row] = row - base);
        }
        let columns = self.columns(
            count,
            |read| {
                let Navigated::Row { column, back, .. } = self.matching.navigations[read].what
                else {
                    panic!("an aggregate depends on the rows before")
                };
                let rows_read = (0..count).map(|row| {
                    let there = before[row] >= back;
                    there.then(|| u32::try_from(row - back).expect("rows of a batch"))
                });
                Ok(take(
                    rows.column(column),
                    &rows_read.collect::<UInt32Array>(),
                    None,
                )?)
            },
            &variable.reads,
        )?;
        let condition = variable.condition.as_slice();
        let Evaluated { values, failed } = evaluate_rows(&columns, condition)?;
        let mut outcomes = vec![Outcome::Holds(false); count];
        for (row, message) in &failed {
            outcomes[*row] = Outcome::Failed(message.clone());
        }
        let values = values[0].as_boolean();
        let fine = outcomes
            .iter_mut()
            .filter(|outcome| !matches!(outcome, Outcome::Failed(_)));
        for (outcome, value) in fine.zip(values) {
            *outcome = Outcome::Holds(value == Some(true));
        }
        Ok(outcomes)
    }

    /// A batch of navigations; those that nobody reads are NULL.
    fn columns(
        &self,
        count: usize,
        mut of: impl FnMut(usize) -> Result<ArrayRef, GroupError>,
        reads: &[usize],
    ) -> Result<RecordBatch, GroupError> {
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields.map(|(at, field)| match reads.contains(&at) {
            true => of(at),
            false => Ok(new_null_array(field.data_type(), count)),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(batch(Arc::clone(&self.schema), columns, count)?)
    }
}

/// Whether a variable's condition looks at the row and at rows near it, and at nothing that
/// depends on what was taken before.
fn is_local(matching: &Matching, variable: usize) -> bool {
    matching.variables[variable].reads.iter().all(|read| {
        let Navigation {
            variable: of, what, ..
        } = &matching.navigations[*read];
        let is_row = matches!(
            what,
            Navigated::Row {
                from: RowsFrom::Last,
                skip: 0,
                ..
            }
        );
        is_row && of.is_none_or(|of| of == variable)
    })
}

impl Chunk<'_> {
    /// What a navigation comes to for each of these paths, whose partitions begin at the bases.
    fn follow(&self, navigation: usize, paths: &[(usize, &Path)]) -> Result<ArrayRef, GroupError> {
        let Navigation { variable, what, .. } = &self.navigator.matching.navigations[navigation];
        let number = |row: usize| u32::try_from(row).expect("rows of a batch");
        match what {
            Navigated::Row {
                column,
                from,
                skip,
                back,
            } => {
                let rows = paths.iter().map(|(base, path)| {
                    let mut rows = path.rows(*variable);
                    let row = match from {
                        RowsFrom::First => rows.nth(*skip),
                        RowsFrom::Last => rows.nth_back(*skip),
                    };
                    Some(number(base + row?.checked_sub(*back)?))
                });
                let rows: UInt32Array = rows.collect();
                Ok(take(self.rows.column(*column), &rows, None)?)
            }
            Navigated::Aggregate(_) => {
                let (mut rows, mut groups) = (Vec::new(), Vec::new());
                for (group, (base, path)) in paths.iter().enumerate() {
                    rows.extend(path.rows(*variable).map(|row| number(base + row)));
                    groups.resize(rows.len(), number(group));
                }
                let rows = arrow::compute::take_record_batch(self.rows, &UInt32Array::from(rows))?;
                let aggregation = self.navigator.aggregations[navigation].as_ref();
                let aggregation = aggregation.expect("it was made of the call");
                Ok(aggregation.totals(&rows, &groups, paths.len())?)
            }
        }
    }

    /// The output of matches: the partition's columns and the measures.
    pub fn measure(
        &self,
        paths: &[(usize, &Path)],
        output: &SchemaRef,
    ) -> Result<RecordBatch, GroupError> {
        let matching = &self.navigator.matching;
        let all: Vec<usize> = (0..matching.navigations.len()).collect();
        let read = self
            .navigator
            .columns(paths.len(), |at| self.follow(at, paths), &all)?;
        let firsts = paths.iter().map(|(base, path)| base + path.start);
        let firsts = firsts.map(|row| u32::try_from(row).expect("rows of a batch"));
        let firsts = UInt32Array::from_iter_values(firsts);
        let mut columns = Vec::new();
        for column in 0..matching.partition {
            columns.push(take(self.rows.column(column), &firsts, None)?);
        }
        for measure in &matching.measures {
            let measured = evaluate_rows(&read, std::slice::from_ref(measure))?;
            if let Some((at, why)) = measured.failed.first() {
                let (base, path) = paths[*at];
                let of = self.match_text(base + path.start);
                return Err(format!("of the match {of}: {why}").into());
            }
            columns.extend(measured.values);
        }
        Ok(RecordBatch::try_new(Arc::clone(output), columns)?)
    }
}

impl Chunk<'_> {
    /// Which match one is that begins with a row.
    fn match_text(&self, row: usize) -> String {
        let matching = &self.navigator.matching;
        let columns: Vec<usize> = (0..matching.partition).chain([matching.time]).collect();
        let first = self.rows.project(&columns).map(|rows| row_text(&rows, row));
        let first = first.expect("they are columns of the rows");
        format!("that begins with {first}")
    }
}

impl Conditions for Within<'_, '_> {
    type Error = GroupError;

    fn holds(&mut self, path: &Path) -> Result<bool, GroupError> {
        let last = path.labels.len() - 1;
        let variable = path.labels[last];
        let outcome = match &self.chunk.known[variable] {
            Some(known) => known[self.base + path.start + last].clone(),
            None => self.outcome(variable, path)?,
        };
        let matching = &self.chunk.navigator.matching;
        match outcome {
            Outcome::Holds(holds) => Ok(holds),
            Outcome::Failed(message) => {
                let name = &matching.variables[variable].name;
                let row = self.base + path.start;
                let of = self.chunk.match_text(row);
                let why = format!("the condition of `{name}` in the match {of} fails: {message}");
                Err(why.into())
            }
        }
    }

    fn are_local(&self) -> bool {
        self.chunk.navigator.local.iter().all(|local| *local)
    }

    fn local(&self, variable: usize, row: usize) -> Local {
        let Some(known) = &self.chunk.known[variable] else {
            return Local::Holds;
        };
        match &known[self.base + row] {
            Outcome::Holds(true) => Local::Holds,
            Outcome::Holds(false) => Local::DoesNot,
            Outcome::Failed(_) => Local::Fails,
        }
    }
}

impl Within<'_, '_> {
    fn outcome(&self, variable: usize, path: &Path) -> Result<Outcome, GroupError> {
        let navigator = self.chunk.navigator;
        let Variable {
            condition, reads, ..
        } = &navigator.matching.variables[variable];
        let Some(condition) = condition else {
            return Ok(Outcome::Holds(true));
        };
        let paths = [(self.base, path)];
        let read = navigator.columns(1, |at| self.chunk.follow(at, &paths), reads)?;
        Ok(match condition.evaluate(&read) {
            Ok(value) => {
                let value = value.as_boolean();
                Outcome::Holds(value.is_valid(0) && value.value(0))
            }
            Err(error) => Outcome::Failed(failing(&condition.text, &error)),
        })
    }
}
