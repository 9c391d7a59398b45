//! What a plain scalar means: the YAML 1.2 core schema. `yes`, `no`, `on` and `off` are text.

use super::raw::is_null;

/// Seconds in a year, the longest time anything can be set to.
pub(super) const YEAR: f64 = 31_536_000.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain {
    Null,
    Flag(bool),
    Whole(i128),
    Decimal(f64),
    Text,
}

/// The type of a scalar that is neither quoted nor a block.
pub(super) fn classify(text: &str) -> Plain {
    if is_null(text) {
        return Plain::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Plain::Flag(true),
        "false" | "False" | "FALSE" => return Plain::Flag(false),
        _ => {}
    }
    number(text).unwrap_or(Plain::Text)
}

/// `None`: not a number.
pub(super) fn number(text: &str) -> Option<Plain> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let first = unsigned.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let good = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            return good.then(|| i128::from_str_radix(digits, radix).map_or(Plain::Decimal(f64::MAX), Plain::Whole));
        }
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.parse().map_or(Plain::Decimal(f64::MAX), Plain::Whole));
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Plain::Decimal(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(Plain::Decimal(f64::NAN)),
        _ => {}
    }
    is_decimal(unsigned).then(|| text.parse().ok().map(Plain::Decimal)).flatten()
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    exponent_ok && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

/// `512m`, `1g`, `1073741824`: bytes. Powers of 1024, as the container engines read it.
pub(super) fn memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// As [`memory`] reads it, in the largest unit that divides it.
pub(super) fn shown_memory(bytes: u64) -> String {
    let units = [(40, "t"), (30, "g"), (20, "m"), (10, "k")];
    let fits = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    fits.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_and_nothing_more() {
        for text in [
            "yes", "no", "on", "off", "y", "1_000", "0b1", "1:30", "0x", "0o8", "-", "+", ".", "1e", "e5", "-0x1",
            "nan", "inf",
        ] {
            assert_eq!(classify(text), Plain::Text, "{text}");
        }
        for (text, value) in [("0", 0), ("010", 10), ("-7", -7), ("+7", 7), ("0x1F", 31), ("0o17", 15)] {
            assert_eq!(classify(text), Plain::Whole(value), "{text}");
        }
        for (text, value) in
            [("1.", 1.0), (".5", 0.5), ("-1.5e3", -1500.0), ("1e3", 1000.0), ("-.inf", f64::NEG_INFINITY)]
        {
            assert_eq!(classify(text), Plain::Decimal(value), "{text}");
        }
        assert!(matches!(classify(".nan"), Plain::Decimal(n) if n.is_nan()));
        assert_eq!(classify("~"), Plain::Null);
        assert_eq!(classify("TRUE"), Plain::Flag(true));
    }

    #[test]
    fn memory_is_in_powers_of_1024() {
        assert_eq!(memory("512m"), Some(512 << 20));
        assert_eq!(memory("1G"), Some(1 << 30));
        assert_eq!(memory("7"), Some(7));
        for text in ["512m", "1g", "7", "1536k", "0"] {
            assert_eq!(shown_memory(memory(text).unwrap()), text);
        }
        for bad in ["", "m", "1.5g", "-1m", "1x", "99999999999t", "1 g"] {
            assert_eq!(memory(bad), None, "{bad}");
        }
    }
}
