//! The security parameter index of IPsec headers: ESP (RFC 4303) and AH (RFC 4302).

use crate::bytes::u32_at;
use crate::proto;

/// The security parameter index of the ESP or AH header at the start of `data`; none for another protocol, or if the
/// fixed part of the header (8 bytes of ESP, 12 of AH) is not there.
pub fn spi(protocol: u8, data: &[u8]) -> Option<u32> {
    let (len, at) = match protocol {
        proto::ESP => (8, 0),
        proto::AH => (12, 4),
        _ => return None,
    };
    (data.len() >= len).then(|| u32_at(data, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_and_ah() {
        let header = [0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 0, 0];
        assert_eq!(spi(proto::ESP, &header), Some(0x0102));
        assert_eq!(spi(proto::AH, &header), Some(0x0304));
        assert_eq!(spi(proto::ESP, &header[..7]), None);
        assert_eq!(spi(proto::AH, &header[..11]), None);
        assert_eq!(spi(proto::TCP, &header), None);
    }
}
