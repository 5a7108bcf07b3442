//! `-j NFQUEUE`: hand the packet to a program in user space, which decides.

use crate::option::{Given, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::rule::{Listing, Place, Refused, Target, Verdict};
use hairpin_engine::{Edit};
use hairpin_engine::jhash;
use hairpin_wire::{Addr, Family};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "NFQUEUE",
    families: Families::Both,
    about: "hand the packet to a program in user space",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("queue-num", &["number"], "to this queue; 0 when not given").excludes(&["queue-balance"]),
        Opt::new("queue-balance", &["first:last"], "to one of these queues, by the addresses").excludes(&["queue-num"]),
        Opt::switch("queue-bypass", "accept when nobody listens, instead of dropping"),
        Opt::switch("queue-cpu-fanout", "to one of the queues by the processor").needs(&["queue-balance"]),
    ],
    build,
    cases: &[
        Case::Same("--queue-num 7 --queue-bypass"),
        Case::Same("--queue-balance 0:6 --queue-bypass --queue-cpu-fanout"),
        Case::Saves("", "--queue-num 0"),
        Case::Saves("--queue-balance :4", "--queue-balance 0:4"),
        Case::Saves("--queue-balance 3:", "--queue-balance 3:65534"),
        Case::Fails("--queue-balance 3", "Bad range \"3\""),
        Case::Fails("--queue-balance 3:3", "3 should be less than 3"),
        Case::Fails("--queue-balance 4:3", "near \"3\", or out of range (4-65534)"),
        Case::Fails("--queue-balance 1:70000", "out of range"),
        Case::Fails("--queue-num 1 --queue-balance 0:1", "cannot be used together"),
        Case::Fails("--queue-cpu-fanout", "also requires"),
    ],
};

#[derive(Debug)]
struct NfQueue {
    first: u16,
    last: u16,
    bypass: bool,
    fanout: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let (first, last) = match (parsed.get("queue-num"), parsed.get("queue-balance")) {
        (_, Some(given)) => balance(parsed, given)?,
        (Some(given), None) => value::number_u16(parsed, given).map(|n| (n, n))?,
        (None, None) => (0, 0),
    };
    Ok(Arc::new(NfQueue {
        first,
        last,
        bypass: parsed.has("queue-bypass"),
        fanout: parsed.has("queue-cpu-fanout"),
    }))
}

fn balance(parsed: &Parsed<'_>, given: &Given) -> Result<(u16, u16), SyntaxError> {
    let refuse = |message: String| Err(SyntaxError::parameter(message).at(given.value()));
    let range = value::number_range(parsed, given, 0, 65534)?;
    match (range.from, range.to) {
        _ if !given.value().contains(':') => refuse(format!("Bad range \"{}\"", given.value())),
        (first, last) if first == last => refuse(format!("{first} should be less than {last}")),
        (first, last) => Ok((first as u16, last as u16)),
    }
}

/// The hash that spreads flows over queues, the same for both directions. Linux starts it from a secret of each boot, here it
/// starts from 0.
fn hash(family: Family, src: Addr, dst: Addr, protocol: u8) -> u32 {
    // Words as a little-endian machine loads them.
    let word = |addr: Addr, n: u32| ((addr.0 >> (96 - 32 * n)) as u32).swap_bytes();
    let ordered = |a: u32, b: u32| if a < b { (a, b) } else { (b, a) };
    match family {
        Family::V4 => {
            let (a, b) = ordered(word(src, 3), word(dst, 3));
            jhash::jhash_3words(a, b, u32::from(protocol), 0)
        }
        Family::V6 => {
            let (a, b) = ordered(word(src, 3), word(dst, 3));
            let (c, _) = ordered(word(src, 1), word(dst, 1));
            jhash::jhash_3words(a, b, c, 0)
        }
    }
}

impl Target for NfQueue {
    fn name(&self) -> &'static str {
        "NFQUEUE"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let queues = u32::from(self.last - self.first) + 1;
        // There is one processor, number 0.
        let offset = if queues == 1 || self.fanout {
            0
        } else {
            jhash::scale(hash(look.family(), look.src(), look.dst(), look.protocol()), queues) as u16
        };
        Verdict::Queue { number: self.first + offset, bypass: self.bypass }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, " --queue-num {}", self.first)?;
        } else {
            write!(f, " --queue-balance {}:{}", self.first, self.last)?;
        }
        if self.bypass {
            f.write_str(" --queue-bypass")?;
        }
        f.write_str(if self.fanout { " --queue-cpu-fanout" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, " NFQUEUE num {}", self.first)?;
        } else {
            write!(f, " NFQUEUE balance {}:{}", self.first, self.last)?;
        }
        f.write_str(if self.bypass { " bypass" } else { "" })?;
        f.write_str(if self.fanout { " cpu-fanout" } else { "" })
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if (self.first, self.last) == (0, u16::MAX) {
            // The number of queues has 16 bits in the kernel's form of the rule, and this one does not fit.
            return Err(Refused::Invalid("xt_NFQUEUE: number of total queues is 0".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{DST, SRC, probe, udp};
    use crate::testing_targets::act_in;
    use hairpin_engine::rule::Verdict;
    use hairpin_wire::{Addr, Family, build};

    fn queue(rule: &str, packet: Vec<u8>) -> (u16, bool) {
        match act_in(&mut probe(packet), rule) {
            Verdict::Queue { number, bypass } => (number, bypass),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_queue_or_several() {
        assert_eq!(queue("-j NFQUEUE --queue-num 7 --queue-bypass", udp(1, 2)), (7, true));
        assert_eq!(queue("-j NFQUEUE --queue-balance 7:9 --queue-cpu-fanout", udp(1, 2)), (7, false));
    }

    #[test]
    fn both_directions_go_to_one_queue_and_all_queues_are_used() {
        let mut seen = [false; 4];
        for n in 0..64 {
            let peer = Addr::v4(DST.as_u32() + n);
            let packet = |src, dst| build::Udp { src_port: 1, dst_port: 2, payload: b"" }.packet(Family::V4, src, dst);
            let there = queue("-j NFQUEUE --queue-balance 0:3", packet(SRC, peer)).0;
            assert_eq!(there, queue("-j NFQUEUE --queue-balance 0:3", packet(peer, SRC)).0);
            seen[usize::from(there)] = true;
        }
        assert_eq!(seen, [true; 4]);
    }
}
