//! Refusals have iptables' words and exit codes. Each line was tried on iptables (legacy) 1.8.9; where 1.8.11 says it otherwise,
//! 1.8.11 is right.

mod common;

use common::{Refused, restored_onto, rules_of, run, saved};
use hairpin_engine::rule::{Compiled, Ruleset, TableId};
use hairpin_ruleset::error::Refusal;
use hairpin_ruleset::list::{ListOptions, list_rules, take_counters};
use hairpin_wire::Family;

/// Commands that are refused before the rule set is looked at: exit code 2.
const WORDS: &[(&str, &str)] = &[
    ("-A INPUT --foo", "unknown option \"--foo\""),
    ("-A INPUT -z", "unknown option \"-z\""),
    ("-A INPUT --numeric=4", "unknown option \"--numeric=4\""),
    ("-A INPUT --s 1.1.1.1", "unknown option \"--s\""),
    ("-A INPUT foo", "Bad argument `foo'"),
    ("-A INPUT -", "Bad argument `-'"),
    ("-A INPUT -- foo", "unknown arguments found on commandline"),
    ("", "no command specified"),
    ("-v", "no command specified"),
    ("-A", "option \"-A\" requires an argument"),
    ("-A INPUT --protoc", "option \"--protoc\" requires an argument"),
    ("-A INPUT -p tcp --dport", "option \"--dport\" requires an argument"),
    ("-A INPUT ! ! -p tcp", "multiple consecutive ! not allowed"),
    ("-A INPUT -j ACCEPT !", "nothing appropriate following !"),
    ("-A INPUT ! -j ACCEPT", "cannot have ! before --jump"),
    ("-A INPUT ! -m tcp", "unexpected ! flag before --match"),
    ("! -A INPUT", "unexpected '!' flag"),
    ("-A INPUT -A FORWARD", "Cannot use -A with -A"),
    ("-A INPUT -p tcp -p udp", "multiple --protocol options not allowed"),
    ("-A INPUT -g e -j foo", "multiple --jump options not allowed"),
    ("-A INPUT ! -p all", "rule would never match protocol"),
    ("-A INPUT -p foo", "unknown protocol \"foo\" specified"),
    ("-A INPUT -p 300", "unknown protocol \"300\" specified"),
    ("-A INPUT -m foo", "Couldn't load match `foo':No such file or directory"),
    ("-A INPUT -j ''", "Couldn't load target `''':No such file or directory"),
    ("-A INPUT -j \"\"", "Invalid target name (too short)"),
    ("-A INPUT -j \"a b\"", "Invalid target name `a b'"),
    (
        "-A INPUT -j aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Invalid target name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' (28 chars max)",
    ),
    ("-A INPUT -s 1.2.3.4/33", "invalid mask `33' specified"),
    ("-A INPUT -s 1.2.3.4/08", "invalid mask `08' specified"),
    ("-A INPUT -s 1.2.3.300", "host/network `1.2.3.300' not found"),
    ("-A INPUT -s 1.2.3.4,", "host/network `' not found"),
    ("-A INPUT -s ! 1.1.1.1", "Bad argument `1.1.1.1'"),
    ("-A INPUT ! -s 1.1.1.1,2.2.2.2", "! not allowed with multiple source or destination IP addresses"),
    ("-A INPUT -i \"\"", "Empty interface is likely to be undesired"),
    ("-A INPUT -i abcdefghijklmnop", "interface name `abcdefghijklmnop' must be shorter than 16 characters"),
    ("-A INPUT -o eth0", "Can't use --out-interface with INPUT"),
    ("-t nat -A POSTROUTING -i eth0", "Can't use --in-interface with POSTROUTING"),
    ("-A INPUT -x", "Illegal option `--exact' with this command"),
    ("-A INPUT --line-num", "Illegal option `--line-numbers' with this command"),
    ("-L -s 1.1.1.1", "Illegal option `--source' with this command"),
    ("-D INPUT -c 1 2", "Illegal option `--set-counters' with this command"),
    ("-A INPUT -c 1", "--set-counters requires packet and byte counter"),
    ("-A INPUT -c a b", "--set-counters packet counter not numeric"),
    ("-A INPUT -c 3,", "--set-counters byte counter not numeric"),
    ("-A INPUT -m ttl --ttl-eq 256 -V", "ttl: bad value for option \"--ttl-eq\", or out of range (0-255)."),
    ("-W 5 -L", "--wait-interval only makes sense with --wait"),
    ("-w 1 -W 1000000 -L", "too long usec wait 1000000 > 999999 usec"),
    // Of two mistakes the first, also where an extension takes only one of the options.
    (
        "-A INPUT -j MARK --and-mark 3 --xor-mark x",
        "MARK: bad value for option \"--xor-mark\", or out of range (0-4294967295).",
    ),
    ("-A INPUT -p tcp -m multiport --ports 1 --sports x -m tcp --nonesuch", "invalid port/service `x' specified"),
    ("-R INPUT", "-R requires a rule number"),
    ("-P INPUT", "-P requires a chain and a policy"),
    ("-E foo", "-E requires old-chain-name and new-chain-name"),
    ("-D INPUT 0", "Invalid rule number `0'"),
    ("-D INPUT 1:2", "Rule ranges are not supported"),
    ("-N DROP", "chain name may not clash with target name"),
    ("-N LOG", "chain name may not clash with target name"),
    ("-N -x", "chain name not allowed to start with `-'"),
    ("-N !x", "chain name not allowed to start with `!'"),
    ("-N \"a b\"", "Invalid chain name `a b'"),
    (
        "-N aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "chain name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaa' too long (must be under 29 chars)",
    ),
    (
        "-t nat -P PREROUTING DROP",
        "The \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.",
    ),
    (
        "-t nat -A PREROUTING -j DROP",
        "The \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.",
    ),
    ("-A INPUT -m mark", "mark: option \"--mark\" must be specified"),
    ("-A INPUT -m mark --mark 1 --mark 2", "mark: option \"--mark\" can only be used once."),
    ("-A INPUT -m limit ! --limit 3/s", "limit: option \"--limit\" cannot be inverted."),
    (
        "-A INPUT -j MARK --set-mark 1 --and-mark 3",
        "MARK: option \"--set-mark\" cannot be used together with \"--and-mark\".",
    ),
    (
        "-A INPUT -m ttl --ttl-eq 1 --ttl-lt 2 --ttl-gt 3",
        "ttl: option \"--ttl-lt\" cannot be used together with \"--ttl-eq\".",
    ),
    (
        "-A INPUT -j TTL --ttl-set 1 --ttl-dec 2 --ttl-inc 3",
        "TTL: option \"--ttl-set\" cannot be used together with \"--ttl-inc\".",
    ),
    (
        "-A INPUT -p tcp -j ECN --ecn-tcp-remove --ecn-tcp-ece 1 --ecn-tcp-cwr 1",
        "ECN: option \"--ecn-tcp-remove\" cannot be used together with \"--ecn-tcp-cwr\".",
    ),
    (
        "-A INPUT -m statistic --mode nth --probability 0.5 --packet 3",
        "statistic: option \"--probability\" cannot be used together with \"--packet\".",
    ),
    (
        "-A INPUT -m cluster --cluster-total-nodes 2 --cluster-hash-seed 1 --cluster-local-node 3 --cluster-local-nodemask 1",
        "cluster: option \"--cluster-local-node\" cannot be used together with \"--cluster-local-nodemask\".",
    ),
    ("-A INPUT -m statistic --mode nth --packet 9 --probability 0", "the --packet p must be 0 <= p <= n-1"),
    (
        "-A INPUT -m statistic --mode random --probability 1 --every 3 --packet 9",
        "the --packet p must be 0 <= p <= n-1",
    ),
    (
        "-A INPUT -m statistic --mode random --packet 9 --every 3 --probability 1",
        "statistic: option \"--probability\" cannot be used together with \"--every\".",
    ),
    ("-A INPUT -m rateest --rateest a ! --rateest b", "rateest: rateest can't be inverted"),
    ("-A INPUT -m mark --mark 1 ! --mark 1", "mark: option \"--mark\" can only be used once."),
    ("-A INPUT -m policy --dir in --pol none --next", "policy match: policy none but policy given"),
    ("-A INPUT -m set ! --return-nomatch -m statistic --every 3", "--return-nomatch flag cannot be inverted"),
    (
        "-A INPUT -j CONNMARK --and-mark 1 --or-mark 2 --save-mark",
        "CONNMARK: option \"--and-mark\" cannot be used together with \"--save-mark\".",
    ),
    ("-A INPUT -m cluster --cluster-local-node 3", "cluster: option \"--cluster-total-nodes\" must be specified"),
    ("-A INPUT -m statistic --mode nth --packet 0", "statistic: option \"--packet\" also requires \"--every\"."),
    ("-A INPUT -p tcp --dport foo", "invalid port/service `foo' specified"),
    ("-A INPUT -p tcp --dport 5:4", "invalid portrange (min > max)"),
    (
        "-A INPUT -m length --length 5:4",
        "length: bad value for option \"--length\" near \"4\", or out of range (5-65535).",
    ),
    ("-A INPUT -m ttl --ttl-eq 256", "ttl: bad value for option \"--ttl-eq\", or out of range (0-255)."),
    ("-A INPUT -j LOG --log-level foo", "log level \"foo\" unknown"),
];

/// Commands that the rule set refuses; the state is what those before them made. Empty text: accepted.
const TABLE: &[(&str, &str)] = &[
    ("-N foo", ""),
    ("-N foo", "iptables: Chain already exists."),
    ("-N INPUT", "iptables: Chain already exists."),
    ("-X INPUT", "iptables: Invalid argument. Run `dmesg' for more information."),
    ("-X nofoo", "iptables: No chain/target/match by that name."),
    ("-A INPUT -j foo", ""),
    ("-X foo", "iptables: Too many links."),
    ("-X", "iptables: Too many links."),
    ("-N e", ""),
    ("-A e", ""),
    ("-X e", "iptables: Directory not empty."),
    ("-E foo e", "iptables: File exists."),
    ("-E nofoo x", "iptables: No chain/target/match by that name."),
    ("-E INPUT x", "iptables: No chain/target/match by that name."),
    ("-E foo INPUT", "iptables: File exists."),
    ("-P foo DROP", "iptables: Bad built-in chain name."),
    ("-P INPUT FOO", "iptables: Bad policy name. Run `dmesg' for more information."),
    ("-F nofoo", "iptables: No chain/target/match by that name."),
    ("-Z nofoo", "iptables: No chain/target/match by that name."),
    ("-Z INPUT 9", "iptables: Index of counter too big."),
    ("-D INPUT 9", "iptables: Index of deletion too big."),
    ("-I INPUT 9", "iptables: Index of insertion too big."),
    ("-I INPUT 2", ""),
    ("-R INPUT 9 -j ACCEPT", "iptables: Index of replacement too big."),
    ("-D INPUT -s 9.9.9.9", "iptables: Bad rule (does a matching rule exist in that chain?)."),
    ("-C INPUT -s 9.9.9.9", "iptables: Bad rule (does a matching rule exist in that chain?)."),
    ("-C nofoo -j LOG", "iptables: Bad rule (does a matching rule exist in that chain?)."),
    ("-D nofoo -j ACCEPT", "iptables: Bad rule (does a matching rule exist in that chain?)."),
    ("-C INPUT -j LOG", "iptables: No chain/target/match by that name."),
    ("-L nofoo", "iptables: No chain/target/match by that name."),
    ("-S nofoo", "iptables: No chain/target/match by that name."),
    ("-A INPUT -j INPUT", "iptables: Invalid argument. Run `dmesg' for more information."),
    ("-A nofoo", "iptables: No chain/target/match by that name."),
    ("-A foo -j foo", "iptables: Too many levels of symbolic links."),
    ("-A INPUT -j MASQUERADE", "iptables: Invalid argument. Run `dmesg' for more information."),
    ("-A INPUT -m tcp --dport 1", "iptables: Invalid argument. Run `dmesg' for more information."),
    ("-A e -j nofoo", "Couldn't load target `nofoo':No such file or directory\n"),
    ("-A e -g nofoo", "goto 'nofoo' is not a chain"),
    ("-E foo bar", ""),
    ("-C INPUT -j bar", ""),
    ("-D INPUT 1", ""),
    ("-X bar", ""),
];

#[test]
fn words_are_refused_in_iptables_words() {
    for (line, expected) in WORDS {
        match run(&mut Ruleset::new(Family::V4), line) {
            Err(Refused::Words(e)) => {
                assert_eq!((e.error.message.trim(), e.error.code), (*expected, 2), "{line}");
            }
            Err(Refused::Table(e)) => {
                assert_eq!((e.error.message.trim(), e.error.code), (*expected, 2), "{line}");
            }
            Ok(()) => panic!("{line} is accepted"),
        }
    }
}

#[test]
fn rule_sets_refuse_in_iptables_words() {
    let mut ruleset = Ruleset::new(Family::V4);
    for (line, expected) in TABLE {
        let before = ruleset.clone();
        let said = match run(&mut ruleset, line) {
            Ok(()) => Compiled::new(ruleset.clone()).err().map(|e| Refusal::from(&e).text(Family::V4)),
            Err(Refused::Table(e)) => Some(e.text(Family::V4)),
            Err(Refused::Words(e)) => Some(e.error.message),
        };
        if said.is_some() {
            ruleset = before;
        }
        assert_eq!(said.unwrap_or_default(), *expected, "{line}");
    }
}

#[test]
fn an_unknown_table_is_exit_code_3() {
    let Err(Refused::Words(e)) = run(&mut Ruleset::new(Family::V4), "-t foo -L") else { panic!("there is none") };
    assert_eq!(e.error.code, 3);
    assert_eq!(e.error.message, "can't initialize iptables table `foo': Table does not exist (do you need to insmod?)");
}

#[test]
fn files_are_refused_with_place_and_remedy() {
    let told = |text: &str| common::restored(Family::V4, text).expect_err(text).to_string();
    let unknown = told("*filter\n-A INPUT -p tcp --dprot 22 -j ACCEPT\nCOMMIT\n");
    assert_eq!(
        unknown,
        "rules:2:17: iptables-restore: unknown option \"--dprot\"\n  at `--dprot': did you mean `--dport'?"
    );
    let early = told("*filter\n-A INPUT --dport 22 -p tcp\nCOMMIT\n");
    assert_eq!(
        early,
        "rules:2:10: iptables-restore: unknown option \"--dport\"\n  at `--dport': it belongs to -p tcp or -m tcp, which must stand before it"
    );
    let port = told("*filter\n\n# x\n[1:2] -A INPUT -p tcp --dport 1:htpp\nCOMMIT\n");
    assert_eq!(port, "rules:4:31: iptables-restore: invalid port/service `htpp' specified\n  at `htpp'");
    let target = told("*filter\n:web - [0:0]\n-A INPUT -j wbe\nCOMMIT\n");
    assert_eq!(
        target,
        "rules:3:13: iptables-restore: Couldn't load target `wbe':No such file or directory\n  at `wbe': did you mean `web'?"
    );
    let chain = told("*filter\n-A FOO -j ACCEPT\nCOMMIT\n");
    assert_eq!(
        chain,
        "rules:2:4: iptables-restore: line 2 failed: No chain/target/match by that name\n  table filter has no chain `FOO'"
    );
    assert!(
        told("*filter\n-A INPUT -j ACCEPT\nCOMMIT").starts_with("rules:3:1: iptables-restore: Bad argument `COMMIT'")
    );
    assert!(told("*filter\n-A INPUT\n").starts_with("rules:3:1: iptables-restore: COMMIT expected at line 3"));
    assert!(
        told("*filtre\nCOMMIT\n")
            .contains("unable to initialize table 'filtre'\n  at `filtre': did you mean `filter'?")
    );
    assert!(told("-A INPUT\n").starts_with("rules:1:1: iptables-restore: line 1 failed"));
}

#[test]
fn what_nobody_sees_is_named() {
    let told = |text: &str| common::restored(Family::V4, text).expect_err(text).to_string();
    assert!(told("*filter\r\nCOMMIT\r\n").contains("carriage return"));
    assert!(told("*filter\n-A INPUT -j ACCEPT\r\nCOMMIT\n").contains("carriage return"));
    assert!(told("\u{feff}*filter\nCOMMIT\n").contains("byte order mark"));
}

#[test]
fn only_the_wanted_table_is_read() {
    let names = hairpin_ruleset::names::SystemNames::new();
    let read = |text: &str| {
        let options = hairpin_ruleset::restore::RestoreOptions {
            file: "rules",
            counters: false,
            noflush: false,
            table: Some("filter"),
            names: &names,
        };
        hairpin_ruleset::restore::restore(&Ruleset::new(Family::V4), text.as_bytes(), &options)
    };
    let restored = read("junk\n*raw\n-A NOPE\nCOMMIT\n*filter\n-A INPUT\nCOMMIT\n").expect("the filter table is right");
    assert_eq!(restored.tables, [TableId::Filter]);
    assert_eq!(restored.ruleset.tables.len(), 1);
    assert_eq!(read("*filter\nCOMMIT\njunk\n").expect_err("after the wanted table").line, 3);
    assert!(read("*filter\nCOMMIT\n*raw\njunk\nCOMMIT\n").is_ok());
}

/// What iptables-restore does with a file, as far as its exit code goes: 0, 1 or 2.
const FILES: &[(&str, bool, u8)] = &[
    ("*filter\n-A INPUT -j FOO\nCOMMIT\n", false, 2),
    ("*filter\n-A FOO -j ACCEPT\nCOMMIT\n", false, 1),
    ("*filter\n-A INPUT -j ACCEPT\nCOMMIT", false, 2),
    ("*filter\n-A INPUT -j ACCEPT\n", false, 1),
    ("*foo\n-A INPUT -j ACCEPT\nCOMMIT\n", false, 2),
    ("COMMIT\n", false, 1),
    ("*filter\n:INPUT\nCOMMIT\n", false, 2),
    ("*filter\n:INPUT FOO\nCOMMIT\n", false, 1),
    ("*filter\n:foo ACCEPT\nCOMMIT\n", false, 1),
    ("*filter\n:foo -\n:foo -\nCOMMIT\n", false, 2),
    ("*filter\n:foo - [0:0]\n-A INPUT -j foo\n-A foo -j INPUT\nCOMMIT\n", false, 1),
    ("*filter\n:foo - [0:0]\n-A INPUT -j foo\n-A foo -j foo\nCOMMIT\n", false, 1),
    ("*filter\n-A INPUT foo\nCOMMIT\n", false, 2),
    ("*filter\n-A INPUT -j DNAT --to-destination 1.1.1.1\nCOMMIT\n", false, 1),
    ("*filter\n[1:2 -A INPUT -j ACCEPT\nCOMMIT\n", false, 2),
    ("*filter\n[1] -A INPUT -j ACCEPT\nCOMMIT\n", false, 2),
    ("*filter\n-t nat -A PREROUTING -j ACCEPT\nCOMMIT\n", false, 2),
    ("*filter\n:INPUT ACCEPT [x]\nCOMMIT\n", true, 2),
    ("*filter\n:INPUT ACCEPT\nCOMMIT\n", true, 2),
    ("*filter\n:INPUT ACCEPT [x]\nCOMMIT\n", false, 2),
    ("*filter\n:foo - [x]\nCOMMIT\n", false, 0),
    ("*filter\n:ACCEPT - [0:0]\nCOMMIT\n", false, 2),
    ("*filter\n-A INPUT -i \"eth0\nCOMMIT\n", false, 0),
    ("*filter\n-6 -A INPUT -i eth0\nCOMMIT\n", false, 0),
    ("*filter\n-A INPUT -m comment --comment \"a\"b\nCOMMIT\n", false, 2),
    ("*filter\n:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -\nCOMMIT\n", false, 2),
    ("*filter\n:-foo -\nCOMMIT\n", false, 0),
    ("*filter\n:LOG -\nCOMMIT\n", false, 0),
    ("*nat\n:PREROUTING DROP\nCOMMIT\n", false, 0),
    ("*nat\n-A PREROUTING -j DROP\nCOMMIT\n", false, 2),
    ("*filter\nfoo\nCOMMIT\n", false, 2),
    ("   *filter\nfoo\nCOMMIT\n", false, 1),
    ("*filter\n   \nCOMMIT\n", false, 2),
    ("*filter\n # x\nCOMMIT\n", false, 2),
    ("*filter\n-A INPUT -w -j ACCEPT\nCOMMIT\n", false, 2),
    ("*filter\r\n-A INPUT -j ACCEPT\r\nCOMMIT\r\n", false, 2),
];

#[test]
fn files_have_the_exit_codes_of_iptables_restore() {
    for (text, counters, expected) in FILES {
        let result = restored_onto(&Ruleset::new(Family::V4), text, *counters, false);
        let code = match result {
            Err(e) => e.code,
            Ok(restored) => match Compiled::new(restored.ruleset.clone()) {
                Ok(_) => 0,
                Err(e) => restored.refused(&e).code,
            },
        };
        assert_eq!(code, *expected, "{text:?}");
    }
}

#[test]
fn the_kernels_refusal_names_the_rule() {
    let text = "*filter\n:foo - [0:0]\n-A INPUT -j foo\n-A foo -s 1.1.1.1\n-A foo -j foo\nCOMMIT\n";
    let restored = common::restored(Family::V4, text).expect("only the kernel sees the loop");
    let why = Compiled::new(restored.ruleset.clone()).expect_err("a loop");
    assert_eq!(
        restored.refused(&why).to_string(),
        "rules:5:1: iptables-restore: line 6 failed: Too many levels of symbolic links\n  table filter, chain foo, rule 2: chains form a loop"
    );
}

#[test]
fn tables_are_flushed_or_kept() {
    let base = common::restored(
        Family::V4,
        "*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [5:6]\n:own - [0:0]\n:other - [0:0]\n-A INPUT -j own\n-A own -s 1.1.1.1\n-A other\nCOMMIT\n",
    )
    .expect("a rule set")
    .ruleset;
    let text =
        "*filter\n:own - [0:0]\n-A own -j RETURN\n-I INPUT 1 -p tcp\n-D INPUT -p tcp\n-N third\n-X third\nCOMMIT\n";
    let kept = restored_onto(&base, text, false, true).expect("changes").ruleset;
    assert_eq!(rules_of(&kept, TableId::Filter, "INPUT"), ["-j own"]);
    assert_eq!(rules_of(&kept, TableId::Filter, "own"), ["-j RETURN"]);
    assert_eq!(rules_of(&kept, TableId::Filter, "other"), [""]);
    assert_eq!(rules_of(&kept, TableId::Nat, "PREROUTING"), ["-j ACCEPT"]);
    let flushed = restored_onto(&base, "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n", false, false).expect("rules").ruleset;
    assert_eq!(
        saved(&flushed),
        "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n[0:0] -A INPUT -j ACCEPT\nCOMMIT\n\
         *nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         [0:0] -A PREROUTING -j ACCEPT\nCOMMIT\n"
    );
}

#[test]
fn addresses_with_commas_are_several_rules() {
    let mut ruleset = Ruleset::new(Family::V4);
    run(&mut ruleset, "-A FORWARD -s 1.1.1.1,2.2.2.0/24 -d 3.3.3.3,4.4.4.4").expect("four rules");
    let pairs = [
        "-s 1.1.1.1/32 -d 3.3.3.3/32",
        "-s 1.1.1.1/32 -d 4.4.4.4/32",
        "-s 2.2.2.0/24 -d 3.3.3.3/32",
        "-s 2.2.2.0/24 -d 4.4.4.4/32",
    ];
    assert_eq!(rules_of(&ruleset, TableId::Filter, "FORWARD"), pairs);
    run(&mut ruleset, "-F").expect("empty");
    run(&mut ruleset, "-I FORWARD -s 1.1.1.1,2.2.2.0/24 -d 3.3.3.3,4.4.4.4").expect("four rules");
    let mut reversed = pairs;
    reversed.reverse();
    assert_eq!(rules_of(&ruleset, TableId::Filter, "FORWARD"), reversed, "each goes before the one before it");
}

#[test]
fn counters_come_from_the_line_or_the_live_table() {
    let text =
        "*filter\n:INPUT ACCEPT [1:2]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [3:4]\n[5:6] -A INPUT -j DROP\nCOMMIT\n";
    let restored = restored_onto(&Ruleset::new(Family::V4), text, true, false).expect("counters").ruleset;
    assert_eq!(saved(&restored), text);
    let policy = text.replace("COMMIT", "-P INPUT DROP\n-P OUTPUT DROP -c 7 8\nCOMMIT");
    let policy = restored_onto(&Ruleset::new(Family::V4), &policy, true, false).expect("policies").ruleset;
    assert_eq!(
        saved(&policy),
        text.replace("INPUT ACCEPT [1:2]", "INPUT DROP [0:0]").replace("OUTPUT ACCEPT [3:4]", "OUTPUT DROP [7:8]"),
        "-P sets the counters too"
    );
    let without = restored_onto(&Ruleset::new(Family::V4), text, false, false).expect("no counters").ruleset;
    assert_eq!(saved(&without), text.replace("[1:2]", "[0:0]").replace("[3:4]", "[0:0]").replace("[5:6]", "[0:0]"));
    let counter = |packets, bytes| hairpin_engine::rule::Counter { packets, bytes };
    let live = [counter(10, 11), counter(12, 13), counter(14, 15), counter(16, 17)];
    let options = hairpin_ruleset::save::SaveOptions { counters: true, ..Default::default() };
    let text = hairpin_ruleset::save::save(&restored, &options, |_| Some(&live));
    assert_eq!(
        text,
        "*filter\n:INPUT ACCEPT [12:13]\n:FORWARD ACCEPT [14:15]\n:OUTPUT ACCEPT [16:17]\n[10:11] -A INPUT -j DROP\nCOMMIT\n"
    );
}

#[test]
fn of_chains_that_cannot_be_deleted_the_last_is_told() {
    let mut ruleset = Ruleset::new(Family::V4);
    for line in ["-N called", "-N empty", "-N full", "-A full -j called"] {
        run(&mut ruleset, line).expect(line);
    }
    let before = saved(&ruleset);
    let Err(Refused::Table(refusal)) = run(&mut ruleset, "-X") else { panic!("two of them cannot go") };
    assert_eq!(refusal.error.message, "Directory not empty");
    assert_eq!(saved(&ruleset), before);
}

#[test]
fn a_listing_that_fails_says_of_no_reset() {
    let mut ruleset = Ruleset::new(Family::V4);
    run(&mut ruleset, "-N own").expect("a chain");
    let restored = |line: &str| restored_onto(&ruleset, &format!("*filter\n{line}\nCOMMIT\n"), false, true);
    let reset = restored("-Z -S own -v").expect("it is there");
    assert!(reset.report.contains("Zeroing chain `own'"), "{}", reset.report);
    let missing = restored("-Z -S missing -v").expect_err("it is not there");
    assert!(!missing.report.contains("Zeroing"), "{}", missing.report);
}

/// A line for the other family is over where that is said.
#[test]
fn lines_for_the_other_family() {
    let text =
        "*filter\n-N own -6 --foo\n-A INPUT -6 -j DROP\n-6 -P INPUT DROP\n-P FORWARD DROP -6\n-S FORWARD -6\nCOMMIT\n";
    let restored = restored_onto(&Ruleset::new(Family::V4), text, false, false).expect("a file");
    assert_eq!(restored.report, "-P FORWARD DROP\n");
    assert!(restored.ruleset.table(TableId::Filter).is_some_and(|table| table.chain("own").is_some()));
    assert!(rules_of(&restored.ruleset, TableId::Filter, "INPUT").is_empty());
    assert!(saved(&restored.ruleset).contains(":INPUT ACCEPT"));
}

#[test]
fn listings_are_commands() {
    let mut ruleset = Ruleset::new(Family::V4);
    for line in ["-N foo", "-A INPUT -p tcp --dport 1 -m comment --comment x -j foo -c 3 4", "-A foo -s 1.1.1.1"] {
        run(&mut ruleset, line).expect(line);
    }
    let list = |chain, rule, counters| {
        let options = ListOptions { table: TableId::Filter, chain, rule, counters };
        list_rules(&ruleset, &options, &[])
    };
    assert_eq!(
        list(None, None, true),
        "-P INPUT ACCEPT -c 0 0\n-P FORWARD ACCEPT -c 0 0\n-P OUTPUT ACCEPT -c 0 0\n-N foo\n\
         -A INPUT -p tcp -m tcp --dport 1 -m comment --comment x -c 3 4 -j foo\n-A foo -s 1.1.1.1/32 -c 0 0\n"
    );
    assert_eq!(list(Some("foo"), None, false), "-N foo\n-A foo -s 1.1.1.1/32\n");
    assert_eq!(list(Some("INPUT"), Some(1), false), "-A INPUT -p tcp -m tcp --dport 1 -m comment --comment x -j foo\n");
    assert_eq!(list(Some("INPUT"), Some(5), false), "");
    let mut table = ruleset.table(TableId::Filter).expect("in use").clone();
    let counter = |packets| hairpin_engine::rule::Counter { packets, bytes: 0 };
    take_counters(&mut table, &[counter(1), counter(2), counter(3), counter(4), counter(5), counter(6)]);
    assert_eq!(table.chain("INPUT").map(|c| (c.rules[0].counter.packets, c.counter.packets)), Some((1, 2)));
    assert_eq!(table.chain("foo").map(|c| c.rules[0].counter.packets), Some(5));
}

#[test]
fn a_zero_byte_ends_its_line() {
    // As iptables-restore 1.8.9 took the same files.
    let read = |line: &str| {
        let restored = restored_onto(&Ruleset::new(Family::V4), &format!("*filter\n{line}\nCOMMIT\n"), false, false);
        restored.map(|r| saved(&r.ruleset)).map_err(|e| e.message)
    };
    let rule = |line: &str| read(line).map(|text| text.lines().find(|l| l.contains("-A")).map(str::to_owned));
    assert_eq!(rule("-A INPUT -p udp\0 -j DROP"), Ok(Some("[0:0] -A INPUT -p udp".to_owned())));
    let comment = "-A INPUT -m comment --comment \"a\0b\" -j DROP";
    assert_eq!(rule(comment), Ok(Some("[0:0] -A INPUT -m comment --comment a".to_owned())));
    assert_eq!(read("-A INPUT -o \0x -j DROP").map_err(|e| e.contains("requires an argument")), Err(true));
    assert_eq!(read("\0 -A INPUT").map_err(|e| e.contains("no command specified")), Err(true));
    assert_eq!(read("COMMIT\0").map_err(|e| e.contains("Bad argument `COMMIT'")), Err(true));
}

/// `-L` and `-S` on a line show the table as it is there, whatever comes after.
#[test]
fn listings_in_files_show_what_was_read() {
    let text =
        "*filter\n:own - [0:0]\n-A own -s 1.2.3.4 -j ACCEPT\n-S own\n-A own -j DROP\n-nL own --line-numbers\nCOMMIT\n";
    let restored = common::restored(Family::V4, text).expect("a file");
    assert_eq!(
        restored.report,
        "-N own\n-A own -s 1.2.3.4/32 -j ACCEPT\n\
         Chain own (0 references)\n\
         num  target     prot opt source               destination         \n\
         1    ACCEPT     all  --  1.2.3.4              0.0.0.0/0           \n\
         2    DROP       all  --  0.0.0.0/0            0.0.0.0/0           \n"
    );
}
