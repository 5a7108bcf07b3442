//! Every recorded scenario's host can be read.

use std::path::Path;

#[test]
fn recorded_hosts_are_read() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracle/scenarios");
    let mut read = 0;
    for entry in std::fs::read_dir(&scenarios).unwrap() {
        let file = entry.unwrap().path().join("host.toml");
        let net = hairpin::host_file::read(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(net.interfaces.len() > 1, "{}", file.display());
        read += 1;
    }
    assert!(read > 50, "only {read} scenarios in {}", scenarios.display());
}
