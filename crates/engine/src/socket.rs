//! The sockets of this host that are known: which of them takes a packet (`__inet_lookup`, `udp4_lib_lookup`), and whose it is.
//!
//! The engine has no sockets; whoever drives it may tell it of some ([`Net::sockets`](crate::net::Net)), or bring somebody who can be
//! asked ([`Ask`]). They take what is sent to them, `-m socket` and `-j TPROXY` find them, and a packet that one of them sends has its
//! owner.

use crate::net::IfIndex;
use crate::packet::Owner;
use hairpin_wire::{Addr, Family, proto};
use std::fmt;
use std::sync::Arc;

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP, UDP or UDP-Lite.
    pub protocol: u8,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Address and port it is bound to; an unspecified address is any of the host's.
    pub local: (Addr, u16),
    /// Whom it is connected to. A TCP socket that is not connected listens.
    pub remote: Option<(Addr, u16)>,
    /// The device it is bound to.
    pub device: Option<IfIndex>,
    /// `IP_TRANSPARENT`.
    pub transparent: bool,
    /// `SO_MARK`.
    pub mark: u32,
    /// Who opened it; None for the kernel.
    pub owner: Option<Arc<Owner>>,
}

impl Socket {
    /// Whether it is bound to no address of its own.
    pub fn is_wildcard(&self) -> bool {
        self.local.0 == Addr::UNSPECIFIED
    }
}

/// The two ends of a packet, as a socket sees it that receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// TCP, UDP or UDP-Lite.
    pub protocol: u8,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The other's address and port.
    pub remote: (Addr, u16),
    /// This host's address and port.
    pub local: (Addr, u16),
    /// The device it came by.
    pub device: Option<IfIndex>,
}

/// Somebody who knows the sockets that are open at this moment, where the host is a real one. It is asked only for a rule that wants to
/// know, and must not wait for anything.
pub trait Ask: fmt::Debug + Send + Sync {
    /// The socket that takes a packet.
    fn find(&self, ends: &Ends) -> Option<Arc<Socket>>;

    /// The one that takes what comes from anyone.
    fn listening(&self, ends: &Ends) -> Option<Arc<Socket>>;
}

/// Sockets as rules ask for them: the listed ones, then those of whoever is asked.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub(crate) listed: &'a Sockets,
    pub(crate) asked: Option<&'a dyn Ask>,
}

impl Known<'_> {
    /// Whether there can be none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.asked.is_none()
    }

    /// The one that takes a packet.
    pub fn find(&self, ends: &Ends) -> Option<Arc<Socket>> {
        self.listed.find(ends).cloned().or_else(|| self.asked?.find(ends))
    }

    /// The one that is connected to just these ends.
    pub fn connected(&self, ends: &Ends) -> Option<Arc<Socket>> {
        self.find(ends).filter(|socket| socket.remote.is_some() && !socket.is_wildcard())
    }

    /// The one that takes what comes from anyone.
    pub fn listening(&self, ends: &Ends) -> Option<Arc<Socket>> {
        self.listed.listening(ends).cloned().or_else(|| self.asked?.listening(ends))
    }
}

/// All that are known, in the order of their protocols and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets(Vec<Arc<Socket>>);

impl Sockets {
    /// These.
    pub fn new(sockets: Vec<Socket>) -> Sockets {
        let mut all: Vec<Arc<Socket>> = sockets.into_iter().map(Arc::new).collect();
        all.sort_by_key(|socket| (socket.protocol, socket.local.1));
        Sockets(all)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that takes a packet: of those that fit, the most particular.
    pub fn find(&self, ends: &Ends) -> Option<&Arc<Socket>> {
        self.fitting(ends)
            .max_by_key(|socket| (!socket.is_wildcard(), socket.remote.is_some(), socket.device.is_some()))
    }

    /// The one that takes what comes from anyone.
    fn listening(&self, ends: &Ends) -> Option<&Arc<Socket>> {
        let found = match ends.protocol {
            // A connected TCP socket is not among the listeners; a connected UDP socket hides them.
            proto::TCP => self
                .fitting(ends)
                .filter(|socket| socket.remote.is_none())
                .max_by_key(|socket| (!socket.is_wildcard(), socket.device.is_some())),
            _ => self.find(ends),
        };
        found.filter(|socket| socket.remote.is_none())
    }

    fn fitting<'a>(&'a self, ends: &Ends) -> impl Iterator<Item = &'a Arc<Socket>> {
        let key = (ends.protocol, ends.local.1);
        let start = self.0.partition_point(|socket| (socket.protocol, socket.local.1) < key);
        let same = self.0.iter().skip(start).take_while(move |socket| (socket.protocol, socket.local.1) == key);
        let ends = *ends;
        same.filter(move |socket| {
            socket.family == ends.family
                && (socket.is_wildcard() || socket.local.0 == ends.local.0)
                && socket.remote.is_none_or(|remote| remote == ends.remote)
                && socket.device.is_none_or(|device| Some(device) == ends.device)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Addr = Addr::v4(0x0a00_0001);
    const THERE: Addr = Addr::v4(0x0a00_0002);

    fn socket(protocol: u8, local: (Addr, u16), remote: Option<(Addr, u16)>, mark: u32) -> Socket {
        let family = Family::V4;
        Socket { protocol, family, local, remote, device: None, transparent: false, mark, owner: None }
    }

    fn ends(protocol: u8, port: u16) -> Ends {
        Ends { protocol, family: Family::V4, remote: (THERE, 9), local: (HERE, port), device: Some(IfIndex(2)) }
    }

    #[test]
    fn the_most_particular_takes_the_packet() {
        let any = socket(proto::UDP, (Addr::UNSPECIFIED, 53), None, 1);
        let own = socket(proto::UDP, (HERE, 53), None, 2);
        let connected = socket(proto::UDP, (HERE, 53), Some((THERE, 9)), 3);
        let bound = Socket { device: Some(IfIndex(3)), ..socket(proto::UDP, (HERE, 53), Some((THERE, 9)), 4) };
        let mark = |sockets: &[&Socket], protocol, port| {
            let all = Sockets::new(sockets.iter().map(|socket| (*socket).clone()).collect());
            all.find(&ends(protocol, port)).map(|socket| socket.mark)
        };
        assert_eq!(mark(&[&any, &own, &connected, &bound], proto::UDP, 53), Some(3));
        assert_eq!(mark(&[&any, &own], proto::UDP, 53), Some(2));
        assert_eq!(mark(&[&any], proto::UDP, 53), Some(1));
        assert_eq!(mark(&[&bound], proto::UDP, 53), None);
        assert_eq!((mark(&[&any], proto::UDP, 54), mark(&[&any], proto::TCP, 53)), (None, None));
    }

    #[derive(Debug)]
    struct Everything;

    impl Ask for Everything {
        fn find(&self, ends: &Ends) -> Option<Arc<Socket>> {
            Some(Arc::new(socket(ends.protocol, ends.local, Some(ends.remote), 8)))
        }

        fn listening(&self, ends: &Ends) -> Option<Arc<Socket>> {
            Some(Arc::new(socket(ends.protocol, ends.local, None, 9)))
        }
    }

    #[test]
    fn whoever_knows_is_asked_for_what_is_not_listed() {
        let listed = Sockets::new(vec![socket(proto::UDP, (HERE, 53), None, 1)]);
        let known = Known { listed: &listed, asked: Some(&Everything) };
        let marks = |port| [known.find(&ends(proto::UDP, port)), known.listening(&ends(proto::UDP, port))];
        assert_eq!(marks(53).map(|found| found.map(|socket| socket.mark)), [Some(1), Some(1)]);
        assert_eq!(marks(54).map(|found| found.map(|socket| socket.mark)), [Some(8), Some(9)]);
        assert!(known.connected(&ends(proto::UDP, 53)).is_none());
    }

    #[test]
    fn listeners_and_connections() {
        let all = |protocol| {
            let connected = socket(protocol, (HERE, 80), Some((THERE, 9)), 2);
            Sockets::new(vec![socket(protocol, (Addr::UNSPECIFIED, 80), None, 1), connected])
        };
        let (tcp, udp) = (all(proto::TCP), all(proto::UDP));
        let (tcp, udp) = (Known { listed: &tcp, asked: None }, Known { listed: &udp, asked: None });
        assert_eq!(tcp.connected(&ends(proto::TCP, 80)).map(|s| s.mark), Some(2));
        assert_eq!(tcp.listening(&ends(proto::TCP, 80)).map(|s| s.mark), Some(1));
        assert_eq!(udp.listening(&ends(proto::UDP, 80)).map(|s| s.mark), None);
    }
}
