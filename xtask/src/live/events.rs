//! `conntrack -E` while real traffic makes events: the real one of conntrack-tools 1.4.8 on the kernel, hairpin's on the gateway.

use super::board::Teller;
use super::stage::{RULES4, RULES6, Stage, hairpin, sh};
use crate::commands::reference;
use std::time::Duration;

/// Name, the words behind `-E`, and what happens meanwhile: where and what, as in the plays.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PING: &[(&str, &str)] =
    &[("lan", "ping -c 1 -W 2 -e 771 203.0.113.9"), ("rules", "conntrack -D -p icmp --icmp-id 771")];
const QUESTION: &[(&str, &str)] = &[
    ("lan", "dig +short +time=2 +tries=1 -b 192.168.1.10#4501 @203.0.113.9 name.test"),
    ("rules", "conntrack -D -p udp --sport 4501"),
];
const FORWARDED: &[(&str, &str)] = &[
    ("wan", "curl -sf -m 5 --local-port 4502-4509 http://203.0.113.1:8080/who"),
    ("rules", "conntrack -D -p tcp --dport 8080"),
];
const PAGE: &[(&str, &str)] = &[
    ("lan", "curl -sf -m 5 --local-port 4510-4519 http://203.0.113.9/who"),
    ("rules", "conntrack -D -p tcp --dport 80"),
];
const PAGE6: &[(&str, &str)] = &[
    ("lan", "curl -sf -m 5 --local-port 4520-4529 http://[2001:db8:9::9]/who"),
    ("rules", "conntrack -D -f ipv6 -p tcp --dport 80"),
];
const FTP: &[(&str, &str)] =
    &[("lan", "curl -sf -m 20 ftp://203.0.113.9/small"), ("rules", "conntrack -D -p tcp -s 192.168.1.10")];
const BY_HAND: &[(&str, &str)] = &[
    (
        "rules",
        "conntrack -I -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED -t 1000 -u ASSURED,SEEN_REPLY -m 5",
    ),
    ("rules", "conntrack -U -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 -m 9"),
    ("rules", "conntrack -I -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 1000 --dport 53 -t 3000 --src-nat 192.0.2.1"),
    ("rules", "conntrack -D -p udp -s 10.0.0.1"),
    ("rules", "conntrack -D -p tcp -s 10.0.0.1"),
];

const CASES: &[Case] = &[
    ("a ping", "", PING),
    ("a question", "", QUESTION),
    ("a forwarded port", "", FORWARDED),
    ("a page", "", PAGE),
    ("a page, IPv6", "-f ipv6", PAGE6),
    ("both families", "-p tcp", PAGE6),
    ("FTP", "-p tcp -e NEW", FTP),
    ("by hand", "", BY_HAND),
    ("one kind", "-e NEW", PAGE),
    ("two kinds", "-e UPDATES,DESTROY", PAGE),
    ("all kinds", "-e ALL", QUESTION),
    ("a protocol", "-p udp", QUESTION),
    ("another protocol", "-p tcp", QUESTION),
    ("a source", "-s 192.168.1.10", PAGE),
    ("another source", "-s 192.168.1.99", PAGE),
    ("a destination's port", "-p tcp --dport 8080", FORWARDED),
    ("translated ones", "--src-nat", PAGE),
    ("forwarded ones", "--dst-nat", FORWARDED),
    ("any translation", "--any-nat", FORWARDED),
    ("translated to", "-g 192.168.1.10", FORWARDED),
    ("a mark", "-m 9", BY_HAND),
    ("a status", "-u ASSURED", BY_HAND),
    ("extended", "-o extended", QUESTION),
    ("save", "-o save", BY_HAND),
    ("xml", "-o xml", QUESTION),
    ("xml, extended", "-o xml,extended", PAGE6),
    ("numbers and times", "-o id,timestamp", QUESTION),
    ("times by the kernel", "-o ktimestamp", QUESTION),
    ("labels", "-o labels", QUESTION),
    ("expectations", "expect", FTP),
    ("expectations, with times", "expect -o timestamp", FTP),
    ("a wrong form", "-o nonsense", &[]),
];

/// Every case. Each begins with nothing remembered.
pub(crate) fn run(stage: &Stage, tell: Teller<'_>) {
    let tool = match (stage.is_kernel(), reference::find_with("usr/sbin/conntrack"), hairpin()) {
        (true, Ok(tree), _) => format!("ip netns exec {} chroot {} conntrack", stage.namespace("rt"), tree.display()),
        (false, _, Ok(hairpin)) => {
            format!("env HAIRPIN_SOCKET={} {} conntrack", stage.socket().display(), hairpin.display())
        }
        (true, Err(why), _) => return tell.check("events: the real conntrack", format!("failed: {why}")),
        (false, _, Err(why)) => return tell.none(&why),
    };
    if let Err(why) = stage.load(RULES4).and_then(|()| stage.load6(RULES6)) {
        return tell.check("events: in place", format!("failed: {why}"));
    }
    for (name, words, deeds) in CASES {
        let outcome = case(stage, &tool, words, deeds).unwrap_or_else(|why| format!("failed: {why}"));
        tell.check(format!("events: {name}"), outcome);
    }
}

fn case(stage: &Stage, tool: &str, words: &str, deeds: &[(&str, &str)]) -> Result<String, String> {
    stage.command("conntrack -F")?;
    let dir = stage.dir.display();
    stage.write("events.sh", &format!("exec timeout 30 {tool} -E {words} > {dir}/events.txt 2>&1"))?;
    let mut watching =
        std::process::Command::new("sh").arg(stage.dir.join("events.sh")).spawn().map_err(|why| why.to_string())?;
    std::thread::sleep(Duration::from_millis(400));
    let done = deeds.iter().try_for_each(|(side, command)| {
        match *side {
            "rules" => stage.command(command)?,
            side => stage.at(side, command)?,
        };
        // The last words of a connection may still be on their way.
        std::thread::sleep(Duration::from_millis(200));
        Ok::<(), String>(())
    });
    let _ = sh(&format!("kill -INT {}", watching.id()));
    let status = watching.wait().map_err(|why| why.to_string())?;
    done?;
    let text = std::fs::read_to_string(stage.dir.join("events.txt")).map_err(|why| why.to_string())?;
    Ok(format!("{} [{}]", stage.as_everywhere(&plain(&text)), status.code().unwrap_or(-1)))
}

/// Without what differs from run to run: the ports that programs choose, times, numbers of connections.
fn plain(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let mut out = String::new();
    let (mut rest, mut last) = (line, "");
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(at);
        let len = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let (number, after) = digits.split_at(len);
        out.push_str(before);
        let follows = |words: &[&str]| words.iter().any(|word| before.ends_with(word));
        let is_long = number.len() > 4 && follows(&["port=", "port>", "id=", "<id>", "dpt=", "spt="]);
        let is_time = number.len() > 8 && before.ends_with('[');
        let is_chance = is_long || is_time || follows(&["portid=", "delta-time="]);
        // A time to live that has begun to run counts as whole.
        let is_left = number.ends_with('9')
            && (["1", "6", "17"].contains(&last) && before == " " || follows(&["-t ", "<timeout>", "] "]));
        match number.parse::<u64>() {
            Ok(left) if is_left => out.push_str(&(left + 1).to_string()),
            _ => out.push_str(if is_chance { "N" } else { number }),
        }
        last = number;
        // A clock's parts are padded.
        rest = if is_time { after.trim_start_matches(' ') } else { after };
    }
    out.push_str(rest);
    // A word for the day and one for the clock.
    match (out.find("[start="), out.find("[stop=")) {
        (None, None) => out,
        _ => out
            .split('[')
            .filter(|word| !word.starts_with("start=") && !word.starts_with("stop="))
            .collect::<Vec<_>>()
            .join("["),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn what_chance_chooses_is_left_out() {
        let one = "[1764186000.123456]\t    [NEW] udp      17 29 src=192.168.1.10 dst=203.0.113.9 sport=40501 dport=53 id=300123";
        assert_eq!(line(one), "[N]\t    [NEW] udp      17 30 src=192.168.1.10 dst=203.0.113.9 sport=N dport=53 id=N");
    }
}
