//! Help for people who mistype: the known word nearest to an unknown one.

/// The candidate that differs least from `word`, if it is near enough to be what was meant: at most a third of its letters
/// wrong, missing, too many or swapped with their neighbor. Among equals the first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let limit = best.map_or(word.chars().count().max(3) / 3, |(distance, _)| distance.saturating_sub(1));
        if best.is_some_and(|(distance, _)| distance == 0) {
            break;
        }
        let distance = distance(word, candidate);
        if distance <= limit {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, changes and swaps of neighbors between two words; upper and lower case count as equal.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    // Three rows of the usual table: two letters ago, one letter ago, now.
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut now = vec![i + 1];
        for j in 0..b.len() {
            let change = last[j] + usize::from(a[i] != b[j]);
            let mut least = change.min(last[j + 1] + 1).min(now[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            now.push(least);
        }
        before = std::mem::replace(&mut last, now);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_usual_slips() {
        for (a, b, n) in [("", "", 0), ("eth", "eth", 0), ("", "abc", 3), ("via", "vai", 1), ("mtu", "mut", 1)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
        assert_eq!(distance("addresses", "adresses"), 1);
        assert_eq!(distance("metric", "Metrik"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["name", "mac", "mtu", "addresses", "group"];
        assert_eq!(nearest("adress", known), None);
        assert_eq!(nearest("adresses", known), Some("addresses"));
        assert_eq!(nearest("addreses", known), Some("addresses"));
        assert_eq!(nearest("mut", known), Some("mtu"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
