//! `t LIKE ANY (list)` where the list is a column: whether a text is like one of a list's patterns.
//!
//! As with any comparison with ANY, it is true if one of them is, and NULL if none is but one is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt64Array};
use arrow::compute::kernels::comparison::{ilike, like, nilike, nlike};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::folded::folded;
use crate::sql::types::name_of;

/// Name, whether it asks for what is not like it, and whether it does not tell letters by their case.
const FORMS: [(&str, bool, bool); 4] = [
    ("like_any", false, false),
    ("not_like_any", true, false),
    ("ilike_any", false, true),
    ("not_ilike_any", true, true),
];

/// The function for a form.
pub fn name(negated: bool, folds: bool) -> &'static str {
    let mut forms = FORMS.iter();
    let form = forms.find(|(_, not, i)| (*not, *i) == (negated, folds));
    form.expect("there is one for each").0
}

/// The words between text and list, by the function's name.
pub fn written(name: &str) -> Option<&'static str> {
    let (_, negated, folds) = FORMS.iter().find(|(known, ..)| *known == name)?;
    Some(match (negated, folds) {
        (false, false) => "LIKE",
        (true, false) => "NOT LIKE",
        (false, true) => "ILIKE",
        (true, true) => "NOT ILIKE",
    })
}

/// The functions.
pub fn all() -> [Arc<ScalarUDF>; 4] {
    FORMS.map(|(name, negated, folds)| {
        Arc::new(ScalarUDF::from(LikeAny {
            name,
            negated,
            folds,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LikeAny {
    name: &'static str,
    negated: bool,
    folds: bool,
    signature: Signature,
}

impl ScalarUDFImpl for LikeAny {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let texts = || DataType::new_list(DataType::Utf8, true);
        match arguments {
            [DataType::Utf8 | DataType::Null, DataType::List(item)]
                if item.data_type() == &DataType::Utf8 =>
            {
                Ok(vec![DataType::Utf8, arguments[1].clone()])
            }
            [DataType::Utf8 | DataType::Null, DataType::Null] => Ok(vec![DataType::Utf8, texts()]),
            [text, list] => plan_err!(
                "LIKE compares TEXT with patterns of TEXT, not {} with {}",
                name_of(text),
                name_of(list)
            ),
            _ => plan_err!("{} takes a text and a list", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [texts, lists] = arguments.args.as_slice() else {
            return exec_err!("{} takes a text and a list", self.name);
        };
        folded(&arguments, |rows| {
            let (texts, lists) = (texts.to_array(rows)?, lists.to_array(rows)?);
            Ok(Arc::new(self.of(&texts, lists.as_list::<i32>())?))
        })
    }
}

impl LikeAny {
    fn of(&self, texts: &ArrayRef, lists: &ListArray) -> Result<BooleanArray> {
        let (mut rows, mut elements) = (Vec::new(), Vec::new());
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let offsets = lists.value_offsets();
            for element in offsets[row]..offsets[row + 1] {
                rows.push(row as u64);
                elements.push(u64::try_from(element).unwrap_or(0));
            }
        }
        let texts = take(texts, &UInt64Array::from(rows), None)?;
        let patterns = take(lists.values(), &UInt64Array::from(elements), None)?;
        let compare = match (self.negated, self.folds) {
            (false, false) => like,
            (true, false) => nlike,
            (false, true) => ilike,
            (true, true) => nilike,
        };
        let holds = compare(&texts, &patterns)?;
        let mut next = holds.iter();
        let any = (0..lists.len()).map(|row| {
            if lists.is_null(row) {
                return None;
            }
            let count = usize::try_from(lists.value_length(row)).unwrap_or(0);
            let of_row: Vec<Option<bool>> = next.by_ref().take(count).collect();
            match of_row.contains(&Some(true)) {
                true => Some(true),
                false => (!of_row.contains(&None)).then_some(false),
            }
        });
        Ok(any.collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ListBuilder, StringArray, StringBuilder};

    use super::*;

    #[test]
    fn nothing_is_like_none_and_a_null_is_not_known() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("b%"), Some("a%")]);
        lists.append_value([Some("b%"), None]);
        lists.append_value([None, Some("a%")]);
        lists.append_value([Some("b%")]);
        lists.append_value([None::<&str>; 0]);
        lists.append_null();
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["ab"; 6]));
        let function = LikeAny {
            name: "",
            negated: false,
            folds: false,
            signature: Signature::user_defined(Volatility::Immutable),
        };

        let any = function.of(&texts, &lists.finish()).unwrap();

        let expected = [Some(true), None, Some(true), Some(false), Some(false), None];
        assert_eq!(any, BooleanArray::from(expected.to_vec()));
    }
}
