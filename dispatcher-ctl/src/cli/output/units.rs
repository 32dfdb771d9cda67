//! Times and sizes for people.

/// A count or rate with about three digits: `0`, `7.5`, `999`, `12.3k`, `1.00M`.
#[must_use]
pub fn si(value: f64) -> String {
    let exact = value.fract() == 0.0;
    let (scaled, suffix) = scale(value);
    match (suffix, scaled) {
        ("", n) if exact || n >= 100.0 => format!("{n:.0}"),
        ("", n) => format!("{n:.1}"),
        (_, n) if n < 10.0 => format!("{n:.2}{suffix}"),
        (_, n) if n < 100.0 => format!("{n:.1}{suffix}"),
        (_, n) => format!("{n:.0}{suffix}"),
    }
}

/// A number of bytes: `0 B`, `12.3 kB`, `1.00 GB` (powers of 1000).
#[must_use]
pub fn bytes(value: f64) -> String {
    let written = si(value);
    match written.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => format!("{} {}B", &written[..at], &written[at..]),
        None => format!("{written} B"),
    }
}

/// A whole number with thousands separators: `1,234,567`.
#[must_use]
pub fn whole(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as milliseconds: `12.5 ms`.
#[must_use]
pub fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// A time span in its two largest units: `0s`, `45s`, `3m 5s`, `2h 10m`, `4d 3h`.
#[must_use]
pub fn span(seconds: f64) -> String {
    // Saturates; a negative span is 0.
    let s = seconds as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => two_units(s, 60, "m", "s", 1),
        3_600..86_400 => two_units(s, 3_600, "h", "m", 60),
        _ => two_units(s, 86_400, "d", "h", 3_600),
    }
}

fn two_units(s: u64, large: u64, large_unit: &str, small_unit: &str, small: u64) -> String {
    match s % large / small {
        0 => format!("{}{large_unit}", s / large),
        rest => format!("{}{large_unit} {rest}{small_unit}", s / large),
    }
}

/// A share as a percentage: `0 %`, `0.003 %`, `12.5 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p < 0.001 => "<0.001 %".to_owned(),
        p if p < 0.1 => format!("{p:.3} %"),
        p => format!("{p:.1} %"),
    }
}

/// The number scaled below 1000 (after rounding), and its unit's prefix.
fn scale(value: f64) -> (f64, &'static str) {
    let mut scaled = value;
    for suffix in ["", "k", "M", "G", "T", "P"] {
        if scaled < 999.5 {
            return (scaled, suffix);
        }
        scaled /= 1000.0;
    }
    (scaled, "E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (7.46, "7.5"),
            (999.0, "999"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1000.0, "1.00k"),
            (12_345.0, "12.3k"),
            (999_400.0, "999k"),
            (999_600.0, "1.00M"),
            (1.5e18, "1.50E"),
        ];
        for (value, want) in cases {
            assert_eq!(si(value), want, "{value}");
        }
        assert_eq!((bytes(0.0), bytes(1500.0)), ("0 B".to_owned(), "1.50 kB".to_owned()));
        assert_eq!(
            (whole(0), whole(999), whole(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (-5.0, "0s"),
            (59.9, "59s"),
            (60.0, "1m"),
            (185.0, "3m 5s"),
            (3_600.0, "1h"),
            (7_800.0, "2h 10m"),
            (86_400.0 * 4.0 + 3.0 * 3_600.0, "4d 3h"),
        ];
        for (seconds, want) in cases {
            assert_eq!(span(seconds), want, "{seconds}");
        }
        assert_eq!((percent(0.0), percent(0.125)), ("0 %".to_owned(), "12.5 %".to_owned()));
        assert_eq!(
            (percent(0.000_03), percent(1e-7)),
            ("0.003 %".to_owned(), "<0.001 %".to_owned())
        );
    }
}
