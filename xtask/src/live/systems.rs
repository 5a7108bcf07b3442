//! The systems that guides to NAT teach, with the commands as people type them, each on the running router with real traffic: what is
//! not in [`super::plays`] as one of the larger rule sets.

use super::plays::Play;

pub(crate) const SYSTEMS: &[Play] = &[
    Play {
        name: "ranges",
        rules: include_str!("plays/ranges.rules"),
        setup: &[("wan", "ip route replace 198.51.100.128/25 via 203.0.113.1")],
        checks: &[
            ("a range of ports, shifted", "wan", "curl -sf -m 5 http://203.0.113.1:18080/who"),
            ("the end of the range, shifted", "wan", "python3 {dir}/talk.py connect 203.0.113.1 18085 18086"),
            ("a range of ports, kept", "wan", "curl -sf -m 5 http://203.0.113.1:8080/who"),
            (
                "a range of servers: one for an asker",
                "wan",
                "sh -c 'for i in 1 2 3 4 5 6; do curl -sf -m 5 http://203.0.113.1:81/who; done | sort -u | wc -l'",
            ),
            ("a random one of one port", "wan", "curl -sf -m 5 http://203.0.113.1:82/who"),
            (
                "a pool: one address for an asker",
                "lan",
                "sh -c 'for a in 10 11; do for i in 1 2 3; do curl -sf -m 5 --interface 192.168.1.$a http://203.0.113.9/who; done | \
                 sort -u | sed s/1[0-9][0-9]$/N/; done'",
            ),
            (
                "a range of source ports",
                "lan",
                "sh -c 'p=$(curl -sf -m 5 http://203.0.113.9:8080/port); [ $p -ge 50000 ] && [ $p -le 50010 ] && echo in it'",
            ),
            (
                "two ports, and no third",
                "lan",
                "sh -c 'for p in 1 2 3; do dig +short +time=1 +tries=1 -b 192.168.1.10#3000$p @203.0.113.9 name.test >/dev/null; echo $?; done'",
            ),
            ("a port is kept", "lan", "curl -sf -m 5 --local-port 40123 http://198.51.100.1/port"),
            (
                "a random port",
                "lan",
                "sh -c '[ $(curl -sf -m 5 --local-port 40124 http://198.51.100.1:8080/port) -ne 40124 ] && echo another'",
            ),
            ("an error about what was translated", "wan", "python3 {dir}/talk.py ask 203.0.113.1 7777"),
            ("let through", "lan", "python3 {dir}/talk.py connect 203.0.113.9 5201"),
            (
                "three servers share a port by chance",
                "wan",
                "sh -c 'for i in $(seq 60); do curl -sf -m 5 http://203.0.113.1:83/who; done | cut -d\" \" -f1 | sort | uniq -c | \
                 while read n who; do [ $n -ge 6 ] && echo $who; done'",
            ),
            ("counters are at nought", "rules", "iptables -t nat -Z"),
            ("three connections", "lan", "sh -c 'for i in 1 2 3; do curl -sf -m 5 http://203.0.113.9:8080/name; done'"),
            ("nat has counted three packets", "says", "iptables-save -t nat -c | grep 50010"),
        ],
        ..Play::NONE
    },
    Play {
        name: "prefixes",
        rules: include_str!("plays/prefixes.rules"),
        rules6: include_str!("plays/prefixes.rules6"),
        setup: &[
            ("wan", "ip route replace 192.0.2.0/24 via 203.0.113.1"),
            ("wan", "ip -6 route replace 2001:db8:77::/64 via 2001:db8:9::1"),
        ],
        checks: &[
            ("a network mapped, outwards", "lan", "curl -sf -m 5 --interface 192.168.1.11 http://203.0.113.9/who"),
            ("a network mapped, inwards", "wan", "curl -sf -m 5 http://192.0.2.11/who"),
            ("a prefix translated, outwards", "lan", "curl -sf -m 5 --interface fd00:1::11 http://[2001:db8:9::9]/who"),
            ("a ping by it", "lan", "sh -c 'ping -c 2 -i 0.2 -W 2 2001:db8:9::9 | grep -o \"[0-9]* received\"'"),
            (
                "a prefix translated, inwards",
                "wan",
                "sh -c 'for n in 10 11; do ping -c 1 -W 2 2001:db8:77:0:ced1::$n | grep -o \"[0-9]* received\"; done'",
            ),
            (
                "an error about what was translated",
                "lan",
                "sh -c 'traceroute -n -q 1 -w 2 2001:db8:9::9 | tail -n +2 | cut -d\" \" -f4'",
            ),
        ],
        ..Play::NONE
    },
    Play {
        name: "transparent proxy",
        rules: include_str!("plays/tproxy.rules"),
        rules6: include_str!("plays/tproxy.rules6"),
        setup: &[
            ("wan", "ip route replace 192.168.1.0/24 via 203.0.113.1"),
            ("wan", "ip -6 route replace fd00:1::/64 via 2001:db8:9::1"),
        ],
        server: Some(("rt", "python3 {dir}/proxy.py")),
        checks: &[
            ("the server sees the client", "lan", "curl -sf -m 5 http://203.0.113.9/who"),
            ("a second client", "lan", "curl -sf -m 5 --interface 192.168.1.11 http://203.0.113.9/who"),
            ("by IPv6", "lan", "curl -sf -m 5 http://[2001:db8:9::9]/who"),
            ("a large file", "lan", "sh -c 'curl -sf -m 20 http://203.0.113.9/file | wc -c'"),
            (
                "many at once",
                "lan",
                "sh -c 'for i in $(seq 20); do curl -sf -m 10 http://203.0.113.9/name & done | sort | uniq -c | tr -s \" \"; wait'",
            ),
            ("what is not for it", "lan", "curl -sf -m 5 http://203.0.113.9:8080/who"),
            ("datagrams", "lan", "python3 {dir}/talk.py ask 198.51.100.1 5353"),
            ("no proxy there", "lan", "python3 {dir}/talk.py ask 198.51.100.1 5354"),
            ("the router's own services", "lan", "curl -sf -m 5 http://192.168.1.1:8088/name"),
        ],
    },
    Play {
        name: "the router itself",
        rules: include_str!("plays/itself.rules"),
        checks: &[
            ("its public address, forwarded", "rt", "curl -sf -m 5 http://203.0.113.1:8080/who"),
            ("its inner address, forwarded", "rt", "curl -sf -m 5 http://192.168.1.1:8080/who"),
            ("its own service", "rt", "curl -sf -m 5 http://203.0.113.1:8088/who"),
            ("its own service by IPv6", "rt", "curl -sf -m 5 http://[2001:db8:9::1]:8088/who"),
            ("its own service by loopback", "rt", "curl -sf -m 5 http://127.0.0.1:8088/who"),
            ("a large file from itself", "rt", "sh -c 'curl -sf -m 20 http://192.168.1.1:8088/file | wc -c'"),
            ("closed to itself", "rt", "python3 {dir}/talk.py connect 203.0.113.1 3128"),
            ("a ping to itself", "rt", "sh -c 'ping -c 2 -i 0.2 -W 2 203.0.113.1 | grep -o \"[0-9]* received\"'"),
            ("nobody listens", "rt", "python3 {dir}/talk.py connect 203.0.113.1 9998"),
            ("nobody listens, UDP", "rt", "python3 {dir}/talk.py ask 203.0.113.1 9998"),
            ("counted in OUTPUT and INPUT", "says", "iptables-save -c | grep 8088"),
        ],
        ..Play::NONE
    },
    Play {
        name: "a smaller link",
        rules: include_str!("plays/small.rules"),
        setup: &[
            ("rt", "sh -c 'ip link set lan0 mtu 1400; sleep 0.5'"),
            ("wan", "ip route replace 192.168.1.0/24 via 203.0.113.1"),
            ("wan", "ip -6 route replace fd00:1::/64 via 2001:db8:9::1"),
        ],
        checks: &[
            (
                "the sender is told",
                "wan",
                "sh -c 'ping -M do -s 1400 -c 1 -W 1 192.168.1.10 | grep -o \"Frag.*\"; ip route flush cache'",
            ),
            (
                "so by IPv6, too",
                "wan",
                "sh -c 'ping -M do -s 1400 -c 1 -W 1 fd00:1::10 | grep -o \"Packet too big.*\"; ip -6 route flush cache'",
            ),
            ("a large file finds its size", "lan", "sh -c 'curl -sf -m 20 http://203.0.113.9/file | wc -c'"),
            ("so by IPv6", "lan", "sh -c 'curl -sf -m 20 http://[2001:db8:9::9]/file | wc -c'"),
            (
                "a clamp",
                "rules",
                "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            ),
            ("the MSS is clamped", "lan", "python3 {dir}/talk.py mss 203.0.113.9 80"),
            (
                "as it was",
                "rt",
                "sh -c 'ip link set lan0 mtu 1500; sleep 0.5; ip link show lan0 | grep -o \"mtu [0-9]*\"'",
            ),
        ],
        ..Play::NONE
    },
    Play {
        name: "a whole firewall",
        rules: include_str!("plays/firewall.rules"),
        checks: &[
            ("out, and answers", "lan", "curl -sf -m 5 http://203.0.113.9/name"),
            ("strangers are not answered", "wan", "sh -c 'ping -c 1 -W 1 203.0.113.1 | grep -o \"[0-9]* received\"'"),
            ("low ports are closed to strangers", "wan", "python3 {dir}/talk.py connect 203.0.113.1 22 80 1023"),
            (
                "nobody gets in from outside",
                "wan",
                "sh -c 'ip route add 192.168.1.0/24 via 203.0.113.1; python3 {dir}/talk.py connect 192.168.1.10 80; ip route del 192.168.1.0/24'",
            ),
            ("the intranet is free", "lan", "curl -sf -m 5 http://192.168.1.1:8088/name"),
            ("the router asks", "rt", "curl -sf -m 5 http://203.0.113.9/name"),
            (
                "each kind of REJECT",
                "lan",
                "python3 {dir}/talk.py connect 203.0.113.9 1001 1002 1003 1004 1005 1006 1007 1008 1009",
            ),
            ("a smaller MSS", "lan", "python3 {dir}/talk.py mss 203.0.113.9 80"),
            ("a word in the stream is refused", "lan", "sh -c 'curl -s -m 5 http://203.0.113.9/forbidden; echo $?'"),
            ("other words are not", "lan", "curl -sf -m 5 http://203.0.113.9/name"),
            ("TFTP", "lan", "curl -sf -m 5 tftp://203.0.113.9/small"),
            (
                "DSCP is looked for",
                "wan",
                "sh -c 'iptables-legacy -I INPUT -p udp --dport 53 -m dscp --dscp 46; echo $?'",
            ),
            ("a question with DSCP", "lan", "dig +short +time=2 +tries=1 @203.0.113.9 name.test"),
            (
                "DSCP is there",
                "wan",
                "sh -c 'iptables-legacy -nvxL INPUT 1 | tr -s \" \" | cut -d\" \" -f2; iptables-legacy -F'",
            ),
            ("no forwarding", "rules", "sysctl -w net.ipv4.ip_forward=0"),
            ("nothing passes", "lan", "python3 {dir}/talk.py connect 203.0.113.9 80"),
            ("forwarding", "rules", "sysctl -w net.ipv4.ip_forward=1"),
            ("it passes again", "lan", "curl -sf -m 5 http://203.0.113.9/name"),
        ],
        ..Play::NONE
    },
    Play {
        name: "by script",
        rules: "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
        checks: &[
            ("policy", "rules", "iptables -P FORWARD DROP"),
            ("closed", "lan", "python3 {dir}/talk.py connect 203.0.113.9 80"),
            ("-N", "rules", "iptables -N OUT"),
            ("-A with counters", "rules", "iptables -A OUT -p tcp --dport 80 -j ACCEPT -c 7 420"),
            ("-A", "rules", "iptables -A OUT -p tcp --dport 8080 -j REJECT"),
            ("a jump", "rules", "iptables -A FORWARD -i lan0 -j OUT"),
            ("answers", "rules", "iptables -A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT"),
            ("masquerade", "rules", "iptables -t nat -A POSTROUTING -o wan0 -j MASQUERADE"),
            ("open, refused, closed", "lan", "python3 {dir}/talk.py connect 203.0.113.9 80 8080 21"),
            ("-R", "rules", "iptables -R OUT 2 -p tcp --dport 21 -j ACCEPT"),
            ("open, closed, open", "lan", "python3 {dir}/talk.py connect 203.0.113.9 80 8080 21"),
            ("-I", "rules", "iptables -I OUT -s 192.168.1.11 -j RETURN"),
            (
                "one is closed out",
                "lan",
                "sh -c 'curl -s -m 1 --interface 192.168.1.11 http://203.0.113.9/name; echo $?'",
            ),
            ("-D", "rules", "iptables -D OUT -s 192.168.1.11 -j RETURN"),
            ("and not any more", "lan", "curl -sf -m 5 --interface 192.168.1.11 http://203.0.113.9/name"),
            ("-S", "says", "iptables -S OUT"),
            ("counters", "says", "iptables-save -c | grep \"dport 80 \""),
            ("-C finds it", "rules", "iptables -C OUT -p tcp --dport 21 -j ACCEPT"),
            ("-F", "rules", "iptables -F"),
            ("-X", "rules", "iptables -X OUT"),
            ("a policy outlives -F", "lan", "python3 {dir}/talk.py connect 203.0.113.9 80"),
            ("policy again", "rules", "iptables -P FORWARD ACCEPT"),
            ("open", "lan", "curl -sf -m 5 http://203.0.113.9/who"),
            ("what is left", "says", "iptables-save -t filter | grep -v ^# | cut -d[ -f1"),
        ],
        ..Play::NONE
    },
    Play {
        name: "limits and lists",
        rules: include_str!("plays/limits.rules"),
        checks: &[
            ("limit", "lan", "sh -c 'ping -c 6 -i 0.1 -W 1 203.0.113.9 | grep -o \"[0-9]* received\"'"),
            ("quota", "lan", "sh -c 'ping -s 100 -c 5 -i 0.1 -W 1 198.51.100.1 | grep -o \"[0-9]* received\"'"),
            (
                "a flood of new flows in raw",
                "lan",
                "sh -c 'for p in 1 2 3 4 5; do dig +short +time=1 +tries=1 -b 192.168.1.10#3100$p @203.0.113.9 name.test >/dev/null; echo $?; done'",
            ),
            (
                "connections of one network",
                "lan",
                "bash -c 'exec 3<>/dev/tcp/203.0.113.9/8080 4<>/dev/tcp/203.0.113.9/8080; (exec 5<>/dev/tcp/203.0.113.9/8080) 2>&1 | grep -o refused'",
            ),
            ("a list of networks", "rules", "ipset create block hash:net counters"),
            ("of addresses and ports", "rules", "ipset create pairs hash:ip,port"),
            ("of who came here", "rules", "ipset create seen hash:ip timeout 3"),
            ("an entry", "rules", "ipset add block 192.168.1.8/30"),
            ("an exception", "rules", "ipset add block 192.168.1.10 nomatch"),
            ("a pair", "rules", "ipset add pairs 203.0.113.9,tcp:21"),
            ("blocked sources", "rules", "iptables -I FORWARD -m set --match-set block src -j REJECT"),
            ("closed pairs", "rules", "iptables -I FORWARD -m set --match-set pairs dst,dst -j REJECT"),
            ("a trap", "rules", "iptables -I INPUT -p tcp --dport 23 -j SET --add-set seen src"),
            ("who is caught", "rules", "iptables -I INPUT -m set --match-set seen src -j DROP"),
            ("blocked", "lan", "sh -c 'curl -s -m 2 --interface 192.168.1.11 http://203.0.113.9/name; echo $?'"),
            ("excepted", "lan", "curl -sf -m 5 --interface 192.168.1.10 http://203.0.113.9/name"),
            ("a closed pair, an open one", "lan", "python3 {dir}/talk.py connect 203.0.113.9 21 22"),
            ("before the trap", "wan", "curl -sf -m 5 http://203.0.113.1:8088/name"),
            ("into the trap", "wan", "python3 {dir}/talk.py connect 203.0.113.1 23"),
            ("caught", "wan", "python3 {dir}/talk.py connect 203.0.113.1 8088"),
            ("free after a while", "wan", "sh -c 'sleep 4; curl -sf -m 5 http://203.0.113.1:8088/name'"),
            ("a set in use stays", "says", "ipset destroy block 2>&1 | cut -d: -f2"),
        ],
        ..Play::NONE
    },
];
