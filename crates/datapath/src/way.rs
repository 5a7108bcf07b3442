//! The kernel's routing around the TUN device by which this host's own processes send and receive.
//!
//! What it brings is for this host, whatever its destination. And what processes here send to addresses of this host leaves by it, as
//! what they send to others: else it would stay in the kernel, and OUTPUT and INPUT would not see it. Only the loopback network stays.
//! For that the rule for local addresses, which is the first of all, makes room for one before it. A gateway that is killed leaves
//! rules that lead to empty tables: all is as it was, and the next one puts the first rule back in its place when it ends.

use crate::netlink::{Netlink, attribute, family, octets};
use crate::sys::at;
use std::io;
use std::net::IpAddr;

/// For what the device brings, and for what it is to be given.
const IN_TABLE: u32 = 0x6861_6972;
const OUT_TABLE: u32 = 0x6861_6973;
const LOCAL_TABLE: u32 = libc::RT_TABLE_LOCAL as u32;

const FAMILIES: [libc::c_int; 2] = [libc::AF_INET, libc::AF_INET6];
const NEW: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// Arranges it. A kernel without IPv6 has it for IPv4.
pub(crate) fn arrange(name: &str, index: u32) -> io::Result<()> {
    for family in FAMILIES {
        match arrange_for(family, name, index) {
            Err(_) if family == libc::AF_INET6 => {}
            other => other.map_err(at(format_args!("the way between {name} and this host")))?,
        }
    }
    Ok(())
}

fn arrange_for(family: libc::c_int, name: &str, index: u32) -> io::Result<()> {
    let socket = Netlink::open(0)?;
    let mut route =
        vec![family as u8, 0, 0, 0, 0, libc::RTPROT_STATIC, libc::RT_SCOPE_HOST, libc::RTN_LOCAL, 0, 0, 0, 0];
    number(&mut route, libc::RTA_OIF, index);
    number(&mut route, libc::RTA_TABLE, IN_TABLE);
    socket.change(libc::RTM_NEWROUTE, NEW, &route)?;
    socket.change(libc::RTM_NEWRULE, NEW, &rule(family, Some(name), IN_TABLE, None))?;
    // The first rule is there twice before it goes from its place: at no time there is none.
    is_there(socket.change(libc::RTM_NEWRULE, NEW, &rule(family, None, LOCAL_TABLE, Some(1))))?;
    is_there(socket.change(libc::RTM_NEWRULE, NEW, &rule(family, Some("lo"), OUT_TABLE, Some(0))))?;
    let _ = socket.change(libc::RTM_DELRULE, 0, &rule(family, None, LOCAL_TABLE, Some(0)));
    Ok(())
}

fn is_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Puts the rules back as they were; the routes go with the device.
pub(crate) fn undo(name: &str) {
    let Ok(socket) = Netlink::open(0) else { return };
    for family in FAMILIES {
        let ours = [rule(family, Some(name), IN_TABLE, None), rule(family, Some("lo"), OUT_TABLE, Some(0))];
        if socket.change(libc::RTM_DELRULE, 0, &ours[1]).is_ok() {
            let _ = socket.change(libc::RTM_NEWRULE, NEW, &rule(family, None, LOCAL_TABLE, Some(0)));
            let _ = socket.change(libc::RTM_DELRULE, 0, &rule(family, None, LOCAL_TABLE, Some(1)));
        }
        let _ = socket.change(libc::RTM_DELRULE, 0, &ours[0]);
    }
}

/// What processes here send to this address of the host leaves by the device.
pub fn lead_out(index: u32, addr: IpAddr) -> io::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    Netlink::open(0)?
        .change(libc::RTM_NEWROUTE, flags, &own_route(index, addr))
        .map_err(at(format_args!("the way to {addr}")))
}

/// It is the host's no more.
pub fn lead_no_more(index: u32, addr: IpAddr) {
    if let Ok(socket) = Netlink::open(0) {
        // With the address the kernel may have taken it away itself.
        let _ = socket.change(libc::RTM_DELROUTE, 0, &own_route(index, addr));
    }
}

fn own_route(index: u32, addr: IpAddr) -> Vec<u8> {
    let bytes = octets(addr);
    let bits = bytes.len() as u8 * 8;
    let mut route =
        vec![family(addr), bits, 0, 0, 0, libc::RTPROT_STATIC, libc::RT_SCOPE_LINK, libc::RTN_UNICAST, 0, 0, 0, 0];
    attribute(&mut route, libc::RTA_DST, |body| body.extend_from_slice(&bytes));
    attribute(&mut route, libc::RTA_PREFSRC, |body| body.extend_from_slice(&bytes));
    number(&mut route, libc::RTA_OIF, index);
    number(&mut route, libc::RTA_TABLE, OUT_TABLE);
    route
}

fn number(body: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(body, kind, |body| body.extend_from_slice(&value.to_ne_bytes()));
}

/// `struct fib_rule_hdr`: what comes by the device, or all, is looked up in that table.
fn rule(family: libc::c_int, iif: Option<&str>, table: u32, priority: Option<u32>) -> Vec<u8> {
    const IIFNAME: u16 = 3;
    const PRIORITY: u16 = 6;
    const TABLE: u16 = 15;
    const TO_TABLE: u8 = 1;
    let mut rule = vec![family as u8, 0, 0, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0];
    if let Some(name) = iif {
        attribute(&mut rule, IIFNAME, |body| {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
        });
    }
    if let Some(priority) = priority {
        number(&mut rule, PRIORITY, priority);
    }
    number(&mut rule, TABLE, table);
    rule
}
