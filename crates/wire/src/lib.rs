//! Packets as bytes: headers read and written in place, checksums, and small builders.
//!
//! A view such as [`ipv4::Ipv4`] borrows or owns a buffer. Its constructor checks once that the header is there; then
//! no accessor and no setter panics, whatever the bytes say. Views hold no state and allocate nothing, and they judge
//! nothing: what a host does with a bad length or checksum is the caller's.
//!
//! ```
//! use hairpin_wire::{Addr, checksum, ipv4::Ipv4, udp::Udp, Family};
//!
//! let mut packet = vec![
//!     0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
//!     0x30, 0x39, 0, 53, 0, 10, 0, 0, b'h', b'i', // UDP
//! ];
//! let mut ip = Ipv4::new(&mut packet).ok_or("no IPv4 header")?;
//! ip.fill_checksum();
//!
//! // A router takes one from the time to live, a NAT changes the source: both correct the checksum in place.
//! ip.change_ttl(ip.ttl() - 1);
//! ip.change_src(Addr::v4(0xc000_0201));
//! assert!(ip.checksum_ok());
//!
//! let udp = Udp::new(ip.payload()).ok_or("no UDP header")?;
//! assert_eq!((udp.dst_port(), udp.payload()), (53, &b"hi"[..]));
//! assert_eq!(ip.src().display(Family::V4).to_string(), "192.0.2.1");
//! # Ok::<(), &str>(())
//! ```

pub mod addr;
pub mod arp;
pub mod build;
pub mod checksum;
pub mod dccp;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod icmp4;
pub mod icmp6;
pub mod ipsec;
pub mod ipv4;
pub mod ipv6;
pub mod pcapng;
pub mod proto;
pub mod sctp;
pub mod tcp;
pub mod udp;

mod bytes;

pub use addr::{Addr, Family, Mac};
