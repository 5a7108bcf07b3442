//! Lines that begin with `hint:`, for the mistakes that people make. They cost no compatibility: they come on a terminal only, or when
//! asked for.

/// A mistake and what to say about it.
struct Hint {
    /// Whether these words are of it; the message is empty when the command was accepted.
    applies: fn(&Words<'_>, &str) -> bool,
    text: &'static str,
}

struct Words<'w>(&'w [String]);

impl Words<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|w| w == word)
    }

    fn any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.has(word))
    }

    fn begins(&self, start: &str) -> bool {
        self.0.iter().any(|w| w.starts_with(start))
    }

    fn jumps(&self, targets: &[&str]) -> bool {
        self.0.windows(2).any(|pair| matches!(pair[0].as_str(), "-j" | "--jump") && targets.contains(&pair[1].as_str()))
    }

    fn table(&self) -> &str {
        let mut pairs = self.0.windows(2);
        pairs.find(|pair| matches!(pair[0].as_str(), "-t" | "--table")).map_or("filter", |pair| pair[1].as_str())
    }
}

const REFUSED: &[Hint] = &[
    Hint {
        applies: |words, _| {
            words.jumps(&["MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"]) && words.table() != "nat"
        },
        text: "address translation belongs to the nat table: add `-t nat'",
    },
    Hint {
        applies: |words, _| words.jumps(&["MASQUERADE"]) && !words.has("POSTROUTING"),
        text: "MASQUERADE changes the source of what leaves: `-t nat -A POSTROUTING -o DEVICE -j MASQUERADE'; for the destination of what \
               arrives use DNAT or REDIRECT in PREROUTING",
    },
    Hint {
        applies: |words, _| words.jumps(&["SNAT"]) && words.any(&["PREROUTING", "OUTPUT"]),
        text: "SNAT changes the source, on the way out: POSTROUTING (or INPUT); the destination is DNAT's, in PREROUTING or OUTPUT",
    },
    Hint {
        applies: |words, _| words.jumps(&["DNAT", "REDIRECT"]) && words.any(&["POSTROUTING", "INPUT"]),
        text: "DNAT and REDIRECT change the destination, before routing: PREROUTING, or OUTPUT for the host's own packets",
    },
    Hint {
        applies: |words, message| {
            words.any(&["state", "conntrack"]) && (message.starts_with("Bad state") || message.contains("ctstate"))
                || words.any(&["--state", "--ctstate"]) && message.starts_with("Bad argument")
        },
        text: "the states are NEW, ESTABLISHED, RELATED, INVALID and UNTRACKED, joined by commas without blanks",
    },
    Hint {
        applies: |words, message| message.contains("Couldn't load match `stat") && !words.has("statistic"),
        text: "connections are matched by `-m conntrack --ctstate ESTABLISHED,RELATED', or the older `-m state --state'",
    },
    Hint {
        applies: |words, _| words.begins("--ctr-packets") || words.begins("--ctr-bytes"),
        text: "there is no such option; a rule's counters are set with `-c PACKETS BYTES', and a connection's packets are matched with \
               `-m connbytes --connbytes N --connbytes-dir both --connbytes-mode packets'",
    },
    Hint {
        applies: |words, _| words.begins("ip_masq") || words.0.iter().any(|w| w.contains("ip_masq_")),
        text: "ip_masq_* settings are of Linux 2.2; what they did is `-t nat -A POSTROUTING -j MASQUERADE' and the settings \
               net.netfilter.nf_conntrack_*",
    },
    Hint {
        applies: |words, _| words.0.iter().any(|w| w.contains("ip_conntrack_")),
        text: "ip_conntrack_* are old names; the settings are net.netfilter.nf_conntrack_*",
    },
    Hint {
        applies: |words, _| words.jumps(&["MASQ", "MASQUARADE", "MASQURADE", "MASQUERAID"]),
        text: "the target is called MASQUERADE",
    },
    Hint {
        applies: |words, _| words.jumps(&["DENY"]),
        text: "DENY was ipchains' word; here it is DROP (silently) or REJECT (with an answer)",
    },
    Hint {
        applies: |words, message| {
            let unknown = message.contains("unknown option") && words.has("-m");
            let alone = message == "Invalid argument" && words.any(&["tcp", "udp"]);
            (unknown || alone) && words.begins("--dport") && !words.any(&["-p", "--protocol"])
        },
        text: "ports need a protocol first: `-p tcp --dport N'",
    },
];

const ACCEPTED: &[Hint] = &[Hint {
    applies: |words, _| words.begins("--cmd-owner") || words.begins("--pid-owner") || words.begins("--sid-owner"),
    text: "Linux dropped --cmd-owner, --pid-owner and --sid-owner long ago and refuses them; hairpin evaluates them",
}];

/// For a command that was refused with this message.
pub(crate) fn of_refused(words: &[String], message: &str) -> Option<&'static str> {
    find(REFUSED, words, message)
}

/// For a command that was carried out.
pub(crate) fn of_accepted(words: &[String]) -> Option<&'static str> {
    find(ACCEPTED, words, "")
}

fn find(hints: &[Hint], words: &[String], message: &str) -> Option<&'static str> {
    hints.iter().find(|hint| (hint.applies)(&Words(words), message)).map(|hint| hint.text)
}
