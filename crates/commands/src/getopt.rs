//! Options of the smaller programs, read as `getopt_long` reads them and refused in its words.

/// An option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// The long name without dashes; empty when it has none.
    pub(crate) long: &'static str,
    pub(crate) short: char,
    /// A placeholder for its value; empty when it takes none; in brackets when the value may be left out: it stands after `=` then, and
    /// the program may look at the next word.
    pub(crate) value: &'static str,
    /// One line for people.
    pub(crate) help: &'static str,
}

/// Whether an option takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    No,
    Value,
    /// Only a long one, and only after `=`.
    Attached,
}

impl Flag {
    fn takes(&self) -> Takes {
        match self.value.as_bytes() {
            [] => Takes::No,
            [b'[', ..] => Takes::Attached,
            _ => Takes::Value,
        }
    }
}

/// A reader of words, one option after the other. The errors are getopt's lines, which begin with the name that the program was
/// called by.
pub(crate) struct Reader<'w, 'f> {
    name: &'f str,
    flags: &'f [Flag],
    words: &'w [String],
    at: usize,
    /// What is left of a cluster of short options.
    cluster: &'w str,
    /// The words that are no options, so far.
    pub(crate) rest: Vec<&'w str>,
}

impl<'w, 'f> Reader<'w, 'f> {
    pub(crate) fn new(name: &'f str, flags: &'f [Flag], words: &'w [String]) -> Reader<'w, 'f> {
        Reader { name, flags, words, at: 0, cluster: "", rest: Vec::new() }
    }

    /// The next option and its value; none at the end.
    pub(crate) fn next(&mut self) -> Option<Result<(char, Option<&'w str>), String>> {
        loop {
            if !self.cluster.is_empty() {
                return Some(self.short());
            }
            let word = self.word()?;
            if word == "--" {
                self.rest.extend(self.words[self.at..].iter().map(String::as_str));
                self.at = self.words.len();
            } else if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(word, long));
            } else if word.len() > 1 && word.starts_with('-') {
                self.cluster = &word[1..];
            } else {
                self.rest.push(word);
            }
        }
    }

    /// Takes the next word if it looks like a value (`xs_has_arg`).
    pub(crate) fn argument(&mut self) -> Option<&'w str> {
        let looks_so = |word: &&String| !word.starts_with(['-', '!']);
        let is_there = self.cluster.is_empty() && self.words.get(self.at).filter(looks_so).is_some();
        if is_there { self.word() } else { None }
    }

    fn word(&mut self) -> Option<&'w str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn long(&mut self, word: &str, long: &'w str) -> Result<(char, Option<&'w str>), String> {
        let name = self.name;
        let (typed, attached) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        let flag = find(name, self.flags, typed, word)?;
        let value = match (flag.takes(), attached) {
            (Takes::No, Some(_)) => return Err(format!("{name}: option '--{}' doesn't allow an argument", flag.long)),
            (Takes::Value, None) => {
                Some(self.word().ok_or_else(|| format!("{name}: option '--{}' requires an argument", flag.long))?)
            }
            (_, attached) => attached,
        };
        Ok((flag.short, value))
    }

    fn short(&mut self) -> Result<(char, Option<&'w str>), String> {
        let name = self.name;
        let mut chars = self.cluster.chars();
        let short = chars.next().unwrap_or_default();
        self.cluster = chars.as_str();
        let known = self.flags.iter().find(|f| f.short == short);
        let flag = known.ok_or_else(|| format!("{name}: invalid option -- '{short}'"))?;
        if flag.takes() != Takes::Value {
            return Ok((short, None));
        }
        let attached = std::mem::take(&mut self.cluster);
        let value = if attached.is_empty() { self.word() } else { Some(attached) };
        let missing = || format!("{name}: option requires an argument -- '{short}'");
        value.map(|value| (short, Some(value))).ok_or_else(missing)
    }
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
        Flag { long: "wait", short: 'w', value: "[seconds]", help: "" },
    ];

    fn says(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut reader = Reader::new("p", FLAGS, &words);
        let mut given = Vec::new();
        while let Some(option) = reader.next() {
            match option {
                Ok((short, value)) => given.push((short, value.unwrap_or_default())),
                Err(why) => return why,
            }
        }
        format!("{given:?} {:?}", reader.rest)
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

    #[test]
    fn a_value_that_may_be_left_out() {
        assert_eq!(says("--wait=5 --wait x -w y"), r#"[('w', "5"), ('w', ""), ('w', "")] ["x", "y"]"#);
        assert_eq!(says("-w5"), "p: invalid option -- '5'");
        let words = ["-cw", "7", "-wc", "8"].map(str::to_owned);
        let mut reader = Reader::new("p", FLAGS, &words);
        let mut read = Vec::new();
        while let Some(Ok((short, _))) = reader.next() {
            read.push((short, if short == 'w' { reader.argument() } else { None }));
        }
        assert_eq!(read, [('c', None), ('w', Some("7")), ('w', None), ('c', None)]);
        assert_eq!(reader.rest, ["8"]);
    }
}
