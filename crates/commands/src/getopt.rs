//! Options of the smaller programs, read as `getopt_long` reads them and refused in its words.

/// An option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// The long name without dashes; empty when it has none.
    pub(crate) long: &'static str,
    pub(crate) short: char,
    /// A placeholder for its value; empty when it takes none.
    pub(crate) value: &'static str,
    /// One line for people.
    pub(crate) help: &'static str,
}

/// What the words say: each option with its value, and the words that are no options.
pub(crate) type Given<'w> = (Vec<(char, &'w str)>, Vec<&'w str>);

/// Reads words. The error is getopt's line, which begins with the name that the program was called by.
pub(crate) fn read<'w>(name: &str, flags: &[Flag], words: &'w [String]) -> Result<Given<'w>, String> {
    let (mut given, mut rest) = (Vec::new(), Vec::new());
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "--" {
            rest.extend(words);
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (typed, attached) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
            let flag = find(name, flags, typed, word)?;
            let value = match (flag.value.is_empty(), attached) {
                (true, None) => "",
                (true, Some(_)) => return Err(format!("{name}: option '--{}' doesn't allow an argument", flag.long)),
                (false, Some(value)) => value,
                (false, None) => {
                    words.next().ok_or_else(|| format!("{name}: option '--{}' requires an argument", flag.long))?
                }
            };
            given.push((flag.short, value));
        } else if let Some(cluster) = word.strip_prefix('-').filter(|c| !c.is_empty()) {
            let mut chars = cluster.chars();
            while let Some(short) = chars.next() {
                let known = flags.iter().find(|f| f.short == short);
                let flag = known.ok_or_else(|| format!("{name}: invalid option -- '{short}'"))?;
                if flag.value.is_empty() {
                    given.push((short, ""));
                    continue;
                }
                let value = match chars.as_str() {
                    "" => words.next().ok_or_else(|| format!("{name}: option requires an argument -- '{short}'"))?,
                    attached => attached,
                };
                given.push((short, value));
                break;
            }
        } else {
            rest.push(word);
        }
    }
    Ok((given, rest))
}

fn find<'f>(name: &str, flags: &'f [Flag], typed: &str, word: &str) -> Result<&'f Flag, String> {
    if let Some(flag) = flags.iter().find(|f| f.long == typed) {
        return Ok(flag);
    }
    let word = word.split('=').next().unwrap_or_default();
    let mut starting = flags.iter().filter(|f| f.long.starts_with(typed));
    match (starting.next(), starting.next()) {
        (Some(flag), None) => Ok(flag),
        (None, _) => Err(format!("{name}: unrecognized option '{word}'")),
        (Some(_), Some(_)) => {
            let all: Vec<String> =
                flags.iter().filter(|f| f.long.starts_with(typed)).map(|f| format!("'--{}'", f.long)).collect();
            Err(format!("{name}: option '{word}' is ambiguous; possibilities: {}", all.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { long: "table", short: 't', value: "table", help: "" },
        Flag { long: "test", short: 'e', value: "", help: "" },
        Flag { long: "counters", short: 'c', value: "", help: "" },
    ];

    fn says(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match read("p", FLAGS, &words) {
            Ok((given, rest)) => format!("{given:?} {rest:?}"),
            Err(why) => why,
        }
    }

    #[test]
    fn as_the_c_library_does() {
        assert_eq!(says("-ctnat x --co"), r#"[('c', ""), ('t', "nat"), ('c', "")] ["x"]"#);
        assert_eq!(says("--table=a --tab b -- -c"), r#"[('t', "a"), ('t', "b")] ["-c"]"#);
        assert_eq!(says("-x"), "p: invalid option -- 'x'");
        assert_eq!(says("--nope=3"), "p: unrecognized option '--nope'");
        assert_eq!(says("--t"), "p: option '--t' is ambiguous; possibilities: '--table' '--test'");
        assert_eq!(says("-ct"), "p: option requires an argument -- 't'");
        assert_eq!(says("--count=1"), "p: option '--counters' doesn't allow an argument");
    }
}
