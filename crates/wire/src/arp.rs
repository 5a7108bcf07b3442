//! ARP for IPv4 over Ethernet (RFC 826), as a plain value.

use crate::addr::{Addr, Family, Mac};
use crate::bytes::{array_at, put_array, put_u16, range, range_mut, u16_at};

/// Bytes of a message, without the padding of the frame.
pub const LEN: usize = 28;

/// Operation: who has the target address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has it.
pub const REPLY: u16 = 2;

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Arp {
    /// [`REQUEST`], [`REPLY`] or another operation.
    pub operation: u16,
    /// Ethernet address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender; unspecified in a probe (RFC 5227).
    pub sender_ip: Addr,
    /// Ethernet address of the target; ignored in a request.
    pub target_mac: Mac,
    /// IPv4 address of the target.
    pub target_ip: Addr,
}

impl Arp {
    /// Reads a message; bytes behind it are padding. None if it is too short or not for IPv4 over Ethernet.
    pub fn parse(data: &[u8]) -> Option<Arp> {
        let data = data.get(..LEN)?;
        if data.get(..PREFIX.len())? != PREFIX {
            return None;
        }
        Some(Arp {
            operation: u16_at(data, 6),
            sender_mac: Mac(array_at(data, 8)),
            sender_ip: Addr::read(Family::V4, range(data, 14, 18)),
            target_mac: Mac(array_at(data, 18)),
            target_ip: Addr::read(Family::V4, range(data, 24, 28)),
        })
    }

    /// The bytes of the message.
    pub fn emit(&self) -> [u8; LEN] {
        let mut data = [0; LEN];
        put_array(&mut data, 0, PREFIX);
        put_u16(&mut data, 6, self.operation);
        put_array(&mut data, 8, self.sender_mac.0);
        self.sender_ip.write(Family::V4, range_mut(&mut data, 14, 18));
        put_array(&mut data, 18, self.target_mac.0);
        self.target_ip.write(Family::V4, range_mut(&mut data, 24, 28));
        data
    }

    /// The answer to this request from the owner of the target address.
    pub fn reply(&self, owner: Mac) -> Arp {
        Arp {
            operation: REPLY,
            sender_mac: owner,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_and_its_reply() {
        let request = Arp {
            operation: REQUEST,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender_ip: Addr::v4(0x0a000001),
            target_mac: Mac::ZERO,
            target_ip: Addr::v4(0x0a000002),
        };
        let bytes = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        assert_eq!(request.emit(), bytes);
        let reply = request.reply(Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!((reply.sender_ip, reply.target_ip, reply.operation), (request.target_ip, request.sender_ip, REPLY));
        assert_eq!((reply.sender_mac, reply.target_mac), (Mac([2, 0, 0, 0, 0, 2]), request.sender_mac));
    }

    proptest! {
        #[test]
        fn parse_and_emit(mut bytes in prop::collection::vec(any::<u8>(), 0..60), ours in any::<bool>()) {
            if ours && bytes.len() >= LEN {
                bytes[..6].copy_from_slice(&PREFIX);
            }
            match Arp::parse(&bytes) {
                Some(arp) => prop_assert_eq!(&arp.emit()[..], &bytes[..LEN]),
                None => prop_assert!(bytes.len() < LEN || bytes[..6] != PREFIX),
            }
        }
    }
}
