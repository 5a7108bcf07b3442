//! What the gateway says about itself in a second, as `hairpin top` gets it (the form is written at the gateway's side).

/// A line of a table: numbers, and words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Bytes in a second; drops in a second in the table of drops.
    pub(super) rate: u64,
    /// Packets in a second.
    pub(super) packet_rate: u64,
    /// Bytes in all; drops in all in the table of drops.
    pub(super) total: u64,
    /// Packets in all.
    pub(super) packets: u64,
    /// What it is about.
    pub(super) words: Vec<String>,
}

/// A sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    numbers: Vec<(String, u64)>,
    /// Flows, hosts, rules, drops.
    pub(super) tables: [Vec<Line>; 4],
}

/// The letters of the tables in a sample.
const LETTERS: [&str; 4] = ["F", "H", "R", "D"];

impl Sample {
    /// A number of the whole gateway; 0 when it was not told.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.numbers.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split('\t');
        let letter = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        if letter == "N" {
            let Some(name) = words.next() else { return };
            let value = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            self.numbers.push((name.to_owned(), value));
            return;
        }
        let Some(table) = LETTERS.iter().position(|known| *known == letter) else { return };
        let mut line = Line { rate: number(), ..Line::default() };
        if letter == "D" {
            line.total = number();
        } else {
            line.packet_rate = number();
            line.total = number();
            line.packets = number();
        }
        line.words = words.map(str::to_owned).collect();
        self.tables[table].push(line);
    }
}

/// Makes samples of what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Reader {
    rest: Vec<u8>,
    sample: Sample,
}

impl Reader {
    /// Takes a piece; the last sample that is complete with it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Sample> {
        self.rest.extend_from_slice(bytes);
        let mut complete = None;
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end_matches('\n') {
                "." => complete = Some(std::mem::take(&mut self.sample)),
                line => self.sample.add(line),
            }
        }
        complete
    }
}

/// A number with a unit: 1.2M.
pub(super) fn short(number: u64) -> String {
    let units = ["", "k", "M", "G", "T", "P"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        number.to_string()
    } else if value < 9.95 {
        format!("{value:.1}{}", units[unit])
    } else {
        format!("{value:.0}{}", units[unit])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const TEXT: &str = "N\tuptime\t3725\nN\tconnections\t2\nN\tconnections_max\t100\nN\taccounting\t1\n\
        F\t500\t5\t12345678\t900\tudp\t192.168.1.2:1234\t1.1.1.1:53\tANSWERED\n\
        F\t100\t50\t1000\t9000\ttcp\t192.168.1.3:40000\t203.0.113.9:443\tESTABLISHED\n\
        H\t600\t55\t12346678\t9900\t192.168.1.2\t2\n\
        R\t500\t5\t5000\t60\tIPv4\tfilter\tFORWARD\t2\t-i lan0 -j ACCEPT\n\
        D\t3\t77\tdropped by a rule\n.\n";

    #[test]
    fn samples_come_in_pieces() {
        let mut reader = Reader::default();
        let (head, tail) = TEXT.as_bytes().split_at(50);
        assert_eq!(reader.take(head), None);
        let sample = reader.take(tail).unwrap();
        assert_eq!((sample.number("uptime"), sample.number("other")), (3725, 0));
        assert_eq!(sample.tables.each_ref().map(Vec::len), [2, 1, 1, 1]);
        let flow = &sample.tables[0][0];
        assert_eq!((flow.rate, flow.packet_rate, flow.total, flow.packets), (500, 5, 12_345_678, 900));
        assert_eq!(flow.words, ["udp", "192.168.1.2:1234", "1.1.1.1:53", "ANSWERED"]);
        assert_eq!((sample.tables[3][0].rate, sample.tables[3][0].total), (3, 77));
        // Nonsense makes nothing worse.
        assert_eq!(reader.take(b"X\t1\nF\nN\n\xff\xff\n.\n").unwrap().tables[0].len(), 1);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0, 999, 1000, 9949, 9951, 123_456, 999_600, 5_000_000_000].map(short);
        assert_eq!(shown, ["0", "999", "1.0k", "9.9k", "10k", "123k", "1.0M", "5.0G"]);
    }
}
