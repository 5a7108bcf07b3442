//! A device that a packet socket reads is still the kernel's: without more, it would answer and forward too. Here it is kept from
//! that for as long as we hold the device.
//!
//! A program at the device's entrance, behind the packet sockets, drops every frame for the kernel. It goes away with our last
//! descriptor. Where that is not allowed (an ordinary user's namespace, Linux before 6.6), the device must not forward, nor answer
//! ARP, nor have IPv6; those are switched off here and put back at the end. Either way a device with addresses of the kernel's is
//! refused, because its own processes would use it without a rule being asked; unless those addresses are to be followed.
//!
//! Settings outlive a process that is killed. So the device itself carries the note of what they were before (its alias, which
//! `ip link` shows): the next gateway puts them back before it arranges its own.

use crate::bpf::{self, Attach, EXIT, Program, insn, set};
use crate::packet::Kit;
use crate::{netlink, sys};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Undoes what was arranged when it is dropped.
#[derive(Debug)]
pub struct Quiet {
    drops: Option<OwnedFd>,
    device: String,
    arp_was_on: bool,
    /// Family, key, and what it was.
    settings: Vec<(String, String, String)>,
    index: u32,
    /// The device's alias when we came.
    alias: String,
}

/// How the note of what was switched begins.
const NOTE: &str = "hairpin: before ";

/// What a traffic program says to drop a frame (`TC_ACT_SHOT`).
const SHOT: i32 = 2;

/// The program.
pub(crate) fn program() -> io::Result<OwnedFd> {
    bpf::load(Program::Traffic, "hairpin_quiet", &[set(0, SHOT), EXIT])
}

/// The program for a device that is followed: answers to DHCP clients and router advertisements pass, for it is by them that the kernel's
/// device comes to its addresses. Most clients read behind this place, as the kernel does. A frame too short to be looked at passes too;
/// nobody makes anything of it.
pub(crate) fn program_of_followed() -> io::Result<OwnedFd> {
    /// Loads of one and of two bytes of the frame; of two at the place in r7.
    const BYTE: u8 = 0x30;
    const SHORT: u8 = 0x28;
    const SHORT_AT: u8 = 0x48;
    const IF_EQUAL: u8 = 0x15;
    const IF_OTHER: u8 = 0x55;
    const IF_ANY: u8 = 0x45;
    const GO: u8 = 0x05;
    const COPY: u8 = 0xbf;
    let load = |code, at| insn(code, 0, 0, 0, at);
    bpf::load(
        Program::Traffic,
        "hairpin_follow",
        &[
            insn(COPY, 6, 1, 0, 0),
            load(SHORT, 12),
            insn(IF_EQUAL, 0, 0, 2, 0x0800),
            insn(IF_EQUAL, 0, 0, 12, 0x86dd),
            insn(GO, 0, 0, 19, 0),
            // 5, IPv4: UDP, the first fragment, behind the header port 68.
            load(BYTE, 23),
            insn(IF_OTHER, 0, 0, 17, 17),
            load(SHORT, 20),
            insn(IF_ANY, 0, 0, 15, 0x1fff),
            load(BYTE, 14),
            insn(0x57, 0, 0, 0, 0x0f),
            insn(0x67, 0, 0, 0, 2),
            insn(COPY, 7, 0, 0, 0),
            insn(SHORT_AT, 0, 7, 0, 16),
            insn(IF_EQUAL, 0, 0, 11, 68),
            insn(GO, 0, 0, 8, 0),
            // 16, IPv6: UDP to port 546, or ICMPv6 of type 134.
            load(BYTE, 20),
            insn(IF_EQUAL, 0, 0, 4, 58),
            insn(IF_OTHER, 0, 0, 5, 17),
            load(SHORT, 56),
            insn(IF_EQUAL, 0, 0, 5, 546),
            insn(GO, 0, 0, 2, 0),
            load(BYTE, 54),
            insn(IF_EQUAL, 0, 0, 2, 134),
            // 24
            set(0, SHOT),
            EXIT,
            // 26
            set(0, 0),
            EXIT,
        ],
    )
}

impl Quiet {
    /// Arranges it, or says why it cannot be. `follow`: the kernel's addresses are wanted, and stay.
    pub fn make(device: &str, kit: &Kit, follow: bool) -> io::Result<Quiet> {
        let index = sys::index_of(device)?;
        if !follow {
            refuse_addresses(device, index)?;
        }
        drop(Quiet::left_behind(device, index));
        let mut quiet = Quiet {
            drops: None,
            device: device.to_owned(),
            arp_was_on: false,
            settings: Vec::new(),
            index,
            alias: netlink::alias(index).unwrap_or_default(),
        };
        match kit.drops(follow).and_then(|program| bpf::attach(program, index, Attach::Ingress)) {
            Ok(link) => {
                quiet.drops = Some(link);
                if follow {
                    return Ok(quiet);
                }
                // What the kernel would say of its own accord (router solicitations, group reports) is only noise.
                let _ = quiet.switch("ipv6", "disable_ipv6", "1");
            }
            Err(why) if follow => {
                let text = format!(
                    "its addresses cannot be followed: that needs a program at its entrance (Linux 6.6, and root), which keeps the kernel \
                     from answering beside the gateway, and there is none ({why})"
                );
                return Err(io::Error::new(why.kind(), text));
            }
            Err(why) => quiet.by_settings().map_err(|error| {
                let text = format!(
                    "the kernel cannot be kept from answering on {device}: no program at its entrance ({why}), and {error}"
                );
                io::Error::new(error.kind(), text)
            })?,
        }
        Ok(quiet)
    }

    fn by_settings(&mut self) -> io::Result<()> {
        self.switch("ipv4", "forwarding", "0")?;
        match self.switch("ipv6", "disable_ipv6", "1") {
            // A kernel without IPv6 is quiet about it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.arp_was_on = sys::set_arp(&self.device, false)?;
        self.note();
        Ok(())
    }

    fn switch(&mut self, family: &str, key: &str, value: &str) -> io::Result<()> {
        let path = self.path(family, key);
        let before = std::fs::read_to_string(&path)?.trim().to_owned();
        if before != value {
            self.settings.push((family.to_owned(), key.to_owned(), before));
            self.note();
            std::fs::write(&path, value).map_err(sys::at(path.display()))?;
        }
        Ok(())
    }

    fn path(&self, family: &str, key: &str) -> PathBuf {
        PathBuf::from(format!("/proc/sys/net/{family}/conf/{}/{key}", self.device))
    }

    /// What a gateway that was killed left switched on this device; to be dropped, which undoes it.
    fn left_behind(device: &str, index: u32) -> Option<Quiet> {
        let alias = netlink::alias(index).ok()?;
        let (words, own) = alias.strip_prefix(NOTE)?.split_once(';')?;
        let mut left = Quiet {
            drops: None,
            device: device.to_owned(),
            arp_was_on: false,
            settings: Vec::new(),
            index,
            alias: own.trim_start().to_owned(),
        };
        for word in words.split(' ') {
            match word.split_once('=') {
                Some(("arp", value)) => left.arp_was_on = value == "on",
                Some((name, value)) => {
                    let (family, key) = name.split_once('.')?;
                    left.settings.push((family.to_owned(), key.to_owned(), value.to_owned()));
                }
                None => {}
            }
        }
        Some(left)
    }

    /// Writes down what was switched. A device without room for it can be used all the same.
    fn note(&self) {
        let mut words: Vec<String> =
            self.settings.iter().map(|(family, key, before)| format!("{family}.{key}={before}")).collect();
        if self.arp_was_on {
            words.push("arp=on".to_owned());
        }
        let _ = netlink::set_alias(self.index, &format!("{NOTE}{}; {}", words.join(" "), self.alias));
    }

    /// How, for people.
    pub(crate) fn describe(&self) -> &'static str {
        match self.drops {
            Some(_) => "the kernel sees nothing of it",
            None => "the kernel neither forwards nor answers there",
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let is_changed = self.arp_was_on || !self.settings.is_empty();
        for (family, key, before) in std::mem::take(&mut self.settings).into_iter().rev() {
            let _ = std::fs::write(self.path(&family, &key), before);
        }
        if self.arp_was_on {
            let _ = sys::set_arp(&self.device, true);
        }
        if is_changed {
            let _ = netlink::set_alias(self.index, &self.alias);
        }
    }
}

fn refuse_addresses(device: &str, index: u32) -> io::Result<()> {
    let addresses = netlink::addresses()?;
    let Some(one) = addresses.iter().find(|a| a.index == index && !a.is_link_local()) else { return Ok(()) };
    let text = format!(
        "{device} has the address {}/{} in the kernel, which would use it beside the gateway: `ip address flush dev {device}' first, \
         and name the address in the host file",
        one.addr, one.prefix
    );
    Err(io::Error::new(io::ErrorKind::AddrInUse, text))
}
