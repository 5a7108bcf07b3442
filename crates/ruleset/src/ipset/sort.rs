//! The order of `-sorted`: piece by piece, shorter pieces first, so that numbers come in their order; of two networks with the
//! same address the smaller one first.

use std::cmp::Ordering;

/// Compares two elements as they are printed, with what follows them.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    if a.starts_with(':') && b.starts_with(':') {
        return a.cmp(b);
    }
    let (mut a, mut b) = (a, b);
    // Behind a comma stands a name, which ends with the line; within an address a piece ends with the address.
    let mut is_name = false;
    loop {
        let (left, right) = (piece(a, is_name), piece(b, is_name));
        let by_piece = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
        if by_piece != Ordering::Equal {
            return by_piece;
        }
        (a, b) = (&a[left.len()..], &b[right.len()..]);
        match (a.chars().next(), b.chars().next()) {
            (Some('/'), Some('/')) => match (prefix(a), prefix(b)) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                (Some((x, _)), Some((y, _))) => return y.cmp(&x),
                _ => return a.cmp(b),
            },
            (Some('/'), _) => return Ordering::Greater,
            (_, Some('/')) => return Ordering::Less,
            _ => {}
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(x), Some(y)) if x == y => {
                is_name = x == ',';
                (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            }
            (x, y) => return x.cmp(&y),
        }
    }
}

/// Up to the next separator: a number, or a word with all that follows it. Where nothing stands between a separator and a `/`, the
/// prefix length with all that follows it is a piece.
fn piece(text: &str, is_name: bool) -> &str {
    let is_end = |c: char| matches!(c, '.' | ':' | ',' | '-' | '/');
    let end = match text.chars().next() {
        Some('/') => text[1..].find(is_end).map(|end| end + 1),
        Some(c) if c.is_ascii_digit() || !is_name => text.find(|c: char| is_end(c) || c == ' '),
        _ => text.find(is_end),
    };
    &text[..end.unwrap_or(text.len())]
}

/// The number after a `/`, and what follows it.
fn prefix(text: &str) -> Option<(u32, &str)> {
    let text = text.strip_prefix('/')?;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn sorted(lines: &[&str]) {
        let mut shuffled = lines.to_vec();
        shuffled.reverse();
        shuffled.sort_by(|a, b| compare(a, b));
        assert_eq!(shuffled, lines);
    }

    #[test]
    fn as_recorded() {
        sorted(&[
            "0.0.0.0",
            "0.0.0.0/31",
            "0.0.0.0/30",
            "0.0.0.0/9",
            "0.0.0.0/1",
            "1.0.0.0/8",
            "2.0.0.0/7",
            "10.0.0.0/8",
        ]);
        sorted(&["1.2.3.4,ah:0", "1.2.3.4,esp:0", "1.2.3.4,tcp:9", "1.2.3.4,tcp:80", "1.2.3.4,udp:9"]);
        sorted(&["1.2.3.4,udp:80", "1.2.3.4,icmp:9/9", "1.2.3.4,icmp:echo-reply", "1.2.3.4,sctp:5", "1.2.3.40,ah:0"]);
        sorted(&["::", "::/1", "::/100", "::/16", "::1", "1::", "1::2:0", "1:0:0:1::", "2000::/8", "2001::/16"]);
        sorted(&["2001:db8::", "2001:db8::1", "2001:db8::1:0:0/127", "2001:db8::1:0:0/99", "2001:db8::/29"]);
        sorted(&["2001:db8::/29", "2001:db8::/32", "2001:db8::/99", "2001:db8::/100", "2001:db8:0:1::1"]);
        sorted(&[
            "2000::/9 packets 0",
            "2001:db8::/64 packets 0",
            "2001:db8::/125 packets 10",
            "2001:db8::/124 packets 0 skbqueue 3",
            "2001:db8::/32 packets 0 skbmark 0x10",
        ]);
        sorted(&["2001:db8::e packets 0 bytes 70", "2001:db8::12 packets 0 bytes 0"]);
        sorted(&["10.0.0.3 nomatch", "10.0.0.4/30", "10.0.0.8/29"]);
        sorted(&[
            "9.0.0.0/8,lo",
            "10.0.0.0/9,lo",
            "10.0.0.0/8,eth0",
            "10.0.0.0/8,eth10",
            "10.0.0.0/8,physdev:eth1",
            "10.0.0.0/8,e wildcard",
        ]);
    }
}
