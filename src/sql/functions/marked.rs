//! `CAST(x AS UUID)` and `CAST(x AS JSON)` of text: checked, as a source checks its columns.
//!
//! A UUID comes out in lower case with hyphens, JSON as it is written.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use serde::de::IgnoredAny;

use super::folded::unary;
use crate::sql::types::{EXTENSION, JSON, UUID};

/// The cast of text to the type of an extension name, if it is one of ours; a value that is none
/// is an error, or NULL.
pub fn cast(extension: &str, value: Expr, on_failure: Unfit) -> Result<Expr, Expr> {
    let function = match (extension, on_failure) {
        (UUID, Unfit::Error) => &AS_UUID,
        (UUID, Unfit::Null) => &TRY_UUID,
        (JSON, Unfit::Error) => &AS_JSON,
        (JSON, Unfit::Null) => &TRY_JSON,
        _ => return Err(value),
    };
    Ok(function.call(vec![value]))
}

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    Error,
    Null,
}

static AS_UUID: LazyLock<ScalarUDF> = LazyLock::new(|| made("as_uuid", UUID, Unfit::Error));
static TRY_UUID: LazyLock<ScalarUDF> = LazyLock::new(|| made("try_uuid", UUID, Unfit::Null));
static AS_JSON: LazyLock<ScalarUDF> = LazyLock::new(|| made("as_json", JSON, Unfit::Error));
static TRY_JSON: LazyLock<ScalarUDF> = LazyLock::new(|| made("try_json", JSON, Unfit::Null));

fn made(name: &'static str, extension: &'static str, unfit: Unfit) -> ScalarUDF {
    ScalarUDF::from(Marked {
        name,
        extension,
        unfit,
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marked {
    name: &'static str,
    extension: &'static str,
    unfit: Unfit,
    signature: Signature,
}

impl ScalarUDFImpl for Marked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = arguments.arg_fields[0].is_nullable() || self.unfit == Unfit::Null;
        let mark = HashMap::from([(EXTENSION.to_owned(), self.extension.to_owned())]);
        let field = Field::new(self.name, DataType::Utf8, nullable);
        Ok(Arc::new(field.with_metadata(mark)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        unary(&arguments, |texts| {
            let texts = arrow::compute::cast(texts, &DataType::Utf8)?;
            let mut out = StringBuilder::new();
            for text in texts.as_string::<i32>() {
                let read = text.map(|text| (text, read(self.extension, text)));
                match (read, self.unfit) {
                    (None, _) | (Some((_, None)), Unfit::Null) => out.append_null(),
                    (Some((_, Some(value))), _) => out.append_value(value),
                    (Some((text, None)), Unfit::Error) => return self.refuse(text),
                }
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

impl Marked {
    fn refuse<T>(&self, text: &str) -> Result<T> {
        const SHOWN: usize = 60;
        let kind = if self.extension == UUID {
            "UUID"
        } else {
            "JSON"
        };
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => exec_err!("'{}..' is not {kind}", &text[..end]),
            None => exec_err!("'{text}' is not {kind}"),
        }
    }
}

/// The text as a value of this mark is kept, if it is one.
pub fn read(extension: &str, text: &str) -> Option<String> {
    if extension == UUID {
        return uuid(text);
    }
    let valid = serde_json::from_str::<IgnoredAny>(text).is_ok();
    valid.then(|| text.to_owned())
}

/// 32 hexadecimal digits, hyphens between groups of four at will, and braces around if need be.
fn uuid(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let mut out = String::with_capacity(36);
    let (mut digits, mut after_hyphen) = (0, true);
    for c in inner.unwrap_or(text).chars() {
        if c == '-' {
            if after_hyphen || digits % 4 != 0 {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if !c.is_ascii_hexdigit() || digits == 32 {
            return None;
        }
        if matches!(digits, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
        (digits, after_hyphen) = (digits + 1, false);
    }
    (digits == 32 && !after_hyphen).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_postgresql_reads_it() {
        let lower = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid(text).as_deref(), Some(lower), "{text}");
        }
        for text in [
            "",
            "a0eebc99",
            "a0eebc999c0b4ef8bb6d6bb9bd380a1-",
            "{",
            "x0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }
}
