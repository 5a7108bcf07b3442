//! `docs/extensions.md` says what the tables say.

use hairpin_xt::catalog::page;
use std::path::Path;

#[test]
fn the_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/extensions.md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page(), "{} is stale: run `cargo xtask extensions doc`", path.display());
}
