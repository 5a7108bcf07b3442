//! What the service manager is told while the gateway runs: that it is alive, and that it ends.

use crate::seam::{Attendant, Moment};
use hairpin_datapath::sys;

/// Tells it, as `sd_notify` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notify;

impl Attendant for Notify {
    /// Every second the loop comes by here; when it does not any more, the watchdog notices.
    fn tick(&mut self, _moment: &mut Moment<'_>) {
        sys::notify("WATCHDOG=1");
    }

    fn stop(&mut self, _moment: &mut Moment<'_>) {
        sys::notify("STOPPING=1");
    }
}
