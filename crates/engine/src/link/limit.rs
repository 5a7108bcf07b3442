//! How often this host answers: the limits of ICMP for each peer and for all together.
//!
//! Each peer has one bucket (the kernel's `inet_peer`) that all limited messages share, and with them the counting of redirects
//! and of "no route" errors. Time is in jiffies ([`HZ`]).

use crate::rng::Rng;
use crate::time::{HZ, Instant};
use hairpin_wire::{Addr, Family};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;

/// What a limit asks the settings for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jiffies for one token of a peer's bucket; 0: any number goes through.
    pub interval: u64,
    /// Messages a second for all peers together.
    pub per_second: i64,
    /// Size of the bucket for all together.
    pub burst: i64,
}

/// Who was told how much lately. Bounded to [`IcmpLimiter::MAX_PEERS`] peers.
#[derive(Clone, Debug, Default)]
pub struct IcmpLimiter {
    peers: BTreeMap<(Family, Addr), Peer>,
    global: Option<Global>,
    label_key: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Global {
    credit: i64,
    stamp: u64,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    tokens: u64,
    last: u64,
    redirects: u32,
}

/// Tokens a peer's bucket holds at most.
const BURST: u64 = 6;
/// Jiffies since the last message that a new peer is credited with.
const NEW_PEER_CREDIT: u64 = 60 * HZ;
/// "No route" and the like: the bucket in jiffies, and what one costs.
const ERROR_BURST: u64 = 5 * HZ;
const ERROR_COST: u64 = HZ;
/// Redirects: the first pause, how many go unheeded, and how long a silence makes all forgotten.
const REDIRECT_LOAD: u64 = HZ / 50;
const REDIRECT_NUMBER: u32 = 9;
const REDIRECT_SILENCE: u64 = REDIRECT_LOAD << (REDIRECT_NUMBER + 1);

impl IcmpLimiter {
    /// Peers that are remembered; when there are more, all are forgotten that were not told anything for a minute, or else all.
    pub const MAX_PEERS: usize = 65_536;

    /// Whether there is credit for one more message of all (`icmp_global_allow`). Does not take it yet.
    pub fn allows_any(&mut self, limits: Limits, now: Instant) -> bool {
        let now = now.jiffies();
        let global = self.global.get_or_insert(Global { credit: 0, stamp: now.wrapping_sub(HZ) });
        if global.credit > 0 {
            return true;
        }
        let delta = now.wrapping_sub(global.stamp).min(HZ);
        let earned = limits.per_second.saturating_mul(delta as i64) / HZ as i64;
        if delta < HZ / 50 || earned == 0 {
            return false;
        }
        *global = Global { credit: global.credit.saturating_add(earned).min(limits.burst), stamp: now };
        true
    }

    /// Takes the credit of a message that is sent: none, one or two, so that nobody can count others' messages
    /// (`icmp_global_consume`).
    pub fn take_any(&mut self, rng: &Rng) {
        if let Some(global) = &mut self.global {
            global.credit -= i64::from(rng.below(3));
        }
    }

    /// Takes a token of the peer's bucket (`inet_peer_xrlim_allow`); false when it is empty.
    pub fn allows_peer(&mut self, family: Family, peer: Addr, limits: Limits, now: Instant) -> bool {
        let now = now.jiffies();
        let peer = self.peer(family, peer, now);
        let delta = now.wrapping_sub(peer.last);
        if delta != 0 {
            peer.last = now;
            peer.tokens = peer.tokens.saturating_add(delta).min(BURST * limits.interval);
        }
        if peer.tokens < limits.interval {
            return false;
        }
        peer.tokens -= limits.interval;
        true
    }

    /// Takes what "no route" and the like to `peer` cost beside the error's own token (`ip_error`, IPv4); false when nothing is
    /// to be sent.
    pub fn allows_route_error(&mut self, peer: Addr, now: Instant) -> bool {
        let now = now.jiffies();
        let peer = self.peer(Family::V4, peer, now);
        peer.tokens = peer.tokens.saturating_add(now.wrapping_sub(peer.last)).min(ERROR_BURST);
        peer.last = now;
        if peer.tokens < ERROR_COST {
            return false;
        }
        peer.tokens -= ERROR_COST;
        true
    }

    /// Whether a redirect to `peer` is due (`ip_rt_send_redirect`): pauses double from 20 ms on, after nine unheeded ones there
    /// are no more until a silence of 20.48 s.
    pub fn allows_redirect(&mut self, peer: Addr, now: Instant) -> bool {
        let now = now.jiffies();
        let peer = self.peer(Family::V4, peer, now);
        let since = now.wrapping_sub(peer.last);
        if since > REDIRECT_SILENCE {
            peer.tokens = 0;
            peer.redirects = 0;
        }
        if peer.redirects >= REDIRECT_NUMBER {
            peer.last = now;
            return false;
        }
        peer.redirects == 0 || since > REDIRECT_LOAD << peer.redirects
    }

    /// Notes that the redirect was made, whether or not anything came of it.
    pub fn count_redirect(&mut self, peer: Addr, now: Instant) {
        let now = now.jiffies();
        let peer = self.peer(Family::V4, peer, now);
        peer.last = now;
        peer.redirects += 1;
    }

    /// An automatic IPv6 flow label: not zero, the same for the same flow, of no meaning to others.
    pub(super) fn flow_label(&mut self, rng: &Rng, src: Addr, dst: Addr, protocol: u8, ports: (u16, u16)) -> u32 {
        let (a, b) = *self.label_key.get_or_insert_with(|| rng.key());
        let mut hasher = SipHasher13::new_with_keys(a, b);
        hasher.write_u128(src.0);
        hasher.write_u128(dst.0);
        hasher.write_u8(protocol);
        hasher.write_u16(ports.0);
        hasher.write_u16(ports.1);
        (hasher.finish() as u32 & 0xf_ffff).max(1)
    }

    fn peer(&mut self, family: Family, peer: Addr, now: u64) -> &mut Peer {
        let key = (family, peer);
        if self.peers.len() >= Self::MAX_PEERS && !self.peers.contains_key(&key) {
            self.peers.retain(|_, peer| now.wrapping_sub(peer.last) < NEW_PEER_CREDIT);
            if self.peers.len() >= Self::MAX_PEERS {
                self.peers.clear();
            }
        }
        let fresh = Peer { tokens: 0, last: now.wrapping_sub(NEW_PEER_CREDIT), redirects: 0 };
        self.peers.entry(key).or_insert(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Addr = Addr::v4(0x0a00_0102);
    const LIMITS: Limits = Limits { interval: HZ, per_second: 1000, burst: 50 };

    fn ms(ms: u64) -> Instant {
        Instant(1_000_000_000 + ms * 1_000_000)
    }

    fn count(n: usize, mut f: impl FnMut() -> bool) -> usize {
        (0..n).filter(|_| f()).count()
    }

    #[test]
    fn six_at_once_then_one_a_second() {
        let mut limiter = IcmpLimiter::default();
        assert_eq!(count(12, || limiter.allows_peer(Family::V4, PEER, LIMITS, ms(0))), 6);
        assert_eq!(count(12, || limiter.allows_peer(Family::V4, PEER, LIMITS, ms(2200))), 2);
        assert_eq!(count(12, || limiter.allows_peer(Family::V6, PEER, LIMITS, ms(2200))), 6);
        assert_eq!(count(12, || limiter.allows_peer(Family::V4, PEER, Limits { interval: 0, ..LIMITS }, ms(2200))), 12);
    }

    #[test]
    fn no_route_pays_twice() {
        let mut limiter = IcmpLimiter::default();
        let mut both = |at| limiter.allows_route_error(PEER, at) && limiter.allows_peer(Family::V4, PEER, LIMITS, at);
        assert_eq!(count(12, || both(ms(0))), 2);
        let mut limiter = IcmpLimiter::default();
        let unlimited = Limits { interval: 0, ..LIMITS };
        assert_eq!(
            count(12, || {
                limiter.allows_route_error(PEER, ms(0)) && limiter.allows_peer(Family::V4, PEER, unlimited, ms(0))
            }),
            5
        );
    }

    #[test]
    fn all_together_are_limited() {
        let mut limiter = IcmpLimiter::default();
        let rng = Rng::new(3);
        let mut sent = |at| {
            let allowed = limiter.allows_any(LIMITS, at);
            if allowed {
                limiter.take_any(&rng);
            }
            allowed
        };
        let first = count(1000, || sent(ms(0)));
        assert!((25..200).contains(&first), "{first}");
        assert_eq!(count(10, || sent(ms(16))), 0);
        assert!(count(1000, || sent(ms(20))) >= 10);
    }

    #[test]
    fn redirects_become_rare() {
        let mut limiter = IcmpLimiter::default();
        let mut told = Vec::new();
        let mut all = |limiter: &mut IcmpLimiter, from: u64, to: u64| {
            for at in (from..to).step_by(4) {
                if limiter.allows_redirect(PEER, ms(at)) {
                    limiter.count_redirect(PEER, ms(at));
                    told.push(at);
                }
            }
        };
        all(&mut limiter, 0, 30_000);
        all(&mut limiter, 60_000, 60_010);
        assert_eq!(told, [0, 44, 128, 292, 616, 1260, 2544, 5108, 10232, 60_000]);
    }

    #[test]
    fn peers_are_bounded() {
        let mut limiter = IcmpLimiter::default();
        for n in 0..IcmpLimiter::MAX_PEERS as u32 + 10 {
            limiter.allows_peer(Family::V4, Addr::v4(n), LIMITS, ms(0));
        }
        assert_eq!(limiter.peers.len(), 10);
        limiter.allows_peer(Family::V4, PEER, LIMITS, ms(0));
        for n in 0..IcmpLimiter::MAX_PEERS as u32 {
            limiter.allows_peer(Family::V4, Addr::v4(n), LIMITS, ms(70_000));
        }
        assert!(!limiter.peers.contains_key(&(Family::V4, PEER)));
    }

    #[test]
    fn labels_are_the_flow_s() {
        let (mut limiter, rng) = (IcmpLimiter::default(), Rng::new(1));
        let label = limiter.flow_label(&rng, Addr(1), Addr(2), 58, (1, 4));
        assert_eq!(label, limiter.flow_label(&rng, Addr(1), Addr(2), 58, (1, 4)));
        assert_ne!(label, limiter.flow_label(&rng, Addr(1), Addr(3), 58, (1, 4)));
        assert!((1..=0xf_ffff).contains(&label));
    }
}
