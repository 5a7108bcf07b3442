//! `hairpin man` and `hairpin completion`: what packages install beside the program.

use crate::program::{Failure, VERBS, Verb, say};
use hairpin_commands::help::{PAGES, SHELLS, completion, manual};
use std::ffi::OsString;
use std::path::Path;

/// The verb `man`.
pub const MAN: Verb = Verb {
    name: "man",
    about: "manual pages of the commands, as troff",
    help: "\
usage: hairpin man [PAGE]
       hairpin man --install DIR

Prints a manual page, made from the tables that the parser reads; without PAGE it lists them. With --install all are written to
DIR/man8. To read one: hairpin man iptables | man -l -
",
    run: man,
};

/// The verb `completion`.
pub const COMPLETION: Verb = Verb {
    name: "completion",
    about: "completion of the commands for bash, zsh and fish",
    help: "\
usage: hairpin completion SHELL

Prints a completion script for bash, zsh or fish, made from the tables that the parser reads. For bash:
    hairpin completion bash > /etc/bash_completion.d/hairpin
",
    run: complete,
};

fn man(words: Vec<OsString>) -> Result<(), Failure> {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => say(&PAGES.iter().map(|(name, section)| format!("{name}({section})\n")).collect::<String>()),
        ["--install", dir] => return install(Path::new(dir)),
        [page] => say(&page_text(page).ok_or_else(|| Failure::usage(format!("there is no page `{page}'")))?),
        _ => return Err(Failure::usage("man takes one page, or --install DIR")),
    }
    Ok(())
}

fn page_text(page: &str) -> Option<String> {
    if page == "hairpin" { Some(own_page()) } else { manual(page) }
}

fn install(dir: &Path) -> Result<(), Failure> {
    let dir = dir.join("man8");
    let wrong = |why: std::io::Error| Failure::input(format!("{}: {why}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(wrong)?;
    let names = PAGES.iter().map(|(name, _)| *name).chain(["hairpin"]);
    for (name, text) in names.filter_map(|name| Some((name, page_text(name)?))) {
        std::fs::write(dir.join(format!("{name}.8")), text).map_err(wrong)?;
    }
    Ok(())
}

/// The page of the program itself: its verbs with their help.
fn own_page() -> String {
    let plain = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut out = format!(".TH HAIRPIN 8 \"\" \"hairpin {}\"\n.SH NAME\nhairpin \\- ", env!("CARGO_PKG_VERSION"));
    out += "Linux netfilter and iptables in user space\n.SH VERBS\n";
    for verb in VERBS {
        out += &format!(".SS {}\n{}\n.PP\n.nf\n", verb.name, plain(verb.about));
        for line in verb.help.lines() {
            out += &format!("\\&{}\n", plain(line));
        }
        out += ".fi\n";
    }
    out
}

fn complete(words: Vec<OsString>) -> Result<(), Failure> {
    let shell = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    let known = || Failure::usage(format!("completion is for one of {}", SHELLS.join(", ")));
    let commands = completion(&shell).ok_or_else(known)?;
    let verbs: Vec<&str> = VERBS.iter().map(|v| v.name).collect();
    let own = match shell.as_str() {
        "fish" => VERBS
            .iter()
            .map(|v| {
                format!(
                    "complete -c hairpin -n __fish_use_subcommand -a {} -d '{}'\n",
                    v.name,
                    v.about.replace('\'', "")
                )
            })
            .collect(),
        _ => format!("complete -o default -W '{}' hairpin\n", verbs.join(" ")),
    };
    say(&(commands + &own));
    Ok(())
}
