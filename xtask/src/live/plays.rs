//! Rule sets as people and programs write them, put in place on the router while it runs, and what real programs then get by them.

use super::board::Teller;
use super::checks::outcome;
use super::stage::{Router, Stage};
use super::{events, neighbors, nflog, queues, systems, ufw};

/// A rule set, and what follows from it.
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static str,
    /// Empty: without any.
    pub(crate) rules6: &'static str,
    /// Where, and what to set up there before.
    pub(crate) setup: &'static [(&'static str, &'static str)],
    /// Where, and a program that serves while the checks run; it says `ready'.
    pub(crate) server: Option<(&'static str, &'static str)>,
    /// Name, where, command; where is `rules` for a command of the router's, `says` for one whose words count too.
    pub(crate) checks: &'static [(&'static str, &'static str, &'static str)],
}

impl Play {
    pub(crate) const NONE: Play = Play { name: "", rules: "", rules6: "", setup: &[], server: None, checks: &[] };
}

const PLAYS: &[Play] = &[
    Play {
        name: "docker",
        rules: include_str!("plays/docker.rules"),
        setup: &[
            ("p1", "sh -c 'ip addr add 172.17.0.2/16 dev eth0; ip route replace default via 172.17.0.1'"),
            ("p2", "sh -c 'ip addr add 172.17.0.3/16 dev eth0; ip route replace default via 172.17.0.1'"),
        ],
        checks: &[
            ("a published port", "wan", "curl -sf -m 5 http://203.0.113.1:8080/who"),
            ("a published port of another network", "wan", "curl -sf -m 5 http://203.0.113.1:8443/who"),
            ("a published UDP port", "wan", "dig +short +time=2 +tries=2 -p 5353 @203.0.113.1 name.test"),
            ("from a container to the world", "p1", "curl -sf -m 5 http://203.0.113.9/who"),
            ("between containers of a network", "p1", "curl -sf -m 5 http://172.17.0.3/who"),
            ("networks are apart", "dmz", "sh -c 'curl -s -m 2 http://172.17.0.2/who; echo $?'"),
            ("apart by the published port too", "dmz", "sh -c 'curl -s -m 2 http://203.0.113.1:8080/who; echo $?'"),
            ("a container's own published port", "p1", "curl -sf -m 5 http://203.0.113.1:8081/who"),
            ("its neighbor's published port", "p2", "curl -sf -m 5 http://203.0.113.1:8081/who"),
            ("from the router itself", "rt", "curl -sf -m 5 http://172.17.0.2/who"),
            ("from the router by its published port", "rt", "curl -sf -m 5 http://203.0.113.1:8080/who"),
            ("DOCKER-USER closes", "rules", "iptables -I DOCKER-USER -i eth0 -s 203.0.113.9 -j DROP"),
            ("closed", "wan", "sh -c 'curl -s -m 2 http://203.0.113.1:8080/who; echo $?'"),
            ("DOCKER-USER opens", "rules", "iptables -D DOCKER-USER -i eth0 -s 203.0.113.9 -j DROP"),
            (
                "a container stops",
                "rules",
                "iptables -t nat -D DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
            ),
            ("its port is closed", "wan", "sh -c 'curl -s -m 2 http://203.0.113.1:8080/who; echo $?'"),
        ],
        ..Play::NONE
    },
    Play {
        name: "kube-proxy",
        rules: include_str!("plays/kube.rules"),
        setup: &[
            (
                "p1",
                "sh -c 'ip addr flush dev eth0; ip addr add 10.244.0.2/24 dev eth0; ip route replace default via 10.244.0.1'",
            ),
            (
                "p2",
                "sh -c 'ip addr flush dev eth0; ip addr add 10.244.0.3/24 dev eth0; ip route replace default via 10.244.0.1'",
            ),
        ],
        checks: &[
            (
                "a ClusterIP spreads",
                "dmz",
                "sh -c 'for i in $(seq 30); do curl -sf -m 5 http://10.96.0.10/name; done | sort | uniq -c | while read n who; do [ $n -ge 4 ] && echo $who; done'",
            ),
            ("a ClusterIP by another network", "dmz", "curl -sf -m 5 http://10.96.0.13/who"),
            ("a service that is the asker", "p1", "curl -sf -m 5 http://10.96.0.13/who"),
            (
                "session affinity",
                "p2",
                "sh -c 'for i in 1 2 3 4 5 6 7 8; do curl -sf -m 5 http://10.96.0.11/name; done | sort | uniq -c | tr -s \" \" | cut -d\" \" -f2'",
            ),
            ("no endpoints: refused", "p1", "sh -c 'curl -s -m 5 http://10.96.0.12/; echo $?'"),
            ("cluster DNS", "dmz", "dig +short +time=2 +tries=2 @10.96.0.53 name.test"),
            ("cluster DNS by TCP", "dmz", "dig +short +tcp +time=2 +tries=2 @10.96.0.53 name.test"),
            ("a NodePort from outside", "wan", "curl -sf -m 5 http://203.0.113.1:30080/who"),
            ("a NodePort from a pod", "p2", "curl -sf -m 5 http://10.244.0.1:30080/who"),
            ("a ClusterIP from the node", "rt", "curl -sf -m 5 http://10.96.0.13/who"),
            ("from a pod to the world", "p1", "curl -sf -m 5 http://203.0.113.9/who"),
            ("an endpoint goes", "rules", "iptables -t nat -R KUBE-SVC-WEB 1 -j KUBE-SEP-TWO"),
            (
                "the other has all",
                "dmz",
                "sh -c 'for i in $(seq 10); do curl -sf -m 5 http://10.96.0.10/name; done | sort | uniq -c | tr -s \" \"'",
            ),
        ],
        ..Play::NONE
    },
    Play {
        name: "proxy and DNS",
        rules: include_str!("plays/proxy.rules"),
        setup: &[],
        checks: &[
            ("a transparent proxy", "lan", "curl -sf -m 5 http://198.51.100.1/name"),
            ("what is not for it", "lan", "curl -sf -m 5 http://198.51.100.1:8080/name"),
            ("DNS that is not there", "lan", "dig +short +time=2 +tries=2 @10.2.0.1 name.test"),
            ("DNS of somebody else", "lan", "dig +short +time=2 +tries=2 @192.0.2.77 name.test"),
            (
                "a network mapped",
                "wan",
                "sh -c 'ip route add 192.0.2.0/24 via 203.0.113.1; curl -sf -m 5 http://192.0.2.11/who; ip route del 192.0.2.0/24'",
            ),
            ("another TTL", "lan", "sh -c 'ping -c 1 -W 2 203.0.113.9 | grep -o ttl=.. '"),
        ],
        ..Play::NONE
    },
    Play {
        name: "two uplinks",
        rules: include_str!("plays/uplinks.rules"),
        setup: &[],
        checks: &[
            ("the usual way", "lan", "curl -sf -m 5 http://198.51.100.1/name"),
            ("the marked way", "lan", "curl -sf -m 5 http://198.51.100.1:8080/name"),
            ("its source", "lan", "curl -sf -m 5 http://198.51.100.1:8080/who"),
            ("in by the second, out by it", "dmz", "curl -sf -m 5 --interface 198.51.100.1 http://172.18.0.1:8080/who"),
            ("an exempt destination", "lan", "sh -c 'ping -c 1 -W 1 203.0.113.9 | grep -o \"[0-9]* received\"'"),
        ],
        ..Play::NONE
    },
    Play {
        name: "guarded",
        rules: include_str!("plays/guarded.rules"),
        setup: &[],
        checks: &[
            ("closed until knocked", "wan", "sh -c 'curl -s -m 1 http://203.0.113.1:8088/name; echo $?'"),
            (
                "knocking",
                "wan",
                "sh -c 'for p in 7001 7002; do curl -s -m 0.4 http://203.0.113.1:$p/; done; curl -s -m 5 http://203.0.113.1:8088/name'",
            ),
            (
                "not for the wrong knock",
                "lan",
                "sh -c 'for p in 7002 7001; do curl -s -m 0.4 http://192.168.1.1:$p/; done; curl -s -m 1 http://192.168.1.1:8088/name; echo $?'",
            ),
            (
                "two connections, no third",
                "wan",
                "bash -c 'exec 3<>/dev/tcp/203.0.113.1/8089 4<>/dev/tcp/203.0.113.1/8089; (exec 5<>/dev/tcp/203.0.113.1/8089) 2>&1 | grep -o refused'",
            ),
            ("hashlimit", "wan", "sh -c 'ping -c 6 -i 0.1 -W 1 203.0.113.1 | grep -o \"[0-9]* received\"'"),
            (
                "owner: this user may not",
                "rt",
                "sh -c 'setpriv --reuid 65534 --clear-groups curl -s -m 3 http://203.0.113.9/name; echo $?'",
            ),
            (
                "owner: this group may not",
                "rt",
                "sh -c 'setpriv --regid 65533 --clear-groups curl -s -m 3 http://203.0.113.9/name; echo $?'",
            ),
            ("owner: others may", "rt", "curl -sf -m 5 http://203.0.113.9/name"),
            ("a set", "rules", "ipset create blocked hash:ip timeout 600"),
            ("a rule with it", "rules", "iptables -I FORWARD -m set --match-set blocked src -j DROP"),
            ("not in the set", "lan", "curl -sf -m 5 --interface 192.168.1.11 http://203.0.113.9/name"),
            ("into the set", "rules", "ipset add blocked 192.168.1.11"),
            ("in the set", "lan", "sh -c 'curl -s -m 2 --interface 192.168.1.11 http://203.0.113.9/name; echo $?'"),
            ("another not", "lan", "curl -sf -m 5 --interface 192.168.1.10 http://203.0.113.9/name"),
            ("out of the set", "rules", "ipset del blocked 192.168.1.11"),
            ("open again", "lan", "curl -sf -m 5 --interface 192.168.1.11 http://203.0.113.9/name"),
        ],
        ..Play::NONE
    },
];

/// Puts each in place and runs its checks; `only` names those that are wanted.
pub(crate) fn run(stage: &mut Stage, only: Option<&str>, tell: Teller<'_>) {
    let is_wanted = |name: &str| super::is_wanted(only, name);
    let written = stage.write("talk.py", include_str!("talk.py"));
    if let Err(why) = written.and_then(|()| stage.write("proxy.py", include_str!("proxy.py"))) {
        return tell.none(&why);
    }
    for play in PLAYS.iter().chain(systems::SYSTEMS).filter(|play| is_wanted(play.name)) {
        // Pods are on a bridge, which takes Ethernet; the router's devices are the kernel's where it does not make them.
        let needs = |side: char| play.setup.iter().any(|(where_to, _)| where_to.starts_with(side));
        let can_be = !(needs('p') && stage.router == Router::Tun || needs('r') && stage.router.makes_devices());
        if can_be {
            perform(play, stage, tell);
        }
    }
    if is_wanted("events") {
        events::run(stage, tell);
    }
    // The other end of a device that hairpin makes is no link of its own.
    if is_wanted("neighbors") && !stage.router.makes_devices() {
        neighbors::run(stage, tell);
    }
    if is_wanted("NFLOG") {
        nflog::run(stage, tell);
    }
    if is_wanted("NFQUEUE") {
        queues::run(stage, tell);
    }
    if is_wanted("ufw") {
        ufw::run(stage, tell);
    }
    let _ = stage.load(super::stage::RULES4);
}

fn perform(play: &Play, stage: &Stage, tell: Teller<'_>) {
    let ready = play.setup.iter().try_for_each(|(side, command)| stage.at(side, command).map(drop));
    let loaded = ready.and_then(|()| stage.load(play.rules)).and_then(|()| stage.load6(play.rules6));
    if let Err(why) = loaded {
        return tell.check(format!("{}: in place", play.name), format!("failed: {why}"));
    }
    let fill = |command: &str| command.replace("{dir}", &stage.dir.display().to_string());
    let served = play.server.map(|(side, command)| {
        let mut server = stage.child(side, &fill(command))?;
        let said = server.line()?;
        if said == "ready" { Ok(server) } else { Err(format!("the server did not start: {said}")) }
    });
    if let Some(Err(why)) = &served {
        return tell.check(format!("{}: its server", play.name), format!("failed: {why}"));
    }
    for (name, side, command) in play.checks {
        let command = fill(command);
        let outcome = match *side {
            "rules" => stage.command(&command).map_or_else(|why| format!("failed: {why}"), |_| "done".to_owned()),
            "says" => {
                stage.command(&command).map_or_else(|why| format!("failed: {why}"), |text| stage.as_everywhere(&text))
            }
            side => outcome(stage, side, &command),
        };
        tell.check(format!("{}: {name}", play.name), outcome);
    }
}
