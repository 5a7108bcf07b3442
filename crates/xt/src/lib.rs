//! hairpin: xt.
