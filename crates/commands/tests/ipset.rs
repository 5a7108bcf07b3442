//! `ipset` on sets in memory: what it says and with which exit code.

mod support;

use hairpin_commands::Outcome;
use hairpin_engine::set::Sets;
use support::Memory;

#[test]
fn a_set_is_made_filled_and_shown() {
    let mut host = Memory::new();
    host.ok("create s hash:ip,port timeout 60 counters comment initval 7");
    host.ok("add s 10.0.0.1,udp:53 comment \"a resolver\" packets 3");
    host.ok("add s 10.0.0.1,http timeout 0");
    let save = "create s hash:ip,port family inet hashsize 1024 maxelem 65536 timeout 60 counters comment bucketsize 12 \
                initval 0x00000007\n\
                add s 10.0.0.1,tcp:80 timeout 0 packets 0 bytes 0\n\
                add s 10.0.0.1,udp:53 timeout 60 packets 3 bytes 0 comment \"a resolver\"\n";
    assert_eq!(host.ok("save -s"), save);
    assert_eq!(host.ok("list -n"), "s\n");
    let header = host.ok("list -t s");
    assert!(
        header.starts_with("Name: s\nType: hash:ip,port\nRevision: 7\nHeader: family inet hashsize 1024"),
        "{header}"
    );
    assert!(header.ends_with("References: 0\nNumber of entries: 2\n"), "{header}");
    assert!(host.ok("list s -o xml").contains("<member><elem>10.0.0.1,udp:53</elem><timeout>60</timeout>"));
}

#[test]
fn refusals_have_the_real_words_and_codes() {
    let mut host = Memory::new();
    let usage = |text: &str| format!("ipset v7.22: {text}\nTry `ipset help' for more information.");
    let value = |text: &str| format!("ipset v7.22: {text}");
    host.ok("create a hash:ip");
    host.ok("create six hash:net family inet6");
    // Of another family, but otherwise the same.
    host.ok("create six hash:net -exist");
    host.fails(
        "create six hash:net maxelem 5 -exist",
        1,
        &value("Set cannot be created: set with the same name already exists"),
    );
    host.ok("create ports bitmap:port range 20-30");
    host.fails("add ports 40-25 timeout 5", 1, &value("Element is out of the range of the set"));
    host.fails(
        "add ports 25-40 timeout 5",
        1,
        &value("Timeout cannot be used: set was created without timeout support"),
    );
    host.ok("create link bitmap:ip,mac range 10.0.0.0/24");
    let range = "IP/CIDR range is not allowed in command add with set type bitmap:ip,mac and family inet";
    host.fails("add link 10.0.0.2/32,2:0:0:0:0:3", 1, &value(range));
    host.ok("create three hash:ip,port,ip");
    let range = "IP/CIDR range is not allowed in command test with set type hash:ip,port,ip and family inet";
    host.fails("test three 10.0.1.20/31,tcp:24,10.0.0.23/32", 1, &value(range));
    host.fails("create a hash:net", 1, &value("Set cannot be created: set with the same name already exists"));
    host.fails("frob", 2, &usage("No command specified: unknown argument frob"));
    host.fails("add a", 2, &usage("Missing second mandatory argument to command add"));
    host.fails("add a 1.1.1.1 nomatch", 2, &usage("Unknown argument: `nomatch'"));
    host.fails("add gone 1.1.1.1", 1, &value("The set with the given name does not exist"));
    host.fails("add a 0.0.0.0", 1, &value("Null-valued element, cannot be stored in a hash type of set"));
    host.fails("del a 1.1.1.1", 1, &value("Element cannot be deleted from the set: it's not added"));
    host.fails("add a 1.1.1.1 timeout 5", 1, &value("Timeout cannot be used: set was created without timeout support"));
    host.fails("swap a six", 1, &value("The sets cannot be swapped: their type does not match"));
    host.fails("test a 1.1.1.1", 1, "1.1.1.1 is NOT in set a.");
    host.fails("-q test a 1.1.1.1", 1, "");
    host.ok("del a 1.1.1.1 -exist");
    assert_eq!(host.input("add a 1.1.1.1-1.1.1.3", "").code, 0);
    assert_eq!(host.input("test a 1.1.1.2", "").stderr, b"Warning: 1.1.1.2 is in set a.\n");
}

#[test]
fn what_a_list_holds_cannot_be_removed() {
    let mut host = Memory::new();
    host.ok("create a hash:ip");
    host.ok("create b hash:ip");
    host.ok("create l list:set timeout 5");
    host.ok("add l a timeout 0");
    host.ok("add l b before a");
    host.fails("destroy a", 1, "ipset v7.22: Set cannot be destroyed: it is in use by a kernel component");
    host.fails("rename a c", 1, "ipset v7.22: Set cannot be renamed: it is in use by another system");
    host.now.mono.0 += 6_000_000_000;
    // Its time in the list is over.
    host.ok("destroy b");
    host.fails("destroy", 1, "ipset v7.22: Set cannot be destroyed: it is in use by a kernel component");
    host.ok("flush l");
    host.ok("destroy");
    assert_eq!(host.ok("list"), "");
}

#[test]
fn restore_stops_at_the_line_that_is_wrong() {
    let mut host = Memory::new();
    let outcome = host.input("restore", "create a hash:ip\nadd a 1.1.1.1\nadd a zz\n");
    assert_eq!(outcome.code, 1);
    let text = "ipset v7.22: Error in line 3: Syntax error: cannot parse zz: resolving to IPv4 address failed\n";
    assert_eq!(String::from_utf8_lossy(&outcome.stderr), text);
    // What was not sent yet is not there.
    assert!(!host.ok("save").contains("add a"));
    let outcome = host.input("restore", "add a 3.3.3.3\nadd a 3.3.3.3\nadd a 4.4.4.4\n");
    let text = "ipset v7.22: Error in line 2: Element cannot be added to the set: it's already added\n";
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr).as_ref()), (1, text));
    assert!(host.ok("save").ends_with("\nadd a 3.3.3.3\n"));
    let outcome = host.input("-! restore", "# twice\ncreate a hash:ip\nadd a 3.3.3.3\n\n  del a 9.9.9.9\n");
    assert_eq!((outcome.code, outcome.stderr), (0, Vec::new()));
}

#[test]
fn a_saved_set_restores_to_itself() {
    let mut host = Memory::new();
    for (n, (words, elements)) in [
        ("bitmap:ip range 10.0.0.0/24 netmask 28", "10.0.0.16"),
        ("bitmap:ip,mac range 10.0.0.0/24", "10.0.0.1,00:11:22:33:44:55 10.0.0.2"),
        ("bitmap:port range 0-1000", "80 22-25"),
        ("hash:ip family inet6 netmask 64", "2001:db8::"),
        ("hash:mac", "00:11:22:33:44:55"),
        ("hash:ip,mac", "10.0.0.1,00:11:22:33:44:55"),
        ("hash:ip,mark markmask 0xff", "10.0.0.1,0x1234"),
        ("hash:ip,port,ip", "10.0.0.1,udp:80-82,10.0.0.2"),
        ("hash:ip,port,net family inet6", "2001:db8::1,icmpv6:echo-request,2001:db8::/32"),
        ("hash:net", "10.0.0.0/8 10.0.0.3-10.0.0.9"),
        ("hash:net,net", "10.0.0.0/8,192.168.0.0/16"),
        ("hash:net,port", "10.0.0.0/8,sctp:9"),
        ("hash:net,port,net", "10.0.0.0/8,icmp:8/0,192.168.0.0/16"),
        ("hash:net,iface", "0.0.0.0/0,eth0 10.0.0.0/8,physdev:eth1"),
        ("list:set", "s0 s3"),
    ]
    .into_iter()
    .enumerate()
    {
        host.ok(&format!("create s{n} {words}"));
        elements.split(' ').for_each(|element| drop(host.ok(&format!("add s{n} {element}"))));
    }
    let saved = host.ok("save -s");
    let mut other = Memory::new();
    assert_eq!(other.input("restore", &saved).code, 0);
    assert_eq!(other.ok("save -s"), saved);
}

#[test]
fn changes_are_told_to_the_state_in_words_that_repeat_them() {
    let mut host = Memory::new();
    host.ok("create s hash:net,port timeout 9 comment forceadd");
    host.ok("add s 10.0.0.1-10.0.0.9,http comment \"x y\" nomatch");
    host.ok("create s2 list:set");
    host.ok("add s2 s");
    host.ok("del s 10.0.0.1,http -exist");
    host.input("add s 10.0.0.1-10.0.0.9,http", "");
    assert!(host.kept.last().is_some_and(|done| done.is_partial));
    let mut sets = Sets::new(9);
    for (words, exist) in host.kept.iter().filter(|done| !done.is_partial).flat_map(|done| &done.changes) {
        let change =
            hairpin_ruleset::ipset::Change::from_words(words, &sets).unwrap_or_else(|e| panic!("{words}: {e}"));
        change.apply(&mut sets, *exist, host.now.mono).unwrap_or_else(|e| panic!("{words}: {e}"));
    }
    let again = hairpin_ruleset::ipset::dump(&sets, host.now);
    host.ok("add s 10.0.0.1,http comment \"x y\" nomatch -exist");
    host.ok("del s 10.0.0.1,http");
    assert_eq!(again.lines().count(), hairpin_ruleset::ipset::dump(&host.sets, host.now).lines().count());
    let loaded = hairpin_ruleset::ipset::load(&again, 3, host.now).expect("it is a dump");
    assert_eq!(hairpin_ruleset::ipset::dump(&loaded, host.now), again);
}

#[test]
fn options_and_forms_in_a_file_count_for_the_lines_after_them() {
    let mut host = Memory::new();
    let text = |outcome: &Outcome| String::from_utf8_lossy(&outcome.stdout).into_owned();
    let outcome = host.input("restore", "create s hash:ip\nadd s 1.1.1.1 -exist\nadd s 1.1.1.1\n");
    assert_eq!((outcome.code, outcome.stderr.len()), (0, 0));
    let listed = text(&host.input("restore", "list s -t\nsave s\n"));
    assert_eq!(listed.matches("Name: s").count(), 2, "{listed}");
    assert!(!listed.contains("Members"), "{listed}");
    let saved = text(&host.input("restore", "save s\nlist s\n"));
    assert_eq!(saved.matches("add s 1.1.1.1").count(), 2, "{saved}");
    let typed = text(&host.input("-", "list -n\nlist\nquit\nlist\n"));
    assert_eq!(typed, "ipset> s\nipset> s\nipset> ");
    assert_eq!(text(&host.input("restore", "quit\nlist\n")), "");
}

/// An answer ends a file, unless it is a silent yes.
#[test]
fn a_test_ends_a_file() {
    let mut host = Memory::new();
    host.ok("create s hash:ip");
    for (text, code, says, entries) in [
        ("add s 1.1.1.1\ntest s 1.1.1.1\nadd s 1.1.1.2\n", 0, "Warning: 1.1.1.1 is in set s.\n", 1),
        ("add s 1.1.1.3\ntest s 9.9.9.9\nadd s 1.1.1.4\n", 1, "9.9.9.9 is NOT in set s.\n", 2),
        ("test s 1.1.1.1 -q\nadd s 1.1.1.5\n", 0, "", 3),
    ] {
        let outcome = host.input("restore", text);
        assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr).as_ref()), (code, says), "{text}");
        assert_eq!(host.ok("save s").lines().count(), entries + 1, "{text}");
    }
}

/// What is added is sent when something else is asked for that can be read.
#[test]
fn what_was_not_sent_before_a_mistake_is_not_done() {
    let mut host = Memory::new();
    let lines = "create a hash:ip\ncreate b hash:ip\nadd a 1.1.1.1\nadd b 2.2.2.2\nadd a bogus\n";
    let outcome = host.input("restore", lines);
    assert_eq!(outcome.code, 1);
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("Error in line 5:"));
    assert_eq!(host.ok("save").matches("add ").count(), 1);
}

#[test]
fn old_options_and_limits() {
    let mut host = Memory::new();
    let outcome = host.input("-N old ipporthash --network 10.0.0.0/24", "");
    let says = "Warning: Option '--from 10.0.0.0/24' is ignored. Please upgrade your syntax.\n";
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr).as_ref()), (0, says));
    let too_many = "ipset v7.22: Kernel error received: Cannot allocate memory";
    host.fails("create big hash:ip hashsize 268435456", 1, too_many);
    host.fails("create big hash:ip hashsize 4294967295", 1, too_many);
    host.ok("create small hash:ip hashsize 1 maxelem 2");
    host.ok("add small 1.1.1.1-1.1.1.2");
    host.fails("add small 1.1.1.3", 1, "ipset v7.22: Hash is full, cannot add more elements");
    host.ok("create ports bitmap:port range 0-65535");
    host.fails(
        "create many bitmap:ip range 10.0.0.0/15",
        1,
        "ipset v7.22: The range you specified exceeds the size limit of the set type",
    );
}

/// `--json` is JSON, whatever is in a comment.
#[test]
fn json_for_programs() {
    let mut host = Memory::new();
    host.ok("create s hash:ip,port comment counters initval 7");
    host.ok("add s 10.0.0.1,tcp:80 comment \"a \\\\ b\" packets 3");
    let memory = host.sets.get("s").expect("a set").memory();
    let expected = format!(
        "[{{\"name\":\"s\",\"type\":\"hash:ip,port\",\"revision\":7,\"header\":{{\"family\":\"inet\",\"hashsize\":1024,\
         \"maxelem\":65536,\"counters\":true,\"comment\":true,\"bucketsize\":12,\"initval\":\"0x00000007\"}},\"memsize\":{memory},\
         \"references\":0,\"numentries\":1,\"members\":[{{\"elem\":\"10.0.0.1,tcp:80\",\"packets\":3,\"bytes\":0,\
         \"comment\":\"a \\\\\\\\ b\"}}]}}]\n"
    );
    assert_eq!(host.ok("list --json"), expected);
    assert_eq!(host.ok("list -n --json"), "[{\"name\":\"s\"}]\n");
}
