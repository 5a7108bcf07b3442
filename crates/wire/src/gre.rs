//! GRE headers: version 0 (RFC 2784, RFC 2890) and the version 1 of PPTP (RFC 2637).

use crate::bytes::{put_u16, tail, u16_at, u32_at};

/// Bytes of a header without optional fields.
pub const HEADER_LEN: usize = 4;
/// Protocol type of PPP, the payload of PPTP.
pub const PPP: u16 = 0x880b;

/// A view of a GRE packet.
///
/// [`Gre::new`] checks for 4 bytes only. Accessors never panic; an optional field beyond the buffer is absent.
#[derive(Clone, Copy, Debug)]
pub struct Gre<B>(B);

impl<B: AsRef<[u8]>> Gre<B> {
    /// A view if 4 bytes are present.
    pub fn new(b: B) -> Option<Self> {
        let fits = b.as_ref().len() >= HEADER_LEN;
        fits.then_some(Gre(b))
    }

    /// Version, 0 to 7.
    pub fn version(&self) -> u8 {
        (self.flags() & 7) as u8
    }

    /// The first word: flags and version.
    pub fn flags(&self) -> u16 {
        u16_at(self.as_bytes(), 0)
    }

    /// Ethertype of the payload.
    pub fn protocol(&self) -> u16 {
        u16_at(self.as_bytes(), 2)
    }

    /// Whether a checksum field is there.
    pub fn has_checksum(&self) -> bool {
        self.flags() & CHECKSUM != 0
    }

    /// Whether a key field is there.
    pub fn has_key(&self) -> bool {
        self.flags() & KEY != 0
    }

    /// Whether a sequence number is there.
    pub fn has_sequence(&self) -> bool {
        self.flags() & SEQUENCE != 0
    }

    /// Whether an acknowledgment number is there (version 1 only).
    pub fn has_ack(&self) -> bool {
        self.version() == 1 && self.flags() & ACK != 0
    }

    /// The key, if the header has one.
    pub fn key(&self) -> Option<u32> {
        let at = if self.has_checksum_word() { 8 } else { 4 };
        (self.has_key() && self.as_bytes().len() >= at + 4).then(|| u32_at(self.as_bytes(), at))
    }

    /// The call identifier of PPTP: the low half of the key in a header of version 1.
    pub fn call_id(&self) -> Option<u16> {
        (self.version() == 1).then(|| self.key()).flatten().map(|key| key as u16)
    }

    /// Bytes of the header with its optional fields; may lie beyond the buffer.
    pub fn header_len(&self) -> usize {
        let fields = [self.has_checksum_word(), self.has_key(), self.has_sequence(), self.has_ack()];
        HEADER_LEN + 4 * fields.iter().filter(|present| **present).count()
    }

    /// The bytes behind the header.
    pub fn payload(&self) -> &[u8] {
        tail(self.as_bytes(), self.header_len())
    }

    /// The whole buffer.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.0
    }

    /// Checksum and offset share a word, which is there if either flag is set (RFC 1701).
    fn has_checksum_word(&self) -> bool {
        self.flags() & (CHECKSUM | ROUTING) != 0
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Gre<B> {
    /// Sets the call identifier if the header has one: see [`Gre::call_id`].
    pub fn set_call_id(&mut self, id: u16) {
        if self.call_id().is_some() {
            let at = if self.has_checksum_word() { 10 } else { 6 };
            put_u16(self.0.as_mut(), at, id);
        }
    }
}

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACK: u16 = 0x0080;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pptp() {
        let mut gre = Gre::new([0x30, 0x81, 0x88, 0x0b, 0, 1, 0x12, 0x34, 0, 0, 0, 5, 0, 0, 0, 6, 99]).unwrap();
        assert_eq!((gre.version(), gre.protocol(), gre.header_len()), (1, PPP, 16));
        assert_eq!((gre.call_id(), gre.payload()), (Some(0x1234), &[99][..]));
        gre.set_call_id(0x5678);
        assert_eq!(gre.key(), Some(0x0001_5678));
    }

    #[test]
    fn version_0() {
        let mut gre = Gre::new([0xa0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 99]).unwrap();
        assert_eq!((gre.version(), gre.key(), gre.call_id(), gre.header_len()), (0, Some(7), None, 12));
        gre.set_call_id(1);
        assert_eq!(gre.key(), Some(7));
        assert_eq!(Gre::new([0x20, 0, 8, 0, 1, 2, 3]).unwrap().key(), None);
        assert!(Gre::new([0; 3]).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Some(mut gre) = Gre::new(&mut bytes) {
                let _ = (gre.key(), gre.payload().len());
                gre.set_call_id(1);
                prop_assert!(gre.call_id().is_none_or(|id| id == 1));
            }
        }
    }
}
