//! PostgreSQL's `->`, `->>`, `#>` and `#>>` over JSON text.
//!
//! JSON is kept as text; a step into it skips over what it does not want without building
//! anything. `a -> 'b' ->> 'c'` is one call with two steps. What is not there is NULL; text that is
//! not JSON fails, and with it its row.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of operators and types, those that step into JSON are named"
)]

use std::borrow::Cow;
use std::sync::Arc;

use super::folded::folded;
use super::json_steps::{Found, Step, enter, path_parts};
use crate::sql::types::{EXTENSION, JSON};
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_common::{DFSchema, Result, exec_datafusion_err, plan_datafusion_err};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction,
};
use datafusion_sql::sqlparser::ast::BinaryOperator;

/// The functions behind the operators, which can also be called by name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    [Get::JSON, Get::TEXT, Get::PATH, Get::PATH_TEXT]
        .into_iter()
        .map(|(name, alias, steps, yields)| {
            Arc::new(ScalarUDF::from(Get {
                name,
                aliases: vec![alias.to_owned()],
                steps,
                yields,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

/// Turns the operators into calls.
#[derive(Debug)]
pub struct JsonPlanner;

impl ExprPlanner for JsonPlanner {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let name = match raw.op {
            BinaryOperator::Arrow => Get::JSON.0,
            BinaryOperator::LongArrow => Get::TEXT.0,
            BinaryOperator::HashArrow => Get::PATH.0,
            BinaryOperator::HashLongArrow => Get::PATH_TEXT.0,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        if !is_text(&raw.left.get_type(schema)?) {
            return Ok(PlannerResult::Original(raw));
        }
        let function = all().into_iter().find(|function| function.name() == name);
        let function = function.expect("the four operators have a function each");
        // A step into the result of a step is one more step.
        let arguments = match raw.left {
            Expr::ScalarFunction(call)
                if call.func.name() == Get::JSON.0
                    && matches!(raw.op, BinaryOperator::Arrow | BinaryOperator::LongArrow) =>
            {
                let mut arguments = call.args;
                arguments.push(raw.right);
                arguments
            }
            left => vec![left, raw.right],
        };
        let call = ScalarFunction::new_udf(function, arguments);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// How the arguments after the first are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Steps {
    /// Each is a key (text) or an index (integer).
    Arguments,
    /// One text array, `'{a,0,b}'` or `ARRAY['a', '0', 'b']`.
    Path,
}

/// What a value is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Yields {
    Json,
    Text,
}

/// A way into JSON text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Get {
    name: &'static str,
    aliases: Vec<String>,
    steps: Steps,
    yields: Yields,
    signature: Signature,
}

type Definition = (&'static str, &'static str, Steps, Yields);

impl Get {
    const JSON: Definition = (
        "json_get",
        "json_extract_path",
        Steps::Arguments,
        Yields::Json,
    );
    const TEXT: Definition = (
        "json_get_text",
        "json_extract_path_text",
        Steps::Arguments,
        Yields::Text,
    );
    const PATH: Definition = ("json_path", "jsonb_extract", Steps::Path, Yields::Json);
    const PATH_TEXT: Definition = (
        "json_path_text",
        "jsonb_extract_text",
        Steps::Path,
        Yields::Text,
    );
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    )
}

impl ScalarUDFImpl for Get {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name, DataType::Utf8, true);
        Ok(Arc::new(match self.yields {
            Yields::Json => field.with_metadata([(EXTENSION.to_owned(), JSON.to_owned())].into()),
            Yields::Text => field,
        }))
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let wrong = |what: &DataType| {
            let what = crate::sql::types::name_of(what);
            plan_datafusion_err!(
                "{} steps into JSON by a key or an index, not {what}",
                self.name
            )
        };
        let Some((json, steps)) = arguments.split_first() else {
            return Err(plan_datafusion_err!(
                "{} takes JSON and where to go in it",
                self.name
            ));
        };
        if !is_text(json) {
            let what = crate::sql::types::name_of(json);
            return Err(plan_datafusion_err!("{} takes JSON, not {what}", self.name));
        }
        let mut types = vec![DataType::Utf8];
        for step in steps {
            types.push(match (self.steps, step) {
                (_, step) if is_text(step) => DataType::Utf8,
                (Steps::Arguments, step) if step.is_integer() => DataType::Int64,
                (Steps::Path, DataType::List(_)) => {
                    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
                }
                (_, step) => return Err(wrong(step)),
            });
        }
        match (self.steps, steps.len()) {
            (Steps::Path, 1) | (Steps::Arguments, 1..) => Ok(types),
            _ => Err(plan_datafusion_err!(
                "{} takes JSON and where to go in it",
                self.name
            )),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        folded(&arguments, |rows| {
            let arrays = arguments.args.iter().map(|it| it.to_array(rows));
            let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
            let json = arrays[0].as_string::<i32>();
            let mut out = StringBuilder::with_capacity(rows, json.value_data().len() / 4);
            for row in 0..rows {
                let found = match json.is_null(row) {
                    true => None,
                    false => self
                        .walk(json.value(row), &arrays[1..], row)
                        .map_err(|error| exec_datafusion_err!("not JSON: {error}"))?,
                };
                out.append_option(found.and_then(|found| self.shown(found)));
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

impl Get {
    /// The part of `json` that the steps of one row lead to.
    fn walk<'a>(&self, json: &'a str, steps: &[ArrayRef], row: usize) -> Found<'a> {
        let mut at = json;
        let mut go = |step: Step| -> std::result::Result<bool, serde_json::Error> {
            match enter(at, step)? {
                Some(inner) => at = inner,
                None => return Ok(false),
            }
            Ok(true)
        };
        for step in steps {
            let found = match step.data_type() {
                _ if step.is_null(row) => false,
                DataType::Int64 => go(Step::Index(step.as_primitive::<Int64Type>().value(row)))?,
                DataType::List(_) => {
                    let path = step.as_list::<i32>().value(row);
                    let path = path.as_string::<i32>();
                    let mut found = true;
                    for part in path {
                        found = found && part.map_or(Ok(false), |part| go(Step::Either(part)))?;
                    }
                    found
                }
                _ => {
                    let text = step.as_string::<i32>().value(row);
                    match self.steps {
                        Steps::Arguments => go(Step::Key(text))?,
                        Steps::Path => {
                            let mut found = true;
                            for part in path_parts(text) {
                                found = found && go(Step::Either(part))?;
                            }
                            found
                        }
                    }
                }
            };
            if !found {
                return Ok(None);
            }
        }
        Ok(Some(at))
    }

    /// A value as JSON text, or as text: a string without its quotes, and `null` as NULL.
    fn shown<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        let value = value.trim();
        match self.yields {
            Yields::Json => Some(Cow::Borrowed(value)),
            Yields::Text if value == "null" => None,
            Yields::Text if value.starts_with('"') => {
                match value[1..value.len() - 1].contains('\\') {
                    false => Some(Cow::Borrowed(&value[1..value.len() - 1])),
                    true => serde_json::from_str::<String>(value).ok().map(Cow::Owned),
                }
            }
            Yields::Text => Some(Cow::Borrowed(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str =
        r#"{"a": {"b": [10, {"c": "x\ty"}, null]}, "n": 1.50, "a.b": true, "d": 1, "d": 2}"#;

    fn at(json: &'static str, steps: &[Step]) -> Option<&'static str> {
        steps
            .iter()
            .try_fold(json, |json, step| enter(json, *step).unwrap())
    }

    fn text(json: &'static str, steps: &[Step]) -> Option<String> {
        let get = Get {
            name: "",
            aliases: Vec::new(),
            steps: Steps::Arguments,
            yields: Yields::Text,
            signature: Signature::user_defined(Volatility::Immutable),
        };
        get.shown(at(json, steps)?).map(Cow::into_owned)
    }

    #[test]
    fn steps_lead_through_objects_and_arrays() {
        use Step::{Either, Index, Key};

        assert_eq!(
            text(EVENT, &[Key("a"), Key("b"), Index(0)]),
            Some("10".to_owned())
        );
        assert_eq!(
            text(EVENT, &[Key("a"), Key("b"), Index(-2), Key("c")]),
            Some("x\ty".to_owned())
        );
        assert_eq!(
            text(EVENT, &[Either("a"), Either("b"), Either("1"), Either("c")]),
            Some("x\ty".to_owned())
        );
        assert_eq!(text(EVENT, &[Key("a.b")]), Some("true".to_owned()));
    }

    #[test]
    fn a_number_keeps_the_digits_it_was_written_with() {
        assert_eq!(text(EVENT, &[Step::Key("n")]), Some("1.50".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_null_and_so_is_a_null_as_text() {
        assert_eq!(text(EVENT, &[Step::Key("zzz")]), None);
        assert_eq!(text(EVENT, &[Step::Key("n"), Step::Key("x")]), None);
        assert_eq!(text(EVENT, &[Step::Key("a"), Step::Index(0)]), None);
        assert_eq!(
            text(EVENT, &[Step::Key("a"), Step::Key("b"), Step::Index(2)]),
            None
        );
        assert_eq!(
            at(EVENT, &[Step::Key("a"), Step::Key("b"), Step::Index(2)]),
            Some("null")
        );
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        assert_eq!(text(EVENT, &[Step::Key("d")]), Some("2".to_owned()));
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        assert!(enter("{\"a\": ", Step::Key("a")).is_err());
        assert!(enter("{\"a\" 1}", Step::Key("b")).is_err());
    }

    #[test]
    fn a_path_is_written_as_a_text_array() {
        let parts: Vec<&str> = path_parts("{a, 0,\"b c\"}").collect();

        assert_eq!(parts, ["a", "0", "b c"]);
    }
}
