//! Lists beside each other, and lists that are unnested beside what has none.
//!
//! | function | yields |
//! |---|---|
//! | `zipped(a, b)` | a STRUCT for each place: what is there in each list, NULL behind its end |
//! | `numbered(a, b)` | the same with the number of the place behind |
//! | `at_least_null(a)` | the list; NULL alone of none and of an empty one |
#![allow(clippy::wildcard_enum_match_arm, reason = "of types, lists are named")]

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::{folded, unary};
use crate::sql::types::name_of;

/// Lists beside each other.
pub const ZIPPED: &str = "zipped";
/// The same with the number of each place.
pub const NUMBERED: &str = "numbered";

/// What a field of a STRUCT of theirs is called.
pub fn field(at: usize) -> String {
    format!("c{at}")
}

/// The functions.
pub fn all() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|numbered| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Zipped {
            numbered,
            signature,
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Zipped {
    numbered: bool,
    signature: Signature,
}

impl Zipped {
    /// The fields of a place.
    fn fields(&self, lists: &[DataType]) -> Result<Fields> {
        let items = lists.iter().map(|list| match list {
            // What it is marked with stays: JSON, for one.
            DataType::List(item) => Ok(item.as_ref().clone().with_nullable(true)),
            DataType::Null => Ok(Field::new("", DataType::Null, true)),
            other => plan_err!("unnest takes lists, not {}", name_of(other)),
        });
        let mut items: Vec<Field> = items.collect::<Result<_>>()?;
        let number = || Field::new("", DataType::Int64, true);
        items.extend(self.numbered.then(number));
        let fields = items.into_iter().enumerate();
        let fields = fields.map(|(at, item)| item.with_name(field(at)));
        Ok(fields.collect())
    }
}

impl ScalarUDFImpl for Zipped {
    fn name(&self) -> &str {
        if self.numbered { NUMBERED } else { ZIPPED }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, lists: &[DataType]) -> Result<DataType> {
        let item = DataType::Struct(self.fields(lists)?);
        Ok(DataType::List(Arc::new(Field::new_list_field(item, true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        folded(&arguments, |rows| {
            let lists = arguments.args.iter().map(|list| list.to_array(rows));
            let lists: Vec<ArrayRef> = lists.collect::<Result<_>>()?;
            let types: Vec<DataType> = lists.iter().map(|it| it.data_type().clone()).collect();
            Ok(Arc::new(zipped(&lists, self.fields(&types)?, rows)?))
        })
    }
}

fn zipped(lists: &[ArrayRef], fields: Fields, rows: usize) -> Result<ListArray> {
    let lists: Vec<Option<&ListArray>> = lists.iter().map(AsArray::as_list_opt).collect();
    let longest = |row| {
        lists
            .iter()
            .map(|list| length(*list, row))
            .max()
            .unwrap_or(0)
    };
    let lengths: Vec<usize> = (0..rows).map(longest).collect();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    for list in &lists {
        let mut places = Vec::new();
        for (row, most) in lengths.iter().enumerate() {
            let has = length(*list, row);
            let first = list.map_or(0, |list| list.value_offsets()[row]);
            let first = u64::try_from(first).unwrap_or(0);
            places.extend((0..*most).map(|at| (at < has).then_some(first + at as u64)));
        }
        columns.push(match list {
            Some(list) => take(list.values(), &UInt64Array::from(places), None)?,
            None => arrow::array::new_null_array(&DataType::Null, places.len()),
        });
    }
    if fields.len() > lists.len() {
        let numbers = lengths.iter().flat_map(|most| 1..=*most as i64);
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
    }
    let item = Field::new_list_field(DataType::Struct(fields.clone()), true);
    let values = StructArray::try_new(fields, columns, None)?;
    let ends = OffsetBuffer::from_lengths(lengths);
    Ok(ListArray::try_new(
        Arc::new(item),
        ends,
        Arc::new(values),
        None,
    )?)
}

/// How many elements a row's list has; one that is NULL has none.
fn length(list: Option<&ListArray>, row: usize) -> usize {
    let list = list.filter(|list| list.is_valid(row));
    list.map_or(0, |list| {
        usize::try_from(list.value_length(row)).unwrap_or(0)
    })
}

static AT_LEAST_NULL: LazyLock<ScalarUDF> =
    LazyLock::new(|| AtLeastNull(Signature::any(1, Volatility::Immutable)).into());

/// The list, or NULL alone where there is no element.
pub fn at_least_null(list: Expr) -> Expr {
    AT_LEAST_NULL.call(vec![list])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtLeastNull(Signature);

impl ScalarUDFImpl for AtLeastNull {
    fn name(&self) -> &str {
        "at_least_null"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, lists: &[DataType]) -> Result<DataType> {
        match &lists[0] {
            DataType::List(item) => {
                let item = item.as_ref().clone().with_nullable(true);
                Ok(DataType::List(Arc::new(item)))
            }
            other => plan_err!("unnest takes lists, not {}", name_of(other)),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |lists| {
            let lists = lists.as_list::<i32>();
            let (mut places, mut lengths) = (Vec::new(), Vec::new());
            for row in 0..lists.len() {
                let has = length(Some(lists), row);
                let first = u64::try_from(lists.value_offsets()[row]).unwrap_or(0);
                match has {
                    0 => places.push(None),
                    has => places.extend((0..has as u64).map(|at| Some(first + at))),
                }
                lengths.push(has.max(1));
            }
            let values = take(lists.values(), &UInt64Array::from(places), None)?;
            let DataType::List(item) = self.return_type(&[lists.data_type().clone()])? else {
                return plan_err!("unnest takes lists");
            };
            let ends = OffsetBuffer::from_lengths(lengths);
            Ok(Arc::new(ListArray::try_new(item, ends, values, None)?) as ArrayRef)
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListBuilder, StringBuilder};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_list_that_is_shorter_has_nulls_behind() {
        let mut texts = ListBuilder::new(StringBuilder::new());
        texts.append_value([Some("a")]);
        texts.append_null();
        texts.append_value([Some("b"), None]);
        let numbers = [Some(vec![Some(1), Some(2)]), Some(vec![]), None];
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let lists: [ArrayRef; 2] = [Arc::new(texts.finish()), Arc::new(numbers)];
        let signature = Signature::variadic_any(Volatility::Immutable);
        let function = Zipped {
            numbered: true,
            signature,
        };
        let types = lists.clone().map(|list| list.data_type().clone());

        let zipped = zipped(&lists, function.fields(&types).unwrap(), 3).unwrap();

        assert_eq!(zipped.value_offsets(), [0, 2, 2, 4]);
        let places = zipped.values().as_struct();
        let texts: Vec<Option<&str>> = places.column(0).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("a"), None, Some("b"), None]);
        let expected = Int32Array::from(vec![Some(1), Some(2), None, None]);
        assert_eq!(places.column(1).as_primitive::<Int32Type>(), &expected);
        let numbers = Int64Array::from(vec![1, 2, 1, 2]);
        assert_eq!(places.column(2).as_primitive(), &numbers);
    }
}
