//! A device that is not there just now: nothing comes, and what is sent is lost. It stands in until the device is back.

use crate::{Caps, Datapath, Outgoing, Received};
use std::io;
use std::os::fd::RawFd;

/// No device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

impl Datapath for Absent {
    fn caps(&self) -> Caps {
        Caps { checksum: true, tcp_segmentation: true, udp_segmentation: true }
    }

    /// Nothing to wait on: `poll` passes over it.
    fn fd(&self) -> RawFd {
        -1
    }

    fn recv(&mut self, _limit: usize, _take: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        Ok(0)
    }

    fn send(&mut self, _frames: &[Outgoing<'_>]) -> io::Result<usize> {
        Ok(0)
    }

    fn describe(&self) -> String {
        "not there".to_owned()
    }
}
