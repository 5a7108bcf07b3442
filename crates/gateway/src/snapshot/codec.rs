//! Connections and expectations as bytes, and back. The form is written here field by field, so that a change of the engine's types
//! does not change it unnoticed; what it means is fixed by [`super::file::VERSION`].
//!
//! Numbers are in groups of seven bits, the lowest first; reading never panics, and takes no more memory than there are bytes.

use hairpin_engine::Wall;
use hairpin_engine::account::{Account, Quota};
use hairpin_engine::net::IfIndex;
use hairpin_engine::rule::Counter;
use hairpin_engine::track::{
    Direction, ExpectNat, ExpectRecord, Key, ProtoState, Proxied, Record, SeqAdjust, SourceMask, Status, TcpSide,
    TcpState, TcpTrack, TrackStats, Tuple, Zone, helper,
};
use hairpin_wire::{Addr, Family};
use std::time::Duration;

/// Bytes being written.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

/// Bytes being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Writer {
    pub(super) fn num(&mut self, number: impl Into<u64>) {
        let mut number = number.into();
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.num(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn addr(&mut self, family: Family, addr: Addr) {
        match family {
            Family::V4 => self.0.extend(addr.as_u32().to_be_bytes()),
            Family::V6 => self.0.extend(addr.0.to_be_bytes()),
        }
    }

    fn tuple(&mut self, tuple: &Tuple) {
        self.0.push(if tuple.family == Family::V4 { 4 } else { 6 });
        self.0.push(tuple.protocol);
        self.addr(tuple.family, tuple.src);
        self.addr(tuple.family, tuple.dst);
        self.num(tuple.src_id);
        self.num(tuple.dst_id);
    }

    fn zone(&mut self, zone: Zone) {
        self.num(zone.original);
        self.num(zone.reply);
    }

    fn time(&mut self, time: Duration) {
        self.num(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn key(&mut self, key: &Key) {
        self.tuple(&key.tuple);
        self.zone(key.zone);
    }

    fn nat(&mut self, family: Family, nat: &ExpectNat) {
        self.num(nat.saved_id);
        self.addr(family, nat.saved_addr);
        self.0.push(nat.direction as u8);
    }

    /// One bit for each thing that is there.
    fn flags<const N: usize>(&mut self, flags: [bool; N]) {
        let bits = flags.iter().enumerate().fold(0u64, |bits, (n, flag)| bits | u64::from(*flag) << n);
        self.num(bits);
    }

    pub(super) fn record(&mut self, record: &Record) {
        let family = record.family();
        self.tuple(&record.tuples[0]);
        self.tuple(&record.tuples[1]);
        self.zone(record.zone);
        self.num(record.status.0);
        self.time(record.left);
        self.time(record.age);
        self.num(record.mark);
        self.flags([
            record.counters.is_some(),
            record.masquerade.is_some(),
            record.helper.is_some(),
            record.labels.is_some(),
            record.confirmed_at.is_some(),
            record.master.is_some(),
            record.seq_adjust != <[SeqAdjust; 2]>::default(),
            record.line_ends != <[[Option<u32>; 2]; 2]>::default(),
            record.expected.is_some(),
            record.proxied.is_some(),
        ]);
        for counter in record.counters.iter().flatten() {
            self.num(counter.packets);
            self.num(counter.bytes);
        }
        if let Some(device) = record.masquerade {
            self.num(device.0);
        }
        if let Some(helper) = record.helper {
            self.bytes(helper.as_bytes());
        }
        if let Some(labels) = record.labels {
            self.0.extend(labels.to_be_bytes());
        }
        if let Some(at) = record.confirmed_at {
            self.num(at.0);
        }
        if let Some(master) = &record.master {
            self.key(master);
        }
        if record.seq_adjust != <[SeqAdjust; 2]>::default() {
            for adjust in record.seq_adjust {
                self.num(adjust.position);
                self.num(adjust.before as u32);
                self.num(adjust.after as u32);
            }
        }
        if record.line_ends != <[[Option<u32>; 2]; 2]>::default() {
            for end in record.line_ends.iter().flatten() {
                self.num(end.map_or(0, |end| u64::from(end) + 1));
            }
        }
        if let Some(nat) = &record.expected {
            self.nat(family, nat);
        }
        if let Some(proxied) = &record.proxied {
            [proxied.isn, proxied.stamp, proxied.stamp_offset].into_iter().for_each(|number| self.num(number));
        }
        self.proto(&record.proto);
    }

    fn proto(&mut self, proto: &ProtoState) {
        match proto {
            ProtoState::Tcp(tcp) => {
                for side in &tcp.sides {
                    for number in [side.end, side.max_end, side.max_window, side.max_ack] {
                        self.num(number);
                    }
                    self.0.extend([side.scale, side.flags]);
                }
                self.0.extend([tcp.state as u8, tcp.last_direction, tcp.retransmissions, tcp.last_index]);
                for number in [tcp.last_seq, tcp.last_ack, tcp.last_end, u32::from(tcp.last_window)] {
                    self.num(number);
                }
                self.0.extend([tcp.last_scale, tcp.last_flags]);
            }
            ProtoState::Sctp { state, tags, flags } => {
                self.0.extend([*state, *flags]);
                self.num(tags[0]);
                self.num(tags[1]);
            }
            ProtoState::Gre { timeout, stream_timeout } => {
                self.num(*timeout);
                self.num(*stream_timeout);
            }
            ProtoState::Udp | ProtoState::Other => {}
        }
    }

    pub(super) fn expectation(&mut self, record: &ExpectRecord) {
        let family = record.tuple.family;
        self.tuple(&record.tuple);
        self.addr(family, record.mask.addr);
        self.num(record.mask.id);
        self.key(&record.master);
        self.time(record.left);
        self.0.push(record.class);
        self.flags([record.is_permanent, record.is_inactive, record.next_helper.is_some(), record.nat.is_some()]);
        if let Some(helper) = record.next_helper {
            self.bytes(helper.as_bytes());
        }
        if let Some(nat) = &record.nat {
            self.nat(family, nat);
        }
    }

    pub(super) fn account(&mut self, account: &Account) {
        self.bytes(account.name.as_bytes());
        self.num(account.packets);
        self.num(account.bytes);
        let (kind, quota) = match account.quota {
            None => (0, 0),
            Some(Quota::Packets(quota)) => (1u64, quota),
            Some(Quota::Bytes(quota)) => (2, quota),
        };
        self.num(kind);
        self.num(quota);
        self.num(account.is_over);
    }

    pub(super) fn stats(&mut self, stats: &TrackStats) {
        for number in numbers(stats) {
            self.num(number);
        }
    }
}

fn numbers(s: &TrackStats) -> [u64; 13] {
    [
        s.found,
        s.invalid,
        s.insert,
        s.insert_failed,
        s.drop,
        s.early_drop,
        s.error,
        s.search_restart,
        s.clash_resolve,
        s.chaintoolong,
        s.expect_new,
        s.expect_create,
        s.expect_delete,
    ]
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn num(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn num32(&mut self) -> Option<u32> {
        u32::try_from(self.num()?).ok()
    }

    fn num16(&mut self) -> Option<u16> {
        u16::try_from(self.num()?).ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.num()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    fn addr(&mut self, family: Family) -> Option<Addr> {
        Some(match family {
            Family::V4 => Addr::v4(u32::from_be_bytes(self.array()?)),
            Family::V6 => Addr(u128::from_be_bytes(self.array()?)),
        })
    }

    fn tuple(&mut self) -> Option<Tuple> {
        let family = match self.byte()? {
            4 => Family::V4,
            6 => Family::V6,
            _ => return None,
        };
        let protocol = self.byte()?;
        let (src, dst) = (self.addr(family)?, self.addr(family)?);
        Some(Tuple { src, dst, src_id: self.num16()?, dst_id: self.num16()?, protocol, family })
    }

    fn zone(&mut self) -> Option<Zone> {
        Some(Zone { original: self.num16()?, reply: self.num16()? })
    }

    fn time(&mut self) -> Option<Duration> {
        Some(Duration::from_nanos(self.num()?))
    }

    fn key(&mut self) -> Option<Key> {
        Some(Key { tuple: self.tuple()?, zone: self.zone()? })
    }

    fn nat(&mut self, family: Family) -> Option<ExpectNat> {
        let (saved_id, saved_addr) = (self.num16()?, self.addr(family)?);
        let direction = match self.byte()? {
            0 => Direction::Original,
            1 => Direction::Reply,
            _ => return None,
        };
        Some(ExpectNat { saved_id, saved_addr, direction })
    }

    /// A helper that this version does not have is none.
    fn helper(&mut self) -> Option<Option<&'static str>> {
        Some(helper::own_name(&self.text()?))
    }

    pub(super) fn record(&mut self) -> Option<Record> {
        let tuples = [self.tuple()?, self.tuple()?];
        let family = tuples[0].family;
        let zone = self.zone()?;
        let status = Status(self.num32()?);
        let (left, age) = (self.time()?, self.time()?);
        let mark = self.num32()?;
        let bits = self.num()?;
        let has = |n: u32| bits >> n & 1 != 0;
        let mut record = Record {
            number: 0,
            tuples,
            zone,
            status,
            left,
            age,
            mark,
            counters: None,
            masquerade: None,
            proto: ProtoState::for_protocol(tuples[0].protocol),
            helper: None,
            labels: None,
            confirmed_at: None,
            master: None,
            seq_adjust: Default::default(),
            line_ends: Default::default(),
            expected: None,
            proxied: None,
        };
        if has(0) {
            let mut counter = || Some(Counter { packets: self.num()?, bytes: self.num()? });
            record.counters = Some([counter()?, counter()?]);
        }
        if has(1) {
            record.masquerade = Some(IfIndex(self.num32()?));
        }
        if has(2) {
            record.helper = self.helper()?;
        }
        if has(3) {
            record.labels = Some(u128::from_be_bytes(self.array()?));
        }
        if has(4) {
            record.confirmed_at = Some(Wall(self.num()?));
        }
        if has(5) {
            record.master = Some(self.key()?);
        }
        if has(6) {
            for adjust in &mut record.seq_adjust {
                let position = self.num32()?;
                let [before, after] = [self.num32()?, self.num32()?].map(|offset| offset as i32);
                *adjust = SeqAdjust { position, before, after };
            }
        }
        if has(7) {
            for end in record.line_ends.iter_mut().flatten() {
                *end = self.num()?.checked_sub(1).map(u32::try_from).transpose().ok()?;
            }
        }
        if has(8) {
            record.expected = Some(self.nat(family)?);
        }
        if has(9) {
            record.proxied = Some(Proxied { isn: self.num32()?, stamp: self.num32()?, stamp_offset: self.num32()? });
        }
        self.proto(&mut record.proto)?;
        Some(record)
    }

    fn proto(&mut self, proto: &mut ProtoState) -> Option<()> {
        match proto {
            ProtoState::Tcp(tcp) => *tcp = self.tcp()?,
            ProtoState::Sctp { state, tags, flags } => {
                *state = self.byte().filter(|state| *state <= 8)?;
                *flags = self.byte()?;
                *tags = [self.num32()?, self.num32()?];
            }
            ProtoState::Gre { timeout, stream_timeout } => {
                *timeout = self.num32()?;
                *stream_timeout = self.num32()?;
            }
            ProtoState::Udp | ProtoState::Other => {}
        }
        Some(())
    }

    fn tcp(&mut self) -> Option<TcpTrack> {
        let mut sides = [TcpSide::default(); 2];
        for side in &mut sides {
            *side = TcpSide {
                end: self.num32()?,
                max_end: self.num32()?,
                max_window: self.num32()?,
                max_ack: self.num32()?,
                // Larger scales than this do not exist (RFC 7323).
                scale: self.byte().filter(|scale| *scale <= 14)?,
                flags: self.byte()?,
            };
        }
        Some(TcpTrack {
            sides,
            state: TcpState::from_number(self.byte()?)?,
            last_direction: self.byte().filter(|direction| *direction <= 1)?,
            retransmissions: self.byte()?,
            last_index: self.byte()?,
            last_seq: self.num32()?,
            last_ack: self.num32()?,
            last_end: self.num32()?,
            last_window: self.num16()?,
            last_scale: self.byte()?,
            last_flags: self.byte()?,
        })
    }

    pub(super) fn expectation(&mut self) -> Option<ExpectRecord> {
        let tuple = self.tuple()?;
        let family = tuple.family;
        let mask = SourceMask { addr: self.addr(family)?, id: self.num16()? };
        let master = self.key()?;
        let left = self.time()?;
        let class = self.byte()?;
        let bits = self.num()?;
        let has = |n: u32| bits >> n & 1 != 0;
        Some(ExpectRecord {
            number: 0,
            tuple,
            mask,
            master,
            master_tuples: [master.tuple; 2],
            helper: None,
            next_helper: if has(2) { self.helper()? } else { None },
            class,
            left,
            is_permanent: has(0),
            is_inactive: has(1),
            nat: if has(3) { Some(self.nat(family)?) } else { None },
        })
    }

    pub(super) fn account(&mut self) -> Option<Account> {
        let (name, packets, bytes) = (self.text()?, self.num()?, self.num()?);
        let quota = match (self.num()?, self.num()?) {
            (0, _) => None,
            (1, quota) => Some(Quota::Packets(quota)),
            (2, quota) => Some(Quota::Bytes(quota)),
            _ => return None,
        };
        Some(Account { name, packets, bytes, quota, is_over: self.num()? != 0 })
    }

    pub(super) fn stats(&mut self) -> Option<TrackStats> {
        let mut stats = TrackStats::default();
        let places = [
            &mut stats.found,
            &mut stats.invalid,
            &mut stats.insert,
            &mut stats.insert_failed,
            &mut stats.drop,
            &mut stats.early_drop,
            &mut stats.error,
            &mut stats.search_restart,
            &mut stats.clash_resolve,
            &mut stats.chaintoolong,
            &mut stats.expect_new,
            &mut stats.expect_create,
            &mut stats.expect_delete,
        ];
        for place in places {
            *place = self.num()?;
        }
        Some(stats)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuples() -> impl Strategy<Value = [Tuple; 2]> {
        let one = (any::<u128>(), any::<u128>(), any::<u16>(), any::<u16>());
        let protocol = prop::sample::select(vec![1u8, 6, 17, 33, 47, 50, 58, 132, 136, 255]);
        (any::<bool>(), protocol, one, one).prop_map(|(v6, protocol, a, b)| {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let addr = |addr: u128| if v6 { Addr(addr) } else { Addr::v4(addr as u32) };
            [a, b].map(|(src, dst, src_id, dst_id)| Tuple {
                src: addr(src),
                dst: addr(dst),
                src_id,
                dst_id,
                protocol,
                family,
            })
        })
    }

    proptest! {
        #[test]
        fn an_account_is_what_was_written(name in "[a-z]{1,31}", packets: u64, bytes: u64, kind in 0..3u8, quota: u64, is_over: bool) {
            let quota = match kind {
                0 => None,
                1 => Some(Quota::Packets(quota)),
                _ => Some(Quota::Bytes(quota)),
            };
            let account = Account { name, packets, bytes, quota, is_over };
            let mut writer = Writer::default();
            writer.account(&account);
            prop_assert_eq!(Reader(&writer.0).account(), Some(account));
        }
    }

    fn proto(protocol: u8, numbers: &[u32]) -> ProtoState {
        let mut numbers = numbers.iter().copied().cycle();
        let mut next = || numbers.next().unwrap_or_default();
        let mut proto = ProtoState::for_protocol(protocol);
        match &mut proto {
            ProtoState::Tcp(tcp) => {
                for side in &mut tcp.sides {
                    *side = TcpSide {
                        end: next(),
                        max_end: next(),
                        max_window: next(),
                        max_ack: next(),
                        scale: (next() % 15) as u8,
                        flags: next() as u8,
                    };
                }
                tcp.state = TcpState::from_number((next() % 10) as u8).unwrap();
                tcp.last_direction = (next() % 2) as u8;
                tcp.last_seq = next();
                tcp.last_window = next() as u16;
                tcp.last_flags = next() as u8;
            }
            ProtoState::Sctp { state, tags, flags } => {
                (*state, *tags, *flags) = ((next() % 9) as u8, [next(), next()], next() as u8);
            }
            ProtoState::Gre { timeout, stream_timeout } => (*timeout, *stream_timeout) = (next(), next()),
            ProtoState::Udp | ProtoState::Other => {}
        }
        proto
    }

    /// Any connection that there may be.
    pub(in super::super) fn records() -> impl Strategy<Value = Record> {
        let often = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>());
        let rare = (
            prop::option::of(any::<[u64; 4]>()),
            prop::option::of(any::<u32>()),
            prop::option::of(any::<u128>()),
            prop::option::of(any::<u64>()),
            any::<[i32; 6]>(),
            any::<[Option<u32>; 4]>(),
            any::<u8>(),
        );
        (tuples(), often, rare, prop::collection::vec(any::<u32>(), 1..20)).prop_map(
            |(tuples, often, rare, numbers)| {
                let (original, reply, status, left, age, mark) = often;
                let (counters, device, labels, at, adjust, ends, which) = rare;
                let has = |n: u8| which >> n & 1 != 0;
                let zone = Zone { original, reply };
                Record {
                    number: 0,
                    tuples,
                    zone,
                    status: Status(status),
                    left: Duration::from_nanos(left),
                    age: Duration::from_nanos(age),
                    mark,
                    counters: counters
                        .map(|[a, b, c, d]| [Counter { packets: a, bytes: b }, Counter { packets: c, bytes: d }]),
                    masquerade: device.map(IfIndex),
                    proto: proto(tuples[0].protocol, &numbers),
                    helper: has(0).then_some("ftp"),
                    labels,
                    confirmed_at: at.map(Wall),
                    master: has(1).then_some(Key { tuple: tuples[1], zone }),
                    seq_adjust: if has(2) {
                        [0, 3].map(|n| SeqAdjust {
                            position: adjust[n] as u32,
                            before: adjust[n + 1],
                            after: adjust[n + 2],
                        })
                    } else {
                        Default::default()
                    },
                    line_ends: if has(3) { [[ends[0], ends[1]], [ends[2], ends[3]]] } else { Default::default() },
                    expected: has(4).then_some(ExpectNat {
                        saved_id: original,
                        saved_addr: tuples[0].dst,
                        direction: Direction::Reply,
                    }),
                    proxied: has(5).then_some(Proxied { isn: age as u32, stamp: mark, stamp_offset: status }),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn connections_come_back(record in records()) {
            let mut writer = Writer::default();
            writer.record(&record);
            let mut reader = Reader(&writer.0);
            prop_assert_eq!(reader.record(), Some(record));
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn expectations_come_back(record in records(), bits in any::<u8>(), id in any::<u16>()) {
            let tuple = record.tuples[0];
            let expectation = ExpectRecord {
                number: 0,
                tuple,
                mask: SourceMask { addr: record.tuples[1].src, id },
                master: Key { tuple: record.tuples[1], zone: record.zone },
                master_tuples: [record.tuples[1]; 2],
                helper: None,
                next_helper: (bits & 1 != 0).then_some("tftp"),
                class: bits,
                left: record.left,
                is_permanent: bits & 2 != 0,
                is_inactive: bits & 4 != 0,
                nat: record.expected,
            };
            let mut writer = Writer::default();
            writer.expectation(&expectation);
            prop_assert_eq!(Reader(&writer.0).expectation(), Some(expectation));
        }

        /// Damaged or random bytes are refused or mean something else; nothing panics.
        #[test]
        fn hostile_bytes(record in records(), at in any::<prop::sample::Index>(), with in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut writer = Writer::default();
            writer.record(&record);
            let place = at.index(writer.0.len());
            writer.0[place] ^= with;
            let _ = Reader(&writer.0).record();
            let _ = Reader(&writer.0[..place]).record();
            let _ = Reader(&noise).record();
            let _ = Reader(&noise).expectation();
            let _ = Reader(&noise).stats();
        }
    }
}
