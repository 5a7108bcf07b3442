//! The texts of `ipset help`.

use super::VERSION;
use super::icmp::{ICMP, ICMPV6};
use super::syntax::{Action, Form, Opt, create_opts, entry_opts, forms};
use hairpin_engine::set::{Kind, Method};
use std::fmt::Write;

const COMMANDS: &[(&str, &str)] = &[
    ("create SETNAME TYPENAME [type-specific-options]", "make a set"),
    ("add SETNAME ENTRY", "put an entry into a set"),
    ("del SETNAME ENTRY", "take an entry out of a set"),
    ("test SETNAME ENTRY", "say whether an entry is in a set"),
    ("destroy [SETNAME]", "remove a set, or all sets"),
    ("list [SETNAME]", "show a set, or all sets"),
    ("save [SETNAME]", "print the commands that make a set, or all sets"),
    ("restore", "carry out what save printed"),
    ("flush [SETNAME]", "empty a set, or all sets"),
    ("rename FROM-SETNAME TO-SETNAME", "give a set another name"),
    ("swap FROM-SETNAME TO-SETNAME", "exchange the content of two sets"),
    ("help [TYPENAME]", "this text, and what is special to a type"),
    ("version", "the version"),
    ("quit", "leave the interactive mode"),
];

const OPTIONS: &[(&str, &str)] = &[
    ("-o plain|save|xml|json", "the form of what list and save print"),
    ("-s", "entries in order"),
    ("-q", "no notices or warnings"),
    ("-r", "hosts by name where they have one"),
    ("-!", "what is there already is no error, nor is what is not there"),
    ("-n", "list only names"),
    ("-t", "list only names and headers"),
    ("-f FILE", "read from this file, or write to it"),
];

/// `ipset help`, up to the types.
pub fn general_help() -> String {
    let mut text = format!("ipset v{VERSION}\n\nUsage: ipset [options] COMMAND\n\nCommands:\n");
    for (words, about) in COMMANDS {
        let _ = write!(text, "{words}\n        {about}\n");
    }
    text.push_str("\nOptions:\n");
    for (words, about) in OPTIONS {
        let _ = write!(text, "{words}\n        {about}\n");
    }
    text
}

/// The option words of a type: of `create`, or those after an element.
pub fn option_words(kind: Kind, action: Option<Action>) -> Vec<&'static str> {
    let opts = action.map_or_else(|| create_opts(kind), |action| entry_opts(kind, action));
    opts.iter().filter(|opt| opt.help().is_some() || **opt == Opt::Range).map(|opt| opt.name()).collect()
}

/// What is special to a type; without a type, the list of types.
pub fn type_help(kind: Option<Kind>) -> String {
    let mut text = String::new();
    let Some(kind) = kind else {
        text.push_str("\nSupported set types:\n");
        for kind in Kind::ALL {
            let _ = writeln!(text, "    {:<16}\t{}", kind.name(), kind.revision());
        }
        return text;
    };
    let _ = write!(text, "\n{kind} type specific options:\n\ncreate SETNAME {kind} ");
    match kind {
        Kind::BitmapPort => text.push_str("range [PROTO:]FROM-TO"),
        Kind::BitmapIp | Kind::BitmapIpMac => text.push_str("range IP/CIDR|FROM-TO"),
        _ => {}
    }
    text.push('\n');
    list(&mut text, &create_opts(kind));
    for action in [Action::Add, Action::Del, Action::Test] {
        let _ = writeln!(text, "{:<6} SETNAME {kind} {}", action.name(), element(kind, action));
        let opts = entry_opts(kind, action);
        list(&mut text, &opts);
    }
    text.push('\n');
    if forms(kind).contains(&Form::ProtoPort) {
        text.push_str(
            "PORT is a number, a name from /etc/services (of TCP without PROTO), or with PROTO icmp or icmpv6\n",
        );
        text.push_str("TYPE/CODE or a name; PROTO:0 stands for protocols without ports.\n");
        for (title, names) in [("ICMP", ICMP), ("ICMPv6", ICMPV6)] {
            let names: Vec<&str> = names.iter().map(|(name, _, _)| *name).collect();
            let _ = writeln!(text, "{title} names: {}", names.join(" "));
        }
        text.push('\n');
    }
    let _ = match (kind.has_family(), kind.method()) {
        (false, _) => writeln!(text, "Type {kind} is family neutral."),
        (true, Method::Bitmap) => writeln!(text, "Type {kind} supports family inet only."),
        (true, _) => writeln!(text, "Type {kind} supports inet and inet6."),
    };
    text
}

fn list(text: &mut String, opts: &[Opt]) {
    let mut last = None;
    for line in opts.iter().filter_map(|o| o.help()) {
        if last != Some(line) {
            let _ = writeln!(text, "               {line}");
        }
        last = Some(line);
    }
}

fn element(kind: Kind, action: Action) -> String {
    if kind == Kind::BitmapIpMac {
        return "IP[,MAC]".to_owned();
    }
    if kind == Kind::ListSet {
        return "NAME [before|after NAME]".to_owned();
    }
    let is_test = action == Action::Test;
    let words = forms(kind).into_iter().map(|form| match form {
        Form::Any if is_test => "IP",
        Form::Any => "IP|IP/CIDR|FROM-TO",
        Form::Single | Form::Any4Single6 => "IP",
        Form::Any4Net6 => "IP[/CIDR]",
        Form::Mac => "MAC",
        Form::Mark => "MARK",
        Form::ProtoPort => "[PROTO:]PORT",
        Form::Port if is_test => "[PROTO:]PORT",
        Form::Port => "[PROTO:]PORT|FROM-TO",
        Form::Iface => "[physdev:]IFACE",
        Form::Set => "NAME",
    });
    words.collect::<Vec<_>>().join(",")
}
