//! What a JSON value is: `jsonb_typeof` and `jsonb_array_length`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde::de::IgnoredAny;

use super::folded::unary;

/// The functions.
pub fn all() -> [Arc<ScalarUDF>; 2] {
    [
        (Asks::Kind, "jsonb_typeof", "json_typeof"),
        (Asks::Length, "jsonb_array_length", "json_array_length"),
    ]
    .map(|(asks, name, alias)| {
        Arc::new(ScalarUDF::from(OfJson {
            asks,
            name,
            aliases: vec![alias.to_owned()],
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asks {
    Kind,
    Length,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfJson {
    asks: Asks,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for OfJson {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [DataType::Utf8 | DataType::Null] => Ok(vec![DataType::Utf8]),
            _ => plan_err!("{} takes JSON", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.asks {
            Asks::Kind => DataType::Utf8,
            Asks::Length => DataType::Int32,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |json| {
            let json = json.as_string::<i32>().iter();
            Ok(match self.asks {
                Asks::Kind => {
                    let kinds = json.map(|json| json.map(kind).transpose());
                    let kinds: StringArray = kinds.collect::<Result<_>>()?;
                    Arc::new(kinds) as ArrayRef
                }
                Asks::Length => {
                    let lengths = json.map(|json| json.map(length).transpose());
                    let lengths: Int32Array = lengths.collect::<Result<_>>()?;
                    Arc::new(lengths)
                }
            })
        })
    }
}

fn not_json(error: serde_json::Error) -> DataFusionError {
    exec_datafusion_err!("not JSON: {error}")
}

fn kind(json: &str) -> Result<&'static str> {
    serde_json::from_str::<IgnoredAny>(json).map_err(not_json)?;
    Ok(match json.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    })
}

fn length(json: &str) -> Result<i32> {
    if kind(json)? != "array" {
        return exec_err!("this JSON is no array, and has no length");
    }
    let elements: Vec<IgnoredAny> = serde_json::from_str(json).map_err(not_json)?;
    i32::try_from(elements.len()).map_err(|_| exec_datafusion_err!("the array is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_begins_with() {
        for (json, expected) in [
            (" {}", "object"),
            ("[1]", "array"),
            ("\"a\"", "string"),
            ("false", "boolean"),
            ("null", "null"),
            ("-1.5", "number"),
        ] {
            assert_eq!(kind(json).unwrap(), expected, "{json}");
        }
        assert!(kind("nul").is_err());
    }

    #[test]
    fn only_an_array_has_a_length() {
        assert_eq!(length("[1, [2, 3], null]").unwrap(), 3);
        assert_eq!(length("[]").unwrap(), 0);
        assert!(length("{}").is_err());
    }
}
