//! What became of a packet: one [`Fate`] each, and a named reason for every drop.

use crate::net::IfIndex;
use hairpin_wire::Mac;

/// The end of one packet's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Leaves by `oif`. `to` is the next hop's link address (None on links without addresses); the packet's Ethernet header
    /// is already written.
    Transmit {
        /// The device it leaves by.
        oif: IfIndex,
        /// The next hop's address on that link.
        to: Option<Mac>,
    },
    /// Leaves by `oif` as soon as the caller knows the link address of its [`next_hop`](crate::Packet::next_hop). Only with
    /// [`Engine::set_resolving`](crate::Engine::set_resolving); else such a packet is dropped.
    Resolve {
        /// The device it leaves by.
        oif: IfIndex,
    },
    /// Reached a socket or service of this host.
    Deliver,
    /// Gone, for this reason.
    Drop(DropReason),
    /// Kept inside (a fragment waiting for its others), or its bytes went on in packets that the engine made from it.
    Held,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped. Each has a counter ([`crate::State::drops`]).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// A few words for people and metrics.
            pub const fn text(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// The frame has no complete Ethernet header, or is longer than the device takes.
    BadFrame = "bad frame",
    /// Neither IPv4 nor IPv6.
    NotIp = "not IP",
    /// Sent to another host's link address.
    OtherHost = "for another host",
    /// The frame came by a device that does not exist or is down.
    NoDevice = "no such device",
    /// IPv4 or IPv6 header malformed.
    BadHeader = "bad IP header",
    /// IPv4 header checksum wrong.
    BadHeaderChecksum = "bad header checksum",
    /// Shorter than its header says.
    Truncated = "truncated",
    /// A rule or a policy said DROP.
    Rule = "dropped by a rule",
    /// A rule said REJECT; an answer may have been sent.
    Rejected = "rejected by a rule",
    /// SYNPROXY: the client brings back no cookie of ours, or an old one.
    SynCookie = "no valid SYN cookie",
    /// A match found the packet malformed and dropped it on the spot.
    Hotdrop = "malformed for a match",
    /// NFQUEUE or QUEUE without a listener.
    NoQueueListener = "no listener on the queue",
    /// The listener of a queue said so.
    QueueVerdict = "dropped by a queue's listener",
    /// Source address that cannot be.
    MartianSource = "martian source",
    /// Destination address that cannot be.
    MartianDestination = "martian destination",
    /// For a group that this host is not in.
    NotJoined = "group not joined",
    /// Reverse path filter.
    ReversePath = "reverse path filter",
    /// No route.
    NoRoute = "no route",
    /// Route of type unreachable.
    Unreachable = "unreachable route",
    /// Route of type prohibit.
    Prohibited = "prohibit route",
    /// Route of type blackhole.
    Blackhole = "blackhole route",
    /// Forwarding is off where it arrived.
    NotForwarding = "forwarding is off",
    /// TTL or hop limit used up.
    TtlExpired = "TTL expired",
    /// Larger than the way out and not to be fragmented.
    TooBig = "too big",
    /// Malformed or refused IP options.
    BadOptions = "bad IP options",
    /// Link-level broadcast or multicast that would have to be forwarded.
    LinkBroadcast = "link broadcast is not forwarded",
    /// The connection table is full.
    TableFull = "connection table full",
    /// A clash on entering the connection into the table.
    InsertFailed = "connection clash",
    /// NAT found no binding, or could not translate.
    NatFailed = "translation failed",
    /// A helper saw half a command and waits for the retransmission, or could not set up what it announces.
    Helper = "dropped by a helper",
    /// Fragments overlap, are too many, or do not fit.
    BadFragment = "bad fragment",
    /// The reassembly of the fragments ran out of time or room.
    FragmentLimit = "fragments timed out or over the limit",
    /// No neighbor entry for the next hop.
    NoNeighbor = "next hop unknown",
    /// Transport header or checksum wrong at local delivery.
    BadTransport = "bad transport header",
    /// For this host, where nothing takes it and nothing is answered.
    NoSocket = "no socket",
    /// For this host; an answer (echo reply, RST, ICMP error) was due and was made or held back.
    Answered = "answered by this host",
    /// Local packets travelling between themselves for too long.
    LoopLimit = "loop limit",
    /// Several rerouting steps failed.
    Reroute = "reroute failed",
    /// An invariant did not hold: a bug in the engine, reported as an event too.
    Bug = "internal error",
}
