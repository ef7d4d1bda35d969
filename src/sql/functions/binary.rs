//! `length`, `octet_length` and `substring` of BYTEA, by bytes; of text they are DataFusion's.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of types, that of bytes is named"
)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

use super::around::{Around, wrap};
use super::coerced;
use super::folded::{folded, unary};

/// The function around DataFusion's, if it is one of the three.
pub fn of_bytes(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let known = ["character_length", "octet_length", "substr"].contains(&function.name());
    known.then(|| wrap(function, OfBytes))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfBytes;

/// Whether the function yields a part of the bytes.
fn cuts(name: &str) -> bool {
    name == "substr"
}

fn is_bytes(data_type: Option<&DataType>) -> bool {
    data_type == Some(&DataType::Binary)
}

impl Around for OfBytes {
    const TAKES: bool = true;

    fn takes(&self, function: &ScalarUDF, arguments: &[DataType]) -> Result<Vec<DataType>> {
        if !is_bytes(arguments.first()) {
            return coerced(function, arguments);
        }
        let places = arguments.iter().skip(1);
        let whole = places.clone().all(DataType::is_integer);
        match (cuts(function.name()), arguments.len()) {
            (false, 1) | (true, 2..=3) if whole => {
                let places = places.map(|_| DataType::Int64);
                Ok([DataType::Binary].into_iter().chain(places).collect())
            }
            (false, _) => plan_err!("{} takes one value", function.name()),
            (true, _) => plan_err!("{} of BYTEA takes from where and how much", function.name()),
        }
    }

    fn return_type(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: &[DataType],
    ) -> Result<DataType> {
        match is_bytes(arguments.first()) {
            true if cuts(function.name()) => Ok(DataType::Binary),
            true => Ok(DataType::Int32),
            false => function.return_type(arguments),
        }
    }

    fn return_field(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ReturnFieldArgs,
    ) -> Result<FieldRef> {
        let mut fields = arguments.arg_fields.iter();
        let data_type = fields.next().map(|field| field.data_type().clone());
        if !is_bytes(data_type.as_ref()) {
            return function.return_field_from_args(arguments);
        }
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        let data_type = self.return_type(function, &[DataType::Binary])?;
        Ok(Arc::new(Field::new(function.name(), data_type, nullable)))
    }

    fn invoke(
        &self,
        function: &dyn ScalarUDFImpl,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue> {
        let first = arguments.args.first().map(ColumnarValue::data_type);
        if !is_bytes(first.as_ref()) {
            return function.invoke_with_args(arguments);
        }
        if !cuts(function.name()) {
            return unary(&arguments, |bytes| {
                let lengths = bytes.as_binary::<i32>().iter();
                let lengths = lengths.map(|bytes| bytes.map(|it| it.len() as i32));
                Ok(Arc::new(lengths.collect::<Int32Array>()) as ArrayRef)
            });
        }
        folded(&arguments, |rows| {
            let arrays = arguments
                .args
                .iter()
                .map(|argument| argument.to_array(rows));
            let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
            Ok(Arc::new(cut(&arrays)?))
        })
    }
}

/// The bytes from a place on, counted from one, and how many of them.
fn cut(arguments: &[ArrayRef]) -> Result<BinaryArray> {
    let bytes = arguments[0].as_binary::<i32>();
    let numbers = arguments.iter().skip(1);
    let numbers = numbers.map(|it| cast(it, &DataType::Int64));
    let numbers: Vec<ArrayRef> = numbers.collect::<Result<_, _>>()?;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..bytes.len() {
        if bytes.is_null(row) || numbers.iter().any(|it| it.is_null(row)) {
            out.push(None);
            continue;
        }
        let number = |at: usize| {
            let numbers: Option<&ArrayRef> = numbers.get(at);
            numbers.map(|it| it.as_primitive::<Int64Type>().value(row))
        };
        let (from, count) = (number(0).unwrap_or(1).saturating_sub(1), number(1));
        if count.is_some_and(|count| count < 0) {
            return exec_err!("a part of BYTEA has no negative length");
        }
        let bytes = bytes.value(row);
        let end = count.map_or(i64::MAX, |count| from.saturating_add(count));
        let within = |place: i64| usize::try_from(place).unwrap_or(0).min(bytes.len());
        out.push(Some(&bytes[within(from)..within(end).max(within(from))]));
    }
    Ok(out.into_iter().collect())
}
