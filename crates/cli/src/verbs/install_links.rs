//! `hairpin install-links`.

use crate::program::{Failure, Verb, say};
use hairpin_commands::NAMES;
use std::ffi::OsString;
use std::path::Path;

/// The verb.
pub const VERB: Verb = Verb {
    name: "install-links",
    about: "links named iptables, iptables-save and so on to this program",
    help: HELP,
    run,
};

const HELP: &str = "\
usage: hairpin install-links DIR

Makes the directory and in it, for every command people know, a link to this program. With the directory first on PATH, scripts
that call iptables call hairpin. Links that are there are replaced; anything else of such a name is an error.
";

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let [dir] = words.as_slice() else {
        return Err(Failure::usage("install-links needs one directory"));
    };
    let dir = Path::new(dir);
    let program = std::env::current_exe().map_err(|why| Failure::input(format!("where is this program? {why}")))?;
    std::fs::create_dir_all(dir).map_err(|why| Failure::input(format!("{}: {why}", dir.display())))?;
    for (name, _) in NAMES {
        let link = dir.join(name);
        match std::fs::symlink_metadata(&link) {
            Ok(there) if there.is_symlink() => {
                std::fs::remove_file(&link).map_err(|why| Failure::input(format!("{}: {why}", link.display())))?;
            }
            Ok(_) => return Err(Failure::input(format!("{} is there and is no link", link.display()))),
            Err(_) => {}
        }
        std::os::unix::fs::symlink(&program, &link)
            .map_err(|why| Failure::input(format!("{}: {why}", link.display())))?;
    }
    say(&format!("{} links in {}\n", NAMES.len(), dir.display()));
    Ok(())
}
