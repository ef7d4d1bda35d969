//! The `fields.<column>.*` options of one column, and what they say about its values.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "of Arrow's types only some ask for a different treatment"
)]

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};

use super::draw::Zipf;
use super::field::{EventTimes, Kind};
use super::number::{Numbers, default_range, parsed, units};
use crate::connector::option;
use crate::plan::Table;

/// An option of a field that cannot be followed.
#[derive(Debug)]
pub(super) struct FieldProblem {
    /// The option's name.
    pub(super) option: String,
    pub(super) message: String,
}

/// The options of one field, as given.
pub(super) struct Given<'a> {
    table: &'a Table,
    field: &'a Field,
}

impl<'a> Given<'a> {
    pub(super) fn new(table: &'a Table, field: &'a Field) -> Self {
        Self { table, field }
    }

    fn name(&self, property: &str) -> String {
        format!("fields.{}.{property}", self.field.name())
    }

    fn text(&self, property: &str) -> Option<&str> {
        self.table.option(&self.name(property))
    }

    fn problem(&self, property: &str, message: String) -> FieldProblem {
        FieldProblem {
            option: self.name(property),
            message,
        }
    }

    /// An option that is a number.
    pub(super) fn number(&self, property: &str) -> Result<Option<f64>, FieldProblem> {
        let number = |text| {
            let message = || self.problem(property, format!("`{text}` is not a number"));
            option::number(text).ok_or_else(message)
        };
        self.text(property).map(number).transpose()
    }

    /// What the options say, if they say anything about the distribution. The kind need not be
    /// given where another option implies it.
    pub(super) fn kind(&self, times: EventTimes) -> Result<Option<Kind>, FieldProblem> {
        const IMPLIED: [(&str, &str); 5] = [
            ("kind", ""),
            ("values", "choice"),
            ("min", "uniform"),
            ("max", "uniform"),
            ("length", "random_text"),
        ];
        let given = IMPLIED.iter().find_map(|&(property, implied)| {
            let text = self.text(property)?;
            Some((property, if property == "kind" { text } else { implied }))
        });
        let Some((property, kind)) = given else {
            return Ok(None);
        };
        let data_type = self.field.data_type();
        let timed = data_type.is_temporal() && !matches!(data_type, DataType::Interval(_));
        let text = *data_type == DataType::Utf8;
        let fits = match kind {
            "choice" => !data_type.is_nested(),
            "random_text" => text,
            "time" => timed,
            _ => data_type.is_numeric() || timed || text,
        };
        if !fits {
            let message = format!("a column of type {data_type} cannot be `{kind}`");
            return Err(self.problem(property, message));
        }
        Ok(Some(match kind {
            "choice" => self.choice()?,
            "random_text" => Kind::Letters {
                length: self.text("length").and_then(option::count).unwrap_or(8),
            },
            "time" => Kind::EventTime(times),
            _ if text => Kind::Labels {
                prefix: self.text("prefix").unwrap_or_default().to_owned(),
                numbers: self.numbers(kind, &DataType::Int64)?,
            },
            _ => Kind::Numbers(self.numbers(kind, data_type)?),
        }))
    }

    /// Numbers in units of `data_type`.
    fn numbers(&self, kind: &str, data_type: &DataType) -> Result<Numbers, FieldProblem> {
        let (default_min, default_max) = match kind {
            "sequence" if data_type.is_integer() => {
                ("0".to_owned(), largest(data_type).to_string())
            }
            _ => default_range(data_type),
        };
        let (min, low) = self.bound("min", &default_min, data_type)?;
        let (max, high) = self.bound("max", &default_max, data_type)?;
        if low > high {
            return Err(self.problem("min", "the smallest value is above the largest".to_owned()));
        }
        Ok(match kind {
            "zipf" => {
                let ranks = max.abs_diff(min).saturating_add(1);
                let exponent = self.number("exponent")?.unwrap_or(1.0);
                Numbers::Zipf {
                    min,
                    ranks: Zipf::new(ranks, exponent),
                }
            }
            "sequence" => Numbers::Sequence { min, max },
            "normal" => {
                let scale = scale(data_type);
                let mean = self.number("mean")?.map(|mean| mean * scale);
                let deviation = self.number("deviation")?.map(|deviation| deviation * scale);
                Numbers::Normal {
                    mean: mean.unwrap_or(f64::midpoint(low, high)),
                    deviation: deviation.unwrap_or((high - low) / 6.0),
                    min: low,
                    max: high,
                }
            }
            _ if data_type.is_floating() => Numbers::UniformFloat {
                min: low,
                max: high,
            },
            _ => Numbers::Uniform { min, max },
        })
    }

    /// A bound in units of `data_type`, and the same with what is behind its point.
    fn bound(
        &self,
        property: &str,
        default: &str,
        data_type: &DataType,
    ) -> Result<(i64, f64), FieldProblem> {
        let text = self.text(property).unwrap_or(default);
        let exact = |units: i64| {
            let float = if data_type.is_floating() {
                option::number(text)?
            } else {
                units as f64
            };
            Some((units, float))
        };
        units(text, data_type).and_then(exact).ok_or_else(|| {
            self.problem(
                property,
                format!("`{text}` is not a value of type {data_type}"),
            )
        })
    }

    fn choice(&self) -> Result<Kind, FieldProblem> {
        let texts = self.text("values").unwrap_or_default();
        let texts: Vec<&str> = texts.split(',').map(str::trim).collect();
        let data_type = self.field.data_type();
        let values: Option<ArrayRef> = match data_type {
            DataType::Binary => {
                parsed(&texts, &DataType::Utf8).and_then(|text| cast(&text, data_type).ok())
            }
            _ => parsed(&texts, data_type),
        };
        let Some(values) = values else {
            let message = format!(
                "`{}` are not all values of type {data_type}",
                texts.join(",")
            );
            return Err(self.problem("values", message));
        };
        let mut sum = 0.0;
        let add = |weight| {
            sum += weight;
            sum
        };
        let upto = self.weights(texts.len())?.into_iter().map(add).collect();
        Ok(Kind::Choice { values, upto })
    }

    /// One weight for each of `len` values.
    fn weights(&self, len: usize) -> Result<Vec<f64>, FieldProblem> {
        let Some(text) = self.text("weights") else {
            return Ok(vec![1.0; len]);
        };
        let weights: Option<Vec<f64>> = text.split(',').map(|w| option::number(w.trim())).collect();
        weights
            .filter(|weights| weights.len() == len)
            .filter(|weights| weights.iter().all(|&weight| weight >= 0.0))
            .filter(|weights| weights.iter().any(|&weight| weight > 0.0))
            .ok_or_else(|| {
                let message = format!("it must be {len} numbers from 0, one per value");
                self.problem("weights", message)
            })
    }
}

/// The largest number of an integer type.
fn largest(data_type: &DataType) -> i64 {
    match data_type {
        DataType::Int16 => i64::from(i16::MAX),
        DataType::Int32 => i64::from(i32::MAX),
        _ => i64::MAX,
    }
}

/// How many units a 1 is.
fn scale(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Decimal128(_, scale) => 10_f64.powi(i32::from(*scale)),
        _ => 1.0,
    }
}
