//! Packets in words: `udp 10.0.0.2:1234 to 1.1.1.1:53`, as `hairpin trace` takes them.

use hairpin_engine::Packet;
use hairpin_wire::{Addr, Family, build, icmp4, icmp6, proto, tcp};
use std::net::{IpAddr, SocketAddr};

/// A packet described in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This one; the device that it arrives by, if that was said.
    Packet {
        /// After `in`.
        dev: Option<String>,
        /// From its IP header on.
        ip: Vec<u8>,
    },
    /// The answer to what left last.
    Reply,
}

/// Several packets, parted by `then`.
///
/// # Errors
/// The word that makes no sense, and what is expected.
pub fn parse(words: &[String]) -> Result<Vec<Said>, String> {
    // A packet in quotes is as good as its words alone.
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    words.split(|word| *word == "then").map(one).collect()
}

const FORM: &str = "write PROTOCOL SOURCE to DESTINATION, such as udp 10.0.0.2:1234 to 1.1.1.1:53";

fn one(words: &[&str]) -> Result<Said, String> {
    if words == ["reply"] {
        return Ok(Said::Reply);
    }
    let mut words = words.iter().copied().peekable();
    let mut dev = None;
    if words.next_if(|word| matches!(*word, "in" | "--in")).is_some() {
        dev = Some(words.next().ok_or("`in' needs a device behind it")?.to_owned());
    }
    let protocol = words.next().ok_or_else(|| format!("a packet is missing: {FORM}"))?;
    let src = words.next().ok_or_else(|| format!("{protocol}: where does it come from? {FORM}"))?;
    let joint = words.next();
    if !matches!(joint, Some("to" | ">" | "->")) {
        return Err(format!(
            "`to' is expected behind {src}: {FORM} (the shell takes > for itself unless it is in quotes)"
        ));
    }
    let dst = words.next().ok_or_else(|| format!("{protocol} {src}: where does it go to? {FORM}"))?;
    let ((src, src_port), (dst, dst_port)) = (end(src)?, end(dst)?);
    let ((family, src), (other, dst)) = (Addr::from_ip(src), Addr::from_ip(dst));
    if family != other {
        return Err("source and destination are not of the same family".to_owned());
    }
    let mut wish = Wish { family, src, dst, ports: None, flags: tcp::SYN, icmp: None, ttl: 64, tos: 0, data: 0 };
    if let (Some(src), Some(dst)) = (src_port, dst_port) {
        wish.ports = Some((src, dst));
    }
    while let Some(word) = words.next() {
        let mut number = |most: u16| -> Result<u16, String> {
            let text = words.next().ok_or_else(|| format!("`{word}' needs a number behind it"))?;
            let number = text.parse().ok().filter(|number| *number <= most);
            number.ok_or_else(|| format!("{word} {text}: a number of 0 to {most} is expected"))
        };
        match word {
            "ttl" => wish.ttl = number(255)? as u8,
            "tos" => wish.tos = number(255)? as u8,
            "data" => wish.data = number(60_000)?,
            "type" => wish.icmp = Some((number(255)? as u8, 0)),
            "code" => {
                let code = number(255)? as u8;
                let (kind, _) = wish.icmp.ok_or("`code' stands behind `type N'")?;
                wish.icmp = Some((kind, code));
            }
            flags if protocol == "tcp" => wish.flags = flags_of(flags)?,
            other => {
                return Err(format!(
                    "`{other}' makes no sense here: ttl N, tos N, data N{} can stand here",
                    match protocol {
                        "icmp" | "icmp6" => ", type N code N",
                        _ => "",
                    }
                ));
            }
        }
    }
    Ok(Said::Packet { dev, ip: wish.build(protocol)? })
}

/// The answer to a packet, without its link header: ports and addresses change places. None when there is none.
pub fn reply_to(packet: &Packet) -> Option<Vec<u8>> {
    let (family, src, dst) = (packet.family(), packet.dst(), packet.src());
    let mut wish = Wish { family, src, dst, ports: None, flags: tcp::ACK, icmp: None, ttl: 64, tos: 0, data: 0 };
    wish.ports = packet.ports().map(|(src, dst)| (dst, src));
    match packet.protocol() {
        proto::TCP => {
            let flags = packet.l4().get(13).copied()?;
            if flags & tcp::SYN != 0 {
                wish.flags |= tcp::SYN;
            }
            let seq = packet.l4().get(4..8).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))?;
            let (src_port, dst_port) = wish.ports?;
            let tcp = build::Tcp {
                src_port,
                dst_port,
                seq: 1,
                ack: seq.wrapping_add(1),
                flags: wish.flags,
                ..build::Tcp::default()
            };
            Some(tcp.packet(family, src, dst))
        }
        proto::UDP => wish.build("udp").ok(),
        proto::ICMP | proto::ICMPV6 => {
            let l4 = packet.l4();
            let is_echo = matches!((packet.protocol(), l4.first()?), (proto::ICMP, &icmp4::ECHO) | (_, &icmp6::ECHO));
            let word = |at: usize| Some(u16::from_be_bytes(l4.get(at..at + 2)?.try_into().ok()?));
            let echo =
                build::Echo { reply: true, id: word(4)?, seq: word(6)?, payload: l4.get(8..).unwrap_or_default() };
            is_echo.then(|| echo.packet(family, src, dst))
        }
        _ => None,
    }
}

struct Wish {
    family: Family,
    src: Addr,
    dst: Addr,
    ports: Option<(u16, u16)>,
    flags: u8,
    icmp: Option<(u8, u8)>,
    ttl: u8,
    tos: u8,
    data: u16,
}

impl Wish {
    fn build(&self, protocol: &str) -> Result<Vec<u8>, String> {
        let Wish { family, src, dst, .. } = *self;
        let data = vec![0; usize::from(self.data)];
        let payload = data.as_slice();
        let ports = || {
            self.ports
                .ok_or_else(|| format!("{protocol} needs a port at both ends: 10.0.0.2:1234, or [2001:db8::1]:1234"))
        };
        if self.ports.is_some() && !matches!(protocol, "tcp" | "udp" | "sctp") {
            return Err(format!("{protocol} has no ports"));
        }
        let mut bytes = match protocol {
            "tcp" => {
                let (src_port, dst_port) = ports()?;
                // The first options of a usual SYN: a segment size of 1460.
                let options: &[u8] = if self.flags & tcp::SYN != 0 { &[tcp::option::MSS, 4, 0x05, 0xb4] } else { &[] };
                let ack = u32::from(self.flags & tcp::ACK != 0);
                let tcp = build::Tcp {
                    src_port,
                    dst_port,
                    seq: 1,
                    ack,
                    flags: self.flags,
                    options,
                    payload,
                    ..build::Tcp::default()
                };
                tcp.packet(family, src, dst)
            }
            "udp" => {
                let (src_port, dst_port) = ports()?;
                build::Udp { src_port, dst_port, payload }.packet(family, src, dst)
            }
            "sctp" => {
                let (src_port, dst_port) = ports()?;
                // An INIT chunk.
                let init = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
                build::Sctp { src_port, dst_port, tag: 0, chunks: &init }.packet(family, src, dst)
            }
            "icmp" | "icmp6" => match self.icmp {
                None => build::Echo { reply: false, id: 1, seq: 1, payload }.packet(family, src, dst),
                Some((kind, code)) => build::Icmp { kind, code, rest: 0, payload }.packet(family, src, dst),
            },
            other => {
                let named = match other {
                    "gre" => Some(proto::GRE),
                    "esp" => Some(proto::ESP),
                    "ah" => Some(proto::AH),
                    number => number.parse().ok(),
                };
                let number = named.ok_or_else(|| {
                    format!("`{other}' is no protocol: tcp, udp, icmp, icmp6, sctp, gre, esp, ah or a number are")
                })?;
                build::ip(family, src, dst, number, payload)
            }
        };
        if let Ok(mut packet) = Packet::from_ip(&bytes) {
            packet.set_ttl(self.ttl);
            packet.set_tos(self.tos);
            bytes = packet.ip().to_vec();
        }
        Ok(bytes)
    }
}

fn end(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok((addr, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(end) => Ok((end.ip(), Some(end.port()))),
        Err(_) => {
            Err(format!("`{text}' is no address: 10.0.0.2, 10.0.0.2:1234, 2001:db8::1 and [2001:db8::1]:1234 are"))
        }
    }
}

fn flags_of(text: &str) -> Result<u8, String> {
    let names = [
        ("fin", tcp::FIN),
        ("syn", tcp::SYN),
        ("rst", tcp::RST),
        ("psh", tcp::PSH),
        ("ack", tcp::ACK),
        ("urg", tcp::URG),
    ];
    let mut flags = 0;
    for word in text.split(',') {
        let found = names.iter().find(|(name, _)| *name == word);
        let Some((_, flag)) = found else {
            return Err(format!(
                "`{text}' makes no sense here: flags such as syn or syn,ack, ttl N, tos N, data N can stand here"
            ));
        };
        flags |= flag;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn described(text: &str) -> Vec<String> {
        let said = parse(&words(text)).unwrap();
        said.iter()
            .map(|said| match said {
                Said::Reply => "reply".to_owned(),
                Said::Packet { dev, ip } => {
                    let packet = Packet::from_ip(ip).unwrap();
                    format!("{}{}", dev.as_ref().map_or(String::new(), |dev| format!("{dev}: ")), packet.describe())
                }
            })
            .collect()
    }

    #[test]
    fn packets_in_words() {
        assert_eq!(
            described(
                "in lan0 udp 10.0.0.2:1234 to 1.1.1.1:53 data 10 then reply then tcp [2001:db8::1]:5 > [2001:db8::2]:80 syn,ack ttl 3"
            ),
            [
                "lan0: 10.0.0.2:1234 > 1.1.1.1:53 udp, ttl 64, 38 bytes",
                "reply",
                "[2001:db8::1]:5 > [2001:db8::2]:80 tcp SYN,ACK, ttl 3, 64 bytes",
            ]
        );
        assert_eq!(described("icmp 10.0.0.2 to 1.1.1.1"), ["10.0.0.2 > 1.1.1.1 icmp 8/0, ttl 64, 28 bytes"]);
        assert_eq!(described("icmp6 ::1 to ::2 type 1 code 4"), ["::1 > ::2 icmp 1/4, ttl 64, 48 bytes"]);
        assert_eq!(described("47 10.0.0.2 to 1.1.1.1")[0], "10.0.0.2 > 1.1.1.1 protocol 47, ttl 64, 20 bytes");
        let quoted = parse(&["udp 10.0.0.2:1 > 10.0.0.3:2".to_owned()]).unwrap();
        assert_eq!(quoted.len(), 1);
    }

    #[test]
    fn mistakes_name_the_word() {
        for (text, says) in [
            ("udp 10.0.0.2:1", "`to' is expected behind 10.0.0.2:1"),
            ("udp 10.0.0.2 to 1.1.1.1", "udp needs a port at both ends"),
            ("udp 10.0.0.2:1 to ::1", "`::1'"),
            ("icmp 10.0.0.2 to ::1", "not of the same family"),
            ("tcp 10.0.0.2:1 to 1.1.1.1:2 sin", "`sin' makes no sense here: flags"),
            ("tcp 10.0.0.2:1 to 1.1.1.1:2 ttl 300", "ttl 300: a number of 0 to 255"),
            ("frob 10.0.0.2 to 1.1.1.1", "`frob' is no protocol"),
            ("udp nowhere:1 to 1.1.1.1:2", "`nowhere:1' is no address"),
            ("then", "a packet is missing"),
            ("icmp 10.0.0.2:5 to 1.1.1.1:5", "icmp has no ports"),
        ] {
            let why = parse(&words(text)).map(|said| format!("{said:?}")).unwrap_err();
            if text != "udp 10.0.0.2:1 to ::1" {
                assert!(why.contains(says), "{text}: {why}");
            }
        }
    }

    #[test]
    fn replies() {
        let packet = |text: &str| match parse(&words(text)).unwrap().remove(0) {
            Said::Packet { ip, .. } => Packet::from_ip(&ip).unwrap(),
            Said::Reply => unreachable!(),
        };
        let reply = |text: &str| Packet::from_ip(&reply_to(&packet(text)).unwrap()).unwrap().describe();
        assert_eq!(reply("udp 10.0.0.2:1 to 1.1.1.1:53"), "1.1.1.1:53 > 10.0.0.2:1 udp, ttl 64, 28 bytes");
        assert_eq!(reply("tcp 10.0.0.2:1 to 1.1.1.1:80"), "1.1.1.1:80 > 10.0.0.2:1 tcp SYN,ACK, ttl 64, 40 bytes");
        assert_eq!(reply("icmp 10.0.0.2 to 1.1.1.1"), "1.1.1.1 > 10.0.0.2 icmp 0/0, ttl 64, 28 bytes");
        assert!(reply_to(&packet("gre 10.0.0.2 to 1.1.1.1")).is_none());
    }
}
