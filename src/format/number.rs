//! Numbers out of text and decimals into text: exact, or refused.

/// Why a text is not a value of a numeric type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotThisNumber {
    /// It is no number at all.
    Syntax,
    /// It has digits after the point that the type cannot hold.
    Fraction,
    /// It is too large.
    Range,
}

/// A whole number. `1.0` and `1e3` are whole, `1.5` is not.
pub(super) fn integer(text: &str) -> Result<i64, NotThisNumber> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some(_) | None => (false, bytes),
    };
    // Eighteen digits cannot overflow; everything unusual takes the exact way through decimals.
    if digits.is_empty() || digits.len() > 18 {
        return whole_decimal(text);
    }
    let mut value = 0_i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return whole_decimal(text);
        }
        value = value * 10 + i64::from(digit);
    }
    Ok(if negative { -value } else { value })
}

#[cold]
fn whole_decimal(text: &str) -> Result<i64, NotThisNumber> {
    i64::try_from(decimal(text, 38, 0)?).map_err(|_| NotThisNumber::Range)
}

/// The value times ten to the power of `scale`, of at most `precision` digits.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, NotThisNumber> {
    let number = Digits::read(text.as_bytes()).ok_or(NotThisNumber::Syntax)?;
    if number.digits == 0 && !number.overflow {
        return Ok(0);
    }
    let shift = number.exponent + i64::from(scale);
    if shift < 0 {
        return Err(NotThisNumber::Fraction);
    }
    if number.overflow || shift > 38 {
        return Err(NotThisNumber::Range);
    }
    let value = 10_i128
        .checked_pow(u32::try_from(shift).expect("the shift is between 0 and 38"))
        .and_then(|power| number.digits.checked_mul(power))
        .ok_or(NotThisNumber::Range)?;
    let limit = 10_i128.pow(u32::from(precision.min(38)));
    if value >= limit {
        return Err(NotThisNumber::Range);
    }
    Ok(if number.negative { -value } else { value })
}

/// A number as its digits without trailing zeros, and the power of ten they are multiplied by.
struct Digits {
    negative: bool,
    digits: i128,
    exponent: i64,
    /// There are more digits than `digits` can hold.
    overflow: bool,
}

impl Digits {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut number = Self {
            negative: false,
            digits: 0,
            exponent: 0,
            overflow: false,
        };
        let mut at = 0;
        if let Some(b'-' | b'+') = bytes.first() {
            number.negative = bytes[0] == b'-';
            at = 1;
        }
        let (mut zeros, mut seen, mut point) = (0_u32, false, false);
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    number.exponent -= i64::from(point);
                    if byte == b'0' {
                        zeros += 1;
                    } else {
                        number.push(zeros, byte - b'0');
                        zeros = 0;
                    }
                }
                b'.' if !point => point = true,
                b'e' | b'E' if seen => {
                    number.exponent += exponent(&bytes[at + 1..])?;
                    break;
                }
                _ => return None,
            }
            at += 1;
        }
        number.exponent += i64::from(zeros);
        seen.then_some(number)
    }

    /// Adds `zeros` zeros that turned out not to be trailing, and a digit.
    fn push(&mut self, zeros: u32, digit: u8) {
        let shifted = if self.digits == 0 {
            Some(0)
        } else {
            10_i128
                .checked_pow(zeros + 1)
                .and_then(|power| self.digits.checked_mul(power))
        };
        match shifted.and_then(|value| value.checked_add(i128::from(digit))) {
            Some(value) if !self.overflow => self.digits = value,
            Some(_) | None => self.overflow = true,
        }
    }
}

fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Far beyond any type, and far from overflowing when digits are counted on top of it.
    let value = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit - b'0')).min(1_000_000_000_000)
    });
    Some(if negative { -value } else { value })
}

/// A floating point number; `NaN` and `Infinity` are spelled out, never the result of overflow.
pub(super) fn float<F>(text: &str) -> Result<F, NotThisNumber>
where
    F: fast_float2::FastFloat + Into<f64> + Copy,
{
    let value: F = fast_float2::parse(text).map_err(|_| NotThisNumber::Syntax)?;
    let spelled_out = text
        .bytes()
        .any(|byte| byte.is_ascii_alphabetic() && byte | 32 != b'e');
    if Into::<f64>::into(value).is_finite() || spelled_out {
        Ok(value)
    } else {
        Err(NotThisNumber::Range)
    }
}

/// Writes an unscaled decimal with its point: 150 at scale 2 is `1.50`.
pub(super) fn write_decimal(out: &mut String, value: i128, scale: i8) {
    let digits = value.unsigned_abs().to_string();
    if value < 0 {
        out.push('-');
    }
    match usize::try_from(scale) {
        Ok(0) => out.push_str(&digits),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        Err(_) => {
            out.push_str(&digits);
            if value != 0 {
                out.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
            }
        }
    }
}

/// Writes a float as PostgreSQL does: the shortest digits that read back the same.
pub(super) fn write_float(out: &mut String, value: f64, shortest: &str) {
    use std::fmt::Write;

    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        // `shortest` is in scientific form: digits, `e`, exponent.
        let (digits, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
        let power: i32 = exponent.parse().expect("Rust writes whole exponents");
        if (-4..15).contains(&power) || value == 0.0 {
            write_plain(out, digits, power);
        } else {
            let sign = if power < 0 { '-' } else { '+' };
            write!(out, "{digits}e{sign}{:02}", power.abs()).expect("a String takes all text");
        }
    }
}

/// Writes `digits` times ten to `power` without an exponent.
fn write_plain(out: &mut String, digits: &str, power: i32) {
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.len() < digits.len() {
        out.push('-');
    }
    let all: String = unsigned.chars().filter(|c| *c != '.').collect();
    match usize::try_from(power) {
        Ok(power) if all.len() > power + 1 => {
            out.push_str(&all[..=power]);
            out.push('.');
            out.push_str(&all[power + 1..]);
        }
        Ok(power) => {
            out.push_str(&all);
            out.extend(std::iter::repeat_n('0', power + 1 - all.len()));
        }
        Err(_) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', power.unsigned_abs() as usize - 1));
            out.push_str(&all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_exact_or_refused() {
        assert_eq!(decimal("12.5", 10, 2), Ok(1250));
        assert_eq!(decimal("-0.05", 10, 2), Ok(-5));
        assert_eq!(decimal("1.500000", 10, 2), Ok(150));
        assert_eq!(decimal("1.2e3", 10, 2), Ok(120_000));
        assert_eq!(decimal("0e999999999999999", 10, 2), Ok(0));
        assert_eq!(decimal("1.234", 10, 2), Err(NotThisNumber::Fraction));
        assert_eq!(decimal("100", 4, 2), Err(NotThisNumber::Range));
        assert_eq!(
            decimal("1e99999999999999999999", 10, 2),
            Err(NotThisNumber::Range)
        );
        for text in ["", "-", ".", "1.2.3", "e5", "1e", "1 2", "0x1"] {
            assert_eq!(decimal(text, 10, 2), Err(NotThisNumber::Syntax), "{text}");
        }
    }

    #[test]
    fn thirty_eight_digits_fit_and_trailing_zeros_do_not_count() {
        let nines = "9".repeat(38);
        let padded = format!("{nines}.{}", "0".repeat(60));

        assert_eq!(decimal(&nines, 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal(&padded, 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(
            decimal(&format!("{nines}9"), 38, 0),
            Err(NotThisNumber::Range)
        );
    }

    #[test]
    fn an_integer_may_be_written_as_an_integral_float() {
        assert_eq!(integer("-12"), Ok(-12));
        assert_eq!(integer("12.0"), Ok(12));
        assert_eq!(integer("1e3"), Ok(1000));
        assert_eq!(integer("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer("9223372036854775808"), Err(NotThisNumber::Range));
        assert_eq!(integer("1.5"), Err(NotThisNumber::Fraction));
        assert_eq!(integer("twelve"), Err(NotThisNumber::Syntax));
    }

    #[test]
    fn a_float_that_overflows_is_refused_and_infinity_is_not() {
        assert_eq!(float::<f64>("1e999"), Err(NotThisNumber::Range));
        assert_eq!(float::<f32>("1e39"), Err(NotThisNumber::Range));
        assert_eq!(float::<f64>("-Infinity"), Ok(f64::NEG_INFINITY));
        assert_eq!(float::<f64>("1.25e2"), Ok(125.0));
    }

    #[test]
    fn floats_are_written_like_postgres_writes_them() {
        let text = |value: f64| {
            let mut out = String::new();
            write_float(&mut out, value, &format!("{value:e}"));
            out
        };

        assert_eq!(text(1.0), "1");
        assert_eq!(text(-0.0), "-0");
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(123.456), "123.456");
        assert_eq!(text(0.0001), "0.0001");
        assert_eq!(text(0.000012), "1.2e-05");
        assert_eq!(text(100_000_000_000_000.0), "100000000000000");
        assert_eq!(text(1e15), "1e+15");
        assert_eq!(text(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn decimals_keep_their_scale() {
        let text = |value, scale| {
            let mut out = String::new();
            write_decimal(&mut out, value, scale);
            out
        };

        assert_eq!(text(150, 2), "1.50");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(0, 3), "0.000");
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(7, -2), "700");
    }
}
