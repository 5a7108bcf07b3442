//! Classic pcap files with Ethernet link type, whole in memory.

use std::path::Path;

/// A frame and its time in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    pub micros: u64,
    pub data: Vec<u8>,
}

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: u32 = 1;

/// Reads a file of either byte order, with microseconds or nanoseconds. A record cut off by the end is left out.
pub fn read(path: &Path) -> Result<Vec<Stamped>, String> {
    let raw = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&raw).map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes little-endian microseconds, as `tcpdump -w` does on common machines.
pub fn write(path: &Path, frames: &[Stamped]) -> Result<(), String> {
    let mut out = Vec::new();
    out.extend(0xa1b2_c3d4u32.to_le_bytes());
    out.extend([2, 0, 4, 0]);
    out.extend([0; 8]);
    out.extend(262_144u32.to_le_bytes());
    out.extend(ETHERNET.to_le_bytes());
    for f in frames {
        let length = f.data.len() as u32;
        for word in [(f.micros / 1_000_000) as u32, (f.micros % 1_000_000) as u32, length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(&f.data);
    }
    std::fs::write(path, out).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(raw: &[u8]) -> Result<Vec<Stamped>, String> {
    let header = raw.get(..FILE_HEADER).ok_or("not a pcap file")?;
    let (little, per_micro) = match header[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => (true, 1),
        [0xa1, 0xb2, 0xc3, 0xd4] => (false, 1),
        [0x4d, 0x3c, 0xb2, 0xa1] => (true, 1000),
        [0xa1, 0xb2, 0x3c, 0x4d] => (false, 1000),
        _ => return Err("not a classic pcap file".into()),
    };
    let word = |from: &[u8], n: usize| -> u32 {
        let bytes: [u8; 4] = from[n * 4..n * 4 + 4].try_into().unwrap_or_default();
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    if word(header, 5) != ETHERNET {
        return Err("its link type is not Ethernet".into());
    }
    let mut rest = &raw[FILE_HEADER..];
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(RECORD_HEADER) {
        let Some((data, tail)) = tail.split_at_checked(word(head, 2) as usize) else { break };
        let micros = u64::from(word(head, 0)) * 1_000_000 + u64::from(word(head, 1) / per_micro);
        out.push(Stamped { micros, data: data.to_vec() });
        rest = tail;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let path = std::env::temp_dir().join(format!("hairpin-pcap-{}", std::process::id()));
        let frames =
            vec![Stamped { micros: 1_700_000_000_000_003, data: vec![1, 2, 3] }, Stamped { micros: 5, data: vec![] }];
        write(&path, &frames).unwrap();
        assert_eq!(read(&path).unwrap(), frames);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn refuses_what_is_not_ethernet() {
        let mut raw = vec![0xd4, 0xc3, 0xb2, 0xa1];
        raw.extend([0; 16]);
        raw.extend(101u32.to_le_bytes());
        assert!(parse(&raw).unwrap_err().contains("link type"));
        assert!(parse(&raw[..20]).is_err());
        assert!(parse(&[7; 24]).is_err());
    }

    #[test]
    fn nanoseconds_and_big_endian() {
        let mut raw = vec![0xa1, 0xb2, 0x3c, 0x4d];
        raw.extend([0; 16]);
        raw.extend(1u32.to_be_bytes());
        for n in [2u32, 3_000_999, 1, 1] {
            raw.extend(n.to_be_bytes());
        }
        raw.push(9);
        assert_eq!(parse(&raw).unwrap(), vec![Stamped { micros: 2_003_000, data: vec![9] }]);
    }
}
