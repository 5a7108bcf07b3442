//! Options on a command line, found as `getopt_long` finds them: clusters of short options, values attached or apart, long
//! options abbreviated as long as they are unambiguous. The set of long options grows while a rule is read, because each `-m`
//! and `-j` brings its own.

use hairpin_xt::option::Opt;
use hairpin_xt::{MatchSpec, TargetSpec};
use std::ptr;

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It takes none.
    No,
    /// It takes one.
    Value,
    /// Only when attached: `-Lchain`, `--list=chain`. For most of these iptables also looks at the next word.
    Attached,
}

/// One of iptables' own options.
#[derive(Clone, Copy, Debug)]
pub struct BaseOption {
    /// Its long name without dashes.
    pub long: &'static str,
    /// Its short name; a digit 0 when it has none.
    pub short: char,
    /// Whether it takes a value.
    pub takes: Takes,
    /// A placeholder for the value.
    pub value: &'static str,
    /// One line for people.
    pub help: &'static str,
}

const fn option(long: &'static str, short: char, takes: Takes, value: &'static str, help: &'static str) -> BaseOption {
    BaseOption { long, short, takes, value, help }
}

/// iptables' own options: the parser, `-h`, manual pages and completion read them here.
pub const BASE: &[BaseOption] = &[
    option("append", 'A', Takes::Value, "chain", "append a rule to a chain"),
    option("delete", 'D', Takes::Value, "chain", "delete a rule: by its words, or by its number"),
    option("check", 'C', Takes::Value, "chain", "see whether a rule is there"),
    option("insert", 'I', Takes::Value, "chain", "insert a rule at a number, 1 if none is given"),
    option("replace", 'R', Takes::Value, "chain", "replace the rule of a number"),
    option("list", 'L', Takes::Attached, "chain", "list the rules of a chain, or of all, in columns"),
    option("list-rules", 'S', Takes::Attached, "chain", "print the rules of a chain, or of all, as commands"),
    option("flush", 'F', Takes::Attached, "chain", "delete all rules of a chain, or of all"),
    option("zero", 'Z', Takes::Attached, "chain", "set counters to zero: of a rule, a chain, or all"),
    option("new-chain", 'N', Takes::Value, "chain", "make a chain"),
    option("delete-chain", 'X', Takes::Attached, "chain", "delete a chain that is empty and not called, or all such"),
    option("rename-chain", 'E', Takes::Value, "old new", "give a chain another name, also in the rules that call it"),
    option(
        "policy",
        'P',
        Takes::Value,
        "chain policy",
        "what becomes of packets at the end of a built-in chain: ACCEPT or DROP",
    ),
    option("source", 's', Takes::Value, "address[/mask][,...]", "packets from these addresses; a rule for each"),
    option("destination", 'd', Takes::Value, "address[/mask][,...]", "packets to these addresses; a rule for each"),
    option("src", 's', Takes::Value, "address", "the same as --source"),
    option("dst", 'd', Takes::Value, "address", "the same as --destination"),
    option("protocol", 'p', Takes::Value, "protocol", "packets of this protocol, by name or number"),
    option(
        "in-interface",
        'i',
        Takes::Value,
        "device",
        "packets that came by this device; `eth+' is any whose name begins with eth",
    ),
    option("jump", 'j', Takes::Value, "target", "what to do: ACCEPT, DROP, RETURN, a chain, or an extension"),
    option("table", 't', Takes::Value, "table", "filter (if not given), nat, mangle, raw or security"),
    option("match", 'm', Takes::Value, "match", "use an extension's tests"),
    option("numeric", 'n', Takes::No, "", "addresses and ports as numbers"),
    option("out-interface", 'o', Takes::Value, "device", "packets that leave by this device"),
    option("verbose", 'v', Takes::No, "", "more: counters and devices, or the rule as it was understood"),
    option("wait", 'w', Takes::Attached, "seconds", "wait for the lock, for ever when no number is given"),
    option("wait-interval", 'W', Takes::Attached, "microseconds", "has no effect"),
    option("exact", 'x', Takes::No, "", "counters in full, not in thousands and millions"),
    option("fragments", 'f', Takes::No, "", "second and later fragments only"),
    option("version", 'V', Takes::No, "", "print the version"),
    option("help", 'h', Takes::Attached, "name", "this text; with -m NAME or -j NAME, that extension's options too"),
    option("line-numbers", '0', Takes::No, "", "number the rules"),
    option("modprobe", 'M', Takes::Value, "command", "has no effect"),
    option("set-counters", 'c', Takes::Value, "packets bytes", "the counters that the rule begins with"),
    option("goto", 'g', Takes::Value, "chain", "go on in a chain and do not come back"),
    option("ipv4", '4', Takes::No, "", "a rule file's line for iptables only"),
    option("ipv6", '6', Takes::No, "", "a rule file's line for ip6tables only"),
];

/// What stands for `--json` among the short names.
pub(crate) const JSON: char = '1';

/// Who brought an option.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extension {
    Match(&'static MatchSpec),
    Target(&'static TargetSpec),
}

impl Extension {
    pub(crate) fn options(self) -> &'static [Opt] {
        match self {
            Extension::Match(spec) => spec.options,
            Extension::Target(spec) => spec.options,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Extension::Match(spec) => spec.name,
            Extension::Target(spec) => spec.name,
        }
    }

    pub(crate) fn is(self, other: Extension) -> bool {
        match (self, other) {
            (Extension::Match(a), Extension::Match(b)) => ptr::eq(a, b),
            (Extension::Target(a), Extension::Target(b)) => ptr::eq(a, b),
            _ => false,
        }
    }
}

/// An option of an extension, as found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) extension: Extension,
    pub(crate) option: &'static Opt,
    /// The declared name that was meant: the option's or one of its aliases.
    pub(crate) name: &'static str,
}

/// What stands next on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'w> {
    /// One of iptables' own options, by its short name, and its value.
    Base(char, Option<&'w str>),
    /// An extension's option, and its value.
    Extension(Found, Option<&'w str>),
    /// Not an option.
    Word(&'w str),
    /// A short option that nobody knows.
    UnknownShort(char),
    /// A long option that nobody knows, or that could be several, as typed.
    Unknown(&'w str),
    /// The value is missing; the option as typed.
    NoValue(&'w str),
}

/// The reader of a command line. `known` grows by [`Reader::learn`].
pub(crate) struct Reader<'w, W> {
    words: &'w [W],
    at: usize,
    /// The byte of the current word at which the next short option of a cluster stands.
    cluster: usize,
    /// The word that the last item came from.
    current: usize,
    /// Oldest first; searched newest first.
    known: Vec<Extension>,
    /// The one of iptables' own long options that this program does not have.
    lacks: &'static str,
}

enum Lookup {
    Base(char, Takes),
    Extension(Found),
    None,
}

impl<'w, W: AsRef<str>> Reader<'w, W> {
    pub(crate) fn new(words: &'w [W]) -> Reader<'w, W> {
        Reader { words, at: 0, cluster: 0, current: 0, known: Vec::new(), lacks: "" }
    }

    /// A reader that does not know one of iptables' own long options.
    pub(crate) fn without(self, long: &'static str) -> Reader<'w, W> {
        Reader { lacks: long, ..self }
    }

    fn base(&self) -> impl Iterator<Item = &'static BaseOption> {
        let lacks = self.lacks;
        BASE.iter().filter(move |base| base.long != lacks)
    }

    /// Adds an extension's options, which go before those of earlier ones.
    pub(crate) fn learn(&mut self, extension: Extension) {
        if !self.known.iter().any(|k| k.is(extension)) {
            self.known.push(extension);
        }
    }

    /// The extensions whose options are known, newest first.
    pub(crate) fn known(&self) -> impl Iterator<Item = Extension> {
        self.known.iter().rev().copied()
    }

    /// The index of the word that the last item began with.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The index of the next word not yet read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Reads the last word again.
    pub(crate) fn again(&mut self) {
        self.at = self.current;
        self.cluster = 0;
    }

    /// Takes the next word if there is one and it begins with neither `-` nor `!` (`xs_has_arg`).
    pub(crate) fn argument(&mut self) -> Option<&'w str> {
        let word: &'w str = self.words.get(self.at)?.as_ref();
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.at += 1;
        Some(word)
    }

    /// The next item; None at the end or after `--`.
    pub(crate) fn next(&mut self) -> Option<Item<'w>> {
        let word: &'w str = self.words.get(self.at)?.as_ref();
        self.current = self.at;
        if self.cluster > 0 {
            return Some(self.short(word));
        }
        if word == "--" {
            self.at += 1;
            return None;
        }
        if let Some(long) = word.strip_prefix("--") {
            self.at += 1;
            return Some(self.long(word, long));
        }
        if word.starts_with('-') && word.len() > 1 {
            self.cluster = 1;
            return Some(self.short(word));
        }
        self.at += 1;
        Some(Item::Word(word))
    }

    fn long(&mut self, word: &'w str, long: &'w str) -> Item<'w> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        match self.lookup(name) {
            Lookup::None => Item::Unknown(word),
            Lookup::Base(_, Takes::No) if attached.is_some() => Item::Unknown(word),
            Lookup::Base(short, Takes::Value) if attached.is_none() => match self.value() {
                Some(value) => Item::Base(short, Some(value)),
                None => Item::NoValue(word),
            },
            Lookup::Base(short, _) => Item::Base(short, attached),
            Lookup::Extension(found) if found.option.values.is_empty() => match attached {
                Some(_) => Item::Unknown(word),
                None => Item::Extension(found, None),
            },
            Lookup::Extension(found) if attached.is_some() || found.option.optional => Item::Extension(found, attached),
            Lookup::Extension(found) => match self.value() {
                Some(value) => Item::Extension(found, Some(value)),
                None => Item::NoValue(word),
            },
        }
    }

    /// The next word whatever it looks like.
    fn value(&mut self) -> Option<&'w str> {
        let value: &'w str = self.words.get(self.at)?.as_ref();
        self.at += 1;
        Some(value)
    }

    fn short(&mut self, word: &'w str) -> Item<'w> {
        let rest = word.get(self.cluster..).unwrap_or_default();
        let mut chars = rest.chars();
        let Some(short) = chars.next() else {
            // Cannot be: a cluster ends with its last option. Going on with the next word is harmless.
            self.leave_cluster();
            return Item::Unknown(word);
        };
        let attached = chars.as_str();
        self.cluster = word.len() - attached.len();
        let takes = BASE.iter().find(|base| base.short == short && short != '0').map(|base| base.takes);
        match takes {
            None | Some(Takes::No) => {
                if attached.is_empty() {
                    self.leave_cluster();
                }
                if takes.is_none() { Item::UnknownShort(short) } else { Item::Base(short, None) }
            }
            Some(takes) => {
                let attached = (!attached.is_empty()).then_some(attached);
                self.leave_cluster();
                match (attached, takes) {
                    (None, Takes::Value) => match self.value() {
                        Some(value) => Item::Base(short, Some(value)),
                        None => Item::NoValue(word),
                    },
                    (attached, _) => Item::Base(short, attached),
                }
            }
        }
    }

    fn leave_cluster(&mut self) {
        self.at += 1;
        self.cluster = 0;
    }

    /// An exact name, else the only option that begins so. iptables' own options come first, then those learnt last.
    fn lookup(&self, name: &str) -> Lookup {
        // The first letter decides most comparisons without a call.
        let same = |known: &str| known.as_bytes().first() == name.as_bytes().first() && known == name;
        if let Some(base) = self.base().find(|base| same(base.long)) {
            return Lookup::Base(base.short, base.takes);
        }
        // An addition of hairpin, under its full name only, so that it makes no abbreviation ambiguous.
        if name == "json" {
            return Lookup::Base(JSON, Takes::No);
        }
        let exact = self.candidates().find(|found| same(found.name));
        if let Some(found) = exact {
            return Lookup::Extension(found);
        }
        let mut base = self.base().filter(|base| base.long.starts_with(name));
        let mut extensions = self.candidates().filter(|found| found.name.starts_with(name));
        match (base.next(), extensions.next()) {
            (Some(first), None) if base.all(|other| other.short == first.short) => {
                Lookup::Base(first.short, first.takes)
            }
            (None, Some(first)) if extensions.all(|other| ptr::eq(other.option, first.option)) => {
                Lookup::Extension(first)
            }
            _ => Lookup::None,
        }
    }

    fn candidates(&self) -> impl Iterator<Item = Found> {
        self.known().flat_map(|extension| {
            extension.options().iter().flat_map(move |option| {
                std::iter::once(option.name).chain(option.aliases.iter().copied()).map(move |name| Found {
                    extension,
                    option,
                    name,
                })
            })
        })
    }

    /// All long options known now, for suggestions.
    pub(crate) fn long_names(&self) -> impl Iterator<Item = &'static str> {
        self.base().map(|base| base.long).chain(self.candidates().map(|found| found.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut reader = Reader::new(&words);
        let mut items = Vec::new();
        while let Some(item) = reader.next() {
            items.push(match item {
                Item::Base(short, value) => format!("{short}={}", value.unwrap_or_default()),
                Item::Extension(found, value) => format!("{}={}", found.name, value.unwrap_or_default()),
                Item::Word(word) => format!("word {word}"),
                Item::UnknownShort(short) => format!("unknown -{short}"),
                Item::Unknown(word) => format!("unknown {word}"),
                Item::NoValue(word) => format!("no value {word}"),
            });
        }
        items
    }

    #[test]
    fn short_options_cluster() {
        assert_eq!(read("-nvL INPUT"), ["n=", "v=", "L=", "word INPUT"]);
        assert_eq!(read("-ptcp -LINPUT -vs 1.1.1.1"), ["p=tcp", "L=INPUT", "v=", "s=1.1.1.1"]);
        assert_eq!(read("-z -nz -0"), ["unknown -z", "n=", "unknown -z", "unknown -0"]);
        assert_eq!(read("-s"), ["no value -s"]);
        assert_eq!(read("- ! -4"), ["word -", "word !", "4="]);
    }

    #[test]
    fn long_options_may_be_shortened() {
        assert_eq!(read("--source=1.1.1.1 --dest 2 --so 3"), ["s=1.1.1.1", "d=2", "s=3"]);
        assert_eq!(read("--s 1"), ["unknown --s", "word 1"]);
        assert_eq!(read("--list --list=X"), ["L=", "L=X"]);
        assert_eq!(read("--numeric=4"), ["unknown --numeric=4"]);
        assert_eq!(read("--jump"), ["no value --jump"]);
        assert_eq!(read("-n -- -n"), ["n="]);
    }

    #[test]
    fn extensions_bring_options() {
        let words = ["--mark", "1", "--set-m", "2", "--set"];
        let mut reader = Reader::new(&words);
        assert!(matches!(reader.next(), Some(Item::Unknown(_))));
        reader.again();
        reader.learn(Extension::Match(hairpin_xt::find_match("mark", hairpin_wire::Family::V4).unwrap()));
        reader.learn(Extension::Target(hairpin_xt::find_target("MARK", hairpin_wire::Family::V4).unwrap()));
        assert!(matches!(reader.next(), Some(Item::Extension(f, Some(v))) if f.name == "mark" && v == "1"));
        assert!(matches!(reader.next(), Some(Item::Extension(f, Some(v))) if f.name == "set-mark" && v == "2"));
        assert!(matches!(reader.next(), Some(Item::Unknown(_))), "set-counters, set-mark or set-xmark");
    }
}
