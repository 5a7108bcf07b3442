//! `HAIRPIN_STATE`: rules of both families in a file.

use hairpin_commands::{Access, Failure, State, Wait};
use hairpin_engine::rule::{Compiled, Ruleset, Table};
use hairpin_ruleset::restore::{RestoreOptions, restore};
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::Family;
use hairpin_xt::option::Names;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rules in a file, made on first use.
#[derive(Debug)]
pub struct StateFile<'n> {
    path: PathBuf,
    names: &'n dyn Names,
    /// The file as it was when the command began; locked for a change.
    file: Option<File>,
}

/// The line before each family's rules.
const HEADS: [(Family, &str); 2] = [(Family::V4, "# hairpin ipv4\n"), (Family::V6, "# hairpin ipv6\n")];

impl<'n> StateFile<'n> {
    /// The state in the file of this path. Nothing is touched until a command begins.
    pub fn new(path: impl Into<PathBuf>, names: &'n dyn Names) -> StateFile<'n> {
        StateFile { path: path.into(), names, file: None }
    }

    fn unavailable(&self, what: &str, why: &io::Error) -> Failure {
        Failure::Unavailable(format!("hairpin: cannot {what} {}: {why}", self.path.display()))
    }

    /// The file's text for each family.
    fn texts(&mut self) -> Result<[String; 2], Failure> {
        let mut text = String::new();
        if let Some(mut file) = self.file.as_ref().and_then(|f| f.try_clone().ok()) {
            io::Seek::rewind(&mut file)
                .and_then(|()| file.read_to_string(&mut text))
                .map_err(|why| self.unavailable("read", &why))?;
        }
        let rest = text.strip_prefix(HEADS[0].1).unwrap_or_default();
        let (v4, v6) = rest.split_once(HEADS[1].1).unwrap_or((rest, ""));
        Ok([v4.to_owned(), v6.to_owned()])
    }

    /// Writes aside and renames.
    fn write(&mut self, texts: &[String; 2]) -> io::Result<()> {
        let path = fs::canonicalize(&self.path)?;
        let aside = beside(&path);
        let written = File::create(&aside).and_then(|mut file| {
            for ((_, head), text) in HEADS.iter().zip(texts) {
                file.write_all(head.as_bytes())?;
                file.write_all(text.as_bytes())?;
            }
            file.sync_all()?;
            fs::rename(&aside, &path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

impl State for StateFile<'_> {
    fn names(&self) -> &dyn Names {
        self.names
    }

    fn begin(&mut self, access: Access) -> Result<(), Failure> {
        let opened = match access {
            Access::Read => match File::open(&self.path) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
                opened => opened.map(Some),
            },
            Access::Write(wait) => return self.lock(wait),
        };
        self.file = opened.map_err(|why| self.unavailable("open", &why))?;
        Ok(())
    }

    fn ruleset(&mut self, family: Family) -> Result<Ruleset, Failure> {
        let [v4, v6] = self.texts()?;
        let text = if family == Family::V4 { v4 } else { v6 };
        let options =
            RestoreOptions { file: "the state", counters: true, noflush: false, table: None, names: self.names };
        let restored = restore(&Ruleset::new(family), text.as_bytes(), &options)
            .map_err(|why| Failure::Unavailable(format!("hairpin: {}: {why}", self.path.display())))?;
        let mut ruleset = restored.ruleset;
        ruleset.tables.reverse();
        Ok(ruleset)
    }

    fn replace(&mut self, family: Family, tables: Vec<Table>) -> Result<(), Failure> {
        let mut ruleset = self.ruleset(family)?;
        for table in tables {
            let id = table.id;
            *ruleset.table_mut(id) = table;
        }
        Compiled::new(ruleset.clone())?;
        let options = SaveOptions { counters: true, ..SaveOptions::default() };
        let text = save(&ruleset, &options, |_| None);
        let mut texts = self.texts()?;
        texts[usize::from(family == Family::V6)] = text;
        self.write(&texts).map_err(|why| self.unavailable("write", &why))
    }
}

impl StateFile<'_> {
    fn lock(&mut self, wait: Wait) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&self.path)
                .map_err(|why| self.unavailable("open", &why))?;
            match file.try_lock() {
                // Another writer may have put a new file in its place while we waited for the old one.
                Ok(()) if same_file(&file, &self.path) => {
                    self.file = Some(file);
                    return Ok(());
                }
                Ok(()) => {}
                Err(TryLockError::Error(why)) => return Err(self.unavailable("lock", &why)),
                Err(TryLockError::WouldBlock) => {
                    let over = match wait {
                        Wait::No => true,
                        Wait::Seconds(seconds) => started.elapsed() >= Duration::from_secs(u64::from(seconds)),
                        Wait::Forever => false,
                    };
                    if over {
                        return Err(Failure::Unavailable(match wait {
                            Wait::Seconds(s) if s > 0 => format!("{BUSY} Stopped waiting after {s}s."),
                            _ => format!("{BUSY} Perhaps you want to use the -w option?"),
                        }));
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

const BUSY: &str = "Another app is currently holding the xtables lock.";

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
