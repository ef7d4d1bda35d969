//! `convert_from(bytes, 'UTF8')` and `convert_to(text, 'UTF8')`: the text that bytes are, and the bytes of
//! a text. Here all text is UTF-8.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_datafusion_err, exec_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::folded;

/// The functions.
pub fn all() -> [Arc<ScalarUDF>; 2] {
    [
        ("convert_from", DataType::Binary, DataType::Utf8),
        ("convert_to", DataType::Utf8, DataType::Binary),
    ]
    .map(|(name, from, to)| {
        let signature = Signature::exact(vec![from, DataType::Utf8], Volatility::Immutable);
        Arc::new(ScalarUDF::from(Encoded {
            name,
            to,
            signature,
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Encoded {
    name: &'static str,
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Encoded {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        folded(&arguments, |rows| {
            let values = arguments.args[0].to_array(rows)?;
            let encodings = arguments.args[1].to_array(rows)?;
            let encodings = encodings.as_string::<i32>();
            let unknown = encodings.iter().flatten().find(|name| !is_utf8(name));
            if let Some(unknown) = unknown {
                return exec_err!("{} knows UTF8, not {unknown}", self.name);
            }
            let made: ArrayRef = cast_with_options(&values, &self.to, &strict)
                .map_err(|_| exec_datafusion_err!("these bytes are no text: they are not UTF-8"))?;
            match encodings.null_count() {
                0 => Ok(made),
                _ => Ok(arrow::compute::nullif(
                    &made,
                    &arrow::compute::is_null(encodings)?,
                )?),
            }
        })
    }
}

fn is_utf8(name: &str) -> bool {
    ["utf8", "utf-8", "unicode"].contains(&name.to_lowercase().as_str())
}
