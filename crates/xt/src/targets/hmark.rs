//! `-j HMARK`: mark the packet by a hash of its addresses and ports, the same for both directions of a flow.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Place, Refused, Target, Verdict};
use hairpin_engine::{Edit, Look, jhash};
use hairpin_wire::ipv4::Ipv4;
use hairpin_wire::ipv6::Ipv6;
use hairpin_wire::{Addr, Family, proto};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "HMARK",
    families: Families::Both,
    about: "mark the packet by a hash of its addresses and ports",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("hmark-tuple", &["part[,part...]"], "what counts: src, dst, sport, dport, spi, proto; ct for the connection's"),
        Opt::new("hmark-mod", &["modulus"], "how many marks"),
        Opt::new("hmark-offset", &["number"], "the first mark; 0 when not given"),
        Opt::new("hmark-src-prefix", &["prefix"], "so much of the source address counts"),
        Opt::new("hmark-dst-prefix", &["prefix"], "so much of the destination address counts"),
        Opt::new("hmark-sport-mask", &["mask"], "these bits of the source port count"),
        Opt::new("hmark-dport-mask", &["mask"], "these bits of the destination port count"),
        Opt::new("hmark-spi-mask", &["mask"], "these bits of the security parameter index count"),
        Opt::new("hmark-sport", &["port"], "bits set in the source port beforehand"),
        Opt::new("hmark-dport", &["port"], "bits set in the destination port beforehand"),
        Opt::new("hmark-spi", &["index"], "bits set in the security parameter index beforehand"),
        Opt::new("hmark-proto-mask", &["mask"], "these bits of the protocol number count"),
        Opt::new("hmark-rnd", &["number"], "where the hash starts"),
    ],
    build,
    cases: &[
        Case::Same("--hmark-src-prefix 24 --hmark-rnd 0x00000004 --hmark-mod 42"),
        Case::Same(
            "--hmark-src-prefix 8 --hmark-dst-prefix 16 --hmark-sport-mask 0x00ff --hmark-dport-mask 0xff00 \
             --hmark-proto-mask 0x0f --hmark-rnd 0x00000001 --hmark-mod 10 --hmark-offset 0 --hmark-tuple ct",
        ),
        Case::Same("--hmark-spi-mask 0x0000ffff --hmark-spi 0x00000001 --hmark-rnd 0x00000001 --hmark-mod 10"),
        Case::Same("--hmark-sport 0x0050 --hmark-rnd 0x00000003 --hmark-mod 5"),
        Case::Fails("--hmark-src-prefix -1 --hmark-mod 3 --hmark-rnd 3", "neither a valid network mask nor valid CIDR"),
        Case::Saves(
            "--hmark-mod 5 --hmark-rnd 3 --hmark-tuple sport,dport,proto",
            "--hmark-sport-mask 0xffff --hmark-dport-mask 0xffff --hmark-proto-mask 0xffff --hmark-rnd 0x00000003 \
             --hmark-mod 5",
        ),
        Case::Saves(
            "--hmark-sport-mask 0xf --hmark-tuple sport --hmark-mod 3 --hmark-rnd 3",
            "--hmark-sport-mask 0xffff --hmark-rnd 0x00000003 --hmark-mod 3",
        ),
        Case::Saves(
            "--hmark-mod 5 --hmark-rnd 3 --hmark-tuple sp,DPORT,p",
            "--hmark-sport-mask 0xffff --hmark-dport-mask 0xffff --hmark-proto-mask 0xffff --hmark-rnd 0x00000003 \
             --hmark-mod 5",
        ),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3 --hmark-tuple src,foo,dst", "Bad type \"foo,dst\""),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3 --hmark-tuple src,", "requires a list of types"),
        Case::Fails("--hmark-rnd 3", "--hmark-mod is mandatory"),
        Case::Fails("--hmark-mod 3", "--hmark-rnd is mandatory"),
        Case::Fails("--hmark-mod 0 --hmark-rnd 3", "out of range (1-4294967295)"),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3", "you have to specify --hmark-tuple at least"),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3 --hmark-tuple src,foo", "Bad type \"foo\""),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3 --hmark-tuple spi,dport", "you cannot use --hmark-spi-mask"),
        Case::Fails("--hmark-mod 3 --hmark-rnd 3 --hmark-tuple src --hmark-src-prefix 8", "can only be used once.\n"),
    ],
};

#[derive(Debug)]
struct HMark {
    family: Family,
    src: Option<Addr>,
    dst: Option<Addr>,
    sport_mask: Option<u16>,
    dport_mask: Option<u16>,
    spi_mask: Option<u32>,
    sport: Option<u16>,
    dport: Option<u16>,
    spi: Option<u32>,
    protocol: Option<u16>,
    start: u32,
    modulus: u32,
    offset: Option<u32>,
    by_conn: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let get = |name: &str| parsed.get(name);
    let short = |name: &str| get(name).map(|given| value::number_u16(parsed, given)).transpose();
    let long = |name: &str| get(name).map(|given| value::number_u32(parsed, given)).transpose();
    let prefix = |name: &str| get(name).map(|given| value::prefix_mask(parsed, given)).transpose();
    let modulus = get("hmark-mod").map(|given| value::number(parsed, given, 1, u64::from(u32::MAX))).transpose()?;
    let start = long("hmark-rnd")?;
    let mut this = HMark {
        family: parsed.family,
        src: prefix("hmark-src-prefix")?,
        dst: prefix("hmark-dst-prefix")?,
        sport_mask: short("hmark-sport-mask")?,
        dport_mask: short("hmark-dport-mask")?,
        spi_mask: long("hmark-spi-mask")?,
        sport: short("hmark-sport")?,
        dport: short("hmark-dport")?,
        spi: long("hmark-spi")?,
        protocol: short("hmark-proto-mask")?,
        start: start.unwrap_or(0),
        modulus: modulus.unwrap_or(1) as u32,
        offset: long("hmark-offset")?,
        by_conn: false,
    };
    if let Some(given) = get("hmark-tuple") {
        this.add_parts(parsed, given)?;
    }
    let refuse = |message: &str| Err(SyntaxError::parameter(message));
    if modulus.is_none() {
        return refuse("--hmark-mod is mandatory");
    }
    if start.is_none() {
        return refuse("--hmark-rnd is mandatory");
    }
    if this.spi_mask.is_some() && (this.sport_mask.is_some() || this.dport_mask.is_some()) {
        return refuse("you cannot use --hmark-spi-mask and --hmark-?port-mask,at the same time");
    }
    let nothing = this.src.is_none()
        && this.dst.is_none()
        && this.sport_mask.or(this.dport_mask).or(this.sport).or(this.dport).or(this.protocol).is_none()
        && this.spi_mask.or(this.spi).is_none()
        && !this.by_conn;
    if nothing {
        return refuse("you have to specify --hmark-tuple at least");
    }
    Ok(Arc::new(this))
}

/// The parts of a tuple, as they are looked for, and their options.
const PARTS: &[(&str, &str)] = &[
    ("ct", ""),
    ("src", "hmark-src-prefix"),
    ("dst", "hmark-dst-prefix"),
    ("sport", "hmark-sport-mask"),
    ("dport", "hmark-dport-mask"),
    ("spi", "hmark-spi-mask"),
    ("proto", "hmark-proto-mask"),
];
const NO_TYPES: &str = "\"--hmark-tuple\" requires a list of types with no spaces, e.g. src,dst,sport,dport,proto";

impl HMark {
    /// `--hmark-tuple`: each part, or the beginning of its name, stands for its option with everything set.
    fn add_parts(&mut self, parsed: &Parsed<'_>, given: &Given) -> Result<(), SyntaxError> {
        let full = parsed.family.mask(parsed.family.bits());
        let mut rest = Some(given.value());
        while let Some(text) = rest {
            let word = text.split(',').next().unwrap_or_default();
            rest = text.get(word.len() + 1..);
            if text.is_empty() {
                return Err(SyntaxError::parameter(NO_TYPES).at(given.value()));
            }
            let begins = |name: &str| name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
            let Some((part, option)) = PARTS.iter().find(|(name, _)| !word.is_empty() && begins(name)) else {
                return Err(SyntaxError::parameter(format!("Bad type \"{text}\"")).at(given.value()));
            };
            // What stands before it gives way to it.
            let place = |name: &str| parsed.given.iter().position(|given| given.option.name == name);
            if place(option) > place("hmark-tuple") {
                let error = parsed.error(format_args!("option \"--{option}\" can only be used once.\n"));
                return Err(error.at(format!("--{option}")));
            }
            match *part {
                "src" => self.src = Some(full),
                "dst" => self.dst = Some(full),
                "sport" => self.sport_mask = Some(u16::MAX),
                "dport" => self.dport_mask = Some(u16::MAX),
                "spi" => self.spi_mask = Some(u32::MAX),
                "proto" => self.protocol = Some(u16::MAX),
                _ => self.by_conn = true,
            }
        }
        Ok(())
    }

    /// The part of an address that counts, in 32 bits.
    fn fold(&self, addr: Addr, mask: Option<Addr>) -> u32 {
        let bits = addr.0 & mask.unwrap_or_default().0;
        match self.family {
            Family::V4 => bits as u32,
            Family::V6 => (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32,
        }
    }

    /// Both ports, or the security parameter index, as the hash takes them: masked, the larger half above.
    fn ports(&self, ports: u32) -> u32 {
        let halves = |high: Option<u16>, low: Option<u16>| {
            u32::from(high.unwrap_or(0)) << 16 | u32::from(low.unwrap_or(0))
        };
        let mask = self.spi_mask.unwrap_or(halves(self.sport_mask, self.dport_mask));
        let set = self.spi.unwrap_or(0) | halves(self.sport, self.dport);
        let ports = ports & mask | set;
        ports.max(ports.rotate_left(16))
    }

    fn of_conn(&self, look: &Look<'_>) -> Option<Flow> {
        let (conn, _) = look.conn()?;
        let [original, reply] = conn.tuples();
        let ports = u32::from(original.src_id) << 16 | u32::from(reply.src_id);
        Some(Flow {
            src: original.src,
            dst: reply.src,
            protocol: original.protocol,
            ports: (original.protocol != proto::ICMP).then_some(ports),
        })
    }

    fn mark(&self, flow: &Flow) -> u32 {
        let (src, dst) = (self.fold(flow.src, self.src), self.fold(flow.dst, self.dst));
        let ports = flow.ports.map_or(0, |ports| self.ports(ports));
        let hash = jhash::jhash_3words(src.min(dst), src.max(dst), ports, self.start);
        let hash = hash ^ u32::from(u16::from(flow.protocol) & self.protocol.unwrap_or(0));
        jhash::scale(hash, self.modulus).wrapping_add(self.offset.unwrap_or(0))
    }
}

/// What of a packet is hashed.
struct Flow {
    src: Addr,
    dst: Addr,
    protocol: u8,
    /// Source and destination port, or security parameter index; None where there are none to look at.
    ports: Option<u32>,
}

/// The flow of a packet; of the packet that an ICMP error quotes.
fn of_packet(look: &Look<'_>) -> Option<Flow> {
    match look.family() {
        Family::V4 => of_ipv4(look.bytes()),
        Family::V6 => of_ipv6(look.bytes()),
    }
}

fn of_ipv4(bytes: &[u8]) -> Option<Flow> {
    const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
    let mut ip = Ipv4::new(bytes)?;
    // The quote need not be complete: only what is looked at must be there.
    let mut rest = bytes.get(ip.header_len()..).unwrap_or_default();
    if ip.protocol() == proto::ICMP
        && rest.len() >= 8
        && rest.first().is_some_and(|kind| ICMP_ERRORS.contains(kind))
    {
        let quote = rest.get(8..)?;
        ip = Ipv4::new(quote)?;
        rest = quote.get(ip.header_len()..).unwrap_or_default();
    }
    let has_ports = ip.protocol() != proto::ICMP && !ip.is_fragment();
    Some(Flow {
        src: ip.src(),
        dst: ip.dst(),
        protocol: ip.protocol(),
        ports: if has_ports { ports_at(ip.protocol(), rest) } else { None },
    })
}

fn of_ipv6(bytes: &[u8]) -> Option<Flow> {
    let mut bytes = bytes;
    let mut ip = Ipv6::new(bytes)?;
    // Without a transport header nothing is set, and the hash of nothing is the mark.
    let Some(mut upper) = upper_layer(&ip) else {
        return Some(Flow { src: Addr::UNSPECIFIED, dst: Addr::UNSPECIFIED, protocol: 0, ports: None });
    };
    if !upper.is_fragment && upper.protocol == proto::ICMPV6 {
        let message = bytes.get(upper.offset..).unwrap_or_default();
        if message.len() >= 8 && message.first().is_some_and(|kind| *kind != 0 && *kind < 128) {
            bytes = message.get(8..)?;
            ip = Ipv6::new(bytes)?;
            upper = upper_layer(&ip)?;
        }
    }
    let has_ports = upper.protocol != proto::ICMPV6 && !upper.is_fragment;
    let rest = bytes.get(upper.offset..).unwrap_or_default();
    Some(Flow {
        src: ip.src(),
        dst: ip.dst(),
        protocol: upper.protocol,
        ports: if has_ports { ports_at(upper.protocol, rest) } else { None },
    })
}

struct Upper {
    protocol: u8,
    offset: usize,
    is_fragment: bool,
}

/// The transport header, or the authentication header before it: its security parameter index stands for ports.
fn upper_layer(ip: &Ipv6<&[u8]>) -> Option<Upper> {
    let mut walk = ip.extensions();
    if let Some(header) = walk.find(|header| header.kind == proto::AH) {
        return Some(Upper { protocol: proto::AH, offset: header.offset, is_fragment: walk.fragment().is_some() });
    }
    let transport = ip.transport().ok()?;
    let is_fragment = transport.fragment.is_some();
    Some(Upper { protocol: transport.protocol, offset: transport.offset, is_fragment })
}

fn ports_at(protocol: u8, transport: &[u8]) -> Option<u32> {
    let at = match protocol {
        proto::TCP | proto::UDP | proto::UDPLITE | proto::DCCP | proto::SCTP | proto::ESP => 0,
        proto::AH => 4,
        _ => return None,
    };
    match *transport.get(at..)? {
        [a, b, c, d, ..] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

impl Target for HMark {
    fn name(&self) -> &'static str {
        "HMARK"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let flow = if self.by_conn { self.of_conn(&look) } else { of_packet(&look) };
        if let Some(flow) = flow {
            edit.set_mark(self.mark(&flow));
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A mask with holes has no prefix, and is not read again.
        let prefix = |mask: Addr| value::prefix_of(self.family, mask).map_or(-1, i32::from);
        if let Some(mask) = self.src {
            write!(f, " --hmark-src-prefix {}", prefix(mask))?;
        }
        if let Some(mask) = self.dst {
            write!(f, " --hmark-dst-prefix {}", prefix(mask))?;
        }
        if let Some(mask) = self.sport_mask {
            write!(f, " --hmark-sport-mask {mask:#06x}")?;
        }
        if let Some(mask) = self.dport_mask {
            write!(f, " --hmark-dport-mask {mask:#06x}")?;
        }
        if let Some(mask) = self.spi_mask {
            write!(f, " --hmark-spi-mask {mask:#010x}")?;
        }
        if let Some(port) = self.sport {
            write!(f, " --hmark-sport {port:#06x}")?;
        }
        if let Some(port) = self.dport {
            write!(f, " --hmark-dport {port:#06x}")?;
        }
        if let Some(spi) = self.spi {
            write!(f, " --hmark-spi {spi:#010x}")?;
        }
        if let Some(mask) = self.protocol {
            write!(f, " --hmark-proto-mask {mask:#04x}")?;
        }
        write!(f, " --hmark-rnd {:#010x} --hmark-mod {}", self.start, self.modulus)?;
        if let Some(offset) = self.offset {
            write!(f, " --hmark-offset {offset}")?;
        }
        f.write_str(if self.by_conn { " --hmark-tuple ct" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        write!(f, " HMARK mod {} ", self.modulus)?;
        if let Some(offset) = self.offset {
            write!(f, "+ {offset:#x} ")?;
        }
        f.write_str(if self.by_conn { "ct, " } else { "" })?;
        // Of a whole IPv6 address ip6tables says nothing here.
        let prefix = |mask: Addr| match (value::prefix_of(self.family, mask), self.family) {
            (Some(128), _) => String::new(),
            (Some(prefix), _) => prefix.to_string(),
            (None, Family::V4) => u32::MAX.to_string(),
            (None, Family::V6) => mask.display(self.family).to_string(),
        };
        if let Some(mask) = self.src {
            write!(f, "src-prefix {} ", prefix(mask))?;
        }
        if let Some(mask) = self.dst {
            write!(f, "dst-prefix {} ", prefix(mask))?;
        }
        let numbers = [
            ("sport-mask", self.sport_mask.map(u32::from)),
            ("dport-mask", self.dport_mask.map(u32::from)),
            ("spi-mask", self.spi_mask),
            ("sport", self.sport.map(u32::from)),
            ("dport", self.dport.map(u32::from)),
            ("spi", self.spi),
            ("proto-mask", self.protocol.map(u32::from)),
            ("rnd", Some(self.start)),
        ];
        numbers.into_iter().try_for_each(|(name, number)| number.map_or(Ok(()), |n| write!(f, "{name} {n:#x} ")))
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.spi.is_some() && (self.sport.is_some() || self.dport.is_some()) {
            return Err(Refused::Invalid("xt_HMARK: spi-set and port-set can't be combined".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing_targets::changed;
    use hairpin_wire::{Addr, Family, build, proto};

    /// 192.168.1.10
    const INSIDE: Addr = Addr::v4(0xc0a8_010a);
    /// 198.51.100.5
    const OUTSIDE: Addr = Addr::v4(0xc633_6405);

    fn udp(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Vec<u8> {
        build::Udp { src_port, dst_port, payload: b"x" }.packet(Family::V4, src, dst)
    }

    fn tcp(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Vec<u8> {
        build::Tcp { src_port, dst_port, ..Default::default() }.packet(Family::V4, src, dst)
    }

    fn bare(protocol: u8, payload: &[u8]) -> Vec<u8> {
        build::ip(Family::V4, INSIDE, OUTSIDE, protocol, payload)
    }

    fn quoted(kind: u8, quote: &[u8]) -> Vec<u8> {
        build::Icmp { kind, payload: quote, ..Default::default() }.packet(Family::V4, INSIDE, OUTSIDE)
    }

    /// The marks are those that Linux 6.18 gave such packets.
    #[test]
    fn marks_are_the_kernels() {
        let whole = "-j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 4294967295 --hmark-rnd 0xdeafbeef";
        let mark = |packet| changed(whole, packet).meta.mark;
        assert_eq!(mark(udp(INSIDE, 5000, OUTSIDE, 53)), 0x971e_1a29);
        assert_eq!(mark(udp(INSIDE, 53, OUTSIDE, 5000)), 0x971e_1a29);
        assert_eq!(mark(udp(OUTSIDE, 53, INSIDE, 5000)), 0x971e_1a29);
        assert_eq!(mark(tcp(OUTSIDE, 80, INSIDE, 1234)), 0x4aee_a63e);
        assert_eq!(mark(bare(proto::ESP, &[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1])), 0xfcce_d15b);
        assert_eq!(mark(bare(proto::AH, &[17, 4, 0, 0, 0, 0, 0xca, 0xfe, 0, 0, 0, 1])), 0xb454_c7ff);
        assert_eq!(mark(bare(proto::GRE, b"abc")), 0xd13e_0f8f);
        assert_eq!(mark(bare(200, b"12345678")), 0xd13e_0f76);
        assert_eq!(mark(bare(proto::ICMP, &[8, 0, 0, 0, 0, 7, 0, 1])), 0xd13e_0fbd);
    }

    #[test]
    fn errors_go_with_the_flow_they_quote() {
        let whole = "-j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 4294967295 --hmark-rnd 0xdeafbeef";
        let mark = |packet| changed(whole, packet).meta.mark;
        let inner = udp(OUTSIDE, 53, INSIDE, 5000);
        assert_eq!(mark(quoted(3, &inner[..28])), 0x971e_1a29);
        assert_eq!(mark(quoted(11, &inner[..20])), 0xd13e_0fad);
        assert_eq!(mark(quoted(4, &tcp(OUTSIDE, 80, INSIDE, 1234)[..28])), 0x4aee_a63e);
        assert_eq!(mark(quoted(13, &inner[..12])), 0xd13e_0fbd);
        // Too little of the quoted header: no mark.
        assert_eq!(mark(quoted(3, &inner[..12])), 0);
    }

    #[test]
    fn only_what_is_asked_for_counts() {
        let rule = "-j HMARK --hmark-src-prefix 24 --hmark-dst-prefix 8 --hmark-sport-mask 0xff0f --hmark-proto-mask 6 \
                    --hmark-mod 4000000000 --hmark-rnd 99";
        let mark = |rule, packet| changed(rule, packet).meta.mark;
        assert_eq!(mark(rule, udp(INSIDE, 5000, OUTSIDE, 53)), 0xc6b6_bcb9);
        assert_eq!(mark(rule, udp(OUTSIDE, 53, INSIDE, 5000)), 0xb388_0aed);
        let rule = "-j HMARK --hmark-tuple src,dst --hmark-mod 1000000 --hmark-rnd 1 --hmark-offset 100";
        assert_eq!(mark(rule, udp(INSIDE, 5000, OUTSIDE, 53)), 0x2_5c30);
        let rule = "-j HMARK --hmark-sport 0x0101 --hmark-dport-mask 0x00ff --hmark-dport 0x8000 --hmark-src-prefix 32 \
                    --hmark-mod 4000000000 --hmark-rnd 99";
        assert_eq!(mark(rule, udp(INSIDE, 5000, OUTSIDE, 53)), 0x2546_61de);
        assert_eq!(mark(rule, udp(INSIDE, 53, OUTSIDE, 5000)), 0x69ea_a3ae);
    }

    #[test]
    fn extension_headers_of_ipv6_are_passed_over() {
        // 2001:db8:1::10 and 2001:db8:5::5
        let (src, dst) =
            (Addr(0x2001_0db8_0001_0000_0000_0000_0000_0010), Addr(0x2001_0db8_0005_0000_0000_0000_0000_0005));
        let rule = "-j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 4294967295 --hmark-rnd 0xdeafbeef";
        let mark = |packet| changed(rule, packet).meta.mark;
        let segment = build::Tcp { src_port: 1, dst_port: 2, ..Default::default() };
        assert_eq!(mark(segment.packet(Family::V6, src, dst)), 0x853b_2f5f);
        let datagram = build::Udp { src_port: 7, dst_port: 8, payload: b"x" }.to_vec(Family::V6, src, dst);
        let mut extended = vec![proto::UDP, 0, 1, 4, 0, 0, 0, 0];
        extended.extend(&datagram);
        let next_header = proto::DSTOPTS;
        let packet = build::Ipv6 { src, dst, next_header, payload: &extended, ..Default::default() };
        assert_eq!(mark(packet.to_vec()), 0xa81f_72c7);
        let mut authenticated = vec![proto::UDP, 4, 0, 0, 0, 0, 0xca, 0xfe];
        authenticated.extend([0; 16]);
        authenticated.extend(datagram);
        let packet = build::Ipv6 { src, dst, next_header: proto::AH, payload: &authenticated, ..Default::default() };
        assert_eq!(mark(packet.to_vec()), 0xd121_edf4);
        let nothing = build::Ipv6 { src, dst, next_header: proto::NONE, ..Default::default() };
        assert_eq!(mark(nothing.to_vec()), 0xefc6_7157);
    }
}
