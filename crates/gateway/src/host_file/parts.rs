//! What an engine's host is made of, each from its section: devices, routes, rules, neighbors, sockets, accounting objects, fingerprints.

use super::Document;
use super::live;
use super::sections::NEXTHOP_KEYS;
use super::value::{Fault, Item, Value, fault, text_of};
use hairpin_engine::account::{Account, AccountError, Accounts, Quota};
use hairpin_engine::net::LinkKind;
use hairpin_engine::osf::Fingerprints;
use hairpin_engine::packet::Owner;
use hairpin_engine::route::{PolicyRule, RouteType, RuleAction};
use hairpin_engine::setup::text;
use hairpin_engine::setup::{NewAddress, NewHop, NewInterface, NewNeighbor, NewRoute, NewRule, NewSocket};
use hairpin_engine::socket::Socket;
use hairpin_wire::{Addr, Family, Mac, proto};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeValue;

pub(super) fn setting(
    (name, value, at): &(String, &Spanned<DeValue<'_>>, Range<usize>),
) -> Result<(String, String), Fault> {
    let text = match value.get_ref() {
        DeValue::Boolean(on) => Some(u8::from(*on).to_string()),
        _ => text_of(value),
    };
    match text {
        Some(text) => Ok((name.clone(), text)),
        None => fault(at.clone(), format!("{name} is a number, a word or true or false")),
    }
}

pub(super) fn interface(item: &Item<'_>) -> Result<NewInterface, Fault> {
    let name = item.need("name")?.word()?;
    let mut new = NewInterface::ethernet(&name, Mac::ZERO);
    if let Some(kind) = item.get("kind") {
        new.kind = kind.one_of(&[("ethernet", LinkKind::Ethernet), ("bare", LinkKind::Bare)])?;
    } else if live::is_tun(item) {
        new.kind = LinkKind::Bare;
    }
    match item.get("mac") {
        Some(mac) => new.mac = mac.parse_as(|text| text.parse::<Mac>().map_err(|e| format!("{text:?}: {e}")))?,
        None if name == "lo" || new.kind == LinkKind::Bare => {}
        // The device has one. Where there is no device (replay) any will do, as long as it is always the same.
        None if live::has_device(item) => new.mac = live::stand_in_mac(&name),
        None => {
            let advice =
                "give it one such as mac = \"02:00:00:00:00:01\", or kind = \"bare\" for a link without addresses";
            return fault(item.at.clone(), format!("interface {name} has no mac: {advice}"));
        }
    }
    if let Some(mtu) = item.get("mtu") {
        new.mtu = mtu.number(68..=65_535)?;
    }
    if let Some(up) = item.get("up") {
        new.up = up.flag()?;
    }
    if let Some(group) = item.get("group") {
        new.group = group.number(0..=i64::from(u32::MAX))?;
    }
    if let Some(addresses) = item.get("addresses") {
        let Some(list) = addresses.value.get_ref().as_array() else {
            return fault(addresses.value.span(), "addresses is a list: write addresses = [\"192.0.2.1/24\"]");
        };
        for value in list.iter() {
            new.addresses.push(Value { key: "addresses", value }.parsed::<NewAddress>()?);
        }
    }
    Ok(new)
}

pub(super) fn route(item: &Item<'_>) -> Result<NewRoute, Fault> {
    let mut family = None;
    let to = item.need("to")?.destination(&mut family)?.unwrap_or((Addr::UNSPECIFIED, 0));
    let mut new = NewRoute::to(Family::V4, to.0, to.1);
    if let Some(kind) = item.get("type") {
        new.kind = kind.one_of(&ROUTE_TYPES)?;
    }
    if let Some(list) = item.get("nexthop") {
        if let Some(key) = ["via", "dev", "onlink", "realm"].iter().find_map(|key| item.get(key)) {
            return fault(key.value.span(), format!("with nexthop, {} belongs into each of them", key.key));
        }
        let Some(hops) = list.value.get_ref().as_array() else {
            return fault(
                list.value.span(),
                "nexthop is a list: write nexthop = [{ via = \"192.0.2.1\", weight = 1 }]",
            );
        };
        for hop in hops.iter() {
            new.hops.push(next_hop(&Item::open("nexthop", hop, NEXTHOP_KEYS)?, &mut family)?);
        }
    } else {
        let hop = next_hop(item, &mut family)?;
        new.hops.extend((hop != NewHop::default()).then_some(hop));
    }
    if let Some(src) = item.get("src") {
        new.src = Some(src.addr(&mut family)?);
    }
    if let Some(table) = item.get("table") {
        new.table = Some(table.table()?);
    }
    if let Some(metric) = item.get("metric") {
        new.metric = Some(metric.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(scope) = item.get("scope") {
        new.scope = Some(scope.parse_as(|text| text::scope(text).map_err(|e| e.to_string()))?);
    }
    if let Some(tos) = item.get("tos") {
        new.tos = tos.number(0..=255)?;
    }
    if let Some(mtu) = item.get("mtu") {
        new.mtu = mtu.number(68..=65_535)?;
    }
    if let Some(advmss) = item.get("advmss") {
        new.advmss = advmss.number(1..=65_535)?;
    }
    if let Some(hop_limit) = item.get("hoplimit") {
        new.hop_limit = hop_limit.number(1..=255)?;
    }
    new.family = family.unwrap_or(Family::V4);
    Ok(new)
}

fn next_hop(item: &Item<'_>, family: &mut Option<Family>) -> Result<NewHop, Fault> {
    let mut hop = NewHop::default();
    if let Some(via) = item.get("via") {
        hop.via = Some(via.addr(family)?);
    }
    if let Some(dev) = item.get("dev") {
        hop.dev = Some(dev.word()?);
    }
    if let Some(onlink) = item.get("onlink") {
        hop.onlink = onlink.flag()?;
    }
    if let Some(weight) = item.get("weight") {
        hop.weight = weight.number(1..=256)?;
    }
    if let Some(realm) = item.get("realm") {
        hop.realm = realm.parse_as(|text| text::realm(text).map_err(|e| e.to_string()))?;
    }
    Ok(hop)
}

pub(super) fn rule(item: &Item<'_>) -> Result<NewRule, Fault> {
    let mut family = None;
    if let Some(given) = item.get("family") {
        family = Some(given.one_of(&[("ipv4", Family::V4), ("ipv6", Family::V6)])?);
    }
    let mut new = PolicyRule::all(None, action(item)?);
    if let Some(from) = item.get("from") {
        new.from = from.destination(&mut family)?;
    }
    if let Some(to) = item.get("to") {
        new.to = to.destination(&mut family)?;
    }
    if let Some(priority) = item.get("priority") {
        new.priority = Some(priority.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(not) = item.get("not") {
        new.not = not.flag()?;
    }
    new.iif = item.get("iif").map(|dev| dev.word()).transpose()?;
    new.oif = item.get("oif").map(|dev| dev.word()).transpose()?;
    if let Some(mark) = item.get("fwmark") {
        new.mark = Some(mark.parse_as(|text| text::mark(text).map_err(|e| e.to_string()))?);
    }
    if let Some(tos) = item.get("tos") {
        new.tos = tos.number(0..=255)?;
    }
    if let Some(protocol) = item.get("ipproto") {
        new.protocol = protocol.parse_as(|text| text::protocol(text).map_err(|e| e.to_string()))?;
    }
    if let Some(ports) = item.get("sport") {
        new.sport = Some(ports.parse_as(|text| text::range(text, "port").map_err(|e| e.to_string()))?);
    }
    if let Some(ports) = item.get("dport") {
        new.dport = Some(ports.parse_as(|text| text::range(text, "port").map_err(|e| e.to_string()))?);
    }
    if let Some(users) = item.get("uidrange") {
        new.uid = Some(users.parse_as(|text| text::range(text, "user id").map_err(|e| e.to_string()))?);
    }
    if let Some(len) = item.get("suppress_prefixlength") {
        new.suppress_prefixlength = Some(len.number(0..=128)?);
    }
    if let Some(group) = item.get("suppress_ifgroup") {
        new.suppress_group = Some(group.number(0..=i64::from(u32::MAX))?);
    }
    if let Some(realm) = item.get("realm") {
        new.realm = realm.parse_as(|text| text::realm(text).map_err(|e| e.to_string()))?;
    }
    Ok(NewRule { family: family.unwrap_or(Family::V4), rule: new })
}

/// What a rule does: exactly one of `table`, `goto` and a `type` that needs neither.
fn action(item: &Item<'_>) -> Result<RuleAction, Fault> {
    let by_type = match item.get("type") {
        Some(kind) => kind.one_of(&[
            ("lookup", None),
            ("unicast", None),
            ("goto", None),
            ("nop", Some(RuleAction::Nop)),
            ("blackhole", Some(RuleAction::Blackhole)),
            ("unreachable", Some(RuleAction::Unreachable)),
            ("prohibit", Some(RuleAction::Prohibit)),
        ])?,
        None => None,
    };
    match (by_type, item.get("table"), item.get("goto")) {
        (Some(action), None, None) => Ok(action),
        (None, Some(table), None) => Ok(RuleAction::Table(table.table()?)),
        (None, None, Some(target)) => Ok(RuleAction::Goto(target.number(0..=i64::from(u32::MAX))?)),
        (None, None, None) => fault(
            item.at.clone(),
            "the rule does nothing: give it table, goto, or type = \"blackhole\", \"unreachable\", \"prohibit\" or \"nop\"",
        ),
        (_, Some(other), _) | (_, None, Some(other)) => {
            fault(other.value.span(), format!("a rule does one thing: leave {} out, or the other", other.key))
        }
    }
}

pub(super) fn neighbor(item: &Item<'_>) -> Result<NewNeighbor, Fault> {
    let mut family = None;
    let addr = item.need("address")?.addr(&mut family)?;
    let mac = item.need("mac")?.parse_as(|text| text.parse::<Mac>().map_err(|e| format!("{text:?}: {e}")))?;
    let dev = item.need("dev")?.word()?;
    Ok(NewNeighbor { family: family.unwrap_or(Family::V4), addr, mac, dev })
}

pub(super) fn socket(item: &Item<'_>) -> Result<NewSocket, Fault> {
    const PROTOCOLS: [(&str, u8); 3] = [("tcp", proto::TCP), ("udp", proto::UDP), ("udplite", proto::UDPLITE)];
    let mut family = None;
    let local = item.need("local")?.end(&mut family)?;
    let remote = item.get("remote").map(|remote| remote.end(&mut family)).transpose()?;
    let number = |key: &str| match item.get(key) {
        Some(value) => value.number(0..=i64::from(u32::MAX)),
        None => Ok(0),
    };
    let known = ["uid", "gid", "pid", "command", "cgroup", "classid"].iter().any(|key| item.get(key).is_some());
    let owner = Owner {
        uid: number("uid")?,
        gid: number("gid")?,
        pid: item.get("pid").map(|_| number("pid")).transpose()?,
        command: item.get("command").map(|command| command.word()).transpose()?,
        cgroup: item.get("cgroup").map_or(Ok(String::new()), |cgroup| cgroup.word())?,
        class: number("classid")?,
        ..Owner::default()
    };
    let socket = Socket {
        protocol: item.need("proto")?.one_of(&PROTOCOLS)?,
        family: family.unwrap_or(Family::V4),
        local,
        remote,
        device: None,
        transparent: item.get("transparent").map_or(Ok(false), |flag| flag.flag())?,
        mark: number("mark")?,
        owner: known.then(|| Arc::new(owner)),
    };
    Ok(NewSocket { socket, dev: item.get("dev").map(|dev| dev.word()).transpose()? })
}

pub(super) fn accounts(document: &Document<'_>) -> Result<Accounts, Fault> {
    let mut all = Accounts::default();
    for item in &document.accounts {
        let name = item.need("name")?;
        let limit = |value: Value<'_, '_>| value.number::<u64>(0..=i64::MAX);
        let quota = match (item.get("quota_packets"), item.get("quota_bytes")) {
            (None, None) => None,
            (Some(packets), None) => Some(Quota::Packets(limit(packets)?)),
            (None, Some(bytes)) => Some(Quota::Bytes(limit(bytes)?)),
            (Some(_), Some(bytes)) => return bytes.wrong("an object has one quota: of packets or of bytes"),
        };
        let word = name.word()?;
        match all.add(Account::new(&word, quota)) {
            Ok(()) => {}
            Err(AccountError::Busy) => return name.wrong(format!("{word} is there already")),
            Err(_) => return name.wrong(format!("{word:?} cannot be a name: use 1 to 31 bytes")),
        }
    }
    Ok(all)
}

pub(super) fn fingerprints(item: &Item<'_>, directory: &Path) -> Result<Fingerprints, Fault> {
    let file = item.need("file")?;
    let path = directory.join(file.word()?);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return file.wrong(format!("{}: {error}", path.display())),
    };
    match Fingerprints::parse(&text) {
        Ok(all) => Ok(all),
        Err(error) => file.wrong(format!("{}: {error}", path.display())),
    }
}

const ROUTE_TYPES: [(&str, RouteType); 9] = [
    ("unicast", RouteType::Unicast),
    ("local", RouteType::Local),
    ("broadcast", RouteType::Broadcast),
    ("multicast", RouteType::Multicast),
    ("anycast", RouteType::Anycast),
    ("blackhole", RouteType::Blackhole),
    ("unreachable", RouteType::Unreachable),
    ("prohibit", RouteType::Prohibit),
    ("throw", RouteType::Throw),
];
