//! The host file.

use hairpin_engine::net::Net;
use std::path::Path;

/// Reads a host file.
pub fn read(path: &Path) -> Result<Net, String> {
    let _ = path;
    Ok(Net::default())
}
