//! The numbers of `-w` and `-W`, as iptables and iptables-restore read them.

use hairpin_xt::value;

/// What `-W` says, whenever its number is right.
pub const INTERVAL_NOTICE: &str = "Ignoring deprecated --wait-interval option.";

/// The seconds of `-w`, whatever follows them; None inside is for ever. None when there is no number.
pub fn seconds(text: &str) -> Option<Option<u32>> {
    Some(u32::try_from(scan(text)? as i32).ok())
}

/// Looks at the microseconds of `-W`, which have no effect.
///
/// # Errors
/// There is no number, or too large a one: the message.
pub fn check_interval(text: Option<&str>) -> Result<(), String> {
    let Some(text) = text else { return Err("wait interval value required".to_owned()) };
    match scan(text).map(|number| number as u32) {
        None => Err("wait interval not numeric".to_owned()),
        Some(interval) if interval > 999_999 => Err(format!("too long usec wait {interval} > 999999 usec")),
        Some(_) => Ok(()),
    }
}

/// Whether `-w` waits at all: with 0 seconds it is as if it were not there.
pub fn waits(wait: Option<Option<u32>>) -> bool {
    wait.is_some_and(|seconds| seconds != Some(0))
}

/// What `sscanf` reads by `%i` into more than an int.
fn scan(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = value::split_number(digits).map_or(i64::MAX, |(number, _)| i64::try_from(number).unwrap_or(i64::MAX));
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_sscanf_reads_them() {
        let read =
            [("5", Some(5)), ("5x", Some(5)), (" 0x10", Some(16)), ("08", Some(0)), ("0x", Some(0)), ("-3", None)];
        for (text, meant) in read {
            assert_eq!(seconds(text), Some(meant), "{text}");
        }
        assert_eq!(seconds("99999999999"), Some(Some(1_215_752_191)));
        for text in ["", "x", "- 3", "=5"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        let says = |text| check_interval(text).err().unwrap_or_default();
        assert_eq!(says(Some("999999")), "");
        assert_eq!(says(Some("1000000")), "too long usec wait 1000000 > 999999 usec");
        assert_eq!(says(Some("-1")), "too long usec wait 4294967295 > 999999 usec");
        assert_eq!(says(Some("x")), "wait interval not numeric");
        assert_eq!(says(None), "wait interval value required");
    }
}
