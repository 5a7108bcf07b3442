//! Where hairpin means to differ from iptables 1.8.11, and why.

use super::rule::Rule;

/// The reason why this rule may differ, if there is one.
pub(super) fn reason(rule: &Rule) -> Option<&'static str> {
    let has = |word: &str| rule.words.iter().any(|w| w == word);
    if ["--pid-owner", "--sid-owner", "--cmd-owner"].into_iter().any(has) {
        return Some("owner knows the process, session and command of old guides, which Linux dropped");
    }
    let follow = |a: &str, b: &str| rule.words.windows(2).any(|two| two[0] == a && two[1] == b);
    if follow("-m", "udplite") || follow("-p", "udplite") && rule.words.iter().any(|w| w.ends_with("port")) {
        return Some("udplite is a match of the kernel for which iptables has no word");
    }
    if has("ipcomp") && !has("--ipcompspi") {
        return Some("ipcomp without an index means any, so that what is saved means the same when it is restored");
    }
    if rule.words.windows(2).any(|two| two[0] == "--timeout" && two[1].len() > 4) {
        return Some("Linux forgets a timeout policy's name after its fourth character when rules are read back");
    }
    if has("--connlimit-mask") {
        return Some("a connlimit mask with holes is deleted by its own words");
    }
    None
}
