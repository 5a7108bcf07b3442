//! The file: a base, and changes appended to it.
//!
//! ```text
//! header: magic, where the changes begin, for each section where its index and its body are, check sums
//! indexes and bodies
//! changes: length, check sum, then (section, operation) …      one per command
//! ```
//!
//! A command that changes little appends one record and waits until the disk has it. A record that is cut short or does not agree
//! with its check sum is the trace of a writer that was killed: readers stop before it, the next writer writes over it. When
//! the changes have grown large beside the base, the writer folds them into a new base, which it writes aside and renames. So
//! at every instant the file holds the state before a command or after it.
//!
//! Reading costs the header, the changes and the indexes asked for; bodies are read when something in them is looked at.

use super::codec::{Reader, Writer, damaged};
use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::rc::Rc;

const MAGIC: &[u8; 16] = b"hairpin state 1\n";
const SECTIONS: usize = 3;
/// Magic, where the changes begin, six numbers for each section, the header's own check sum.
const HEADER: usize = 16 + 8 + SECTIONS * 40 + 4;
/// Changes up to this many bytes are never folded.
const SMALL: u64 = 128 << 10;

/// A part of the state with an index, a body and changes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Rules4,
    Rules6,
    Sets,
}

impl Section {
    pub(super) const ALL: [Section; SECTIONS] = [Section::Rules4, Section::Rules6, Section::Sets];
}

/// A section's index and body.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) index: Vec<u8>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    index_at: u64,
    index_len: u64,
    index_sum: u32,
    body_at: u64,
    body_len: u64,
}

/// The file as a command finds it.
#[derive(Debug)]
pub(super) struct Container {
    file: Rc<File>,
    places: [Place; SECTIONS],
    /// Where the changes begin; 0 when the file has no base yet.
    changes_at: u64,
    changes: Vec<u8>,
    /// How many bytes of the changes are whole records.
    whole: usize,
}

/// A section's body, read on first use.
#[derive(Clone, Debug)]
pub(super) struct Body {
    file: Option<Rc<File>>,
    at: u64,
    len: u64,
    bytes: OnceCell<Rc<Vec<u8>>>,
}

impl Body {
    /// Nothing.
    pub(super) fn empty() -> Body {
        Body { file: None, at: 0, len: 0, bytes: OnceCell::new() }
    }

    pub(super) fn bytes(&self) -> io::Result<Rc<Vec<u8>>> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(Rc::clone(bytes));
        }
        let mut bytes = vec![0; self.len as usize];
        if let Some(file) = &self.file {
            file.read_exact_at(&mut bytes, self.at)?;
        }
        Ok(Rc::clone(self.bytes.get_or_init(|| Rc::new(bytes))))
    }
}

impl Container {
    /// No file: nothing is in any section.
    pub(super) fn read(file: File) -> io::Result<Container> {
        let file = Rc::new(file);
        let mut container =
            Container { file, places: Default::default(), changes_at: 0, changes: Vec::new(), whole: 0 };
        let size = container.file.metadata()?.len();
        if size == 0 {
            return Ok(container);
        }
        let mut header = [0; HEADER];
        container.file.read_exact_at(&mut header, 0).map_err(|_| damaged())?;
        container.read_header(&header)?;
        let rest = size.checked_sub(container.changes_at).ok_or_else(damaged)?;
        let mut changes = vec![0; rest as usize];
        let got = read_at_most(&container.file, &mut changes, container.changes_at)?;
        changes.truncate(got);
        container.whole = whole_records(&changes);
        container.changes = changes;
        Ok(container)
    }

    fn read_header(&mut self, header: &[u8; HEADER]) -> io::Result<()> {
        let (front, sum) = header.split_at(HEADER - 4);
        if Reader(sum).u32()? != crc32fast::hash(front) {
            return Err(damaged());
        }
        let mut reader = Reader(front);
        if reader.take(16)? != MAGIC {
            return Err(damaged());
        }
        self.changes_at = reader.u64()?;
        for place in &mut self.places {
            *place = Place {
                index_at: reader.u64()?,
                index_len: reader.u64()?,
                body_at: reader.u64()?,
                body_len: reader.u64()?,
                index_sum: reader.u64()? as u32,
            };
        }
        Ok(())
    }

    pub(super) fn index(&self, section: Section) -> io::Result<Vec<u8>> {
        let place = self.places[section as usize];
        let mut bytes = vec![0; place.index_len as usize];
        self.file.read_exact_at(&mut bytes, place.index_at)?;
        if place.index_len > 0 && crc32fast::hash(&bytes) != place.index_sum {
            return Err(damaged());
        }
        Ok(bytes)
    }

    pub(super) fn body(&self, section: Section) -> Body {
        let place = self.places[section as usize];
        Body { file: Some(Rc::clone(&self.file)), at: place.body_at, len: place.body_len, bytes: OnceCell::new() }
    }

    /// A section's operations since the base, in order.
    pub(super) fn operations(&self, section: Section) -> io::Result<Vec<&[u8]>> {
        let mut found = Vec::new();
        let mut rest = Reader(self.changes.get(..self.whole).unwrap_or_default());
        while !rest.0.is_empty() {
            let (len, _) = (rest.u32()?, rest.u32()?);
            let mut record = Reader(rest.take(len as usize)?);
            while !record.0.is_empty() {
                let (which, operation) = (record.u8()?, record.bytes()?);
                if which == section as u8 {
                    found.push(operation);
                }
            }
        }
        Ok(found)
    }

    /// Whether these many more bytes of changes should rather be folded into a new base.
    pub(super) fn should_fold(&self, more: usize) -> bool {
        let grown = self.whole as u64 + more as u64;
        self.changes_at == 0 || grown > SMALL.max(self.changes_at / 8)
    }

    /// Appends operations of a section as one record: all of them or none.
    pub(super) fn append(&mut self, section: Section, operations: &[Vec<u8>]) -> io::Result<()> {
        let mut payload = Writer::default();
        for operation in operations {
            payload.u8(section as u8);
            payload.bytes(operation);
        }
        let mut record = Writer::default();
        record.u32(payload.0.len() as u32);
        record.u32(crc32fast::hash(&payload.0));
        record.0.extend_from_slice(&payload.0);
        let end = self.changes_at + self.whole as u64;
        if self.changes.len() > self.whole {
            self.file.set_len(end)?;
        }
        let written = self.file.write_all_at(&record.0, end).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What stands there is no whole record, or one that the command did not report as done.
            let _ = self.file.set_len(end);
        }
        written
    }

    /// Writes a new file with these parts in the place of this one; sections without a new part keep what they have, changes
    /// included.
    pub(super) fn rewrite(&self, path: &Path, parts: &[(Section, Part)]) -> io::Result<()> {
        let mut all: Vec<Part> = Vec::with_capacity(SECTIONS);
        let mut kept = Writer::default();
        for section in Section::ALL {
            if let Some((_, part)) = parts.iter().find(|(s, _)| *s == section) {
                all.push(part.clone());
                continue;
            }
            all.push(Part { index: self.index(section)?, body: self.body(section).bytes()?.to_vec() });
            for operation in self.operations(section)? {
                kept.u8(section as u8);
                kept.bytes(operation);
            }
        }
        let path = fs::canonicalize(path)?;
        let mode = self.file.metadata()?.permissions().mode();
        write_aside(&path, mode, &all, &kept.0)
    }
}

fn read_at_most(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(got)
}

/// How many bytes at the beginning are records that agree with their check sums.
fn whole_records(bytes: &[u8]) -> usize {
    let mut rest = Reader(bytes);
    loop {
        let whole = bytes.len() - rest.0.len();
        let (Ok(len), Ok(sum)) = (rest.u32(), rest.u32()) else { return whole };
        match rest.take(len as usize) {
            Ok(payload) if len > 0 && crc32fast::hash(payload) == sum => {}
            _ => return whole,
        }
    }
}

fn write_aside(path: &Path, mode: u32, parts: &[Part], kept: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let aside = path.with_file_name(name);
    let written = write_all(&aside, mode, parts, kept).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
        return written;
    }
    // The name, too, must be on the disk.
    match path.parent() {
        Some(dir) => File::open(dir).and_then(|dir| dir.sync_all()),
        None => Ok(()),
    }
}

fn write_all(aside: &Path, mode: u32, parts: &[Part], kept: &[u8]) -> io::Result<()> {
    let mut file = File::create(aside)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let mut header = Writer::default();
    let mut at = HEADER as u64;
    let mut places = Writer::default();
    for part in parts {
        places.u64(at);
        places.u64(part.index.len() as u64);
        at += part.index.len() as u64;
        places.u64(at);
        places.u64(part.body.len() as u64);
        at += part.body.len() as u64;
        places.u64(u64::from(crc32fast::hash(&part.index)));
    }
    header.0.extend_from_slice(MAGIC);
    header.u64(at);
    header.0.extend_from_slice(&places.0);
    header.u32(crc32fast::hash(&header.0));
    file.write_all(&header.0)?;
    for part in parts {
        file.write_all(&part.index)?;
        file.write_all(&part.body)?;
    }
    if !kept.is_empty() {
        let mut head = Writer::default();
        head.u32(kept.len() as u32);
        head.u32(crc32fast::hash(kept));
        file.write_all(&head.0)?;
        file.write_all(kept)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("hairpin-container-{}-{name}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        (path, file)
    }

    fn open(path: &Path) -> Container {
        Container::read(File::options().read(true).write(true).open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_record_cut_short_anywhere_is_not_there() {
        let (path, made) = file("cut");
        let part = Part { index: b"index".to_vec(), body: b"body".to_vec() };
        Container::read(made).unwrap().rewrite(&path, &[(Section::Rules6, part)]).unwrap();
        open(&path).append(Section::Rules6, &[b"one".to_vec()]).unwrap();
        let before = fs::read(&path).unwrap();
        open(&path).append(Section::Rules6, &[b"two".to_vec(), b"three".to_vec()]).unwrap();
        let after = fs::read(&path).unwrap();
        assert_eq!(open(&path).operations(Section::Rules6).unwrap(), [b"one".as_slice(), b"two", b"three"]);
        for len in before.len()..after.len() {
            fs::write(&path, &after[..len]).unwrap();
            let mut container = open(&path);
            assert_eq!(container.operations(Section::Rules6).unwrap(), [b"one"], "cut to {len} bytes");
            container.append(Section::Rules6, &[b"new".to_vec()]).unwrap();
            assert_eq!(open(&path).operations(Section::Rules6).unwrap(), [b"one", b"new"]);
        }
        let _ = fs::remove_file(path);
    }

    #[test]
    fn sections_without_a_new_part_keep_theirs() {
        let (path, made) = file("keep");
        let part = |text: &str| Part { index: text.as_bytes().to_vec(), body: text.as_bytes().to_vec() };
        Container::read(made).unwrap().rewrite(&path, &[(Section::Sets, part("sets"))]).unwrap();
        open(&path).append(Section::Sets, &[b"more".to_vec()]).unwrap();
        open(&path).rewrite(&path, &[(Section::Rules4, part("rules"))]).unwrap();
        let container = open(&path);
        assert_eq!(container.index(Section::Sets).unwrap(), b"sets");
        assert_eq!(container.operations(Section::Sets).unwrap(), [b"more"]);
        assert_eq!(*container.body(Section::Rules4).bytes().unwrap(), b"rules");
        let _ = fs::remove_file(path);
    }

    #[test]
    fn other_files_are_refused() {
        let (path, _) = file("other");
        fs::write(&path, "*filter\nCOMMIT\n".repeat(40)).unwrap();
        assert!(Container::read(File::open(&path).unwrap()).is_err());
        let _ = fs::remove_file(path);
    }
}
