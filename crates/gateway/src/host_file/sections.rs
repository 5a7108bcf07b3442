//! The sections of a host file and what may stand in them.

/// The sections and what may stand in them. The keys are checked by this list alone.
pub(super) const SECTIONS: &[Section] = &[
    Section { name: "sysctl", is_list: false, keys: None },
    Section {
        name: "interface",
        is_list: true,
        keys: Some(&[
            "name",
            "mac",
            "mtu",
            "addresses",
            "up",
            "group",
            "kind",
            "datapath",
            "netns",
            "queues",
            "threads",
            "mode",
            "follow",
            "capture",
            "fault",
            "read",
            "write",
            "pace",
            "parent",
            "vlan",
        ]),
    },
    Section {
        name: "route",
        is_list: true,
        keys: Some(&[
            "to", "via", "dev", "src", "table", "metric", "type", "scope", "mtu", "tos", "advmss", "hoplimit", "realm",
            "onlink", "nexthop",
        ]),
    },
    Section {
        name: "rule",
        is_list: true,
        keys: Some(&[
            "family",
            "priority",
            "not",
            "from",
            "to",
            "iif",
            "oif",
            "fwmark",
            "tos",
            "ipproto",
            "sport",
            "dport",
            "uidrange",
            "table",
            "type",
            "goto",
            "suppress_prefixlength",
            "suppress_ifgroup",
            "realm",
        ]),
    },
    Section { name: "neighbor", is_list: true, keys: Some(&["address", "mac", "dev"]) },
    Section {
        name: "socket",
        is_list: true,
        keys: Some(&[
            "proto",
            "local",
            "remote",
            "dev",
            "transparent",
            "mark",
            "uid",
            "gid",
            "pid",
            "command",
            "cgroup",
            "classid",
        ]),
    },
    Section { name: "nfacct", is_list: true, keys: Some(&["name", "quota_packets", "quota_bytes"]) },
    Section { name: "osf", is_list: false, keys: Some(&["file"]) },
    Section { name: "rules", is_list: false, keys: Some(&["v4", "v6"]) },
    Section { name: "control", is_list: false, keys: Some(&["socket", "group"]) },
    Section { name: "state", is_list: false, keys: Some(&["file", "interval"]) },
    Section { name: "metrics", is_list: false, keys: Some(&["listen"]) },
    Section { name: "log", is_list: false, keys: Some(&["to", "rate"]) },
    Section { name: "nflog", is_list: true, keys: Some(&["group", "file", "max_bytes"]) },
    Section { name: "host", is_list: false, keys: Some(&["device"]) },
    Section { name: "run", is_list: false, keys: Some(&["user", "cpu"]) },
];

pub(super) const NEXTHOP_KEYS: &[&str] = &["via", "dev", "weight", "onlink", "realm"];

pub(super) struct Section {
    pub(super) name: &'static str,
    /// Written `[[name]]`, any number of times.
    pub(super) is_list: bool,
    /// None where any key may stand.
    pub(super) keys: Option<&'static [&'static str]>,
}
