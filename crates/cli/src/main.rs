//! hairpin, the program.
fn main() {}
