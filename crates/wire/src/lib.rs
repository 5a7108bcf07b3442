//! hairpin: wire.
