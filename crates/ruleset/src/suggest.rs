//! "Did you mean": the known name nearest to a mistyped one.

/// A hint that names the known name nearest to `text`, when one is near: at most two letters changed, left out, added or swapped,
/// and fewer than half of them.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = 2.min(text.len().saturating_sub(1) / 2);
    let (_, name) = known
        .into_iter()
        .map(|name| (distance(text, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)?;
    Some(format!("did you mean `{name}'?"))
}

/// Edit distance with swaps of neighbours (optimal string alignment), upper and lower case being the same.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(nearest("conntrak", ["comment", "conntrack"]), Some("did you mean `conntrack'?".to_owned()));
        assert_eq!(nearest("filetr", ["filter", "nat"]), Some("did you mean `filter'?".to_owned()));
        assert_eq!(nearest("accept", ["DROP", "ACCEPT"]), Some("did you mean `ACCEPT'?".to_owned()));
        assert_eq!(nearest("xy", ["tcp", "udp"]), None);
        assert_eq!(nearest("", ["tcp"]), None);
    }
}
