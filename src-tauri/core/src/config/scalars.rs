//! Owns how the text of a scalar becomes a number, a time or a switch.

/// A whole number as YAML 1.1 and 1.2 both write it. A leading zero is refused:
/// it is octal in the one and decimal in the other.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
        whole(hex, 16)?
    } else if digits.len() > 1 && digits.starts_with('0') && !digits.contains('.') {
        return None;
    } else {
        whole(digits, 10).or_else(|| integral(digits))?
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn whole(digits: &str, radix: u32) -> Option<i64> {
    let clean = digits.starts_with(|c: char| c.is_ascii_hexdigit()) && !digits.ends_with('_');
    let digits = clean.then(|| digits.replace('_', ""))?;
    i64::from_str_radix(&digits, radix).ok()
}

fn integral(digits: &str) -> Option<i64> {
    let (whole_part, zeros) = digits.split_once('.')?;
    zeros.chars().all(|c| c == '0').then(|| whole(whole_part, 10))?
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    if let Some(number) = integer(text) {
        return Some(number as f64);
    }
    let text = text.trim();
    let digits =
        text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
    let number: f64 = digits.then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

/// Seconds, with or without a unit.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit = units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?.trim_end();
        number(digits)
            .filter(|_| digits.ends_with(|c: char| c.is_ascii_digit()))
            .map(|n| n * factor)
    });
    with_unit.or_else(|| number(text))
}

/// A switch as YAML 1.1 writes it.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_numbers() {
        let good = [
            ("0", 0),
            ("-3", -3),
            ("15_432", 15432),
            ("0x1F", 31),
            ("30.0", 30),
            (" 7 ", 7),
            ("+7", 7),
        ];
        for (text, number) in good {
            assert_eq!(integer(text), Some(number), "{text:?}");
        }
        for text in [
            "",
            "-",
            "+-3",
            "--3",
            "_1",
            "1_",
            "080",
            "1.5",
            "1e3",
            "٣",
            "99999999999999999999",
            "0x",
        ] {
            assert_eq!(integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_times() {
        let good = [
            ("30", 30.0),
            ("2.5", 2.5),
            ("500ms", 0.5),
            ("30s", 30.0),
            ("2 m", 120.0),
            ("1h", 3600.0),
        ];
        for (text, expected) in good {
            assert_eq!(seconds(text), Some(expected), "{text:?}");
        }
        for text in ["", "s", "soon", "1d", "inf", "nan", "1e999", ".s"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_switches_of_yaml_1_1() {
        let read = ["yes", "On", "TRUE", "no", "off", "False", "1", "y"].map(switch);
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(read, [yes, yes, yes, no, no, no, None, None]);
    }
}
