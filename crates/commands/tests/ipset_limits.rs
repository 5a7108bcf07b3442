//! Every limit of sets has a number, and words for whoever comes to it.

mod support;

use support::Memory;

/// Commands one after the other, and what each is refused with, nothing when it is not, as ipset 7.22 said it on Linux.
const LIFE: &[(&str, &str)] = &[
    ("create a hash:ip maxelem 2 timeout 0 comment counters skbinfo", ""),
    ("add a 10.0.0.1 timeout 2147483", ""),
    ("add a 10.0.0.2 timeout 2147484", "Syntax error: '2147484' is out of range 0-2147483"),
    ("add a 10.0.0.2 timeout 4294967295", "Syntax error: '4294967295' is out of range 0-2147483"),
    (
        "add a 10.0.0.2 packets 18446744073709551615 bytes 18446744073709551616",
        "Syntax error: '18446744073709551615' is out of range 0-18446744073709551614",
    ),
    (
        "add a 10.0.0.2 packets 18446744073709551615",
        "Syntax error: '18446744073709551615' is out of range 0-18446744073709551614",
    ),
    ("add a 10.0.0.3", ""),
    ("add a 10.0.0.1 skbmark 0x1ffffffff -exist", ""),
    ("add a 10.0.0.1 skbprio 65536:1 -exist", ""),
    ("add a 10.0.0.1 skbprio ffff:ffff -exist", ""),
    ("add a 10.0.0.1 skbqueue 65536 -exist", "Syntax error: '65536' is out of range 0-65535"),
    ("add a 10.0.0.1 skbqueue 65535 -exist", ""),
    ("create b hash:ip timeout 2147484", "Syntax error: '2147484' is out of range 0-2147483"),
    ("create b hash:ip timeout 2147483", ""),
    ("create c hash:ip hashsize 0", ""),
    ("create d hash:ip maxelem 0", ""),
    ("add d 10.0.0.1", "Hash is full, cannot add more elements"),
    ("create e hash:ip bucketsize 1", ""),
    ("create e2 hash:ip bucketsize 15", ""),
    ("create e3 hash:ip bucketsize 255", ""),
    ("create e4 hash:ip bucketsize 256", "Syntax error: '256' is out of range 0-255"),
    ("create f bitmap:ip range 10.0.0.0-10.0.255.255", ""),
    ("create f2 bitmap:ip range 10.0.0.0-10.1.0.0", "The range you specified exceeds the size limit of the set type"),
    ("create f3 bitmap:ip range 10.0.0.0/8 netmask 24", ""),
    ("create f4 bitmap:ip range 10.0.0.0/8 netmask 23", ""),
    (
        "create f5 bitmap:ip range 10.0.0.0/7 netmask 24",
        "The range you specified exceeds the size limit of the set type",
    ),
    ("add f 10.1.0.0", "Element is out of the range of the set"),
    (
        "create g bitmap:port range 1-65536",
        "Syntax error: '65536' is out of range 0-65535\nSyntax error: 'tcp' is invalid as number\ncannot parse '65536' as a tcp port",
    ),
    ("create g bitmap:port range 1024-65535", ""),
    ("add g 1023", "Element is out of the range of the set"),
    ("create h bitmap:ip,mac range 10.0.0.0/16", ""),
    ("create h2 bitmap:ip,mac range 10.0.0.0/15", "The range you specified exceeds the size limit of the set type"),
    ("create l list:set size 2", ""),
    ("create l2 list:set size 65536", ""),
    ("create l3 list:set size 0", ""),
    ("add l a", ""),
    ("add l b", ""),
    ("add l d", ""),
    ("add l l", "Sets with list:set type cannot be added to the set."),
    ("add l l2", "Sets with list:set type cannot be added to the set."),
    (
        "create name45678901234567890123456789012 hash:ip",
        "Syntax error: setname 'name45678901234567890123456789012' is longer than 31 characters",
    ),
    (
        "create name4567890123456789012345678901 hash:ip",
        "Syntax error: setname 'name4567890123456789012345678901' is longer than 31 characters",
    ),
    ("create n hash:net", ""),
    ("add n 10.0.0.0/0", "The value of the CIDR parameter of the IP address is invalid"),
    ("add n 10.0.0.0/33", "Syntax error: '33' is out of range 0-32"),
    ("add n 0.0.0.0/0", "The value of the CIDR parameter of the IP address is invalid"),
    ("add n 10.0.0.0/32", ""),
    ("create i hash:net,iface", ""),
    ("add i 10.0.0.0/8,a23456789012345", ""),
    (
        "add i 10.0.0.0/8,a234567890123456",
        "Syntax error: interface name 'a234567890123456' is longer than 15 characters",
    ),
    ("create p hash:ip,port", ""),
    (
        "add p 10.0.0.1,65536",
        "Syntax error: '65536' is out of range 0-65535\nSyntax error: 'tcp' is invalid as number\ncannot parse '65536' as a tcp port",
    ),
    ("add p 10.0.0.1,sctp:65535", ""),
    ("add p 10.0.0.1,sctp:1-65535", "Element cannot be added to the set: it's already added"),
    ("add p 10.0.0.1,icmp:256/0", "Syntax error: '256' is out of range 0-255"),
    ("add p 10.0.0.0/8,tcp:80", "Hash is full, cannot add more elements"),
    ("add a 10.0.0.0/4", "Hash is full, cannot add more elements"),
    ("add p 10.0.0.0/15,tcp:80", "Element cannot be added to the set: it's already added"),
    ("create q hash:net,port", ""),
    ("add q 10.0.0.0/7,tcp:1-65535", ""),
    (
        "create r hash:ip netmask 33",
        "Syntax error: '33' is out of range 1-32\nSyntax error: netmask is out of the inclusive range of 1-32",
    ),
    (
        "create r hash:ip netmask 0",
        "Syntax error: '0' is out of range 1-32\nSyntax error: netmask is out of the inclusive range of 1-32",
    ),
    ("create r hash:ip netmask 24", ""),
    (
        "create r6 hash:ip family inet6 netmask 129",
        "Syntax error: '129' is out of range 1-128\nSyntax error: netmask is out of the inclusive range of 1-128",
    ),
    ("create r6 hash:ip family inet6 bitmask ffff::", ""),
    ("create u hash:ip,port,ip maxelem 1", ""),
    ("add u 10.0.0.1,80,10.0.0.1", ""),
    ("add u 10.0.0.1,81,10.0.0.1", "Hash is full, cannot add more elements"),
    ("create y hash:ip,port,net maxelem 1", ""),
    ("add y 10.0.0.1,80,10.0.0.0/8", ""),
    ("add y 10.0.0.1,81,10.0.0.0/8", "Hash is full, cannot add more elements"),
];

/// The same for types that the kernel at hand did not have.
const OTHER_TYPES: &[(&str, &str)] = &[
    ("create m hash:ip,mark markmask 0", "The value of the markmask parameter is invalid"),
    ("create m hash:ip,mark markmask 0xffffffff", ""),
    ("add m 10.0.0.1,0x1ffffffff", "Syntax error: '0x1ffffffff' is out of range 0-4294967295"),
    ("add m 10.0.0.1,0xffffffff", ""),
    ("create s hash:mac maxelem 1", ""),
    ("add s 00:00:00:00:00:00", "Null-valued element, cannot be stored in a hash type of set"),
    ("add s 01:02:03:04:05:06", ""),
    ("add s 01:02:03:04:05:07", "Hash is full, cannot add more elements"),
    ("create v hash:net,net maxelem 1", ""),
    ("add v 10.0.0.0/8,10.0.0.0/8", ""),
    ("add v 10.0.0.0/8,10.0.0.0/9", "Hash is full, cannot add more elements"),
    ("create w hash:ip,mac maxelem 1", ""),
    ("add w 10.0.0.1,1:2:3:4:5:6", ""),
    ("add w 10.0.0.2,1:2:3:4:5:6", "Hash is full, cannot add more elements"),
    ("create x hash:net,port,net maxelem 1", ""),
    ("add x 10.0.0.0/8,80,10.0.0.0/8", ""),
    ("add x 10.0.0.0/8,81,10.0.0.0/8", "Hash is full, cannot add more elements"),
];

#[test]
fn every_limit_has_its_words() {
    let mut host = Memory::new();
    for (words, says) in LIFE.iter().chain(OTHER_TYPES) {
        let outcome = host.input(words, "");
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        let said = said.strip_prefix("ipset v7.22: ").unwrap_or(&said);
        assert_eq!((outcome.code, said.trim_end()), (u8::from(!says.is_empty()), *says), "{words}");
    }
}

#[test]
fn a_comment_has_255_characters() {
    let mut host = Memory::new();
    host.ok("create s hash:ip comment");
    let longest = "c".repeat(255);
    host.ok(&format!("add s 10.0.0.1 comment {longest}"));
    assert!(host.ok("save").contains(&longest));
    let says = "ipset v7.22: Syntax error: Comment is longer than the maximum allowed 255 characters";
    let outcome = host.input(&format!("add s 10.0.0.2 comment {longest}c"), "");
    assert_eq!(String::from_utf8_lossy(&outcome.stderr).lines().next(), Some(says));
    assert!(!host.ok("save").contains("10.0.0.2"));
}

/// `hashsize` is where a table begins; it grows with what it holds, up to `maxelem` and no further.
#[test]
fn a_hash_grows_up_to_maxelem() {
    let mut host = Memory::new();
    host.ok("create s hash:ip hashsize 64 maxelem 1000");
    let size = |host: &mut Memory| {
        let text = host.ok("list s -t");
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "hashsize").expect("a header");
        words[at + 1].parse::<u32>().expect("a number")
    };
    assert_eq!(size(&mut host), 64);
    host.ok("add s 10.0.0.0-10.0.3.231");
    assert!(size(&mut host) > 64, "{}", size(&mut host));
    host.fails("add s 10.0.3.232", 1, "ipset v7.22: Hash is full, cannot add more elements");
    // What is there already is no further element.
    host.ok("add s 10.0.3.231 -exist");
    host.ok("del s 10.0.0.0");
    host.ok("add s 10.0.3.232");
}

#[test]
fn a_list_of_sets_keeps_its_size_in_mind() {
    let mut host = Memory::new();
    host.ok("create l list:set size 8");
    for n in 0..9 {
        host.ok(&format!("create s{n} hash:ip"));
        host.input(&format!("add l s{n}"), "");
    }
    let text = host.ok("list l");
    assert!(text.contains("size 8"), "{text}");
}

#[test]
fn elements_end_with_their_time() {
    let mut host = Memory::new();
    host.ok("create s hash:ip timeout 10 maxelem 1");
    host.ok("add s 10.0.0.1");
    host.fails("add s 10.0.0.2", 1, "ipset v7.22: Hash is full, cannot add more elements");
    host.pass(9);
    assert!(host.ok("list s").contains("10.0.0.1 timeout 1"));
    host.pass(2);
    assert!(!host.ok("list s").contains("10.0.0.1"));
    // What ran out makes room.
    host.ok("add s 10.0.0.2 timeout 2147483");
    host.pass(2_147_482);
    assert!(host.ok("list s").contains("10.0.0.2 timeout 1"));
}
