//! `-j CONNMARK`: change the connection's mark, or carry it to the packet and back.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, TargetSpec, value};
use hairpin_engine::Edit;
use hairpin_engine::rule::{Listing, Needs, Place, Refused, Target, Verdict};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

const OPERATIONS: &[&str] =
    &["set-mark", "save-mark", "restore-mark", "and-mark", "or-mark", "xor-mark", "set-xmark"];

/// What the list knows of it.
pub static SPEC: TargetSpec = TargetSpec {
    name: "CONNMARK",
    families: Families::Both,
    about: "change the connection's mark, or carry it to the packet and back",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("set-xmark", &["value[/mask]"], "clear the bits of the mask, then XOR the value").excludes(OPERATIONS),
        Opt::new("set-mark", &["value[/mask]"], "clear the bits of the mask, then OR the value").excludes(OPERATIONS),
        Opt::new("and-mark", &["bits"], "AND").excludes(OPERATIONS),
        Opt::new("or-mark", &["bits"], "OR").excludes(OPERATIONS),
        Opt::new("xor-mark", &["bits"], "XOR").excludes(OPERATIONS),
        Opt::switch("save-mark", "copy the packet's mark to the connection").excludes(OPERATIONS),
        Opt::switch("restore-mark", "copy the connection's mark to the packet").excludes(OPERATIONS),
        Opt::new("ctmask", &["mask"], "the bits of the connection's mark that count").excludes(&["mask"]),
        Opt::new("nfmask", &["mask"], "the bits of the packet's mark that count").excludes(&["mask"]),
        Opt::new("mask", &["mask"], "both masks").excludes(&["ctmask", "nfmask"]),
        Opt::new("left-shift-mark", &["bits"], "shift the result to the left"),
        Opt::new("right-shift-mark", &["bits"], "shift the result to the right"),
    ],
    build,
    cases: &[
        Case::Same("--set-xmark 0x1/0x3"),
        Case::Same("--restore-mark --nfmask 0xf --ctmask 0xff"),
        Case::Same("--save-mark --nfmask 0xf --ctmask 0xf0 --left-shift-mark 3"),
        Case::Same("--set-xmark 0x5/0x7 --right-shift-mark 3"),
        Case::Saves("--set-mark 1/2", "--set-xmark 0x1/0x3"),
        Case::Saves("--set-mark 1 --ctmask 2", "--set-xmark 0x1/0x2"),
        Case::Saves("--and-mark 0xf", "--set-xmark 0x0/0xfffffff0"),
        Case::Saves("--or-mark 0xf", "--set-xmark 0xf/0xf"),
        Case::Saves("--xor-mark 0xf", "--set-xmark 0xf/0x0"),
        Case::Saves("--save-mark", "--save-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
        Case::Saves("--restore-mark --mask 0xf", "--restore-mark --nfmask 0xf --ctmask 0xf"),
        Case::Saves(
            "--save-mark --left-shift-mark 0",
            "--save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        ),
        Case::Fails("--save-mark --restore-mark", "cannot be used together"),
        Case::Fails("--save-mark --mask 1 --ctmask 2", "cannot be used together"),
        Case::Fails("--mask 2", "No operation specified"),
        Case::Fails("", "No operation specified"),
    ],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Set,
    Save,
    Restore,
}

#[derive(Clone, Copy, Debug)]
struct ConnMark {
    mode: Mode,
    value: u32,
    ctmask: u32,
    nfmask: u32,
    right: bool,
    shift: u8,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Target>, SyntaxError> {
    let mut this = ConnMark { mode: Mode::Set, value: 0, ctmask: !0, nfmask: !0, right: false, shift: 0 };
    let mut operation = false;
    for given in &parsed.given {
        let bits = || value::number_u32(parsed, given);
        operation |= OPERATIONS.contains(&given.option.name);
        match given.option.name {
            "set-xmark" => (this.value, this.ctmask) = value::mark_mask(parsed, given)?,
            "set-mark" => (this.value, this.ctmask) = value::mark_mask(parsed, given).map(|(v, m)| (v, m | v))?,
            "and-mark" => (this.value, this.ctmask) = (0, !bits()?),
            "or-mark" => (this.value, this.ctmask) = (bits()?, bits()?),
            "xor-mark" => (this.value, this.ctmask) = (bits()?, 0),
            "save-mark" => this.mode = Mode::Save,
            "restore-mark" => this.mode = Mode::Restore,
            "ctmask" => this.ctmask = bits()?,
            "nfmask" => this.nfmask = bits()?,
            "mask" => (this.ctmask, this.nfmask) = (bits()?, bits()?),
            name => (this.right, this.shift) = (name == "right-shift-mark", value::number(parsed, given, 0, 32)? as u8),
        }
    }
    if !operation {
        return Err(SyntaxError::parameter("CONNMARK target: No operation specified"));
    }
    Ok(Arc::new(this))
}

impl ConnMark {
    fn shifted(&self, mark: u32) -> u32 {
        let shift = u32::from(self.shift);
        if self.right { mark.checked_shr(shift).unwrap_or(0) } else { mark.checked_shl(shift).unwrap_or(0) }
    }
}

impl Target for ConnMark {
    fn name(&self) -> &'static str {
        "CONNMARK"
    }

    fn act(&self, edit: &mut Edit<'_>) -> Verdict {
        let look = edit.look();
        let Some((conn, _)) = look.conn() else { return Verdict::Continue };
        let (ct, nf) = (conn.mark, look.mark());
        match self.mode {
            Mode::Set => edit.set_conn_mark(self.shifted((ct & !self.ctmask) ^ self.value)),
            Mode::Save => edit.set_conn_mark((ct & !self.ctmask) ^ self.shifted(nf & self.nfmask)),
            Mode::Restore => edit.set_mark((nf & !self.nfmask) ^ self.shifted(ct & self.ctmask)),
        }
        Verdict::Continue
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Set => write!(f, " --set-xmark {:#x}/{:#x}", self.value, self.ctmask)?,
            Mode::Save => write!(f, " --save-mark --nfmask {:#x} --ctmask {:#x}", self.nfmask, self.ctmask)?,
            Mode::Restore => write!(f, " --restore-mark --nfmask {:#x} --ctmask {:#x}", self.nfmask, self.ctmask)?,
        }
        match (self.shift, self.right) {
            (0, _) => Ok(()),
            (shift, false) => write!(f, " --left-shift-mark {shift}"),
            (shift, true) => write!(f, " --right-shift-mark {shift}"),
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        match self.mode {
            Mode::Set => value::list_mark_change(f, "CONNMARK", self.value, self.ctmask)?,
            Mode::Save => list_copy(f, "save", ("nfmask", self.nfmask), ("ctmask", self.ctmask))?,
            Mode::Restore => list_copy(f, "restore", ("ctmask", self.ctmask), ("nfmask", self.nfmask))?,
        }
        match (self.shift, self.right) {
            (0, _) => Ok(()),
            (shift, false) => write!(f, " left-shift-mark {shift}"),
            (shift, true) => write!(f, " right-shift-mark {shift}"),
        }
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        if self.shift >= 32 {
            return Err(Refused::Invalid("xt_connmark: a shift by 32 bits or more".to_owned()));
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs::TRACKING
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn list_copy(f: &mut fmt::Formatter<'_>, word: &str, from: (&str, u32), to: (&str, u32)) -> fmt::Result {
    write!(f, " CONNMARK {word}")?;
    match (from.1, to.1) {
        (u32::MAX, u32::MAX) => Ok(()),
        (one, other) if one == other => write!(f, " mask {one:#x}"),
        _ => write!(f, " {} {:#x} {} ~{:#x}", from.0, from.1, to.0, to.1),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{probe, udp};
    use crate::testing_targets::{act_in, track};

    /// The marks of packet and connection, before and after.
    fn marks(rule: &str, packet: u32, conn: u32) -> (u32, u32) {
        let mut probe = probe(udp(1, 2));
        let id = track(&mut probe, conn);
        probe.packet.meta.mark = packet;
        act_in(&mut probe, rule);
        (probe.packet.meta.mark, probe.conns.get(id).expect("it stays").mark)
    }

    #[test]
    fn sets_saves_and_restores() {
        assert_eq!(marks("-j CONNMARK --set-mark 0x1/0xff", 7, 0x1234), (7, 0x1201));
        assert_eq!(marks("-j CONNMARK --set-xmark 0xff00/0xff", 7, 0x1234), (7, 0xed00));
        assert_eq!(marks("-j CONNMARK --save-mark", 7, 0x1234), (7, 7));
        assert_eq!(marks("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff", 0x77, 0x1234), (0x77, 0x1207));
        assert_eq!(marks("-j CONNMARK --restore-mark --mask 0xff", 0x7700, 0x1234), (0x7734, 0x1234));
    }

    #[test]
    fn shifts_what_was_computed() {
        assert_eq!(marks("-j CONNMARK --set-mark 0xf0 --left-shift-mark 24", 0, 1), (0, 0xf000_0000));
        assert_eq!(marks("-j CONNMARK --save-mark --right-shift-mark 8", 0x1234_5678, 0), (0x1234_5678, 0x0012_3456));
        assert_eq!(
            marks("-j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xfff --left-shift-mark 16", 0xff, 0x1234),
            (0x0234_000f, 0x1234)
        );
    }

    #[test]
    fn without_a_connection_nothing_happens() {
        let mut probe = probe(udp(1, 2));
        probe.packet.meta.mark = 5;
        act_in(&mut probe, "-j CONNMARK --restore-mark");
        assert_eq!(probe.packet.meta.mark, 5);
    }
}
