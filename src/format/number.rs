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

/// The form that nearly every number has: `-123.45`, of at most eighteen digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    negative: bool,
    /// All digits as one number.
    digits: u64,
    /// How many digits there are.
    count: usize,
    /// How many of them stand after the point.
    places: usize,
}

impl Plain {
    /// Reads a number at the start of `bytes`, by JSON's grammar, and says where it ends. Any
    /// other number, wrong or only unusual, is `None`.
    // Always: handed back through memory instead of registers, it costs JSON 5 % of its rate.
    #[inline(always)]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(negative);
        let mut digits = 0_u64;
        let mut end = take_digits(bytes, start, &mut digits);
        let whole = end - start;
        let mut places = 0;
        if bytes.get(end) == Some(&b'.') {
            places = take_digits(bytes, end + 1, &mut digits) - end - 1;
            end += 1 + places;
            if places == 0 {
                return None;
            }
        }
        let leading_zero = whole > 1 && bytes[start] == b'0';
        // Eighteen digits cannot have overflowed.
        if whole == 0 || leading_zero || whole + places > 18 {
            return None;
        }
        if let Some(b'e' | b'E' | b'.') = bytes.get(end) {
            return None;
        }
        let count = whole + places;
        let plain = Self {
            negative,
            digits,
            count,
            places,
        };
        Some((plain, end))
    }

    /// The number, if it is whole.
    #[inline]
    pub fn integer(self) -> Option<i64> {
        let value = self.digits.cast_signed();
        (self.places == 0).then_some(if self.negative { -value } else { value })
    }

    /// The number, if it is short enough for both digits and power of ten to be exact: then their
    /// quotient is correctly rounded.
    #[inline]
    pub fn double(self) -> Option<f64> {
        const POWERS: [f64; 16] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
        ];
        if self.count > 15 {
            return None;
        }
        let value = self.digits as f64 / POWERS[self.places];
        Some(if self.negative { -value } else { value })
    }

    /// The number times ten to the power of `scale`, if it has at most `precision` digits then.
    #[inline]
    pub fn decimal(self, precision: u8, scale: i8) -> Option<i128> {
        const POWERS: [i128; 19] = {
            let mut powers = [1; 19];
            let mut at = 1;
            while at < 19 {
                powers[at] = powers[at - 1] * 10;
                at += 1;
            }
            powers
        };
        let shift = usize::try_from(scale).ok()?.checked_sub(self.places)?;
        // Digits that are there and those that are added, together within the precision.
        if self.count + shift > usize::from(precision) {
            return None;
        }
        let value = i128::from(self.digits) * POWERS.get(shift)?;
        Some(if self.negative { -value } else { value })
    }
}

/// Appends the digits at `at` to `digits`, which wraps beyond nineteen; returns where they end.
///
/// Eight at a time, without a branch on how many there are: the processor would guess wrong.
#[inline]
fn take_digits(bytes: &[u8], mut at: usize, digits: &mut u64) -> usize {
    const POWERS: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
        // The high bit of the lowest byte above nine is set, and none below it.
        let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        if others == 0 {
            *digits = digits
                .wrapping_mul(100_000_000)
                .wrapping_add(eight_digits(word));
            at += 8;
            continue;
        }
        let count = others.trailing_zeros() / 8;
        // Zeros in front, in two steps since there may be eight of them.
        let value = eight_digits(word << (56 - 8 * count) << 8);
        *digits = digits
            .wrapping_mul(POWERS[count as usize])
            .wrapping_add(value);
        return at + count as usize;
    }
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        *digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The number that eight digits make, the first in the lowest byte: pairs, then fours, then all.
#[inline]
fn eight_digits(word: u64) -> u64 {
    let pairs = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32
}

/// A whole number. `1.0` and `1e3` are whole, `1.5` is not.
#[cold]
pub(super) fn integer(text: &str) -> Result<i64, NotThisNumber> {
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn a_plain_number_is_what_the_long_way_gives(
            text in "-?[0-9]{0,20}(\\.[0-9]{0,6})?[eE.,]?", precision in 1_u8..39, scale in 0_i8..9,
        ) {
            if let Some((plain, end)) = Plain::read(text.as_bytes()) {
                let number = &text[..end];

                prop_assert!(!text[end..].starts_with(|c: char| c.is_ascii_digit() || c == 'e'));
                if let Some(value) = plain.integer() {
                    prop_assert_eq!(integer(number), Ok(value));
                }
                if let Some(value) = plain.double() {
                    prop_assert_eq!(float::<f64>(number).map(f64::to_bits), Ok(value.to_bits()));
                }
                if let Some(value) = plain.decimal(precision, scale) {
                    prop_assert_eq!(decimal(number, precision, scale), Ok(value));
                }
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_long_way() {
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "01",
            "1e5",
            "1.5E1",
            "1.2.3",
            "1234567890123456789",
        ] {
            assert_eq!(Plain::read(text.as_bytes()), None, "{text}");
        }
        assert!(Plain::read(b"0.5").is_some());
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
