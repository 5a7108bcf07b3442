//! The kernel's log: what LOG rules wrote.
//!
//! In a network namespace other than the first, LOG writes only while a switch of the whole machine is on; it is turned
//! on while scenarios are played and put back afterwards. And the log itself belongs to the whole machine: a line counts
//! as ours when it starts with a prefix of our rules and names our interfaces.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

use super::sys;

const SWITCH: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

/// Keeps logging from network namespaces switched on until it is dropped.
#[derive(Debug)]
pub struct Switch {
    /// Stays open: the switch can only be found from the first namespace.
    file: File,
    /// What it is put back to.
    before: Mutex<String>,
}

impl Switch {
    /// Turns the switch on. To be called in the machine's first network namespace.
    pub fn on() -> Result<Self, String> {
        let file = OpenOptions::new().read(true).write(true).open(SWITCH).map_err(|e| format!("{SWITCH}: {e}"))?;
        let switch = Self { file, before: Mutex::default() };
        *switch.lock() = switch.get();
        switch.set("1");
        Ok(switch)
    }

    /// Whether it was on; turns it on again when somebody else had turned it off.
    pub fn keep_on(&self) -> bool {
        let found = self.get();
        if found == "1" {
            return true;
        }
        // Another run had turned it on before us and has put it back: now that is for us to do.
        *self.lock() = found;
        self.set("1");
        false
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.before.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn get(&self) -> String {
        let mut buffer = [0; 8];
        let n = self.file.read_at(&mut buffer, 0).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n]).trim().to_string()
    }

    fn set(&self, value: &str) {
        // A failure shows when the switch is read back.
        let _ = self.file.write_at(value.as_bytes(), 0);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let before = self.lock().clone();
        if self.get() != before {
            self.set(&before);
        }
    }
}

/// A reader of the kernel's log from now on.
#[derive(Debug)]
pub struct Reader {
    file: File,
    prefixes: BTreeSet<String>,
    ifaces: Vec<String>,
    found: String,
}

impl Reader {
    /// Listens for the LOG rules among `rules` (save files) on the given interfaces.
    pub fn open(rules: &[&str], ifaces: Vec<String>) -> Result<Self, String> {
        let fail = |e: std::io::Error| format!("/dev/kmsg: {e}");
        let mut file = File::open("/dev/kmsg").map_err(fail)?;
        sys::set_nonblocking(file.as_fd()).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        let prefixes = rules.iter().flat_map(|text| prefixes(text)).collect();
        Ok(Self { file, prefixes, ifaces, found: String::new() })
    }

    /// Whether any line can be expected at all.
    pub fn expects_lines(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// All lines since the reader was opened.
    pub fn lines(mut self) -> Result<String, String> {
        self.read()?;
        Ok(self.found)
    }

    /// Takes what is there. The kernel keeps only so much: to be called every now and then.
    pub fn read(&mut self) -> Result<(), String> {
        if self.prefixes.is_empty() {
            return Ok(());
        }
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    let record = String::from_utf8_lossy(&record[..n]);
                    let line = record.split_once(';').map_or("", |(_, text)| text.lines().next().unwrap_or(""));
                    if self.is_ours(line) {
                        self.found.push_str(line.trim_end());
                        self.found.push('\n');
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::BrokenPipe => return Err("the kernel's log overflowed".into()),
                Err(e) => return Err(format!("/dev/kmsg: {e}")),
            }
        }
    }

    fn is_ours(&self, line: &str) -> bool {
        let known = |name: &str| name.is_empty() || name == "lo" || self.ifaces.iter().any(|i| i == name);
        self.prefixes.iter().any(|prefix| {
            let mut words = line.strip_prefix(prefix.as_str()).unwrap_or("").split(' ');
            let input = words.next().and_then(|w| w.strip_prefix("IN="));
            let output = words.next().and_then(|w| w.strip_prefix("OUT="));
            input.is_some_and(known) && output.is_some_and(known)
        })
    }
}

/// The prefixes of the LOG rules of a save file; an empty one for a rule without.
fn prefixes(rules: &str) -> Vec<String> {
    const OPTION: &str = "--log-prefix ";
    let of = |line: &str| match line.split_once(OPTION).map(|(_, rest)| rest) {
        None => String::new(),
        Some(rest) => match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or("").to_string(),
            None => rest.split_whitespace().next().unwrap_or("").to_string(),
        },
    };
    rules.lines().filter(|l| l.contains(" -j LOG")).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_lines_count() {
        let rules =
            "-A INPUT -j LOG --log-prefix \"in: \" --log-level 4\n-A INPUT -j LOG --log-prefix x\n-A INPUT -j DROP\n";
        assert_eq!(prefixes(rules), ["in: ", "x"]);
        let reader = Reader {
            file: File::open("/dev/null").unwrap(),
            prefixes: prefixes(rules).into_iter().collect(),
            ifaces: vec!["eth1".into()],
            found: String::new(),
        };
        assert!(reader.is_ours("in: IN=eth1 OUT= MAC=02"));
        assert!(reader.is_ours("xIN= OUT=lo SRC=1"));
        assert!(!reader.is_ours("IN=eth1 OUT= "));
        assert!(!reader.is_ours("in: IN=eth7 OUT= MAC=02"));
        assert!(!reader.is_ours("in: something else"));
        assert_eq!(prefixes("-A INPUT -j LOG\n"), [""]);
    }
}
