//! The words of `hairpin trace --live` and `hairpin capture`, which the program reads to complain early and the gateway to do it.

use super::filter::Filter;
use std::time::Duration;

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Their way as text.
    Text,
    /// Their way as a line of JSON each.
    Json,
    /// They are captured as pcapng.
    Pcapng,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What comes out.
    pub form: Form,
    /// Which packets.
    pub filter: Filter,
    /// After so many it ends.
    pub count: u64,
    /// After so long it ends.
    pub time: Duration,
    /// After so many bytes it ends.
    pub bytes: u64,
    /// Packets in a second.
    pub rate: u32,
    /// Bytes kept of each frame.
    pub snap: usize,
}

/// As good as forever.
const LONG: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The longest frame that may be kept: a super-packet and its header.
const MAX_SNAP: u64 = 65_600;

impl Options {
    /// `trace`'s words.
    ///
    /// # Errors
    /// What is wrong with which word.
    pub fn of_trace(words: &[String]) -> Result<Options, String> {
        let form = if words.iter().any(|word| word == "--json") { Form::Json } else { Form::Text };
        let start = Options {
            form,
            filter: Filter::default(),
            count: u64::MAX,
            time: LONG,
            bytes: u64::MAX,
            rate: 100,
            snap: 0,
        };
        start.with(words)
    }

    /// `capture`'s words.
    ///
    /// # Errors
    /// What is wrong with which word.
    pub fn of_capture(words: &[String]) -> Result<Options, String> {
        let start = Options {
            form: Form::Pcapng,
            filter: Filter::default(),
            count: 10_000,
            time: Duration::from_secs(60),
            bytes: 100 << 20,
            rate: 5_000,
            snap: MAX_SNAP as usize,
        };
        start.with(words)
    }

    fn with(mut self, words: &[String]) -> Result<Options, String> {
        let mut expression = Vec::new();
        let mut words = words.iter().flat_map(|word| match word.split_once('=') {
            // --count=5 is --count 5.
            Some((option, value)) if option.starts_with("--") => vec![option, value],
            _ => vec![word.as_str()],
        });
        while let Some(word) = words.next() {
            let mut number = |least: u64, most: u64| -> Result<u64, String> {
                let text = words.next().ok_or_else(|| format!("{word} needs a number behind it"))?;
                let number = text.parse().ok().filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| format!("{word} {text}: a number of {least} to {most} is expected"))
            };
            match word {
                "--count" | "-c" => self.count = number(1, u64::MAX)?,
                "--seconds" => self.time = Duration::from_secs(number(1, LONG.as_secs())?),
                "--rate" => self.rate = number(1, 100_000)? as u32,
                "--bytes" if self.form == Form::Pcapng => self.bytes = number(1, u64::MAX)?,
                "--snap" | "-s" if self.form == Form::Pcapng => self.snap = number(1, MAX_SNAP)? as usize,
                "--json" if self.form == Form::Json => {}
                "--" => expression.extend(words.by_ref()),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                word => expression.push(word),
            }
        }
        self.filter = Filter::parse(&expression.join(" "))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_in_any_order() {
        let options = Options::of_capture(&words("udp --count 5 port 53 --seconds=2 -s 100")).unwrap();
        assert_eq!((options.count, options.time, options.snap), (5, Duration::from_secs(2), 100));
        assert_eq!(options.filter, Filter::parse("udp port 53").unwrap());
        assert_eq!(Options::of_trace(&words("--json tcp")).unwrap().form, Form::Json);
    }

    #[test]
    fn mistakes_name_the_word() {
        let wrong = |text: &str| Options::of_trace(&words(text)).unwrap_err();
        assert_eq!(wrong("--frob"), "there is no option --frob");
        assert_eq!(wrong("--snap 5"), "there is no option --snap");
        assert_eq!(wrong("--count 0"), "--count 0: a number of 1 to 18446744073709551615 is expected");
        assert_eq!(wrong("--count"), "--count needs a number behind it");
        assert!(wrong("port x").contains("`x' is not a port"));
    }
}
