//! `-m bpf`: a classic BPF program (`bpf(4)` of the BSDs, `struct sock_filter` of Linux) run on the packet.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::net::LinkKind;
use hairpin_engine::packet::LinkType;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use hairpin_wire::Family;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "bpf",
    aliases: &[],
    families: Families::Both,
    about: "a BPF program on the packet from the network header on",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("bytecode", &["n,code jt jf k,..."], "the program, as tcpdump -ddd and nfbpf_compile print it")
            .excludes(&["object-pinned"]),
        Opt::new("object-pinned", &["path"], "a program in the kernel; there is none here").excludes(&["bytecode"]),
    ],
    build,
    cases: &[
        Case::Same("--bytecode \"4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0\""),
        Case::Saves("--bytecode \"1, 6  0 0 -1,\"", "--bytecode \"1,6 0 0 4294967295\""),
        Case::Fails("--bytecode \"1,6 0 0 1,6 0 0 1\"", "real program length exceeds the encoded length parameter"),
        Case::Fails("--bytecode \"2,6 0 0 1\"", "parsed program length is less than the encoded length parameter"),
        Case::Fails("--bytecode x", "error parsing program length"),
        Case::Fails("--bytecode 0", "error parsing program length"),
        Case::Fails("--bytecode 0,", "illegal zero length program"),
        Case::Fails("--bytecode \"65,6 0 0 1\"", "number of instructions exceeds maximum"),
        Case::Fails("--bytecode \"1,6 0 0\"", "error at instr 0"),
        Case::Fails("--object-pinned /x", "failed to get bpf object"),
        Case::Fails("", "one of --bytecode or --pinned is required"),
    ],
};

#[derive(Debug)]
struct Bpf(Vec<Instruction>);

#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let program = parsed.get("bytecode").map(|given| parse(parsed, given.value())).transpose()?;
    match (program, parsed.get("object-pinned")) {
        (_, Some(given)) => Err(parsed.error("failed to get bpf object").at(given.value())),
        (Some(program), None) => Ok(Arc::new(Bpf(program))),
        (None, None) => Err(parsed.error("one of --bytecode or --pinned is required")),
    }
}

fn parse(parsed: &Parsed<'_>, text: &str) -> Result<Vec<Instruction>, SyntaxError> {
    let refuse = |what: fmt::Arguments<'_>| Err(parsed.error(what).at(text));
    let mut parts = text.split(',');
    let count = match (parts.next().and_then(|n| value::parse_number(n.trim())), text.contains(',')) {
        (Some(0), true) => return refuse(format_args!("illegal zero length program")),
        (Some(count), true) => count,
        _ => return refuse(format_args!("error parsing program length")),
    };
    if count > MOST as u64 {
        return refuse(format_args!("number of instructions exceeds maximum"));
    }
    let mut program = Vec::new();
    for (n, part) in parts.filter(|part| !part.trim().is_empty()).enumerate() {
        if n as u64 == count {
            return refuse(format_args!("real program length exceeds the encoded length parameter"));
        }
        match instruction(part) {
            Some(instruction) => program.push(instruction),
            None => return refuse(format_args!("error at instr {n}")),
        }
    }
    if (program.len() as u64) < count {
        return refuse(format_args!("parsed program length is less than the encoded length parameter"));
    }
    Ok(program)
}

/// Four numbers; what does not fit a field is cut, as `sscanf` does it.
fn instruction(text: &str) -> Option<Instruction> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse::<i64>().ok());
    let mut next = || words.next().flatten();
    let (code, if_true, if_false, k) = (next()?, next()?, next()?, next()?);
    Some(Instruction { code: code as u16, if_true: if_true as u8, if_false: if_false as u8, k: k as u32 })
}

impl Match for Bpf {
    fn name(&self) -> &'static str {
        "bpf"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        run(&self.0, look).is_some_and(|result| result != 0)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " --bytecode \"{}", self.0.len())?;
        for Instruction { code, if_true, if_false, k } in &self.0 {
            write!(f, ",{code} {if_true} {if_false} {k}")?;
        }
        f.write_str("\"")
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str("match bpf ")?;
        for (n, Instruction { code, if_true, if_false, k }) in self.0.iter().enumerate() {
            // The front end ends the list with a zero byte.
            let end = if n + 1 == self.0.len() { '\0' } else { ',' };
            write!(f, "{code} {if_true} {if_false} {k}{end}")?;
        }
        Ok(())
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if is_sound(&self.0) { Ok(()) } else { Err(Refused::Invalid("xt_bpf: check failed: parse error".to_owned())) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The kernel's check (`bpf_check_classic`): known instructions, jumps that go forward and stay inside, memory that was
/// stored before it is loaded, and a return at the end. So every program ends.
fn is_sound(program: &[Instruction]) -> bool {
    let inside = |at: usize, by: u32| usize::try_from(by).is_ok_and(|by| by < program.len() - at - 1);
    let each_is_good = program.iter().enumerate().all(|(at, i)| match i.code {
        LD_W_ABS | LD_H_ABS | LD_B_ABS => !is_negative(i.k) || i.k >= NETWORK || (LINK..NETWORK).contains(&i.k),
        LD_W_IND | LD_H_IND | LD_B_IND | LDX_MSH | LD_IMM | LDX_IMM | LD_LEN | LDX_LEN => true,
        LD_MEM | LDX_MEM | ST | STX => i.k < CELLS as u32,
        ADD_K | SUB_K | MUL_K | AND_K | OR_K | XOR_K => true,
        DIV_K | MOD_K => i.k != 0,
        LSH_K | RSH_K => i.k < 32,
        ADD_X | SUB_X | MUL_X | DIV_X | MOD_X | AND_X | OR_X | XOR_X | LSH_X | RSH_X | NEG => true,
        JA => inside(at, i.k),
        JEQ_K | JEQ_X | JGT_K | JGT_X | JGE_K | JGE_X | JSET_K | JSET_X => {
            inside(at, i.if_true.into()) && inside(at, i.if_false.into())
        }
        RET_K | RET_A | TAX | TXA => true,
        _ => false,
    });
    each_is_good && matches!(program.last().map(|i| i.code), Some(RET_K | RET_A)) && loads_what_was_stored(program)
}

const fn is_negative(k: u32) -> bool {
    k >> 31 != 0
}

/// `check_load_and_stores`: on every way to a load from memory the cell was stored.
fn loads_what_was_stored(program: &[Instruction]) -> bool {
    let mut valid = vec![u16::MAX; program.len()];
    let mut now = 0u16;
    for (at, i) in program.iter().enumerate() {
        now &= valid.get(at).copied().unwrap_or(0);
        let mut goes_to = |by: u32| {
            if let Some(place) = valid.get_mut(at + 1 + by as usize) {
                *place &= now;
            }
        };
        match i.code {
            ST | STX => now |= 1u16.checked_shl(i.k).unwrap_or(0),
            LD_MEM | LDX_MEM if now & 1u16.checked_shl(i.k).unwrap_or(0) == 0 => return false,
            JA => {
                goes_to(i.k);
                now = u16::MAX;
            }
            JEQ_K | JEQ_X | JGT_K | JGT_X | JGE_K | JGE_X | JSET_K | JSET_X => {
                goes_to(i.if_true.into());
                goes_to(i.if_false.into());
                now = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

/// What the program returns; None when it reads outside of the packet, divides by zero or is not sound.
fn run(program: &[Instruction], look: &Look<'_>) -> Option<u32> {
    let packet = look.bytes();
    let (mut a, mut x, mut cells) = (0u32, 0u32, [0u32; CELLS]);
    let mut at = 0;
    loop {
        let Instruction { code, if_true, if_false, k } = *program.get(at)?;
        at += 1;
        match code {
            LD_W_ABS => a = load(look, packet, k, 4, a, x)?,
            LD_H_ABS => a = load(look, packet, k, 2, a, x)?,
            LD_B_ABS => a = load(look, packet, k, 1, a, x)?,
            LD_W_IND => a = load_bytes(look, packet, x.wrapping_add(k), 4)?,
            LD_H_IND => a = load_bytes(look, packet, x.wrapping_add(k), 2)?,
            LD_B_IND => a = load_bytes(look, packet, x.wrapping_add(k), 1)?,
            LDX_MSH => x = (load_bytes(look, packet, k, 1)? & 0xf) * 4,
            LD_IMM => a = k,
            LDX_IMM => x = k,
            LD_LEN => a = packet.len() as u32,
            LDX_LEN => x = packet.len() as u32,
            LD_MEM => a = *cells.get(k as usize)?,
            LDX_MEM => x = *cells.get(k as usize)?,
            ST => *cells.get_mut(k as usize)? = a,
            STX => *cells.get_mut(k as usize)? = x,
            ADD_K => a = a.wrapping_add(k),
            SUB_K => a = a.wrapping_sub(k),
            MUL_K => a = a.wrapping_mul(k),
            DIV_K => a = a.checked_div(k)?,
            MOD_K => a = a.checked_rem(k)?,
            AND_K => a &= k,
            OR_K => a |= k,
            XOR_K => a ^= k,
            LSH_K => a = a.wrapping_shl(k),
            RSH_K => a = a.wrapping_shr(k),
            ADD_X => a = a.wrapping_add(x),
            SUB_X => a = a.wrapping_sub(x),
            MUL_X => a = a.wrapping_mul(x),
            DIV_X => a = a.checked_div(x)?,
            MOD_X => a = a.checked_rem(x)?,
            AND_X => a &= x,
            OR_X => a |= x,
            XOR_X => a ^= x,
            LSH_X => a = a.wrapping_shl(x),
            RSH_X => a = a.wrapping_shr(x),
            NEG => a = a.wrapping_neg(),
            JA => at += k as usize,
            JEQ_K | JEQ_X | JGT_K | JGT_X | JGE_K | JGE_X | JSET_K | JSET_X => {
                let other = if code & SOURCE_X != 0 { x } else { k };
                let jumps = match code & !SOURCE_X {
                    JEQ_K => a == other,
                    JGT_K => a > other,
                    JGE_K => a >= other,
                    _ => a & other != 0,
                };
                at += usize::from(if jumps { if_true } else { if_false });
            }
            RET_K => return Some(k),
            RET_A => return Some(a),
            TAX => x = a,
            TXA => a = x,
            _ => return None,
        }
    }
}

/// A load at a fixed offset, which may be one of Linux's own beyond the packet.
fn load(look: &Look<'_>, packet: &[u8], k: u32, size: usize, a: u32, x: u32) -> Option<u32> {
    if k < ANCILLARY {
        return load_bytes(look, packet, k, size);
    }
    let device = || look.iif().or_else(|| look.oif());
    Some(match k - ANCILLARY {
        AD_PROTOCOL => match look.family() {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        },
        AD_PKTTYPE => match look.link_type() {
            LinkType::Host => 0,
            LinkType::Broadcast => 1,
            LinkType::Multicast => 2,
            LinkType::OtherHost => 3,
        },
        AD_IFINDEX => device()?.index.0,
        AD_MARK => look.mark(),
        AD_HATYPE => match device()?.kind {
            LinkKind::Ethernet => 1,
            LinkKind::Bare => 0xfffe,
            LinkKind::Loopback => 772,
        },
        AD_ALU_XOR_X => a ^ x,
        AD_PAY_OFFSET => look.head().l4 as u32,
        AD_RANDOM => look.random(),
        // Queue, hash, processor, VLAN: all 0 here.
        _ => 0,
    })
}

/// A load from the packet, or, at the negative offsets for them, from the network or the link header.
fn load_bytes(look: &Look<'_>, packet: &[u8], k: u32, size: usize) -> Option<u32> {
    let at = match k {
        NETWORK.. => k - NETWORK,
        LINK.. => return read(look.link_header(), k - LINK, size),
        _ => k,
    };
    read(packet, at, size)
}

fn read(bytes: &[u8], at: u32, size: usize) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// Instructions of a program (`XT_BPF_MAX_NUM_INSTR`).
const MOST: usize = 64;
/// Cells of memory.
const CELLS: usize = 16;

/// `SKF_LL_OFF`, `SKF_NET_OFF`, `SKF_AD_OFF`.
const LINK: u32 = -0x20_0000i32 as u32;
const NETWORK: u32 = -0x10_0000i32 as u32;
const ANCILLARY: u32 = -0x1000i32 as u32;

const AD_PROTOCOL: u32 = 0;
const AD_PKTTYPE: u32 = 4;
const AD_IFINDEX: u32 = 8;
const AD_MARK: u32 = 20;
const AD_HATYPE: u32 = 28;
const AD_ALU_XOR_X: u32 = 40;
const AD_PAY_OFFSET: u32 = 52;
const AD_RANDOM: u32 = 56;

const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_W_ABS: u16 = 0x20;
const LD_H_ABS: u16 = 0x28;
const LD_B_ABS: u16 = 0x30;
const LD_W_IND: u16 = 0x40;
const LD_H_IND: u16 = 0x48;
const LD_B_IND: u16 = 0x50;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const LD_LEN: u16 = 0x80;
const LDX_LEN: u16 = 0x81;
const LDX_MSH: u16 = 0xb1;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ADD_K: u16 = 0x04;
const SUB_K: u16 = 0x14;
const MUL_K: u16 = 0x24;
const DIV_K: u16 = 0x34;
const OR_K: u16 = 0x44;
const AND_K: u16 = 0x54;
const LSH_K: u16 = 0x64;
const RSH_K: u16 = 0x74;
const NEG: u16 = 0x84;
const MOD_K: u16 = 0x94;
const XOR_K: u16 = 0xa4;
/// The other operand is X, not the number in the instruction.
const SOURCE_X: u16 = 0x08;
const ADD_X: u16 = ADD_K | SOURCE_X;
const SUB_X: u16 = SUB_K | SOURCE_X;
const MUL_X: u16 = MUL_K | SOURCE_X;
const DIV_X: u16 = DIV_K | SOURCE_X;
const OR_X: u16 = OR_K | SOURCE_X;
const AND_X: u16 = AND_K | SOURCE_X;
const LSH_X: u16 = LSH_K | SOURCE_X;
const RSH_X: u16 = RSH_K | SOURCE_X;
const MOD_X: u16 = MOD_K | SOURCE_X;
const XOR_X: u16 = XOR_K | SOURCE_X;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGT_K: u16 = 0x25;
const JGE_K: u16 = 0x35;
const JSET_K: u16 = 0x45;
const JEQ_X: u16 = JEQ_K | SOURCE_X;
const JGT_X: u16 = JGT_K | SOURCE_X;
const JGE_X: u16 = JGE_K | SOURCE_X;
const JSET_X: u16 = JSET_K | SOURCE_X;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, loads, parse, udp};
    use hairpin_wire::Family;

    #[test]
    fn programs() {
        // ip proto 17
        check("-m bpf --bytecode \"4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0\"", udp(1, 53), Yes);
        check("-m bpf --bytecode \"4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0\"", udp(1, 53), No);
        // The header's length into X, then the destination port behind it.
        check("-m bpf --bytecode \"5,177 0 0 0,72 0 0 2,21 0 1 53,6 0 0 1,6 0 0 0\"", udp(1, 53), Yes);
        // The network header at its own offset, and a read behind the end.
        check("-m bpf --bytecode \"4,48 0 0 4293918729,21 0 1 17,6 0 0 1,6 0 0 0\"", udp(1, 53), Yes);
        check("-m bpf --bytecode \"2,48 0 0 38,6 0 0 1\"", udp(1, 53), No);
        check("-m bpf --bytecode \"2,48 0 0 37,6 0 0 1\"", udp(1, 53), Yes);
        // Memory and arithmetic: 7 stored, X = 7, A = 3 * 7 - 21.
        check("-m bpf --bytecode \"7,0 0 0 7,2 0 0 0,97 0 0 0,0 0 0 3,44 0 0 0,20 0 0 21,22 0 0 0\"", udp(1, 2), No);
        // Division by zero ends it.
        check("-m bpf --bytecode \"3,1 0 0 0,60 0 0 0,6 0 0 1\"", udp(1, 2), No);
    }

    #[test]
    fn what_the_kernel_refuses() {
        let refused =
            |code: &str| loads(parse(Family::V4, &format!("-m bpf --bytecode \"{code}\"")).unwrap()).is_err();
        assert!(refused("1,48 0 0 9"));
        assert!(refused("2,5 0 0 1,6 0 0 0"));
        assert!(refused("2,96 0 0 0,6 0 0 0"));
        assert!(refused("2,52 0 0 0,6 0 0 0"));
        assert!(refused("2,100 0 0 32,6 0 0 0"));
        assert!(refused("2,255 0 0 0,6 0 0 0"));
        assert!(!refused("3,2 0 0 0,96 0 0 0,6 0 0 0"));
    }
}
