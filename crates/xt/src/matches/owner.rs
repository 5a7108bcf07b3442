//! `-m owner`: the process whose socket sent the packet.
//!
//! Beside what Linux has today, `--pid-owner`, `--sid-owner` and `--cmd-owner` are understood, which it had until 2.6.14.

use crate::option::{Given, NameKind, Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::hook::{Hook, Hooks};
use hairpin_engine::Look;
use hairpin_engine::packet::{Owner as Process, Sender};
use hairpin_engine::rule::{Listing, Match, Place, Refused, Scope};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "owner",
    aliases: &[],
    families: Families::Both,
    about: "the process whose socket sent the packet",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("uid-owner", &["user|id[-id]"], "the user that opened the socket").inverts(),
        Opt::new("gid-owner", &["group|id[-id]"], "the group that opened the socket").inverts(),
        Opt::switch("socket-exists", "there is a socket").inverts(),
        Opt::switch("suppl-groups", "--gid-owner looks at supplementary groups too"),
        Opt::new("pid-owner", &["pid"], "the process (not in Linux since 2.6.14)").inverts(),
        Opt::new("sid-owner", &["sid"], "the session of the process (not in Linux since 2.6.14)").inverts(),
        Opt::new("cmd-owner", &["name"], "the command's name (not in Linux since 2.6.14)").inverts(),
    ],
    build,
    cases: &[
        Case::Same("--uid-owner 0-10 ! --gid-owner 5"),
        Case::Saves("! --uid-owner 5:6 --socket-exists", "--socket-exists ! --uid-owner 5-6"),
        Case::Same("! --socket-exists"),
        Case::Same("--gid-owner 0-10 --suppl-groups"),
        Case::Same("--pid-owner 17 ! --sid-owner 3 --cmd-owner sshd"),
        Case::Fails("--suppl-groups --gid-owner 0-10", "you need to use --gid-owner first"),
        Case::Fails("--uid-owner 4294967295", "Bad value for \"--uid-owner\" option: \"4294967295\""),
        Case::Fails("--uid-owner nobody-here", "Bad value for \"--uid-owner\" option: \"nobody-here\""),
        Case::Fails("", "At least one of --uid-owner, --gid-owner or --socket-exists is required"),
    ],
};

#[derive(Debug)]
struct Owner {
    user: Option<Range>,
    group: Option<Range>,
    supplementary: bool,
    /// Whether there must be a socket.
    socket: Option<bool>,
    pid: Option<If<u32>>,
    sid: Option<If<u32>>,
    command: Option<If<String>>,
}

/// An inclusive range, perhaps inverted.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: u32,
    to: u32,
    inverted: bool,
}

#[derive(Debug)]
struct If<T> {
    value: T,
    inverted: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    if parsed.given.is_empty() {
        let message = "At least one of --uid-owner, --gid-owner or --socket-exists is required";
        return Err(parsed.error(message));
    }
    let position = |name: &str| parsed.given.iter().position(|given| given.option.name == name);
    let supplementary = position("suppl-groups");
    if supplementary.is_some_and(|at| position("gid-owner").is_none_or(|group| group > at)) {
        let message = "Bad value for \"--suppl-groups\" option: \"you need to use --gid-owner first\"";
        return Err(parsed.error(message).at("--suppl-groups"));
    }
    let range = |name: &str, kind| parsed.get(name).map(|given| parse_range(parsed, given, kind)).transpose();
    let number = |name: &str| parsed.get(name).map(|given| parse_number(parsed, given)).transpose();
    Ok(Arc::new(Owner {
        user: range("uid-owner", NameKind::User)?,
        group: range("gid-owner", NameKind::Group)?,
        supplementary: supplementary.is_some(),
        socket: parsed.get("socket-exists").map(|given| !given.inverted),
        pid: number("pid-owner")?,
        sid: number("sid-owner")?,
        command: parsed
            .get("cmd-owner")
            .map(|given| Ok(If { value: value::string(given, 1, 15)?.to_owned(), inverted: given.inverted }))
            .transpose()?,
    }))
}

fn parse_range(parsed: &Parsed<'_>, given: &Given, kind: NameKind) -> Result<Range, SyntaxError> {
    let inverted = given.inverted;
    let text = given.value();
    if let Some(id) = parsed.names.number(kind, text) {
        return Ok(Range { from: id, to: id, inverted });
    }
    let id = |text: &str| value::number_within(text, 0, u64::from(u32::MAX) - 1).map(|n| n as u32);
    let range = match text.split_once(['-', ':']) {
        Some((from, to)) => id(from).zip(id(to)),
        None => id(text).map(|id| (id, id)),
    };
    let (from, to) = range.ok_or_else(|| value::bad_value(parsed, given))?;
    Ok(Range { from, to, inverted })
}

fn parse_number(parsed: &Parsed<'_>, given: &Given) -> Result<If<u32>, SyntaxError> {
    Ok(If { value: value::number_u32(parsed, given)?, inverted: given.inverted })
}

impl Match for Owner {
    fn name(&self) -> &'static str {
        "owner"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        match look.sender() {
            // Without a socket only a rule whose every option is inverted holds.
            Sender::None => self.socket != Some(true) && self.all_inverted(),
            _ if self.socket == Some(false) => false,
            // A socket without a file belongs to nobody.
            Sender::Kernel => self.identity_inverted(),
            Sender::Process(process) => self.fits(process),
        }
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |inverted: bool| if inverted { " !" } else { "" };
        if let Some(exists) = self.socket {
            write!(f, "{} --socket-exists", not(!exists))?;
        }
        for (name, range) in [("uid-owner", self.user), ("gid-owner", self.group)] {
            if let Some(Range { from, to, inverted }) = range {
                write!(f, "{} --{name} {from}", not(inverted))?;
                if from != to {
                    write!(f, "-{to}")?;
                }
            }
        }
        for (name, number) in [("pid-owner", &self.pid), ("sid-owner", &self.sid)] {
            if let Some(If { value, inverted }) = number {
                write!(f, "{} --{name} {value}", not(*inverted))?;
            }
        }
        if let Some(If { value, inverted }) = &self.command {
            write!(f, "{} --cmd-owner", not(*inverted))?;
            value::save_string(f, value)?;
        }
        f.write_str(if self.supplementary { " --suppl-groups" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, listing: &Listing<'_>) -> fmt::Result {
        let not = |inverted: bool| if inverted { " !" } else { "" };
        if let Some(exists) = self.socket {
            write!(f, "{} owner socket exists", not(!exists))?;
        }
        for (name, kind, range) in [("UID", NameKind::User, self.user), ("GID", NameKind::Group, self.group)] {
            let Some(Range { from, to, inverted }) = range else { continue };
            write!(f, "{} owner {name} match ", not(inverted))?;
            match listing.name(kind, from).filter(|_| from == to) {
                Some(name) => f.write_str(&name)?,
                None if from == to => write!(f, "{from}")?,
                None => write!(f, "{from}-{to}")?,
            }
        }
        f.write_str(if self.supplementary { " incl. suppl. groups" } else { "" })
    }

    fn scope(&self) -> Scope {
        Scope { hooks: Hooks::of(&[Hook::Output, Hook::Postrouting]), ..Scope::EVERYWHERE }
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let reversed = |range: Option<Range>| range.is_some_and(|range| range.from > range.to);
        if reversed(self.user) || reversed(self.group) {
            return Err(Refused::Invalid("xt_owner: the range ends below its beginning".to_owned()));
        }
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        let option = match (&self.pid, &self.sid, &self.command) {
            (Some(_), _, _) => "--pid-owner",
            (_, Some(_), _) => "--sid-owner",
            (_, _, Some(_)) => "--cmd-owner",
            _ => return None,
        };
        Some(format!("owner: Linux has had no {option} since 2.6.14; iptables refuses this rule"))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Owner {
    fn all_inverted(&self) -> bool {
        self.identity_inverted() && !self.supplementary
    }

    /// Whether no option asks for a certain process.
    fn identity_inverted(&self) -> bool {
        self.user.is_none_or(|range| range.inverted)
            && self.group.is_none_or(|range| range.inverted)
            && self.pid.as_ref().is_none_or(|c| c.inverted)
            && self.sid.as_ref().is_none_or(|c| c.inverted)
            && self.command.as_ref().is_none_or(|c| c.inverted)
    }

    fn fits(&self, process: &Process) -> bool {
        let in_group = |range: Range| {
            range.contains(process.gid) || (self.supplementary && process.groups.iter().any(|gid| range.contains(*gid)))
        };
        self.user.is_none_or(|range| range.contains(process.uid) != range.inverted)
            && self.group.is_none_or(|range| in_group(range) != range.inverted)
            && self.pid.as_ref().is_none_or(|c| (process.pid == Some(c.value)) != c.inverted)
            && self.sid.as_ref().is_none_or(|c| (process.sid == Some(c.value)) != c.inverted)
            && self.command.as_ref().is_none_or(|c| (process.command.as_ref() == Some(&c.value)) != c.inverted)
    }
}

impl Range {
    fn contains(self, id: u32) -> bool {
        (self.from..=self.to).contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, No, Yes, check_in, probe, udp};
    use hairpin_engine::packet::Origin;

    fn ask(sender: Sender, rule: &str, expected: Answer) {
        let mut probe = probe(udp(1, 2));
        probe.hook = Hook::Output;
        probe.packet.meta.origin = Origin::Local(sender);
        check_in(&mut probe, rule, expected);
    }

    #[test]
    fn a_process() {
        let process = || {
            Sender::Process(Arc::new(Process {
                uid: 1000,
                gid: 100,
                groups: vec![4, 27],
                pid: Some(7),
                sid: None,
                command: Some("sshd".to_owned()),
                ..Process::default()
            }))
        };
        ask(process(), "-m owner --uid-owner 1000", Yes);
        ask(process(), "-m owner --uid-owner 0-999", No);
        ask(process(), "-m owner ! --uid-owner 0-999", Yes);
        ask(process(), "-m owner --gid-owner 27", No);
        ask(process(), "-m owner --gid-owner 27 --suppl-groups", Yes);
        ask(process(), "-m owner ! --gid-owner 27 --suppl-groups", No);
        ask(process(), "-m owner --socket-exists", Yes);
        ask(process(), "-m owner ! --socket-exists", No);
        ask(process(), "-m owner --pid-owner 7 --cmd-owner sshd", Yes);
        ask(process(), "-m owner --sid-owner 7", No);
        ask(process(), "-m owner ! --sid-owner 7", Yes);
    }

    #[test]
    fn the_kernel_and_nobody() {
        ask(Sender::Kernel, "-m owner --socket-exists", Yes);
        ask(Sender::Kernel, "-m owner ! --socket-exists", No);
        ask(Sender::Kernel, "-m owner --uid-owner 0", No);
        ask(Sender::Kernel, "-m owner ! --uid-owner 0", Yes);
        ask(Sender::None, "-m owner --socket-exists", No);
        ask(Sender::None, "-m owner ! --socket-exists", Yes);
        ask(Sender::None, "-m owner ! --uid-owner 0", Yes);
        ask(Sender::None, "-m owner ! --uid-owner 0 --socket-exists", No);
        ask(Sender::None, "-m owner ! --gid-owner 0 --suppl-groups", No);
    }
}
