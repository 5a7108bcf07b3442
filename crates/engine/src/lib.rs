//! hairpin: engine.
