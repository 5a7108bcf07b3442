//! The snapshot's file: a head, sections with a checksum each, and an end that says that all is there.
//!
//! ```text
//! "hairpin snapshot"   16 bytes      version   4 bytes
//! section: kind 1 byte, length 4 bytes, content, CRC-32 of all three
//! …
//! section END
//! ```
//!
//! It is written aside and renamed, so that a reader finds the old one or the new one, whole.

use crc32fast::Hasher;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the bytes mean. A file of another version is set aside.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 16] = b"hairpin snapshot";

/// No section is longer.
const MAX_SECTION: u32 = 64 << 20;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// When and where it was taken.
    Head = 1,
    /// Some connections.
    Connections = 2,
    /// All expectations.
    Expectations = 3,
    /// What tracking counted.
    Stats = 4,
    /// The rules of a family, with counters.
    Rules = 5,
    /// What extensions remember, by rule.
    Memories = 6,
    /// All sets.
    Sets = 7,
    /// All accounting objects.
    Accounts = 8,
    /// That is all.
    End = 255,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        const ALL: [Kind; 9] = [
            Kind::Head,
            Kind::Connections,
            Kind::Expectations,
            Kind::Stats,
            Kind::Rules,
            Kind::Memories,
            Kind::Sets,
            Kind::Accounts,
            Kind::End,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Why a file is no snapshot that can be used.
#[derive(Debug)]
pub(super) enum Damage {
    Io(io::Error),
    NoSnapshot,
    Version(u32),
    /// At this byte.
    Broken(u64, &'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Io(why) => write!(f, "it cannot be read: {why}"),
            Damage::NoSnapshot => f.write_str("it is no snapshot"),
            Damage::Version(version) => {
                write!(f, "it is of version {version}, and this hairpin reads version {VERSION}")
            }
            Damage::Broken(at, what) => write!(f, "it is damaged at byte {at}: {what}"),
        }
    }
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Damage {
        Damage::Io(error)
    }
}

/// A snapshot being written.
pub(super) struct Writing {
    path: PathBuf,
    aside: PathBuf,
    file: BufWriter<File>,
}

impl Writing {
    /// Beside its place, under its name with a suffix.
    pub(super) fn begin(path: &Path, suffix: &str) -> io::Result<Writing> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        let aside = with_suffix(path, suffix);
        let mut file =
            BufWriter::new(File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?);
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_be_bytes())?;
        Ok(Writing { path: path.to_owned(), aside, file })
    }

    pub(super) fn section(&mut self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).ok().filter(|length| *length <= MAX_SECTION);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a section is too long"))?;
        let mut head = [kind as u8, 0, 0, 0, 0];
        head[1..].copy_from_slice(&length.to_be_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(content)?;
        self.file.write_all(&checksum(&head, content).to_be_bytes())
    }

    /// Puts it in the place of the old one, if that may still be. It is on the disk before that.
    pub(super) fn finish(mut self, may: impl FnOnce() -> bool) -> io::Result<()> {
        self.section(Kind::End, &[])?;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        if may() { fs::rename(&self.aside, &self.path) } else { fs::remove_file(&self.aside) }
    }
}

fn checksum(head: &[u8], content: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(content);
    hasher.finalize()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Reads a snapshot, section by section. None: there is no such file.
pub(super) fn read(path: &Path, mut each: impl FnMut(Kind, &[u8]) -> Option<()>) -> Result<Option<()>, Damage> {
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    read_from(&mut BufReader::new(file), &mut each).map(Some)
}

/// As [`read`], from any bytes.
pub(super) fn read_from(from: &mut impl Read, each: &mut impl FnMut(Kind, &[u8]) -> Option<()>) -> Result<(), Damage> {
    let mut magic = [0; 20];
    from.read_exact(&mut magic).map_err(|_| Damage::NoSnapshot)?;
    let (name, version) = magic.split_at(16);
    if name != MAGIC {
        return Err(Damage::NoSnapshot);
    }
    let version = version.try_into().map_or(0, u32::from_be_bytes);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let mut at = 20;
    loop {
        let cut = |_| Damage::Broken(at, "it is cut short");
        let mut head = [0; 5];
        from.read_exact(&mut head).map_err(cut)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        if length > MAX_SECTION {
            return Err(Damage::Broken(at, "a length that cannot be"));
        }
        let mut content = Vec::new();
        from.take(u64::from(length)).read_to_end(&mut content)?;
        let mut sum = [0; 4];
        from.read_exact(&mut sum).map_err(cut)?;
        if content.len() != length as usize || u32::from_be_bytes(sum) != checksum(&head, &content) {
            return Err(Damage::Broken(at, "the checksum is wrong"));
        }
        match Kind::of(kind) {
            Some(Kind::End) => return Ok(()),
            Some(kind) => each(kind, &content).ok_or(Damage::Broken(at, "a section that makes no sense"))?,
            None => return Err(Damage::Broken(at, "a section of an unknown kind")),
        }
        at += u64::from(length) + 9;
    }
}

/// Moves a file that cannot be used out of the way, and says where.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = with_suffix(path, ".damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(sections: &[(Kind, Vec<u8>)]) -> Vec<u8> {
        let directory = std::env::temp_dir().join(format!("hairpin-snapshot-{}-{:p}", std::process::id(), sections));
        let path = directory.join("state");
        let mut writing = Writing::begin(&path, ".new").unwrap();
        for (kind, content) in sections {
            writing.section(*kind, content).unwrap();
        }
        writing.finish(|| true).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&directory).unwrap();
        bytes
    }

    fn sections(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, Damage> {
        let mut found = Vec::new();
        read_from(&mut &bytes[..], &mut |kind, content| {
            found.push((kind, content.to_vec()));
            Some(())
        })?;
        Ok(found)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sections_come_back_and_damage_is_noticed(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5),
            at in any::<prop::sample::Index>(),
            with in 1u8..,
        ) {
            let all: Vec<(Kind, Vec<u8>)> = contents.into_iter().map(|content| (Kind::Rules, content)).collect();
            let bytes = written(&all);
            prop_assert_eq!(sections(&bytes).unwrap(), all);
            let place = at.index(bytes.len());
            prop_assert!(sections(&bytes[..place]).is_err(), "cut");
            let mut damaged = bytes;
            damaged[place] ^= with;
            prop_assert!(sections(&damaged).is_err(), "one byte is another");
        }

        #[test]
        fn hostile_bytes(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = sections(&noise);
            let _ = sections(&[&MAGIC[..], &VERSION.to_be_bytes(), &noise].concat());
        }
    }
}
