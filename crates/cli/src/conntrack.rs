//! Connections as text.

use hairpin_engine::track::text;
use hairpin_engine::{Instant, State};

/// The table as `conntrack -L -o extended` prints it, sorted, without what it does not list.
pub fn listing(state: State<'_>, now: Instant) -> String {
    let mut lines: Vec<String> = state.tracker().conns.listed(now).map(|(_, conn)| text::line(conn, now)).collect();
    lines.sort();
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}
