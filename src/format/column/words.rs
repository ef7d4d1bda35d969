//! Booleans, bytes and UUIDs out of text.

use super::Unfit;
use super::values::Bytes;

/// The words that PostgreSQL takes for a boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    if ["true", "t", "yes", "y", "on", "1"].iter().any(is) {
        Some(true)
    } else if ["false", "f", "no", "n", "off", "0"].iter().any(is) {
        Some(false)
    } else {
        None
    }
}

/// Bytes: `\x` and hexadecimal digits as PostgreSQL writes them, otherwise the text's own.
pub(super) fn binary(text: &str, values: &mut Bytes) -> Result<(), Unfit> {
    let Some(hex) = text.strip_prefix(r"\x") else {
        values.push(text.as_bytes());
        return Ok(());
    };
    let start = values.bytes.len();
    for pair in hex.as_bytes().chunks(2) {
        match pair {
            &[high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                values.bytes.push(nibble(high) << 4 | nibble(low));
            }
            _ => {
                values.bytes.truncate(start);
                return Err(Unfit::bad(text, "hexadecimal digits in pairs"));
            }
        }
    }
    values.close();
    Ok(())
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// A UUID in any of the forms PostgreSQL takes, as lower-case text with hyphens.
pub(super) fn uuid(text: &str, values: &mut Bytes) -> Result<(), Unfit> {
    let bare = text
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .unwrap_or(text);
    let start = values.bytes.len();
    let mut digits = 0;
    for &byte in bare.as_bytes() {
        if byte.is_ascii_hexdigit() && digits < 32 {
            if matches!(digits, 8 | 12 | 16 | 20) {
                values.bytes.push(b'-');
            }
            values.bytes.push(byte.to_ascii_lowercase());
            digits += 1;
        } else if byte != b'-' || digits == 0 || digits % 4 != 0 || digits == 32 {
            digits = 0;
            break;
        }
    }
    if digits != 32 {
        values.bytes.truncate(start);
        return Err(Unfit::bad(text, "a UUID"));
    }
    values.close();
    Ok(())
}
