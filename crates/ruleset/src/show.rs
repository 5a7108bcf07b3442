//! `iptables -L`: a table for people's eyes, column for column as iptables 1.8.11 prints it.

use crate::list::ListOptions;
use hairpin_engine::rule::{Action, AddrMatch, Chain, Counter, IfMatch, Listing, Rule, Ruleset, Table};
use hairpin_wire::Family;
use hairpin_xt::option::{NameKind, Names};
use hairpin_xt::value;
use std::fmt::{self, Write};

/// How to show what [`ListOptions`] chose.
#[derive(Clone, Copy, Debug)]
pub struct ShowOptions<'a> {
    /// What to show; [`ListOptions::counters`] is `-v`, which shows devices too.
    pub list: ListOptions<'a>,
    /// `-n`.
    pub numeric: bool,
    /// `-x`: counters in full, not in thousands and millions.
    pub exact: bool,
    /// `--line-numbers`.
    pub line_numbers: bool,
}

/// The lines of `iptables -L`. What the rules and policies carry as counters is shown; `names` says what numbers are called,
/// without `-n`.
pub fn show(ruleset: &Ruleset, options: &ShowOptions<'_>, names: &dyn Names) -> String {
    let unused;
    let table = match ruleset.table(options.list.table) {
        Some(table) => table,
        None => {
            unused = Table::new(options.list.table);
            &unused
        }
    };
    let mut out = String::new();
    let mut first = true;
    let references = references(table);
    for (chain, references) in table.chains.iter().zip(references) {
        if options.list.chain.is_some_and(|only| only != chain.name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write_chain(&mut out, ruleset.family, chain, references, options, names);
    }
    out
}

/// One chain as `iptables -L` shows it; `references` is how many rules go to it.
///
/// # Errors
/// Those of the writer.
pub fn write_chain(
    out: &mut impl Write,
    family: Family,
    chain: &Chain,
    references: usize,
    options: &ShowOptions<'_>,
    names: &dyn Names,
) -> fmt::Result {
    if options.list.rule.is_none() {
        write_head(out, chain, references, options)?;
    }
    let style = Style {
        table: true,
        counters: options.list.counters,
        exact: options.exact,
        devices: options.list.counters,
        numeric: options.numeric,
        names,
    };
    for (n, rule) in chain.rules.iter().enumerate().filter(|(n, _)| options.list.wants(n + 1)) {
        if options.line_numbers {
            write!(out, "{:<4} ", n + 1)?;
        }
        write_rule(out, family, rule, &style)?;
        out.write_char('\n')?;
    }
    Ok(())
}

/// A rule as `-v` reports it when it is added, deleted, replaced or looked for.
pub fn reported(family: Family, rule: &Rule, names: &dyn Names) -> String {
    let style = Style { table: false, counters: false, exact: false, devices: true, numeric: true, names };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_rule(&mut out, family, rule, &style);
    out.push('\n');
    out
}

/// For each chain, how many rules of the table go to it.
fn references(table: &Table) -> Vec<usize> {
    let index: std::collections::HashMap<&str, usize> =
        table.chains.iter().enumerate().map(|(n, c)| (c.name.as_str(), n)).collect();
    let mut counts = vec![0; table.chains.len()];
    for rule in table.chains.iter().flat_map(|c| &c.rules) {
        if let Action::Jump(name) | Action::Goto(name) = &rule.action
            && let Some(count) = index.get(name.as_str()).and_then(|at| counts.get_mut(*at))
        {
            *count += 1;
        }
    }
    counts
}

fn write_head(out: &mut impl Write, chain: &Chain, references: usize, options: &ShowOptions<'_>) -> fmt::Result {
    write!(out, "Chain {}", chain.name)?;
    match chain.policy {
        None => write!(out, " ({references} references)")?,
        Some(policy) if options.list.counters => {
            let packets = amount(chain.counter.packets, options.exact);
            let bytes = amount(chain.counter.bytes, options.exact);
            write!(out, " (policy {policy} {packets} packets, {bytes} bytes)")?;
        }
        Some(policy) => write!(out, " (policy {policy})")?,
    }
    out.write_char('\n')?;
    if options.line_numbers {
        out.write_str("num  ")?;
    }
    if options.list.counters && options.exact {
        write!(out, "{:>8} {:>10} ", "pkts", "bytes")?;
    } else if options.list.counters {
        write!(out, "{:>5} {:>5} ", "pkts", "bytes")?;
    }
    write!(out, "{:<9}  prot opt", "target")?;
    if options.list.counters {
        write!(out, " {:<6} {:<6} ", "in", "out")?;
    }
    writeln!(out, " {:<19}  {:<19} ", "source", "destination")
}

/// How a rule is printed.
struct Style<'a> {
    /// In columns; else as the report of a command.
    table: bool,
    counters: bool,
    exact: bool,
    devices: bool,
    numeric: bool,
    names: &'a dyn Names,
}

fn write_rule(out: &mut impl Write, family: Family, rule: &Rule, style: &Style<'_>) -> fmt::Result {
    let header = &rule.header;
    if style.counters {
        write_counter(out, rule.counter, style.exact)?;
    }
    let target = target_name(&rule.action);
    let bang = if header.protocol_inverted { '!' } else { ' ' };
    let listing = Listing { numeric: style.numeric, protocol: header.protocol, names: style.names };
    let protocol = value::protocol_name(header.protocol).map(str::to_owned);
    let protocol = protocol
        .or_else(|| listing.name(NameKind::Protocol, u32::from(header.protocol)))
        .unwrap_or_else(|| header.protocol.to_string());
    let fragment = match header.fragment {
        None => "--",
        Some(true) => "-f",
        Some(false) => "!f",
    };
    if style.table {
        write!(out, "{target:<9} {bang}{protocol:<4} {fragment} ")?;
    } else {
        write!(out, "{target} {bang}{protocol} opt {fragment} ")?;
    }
    if style.devices {
        let (iif, oif) = (device(&header.iif, style.numeric), device(&header.oif, style.numeric));
        if style.table {
            write!(out, " {iif:<6} {oif:<6} ")?;
        } else {
            write!(out, "in {iif} out {oif} ")?;
        }
    }
    for (addr, arrow) in [(&header.src, ""), (&header.dst, "-> ")] {
        let bang = if addr.inverted { '!' } else { ' ' };
        let text = address(family, addr, style);
        if style.table {
            write!(out, "{bang}{text:<19} ")?;
        } else {
            write!(out, "{bang}{arrow}{text} ")?;
        }
    }
    if !style.table {
        out.write_char(' ')?;
    }
    if let Action::Goto(_) = rule.action {
        out.write_str("[goto] ")?;
    }
    for used in &rule.matches {
        write!(out, "{}", fmt::from_fn(|f| used.list(f, &listing)))?;
    }
    if let Action::Target(target) = &rule.action {
        write!(out, "{}", fmt::from_fn(|f| target.list(f, &listing)))?;
    }
    Ok(())
}

fn target_name(action: &Action) -> &str {
    match action {
        Action::None => "",
        Action::Accept => "ACCEPT",
        Action::Drop => "DROP",
        Action::Return => "RETURN",
        Action::Queue => "QUEUE",
        Action::Jump(name) | Action::Goto(name) => name,
        Action::Target(target) => target.kernel_name(),
    }
}

fn device(device: &IfMatch, numeric: bool) -> String {
    let bang = if device.inverted { "!" } else { "" };
    if device.is_any() && !device.any {
        return format!("{bang}{}", if numeric { "*" } else { "any" });
    }
    format!("{bang}{}", device.text())
}

fn address(family: Family, addr: &AddrMatch, style: &Style<'_>) -> String {
    // iptables asks the mask here, ip6tables the address.
    let any = match family {
        Family::V4 => addr.mask.is_unspecified(),
        Family::V6 => addr.addr.is_unspecified(),
    };
    if any && !style.numeric {
        return "anywhere".to_owned();
    }
    let name = if style.numeric { None } else { style.names.host_name(family, addr.addr) };
    let host = name.unwrap_or_else(|| value::show_addr(family, addr.addr).to_string());
    match value::prefix_of(family, addr.mask) {
        Some(prefix) if prefix == family.bits() => host,
        Some(prefix) => format!("{host}/{prefix}"),
        None => format!("{host}/{}", value::show_addr(family, addr.mask)),
    }
}

/// A rule's counters in their columns.
fn write_counter(out: &mut impl Write, counter: Counter, exact: bool) -> fmt::Result {
    if exact {
        // Narrower than the head of its column, as in iptables.
        return write!(out, "{:>8} {:>8} ", counter.packets, counter.bytes);
    }
    write!(out, "{:>5} {:>5} ", amount(counter.packets, false), amount(counter.bytes, false))
}

/// A number as it stands, or rounded to thousands, millions and so on when it has more than five digits.
fn amount(number: u64, exact: bool) -> String {
    if exact || number <= 99_999 {
        return number.to_string();
    }
    let mut rest = number;
    for unit in ['K', 'M', 'G'] {
        // iptables lets it overflow.
        rest = rest.wrapping_add(500) / 1000;
        if rest <= 9999 {
            return format!("{rest}{unit}");
        }
    }
    format!("{}T", rest.wrapping_add(500) / 1000)
}
