//! hairpin: ruleset.
