//! What a device's driver can do for AF_XDP, by the generic netlink family `netdev` (since Linux 6.3).

use crate::netlink::{Netlink, attribute, attributes, u16_at};
use std::io;

/// What a driver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    const BASIC: u64 = 1;
    const REDIRECT: u64 = 2;
    const ZERO_COPY: u64 = 8;

    /// Programs run in the driver and hand frames to sockets.
    pub fn native(self) -> bool {
        self.0 & (Self::BASIC | Self::REDIRECT) == Self::BASIC | Self::REDIRECT
    }

    /// Frames are not copied.
    pub fn zero_copy(self) -> bool {
        self.0 & Self::ZERO_COPY != 0
    }
}

/// Asks for the features of a device by its number.
///
/// # Errors
/// The kernel is older, or there is no such device.
pub fn xdp_features(index: u32) -> io::Result<XdpFeatures> {
    const CONTROL: u16 = 16;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    const GET_DEVICE: u8 = 1;
    const IFINDEX: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    let netlink = Netlink::generic()?;
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    attribute(&mut body, FAMILY_NAME, |body| body.extend_from_slice(b"netdev\0"));
    let answer = netlink.ask(CONTROL, &body)?;
    let family = find(&answer, FAMILY_ID).and_then(|value| u16_at(value, 0)).ok_or(io::ErrorKind::Unsupported)?;
    let mut body = vec![GET_DEVICE, 1, 0, 0];
    attribute(&mut body, IFINDEX, |body| body.extend_from_slice(&index.to_ne_bytes()));
    let answer = netlink.ask(family, &body)?;
    let bits = find(&answer, XDP_FEATURES).and_then(|value| value.try_into().ok()).ok_or(io::ErrorKind::Unsupported)?;
    Ok(XdpFeatures(u64::from_ne_bytes(bits)))
}

/// An attribute behind the four bytes that every generic message begins with.
fn find(message: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(message.get(4..)?).find(|(own, _)| *own == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_knows_its_loopback() {
        match xdp_features(1) {
            Ok(features) => assert!(!features.zero_copy(), "{features:?}"),
            Err(error) => println!("this kernel does not say: {error}"),
        }
        assert!(xdp_features(u32::MAX).is_err());
    }
}
