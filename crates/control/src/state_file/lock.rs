//! Writers take turns: a lock on the state file, and before it one on the file that `XTABLES_LOCKFILE` names, which other
//! programs may hold too.

use hairpin_commands::{Failure, Wait};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A turn being waited for.
pub(super) struct Turn {
    started: Instant,
    wait: Wait,
}

impl Turn {
    pub(super) fn new(wait: Wait) -> Turn {
        Turn { started: Instant::now(), wait }
    }

    /// The lock that xtables programs share.
    pub(super) fn shared(&self, path: &Path) -> Result<File, Failure> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.map_err(|why| {
            Failure::Unavailable(format!("Fatal: can't open lock file {}: {}", path.display(), reason(&why)))
        })?;
        self.lock(&file, path)?;
        Ok(file)
    }

    /// The state file, made when it is not there, and locked.
    pub(super) fn state(&self, path: &Path) -> Result<File, Failure> {
        let cannot = |why: &io::Error| {
            Failure::Unavailable(format!("hairpin: cannot open the state file {}: {}", path.display(), reason(why)))
        };
        loop {
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = opened.map_err(|why| cannot(&why))?;
            self.lock(&file, path)?;
            // Another writer may have put a new file in its place while we waited for the old one.
            if is_at(&file, path) {
                return Ok(file);
            }
        }
    }

    fn lock(&self, file: &File, path: &Path) -> Result<(), Failure> {
        let mut pause = Duration::from_micros(200);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if self.over() => return Err(busy(path, self.wait)),
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(TryLockError::Error(why)) => {
                    let text = format!("Can't lock {}: {}", path.display(), reason(&why));
                    return Err(Failure::Unavailable(text));
                }
            }
        }
    }

    fn over(&self) -> bool {
        match self.wait {
            Wait::No => true,
            Wait::Seconds(seconds) => self.started.elapsed() >= Duration::from_secs(u64::from(seconds)),
            Wait::Forever => false,
        }
    }
}

fn busy(path: &Path, wait: Wait) -> Failure {
    const BUSY: &str = "Another app is currently holding the xtables lock.";
    let more = match wait {
        Wait::Seconds(seconds) if seconds > 0 => format!("Stopped waiting after {seconds}s."),
        _ => "Perhaps you want to use the -w option?".to_owned(),
    };
    let why = "Resource temporarily unavailable";
    Failure::Unavailable(format!("Can't lock {}: {why}\n{BUSY} {more}", path.display()))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// The system's words without Rust's number.
pub(super) fn reason(why: &io::Error) -> String {
    let text = why.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
