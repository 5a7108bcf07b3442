//! `-m time`: dates, times of day and weekdays. Times are UTC, as in a kernel whose time zone was never set.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "time",
    aliases: &[],
    families: Families::Both,
    about: "dates, times of day and weekdays",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("datestart", &["YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"], "from this date on"),
        Opt::new("datestop", &["YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"], "up to this date"),
        Opt::new("timestart", &["hh:mm[:ss]"], "from this time of day on"),
        Opt::new("timestop", &["hh:mm[:ss]"], "up to this time of day"),
        Opt::switch("contiguous", "what lies after midnight belongs to the day before"),
        Opt::new("weekdays", &["day[,day...]"], "Mon, Tue, Wed, Thu, Fri, Sat, Sun or 1 to 7").inverts(),
        Opt::new("monthdays", &["day[,day...]"], "1 to 31").inverts(),
        Opt::switch("localtz", "the old name of --kerneltz").excludes(&["utc"]).notice(
            "WARNING: --localtz is being replaced by --kerneltz, since \"local\" is ambiguous. Note the kernel timezone has \
             caveats - see manpage for details.",
        ),
        Opt::switch("utc", "times are UTC; they always are").excludes(&["localtz", "kerneltz"]),
        Opt::switch("kerneltz", "times are in the kernel's time zone, which is UTC here").excludes(&["utc"]),
    ],
    build,
    cases: &[
        Case::Saves("", "--datestop 2038-01-19T03:14:07"),
        Case::Same(
            "--timestart 01:02:03 --timestop 04:05:06 --monthdays 1,2,3 --weekdays Mon,Fri,Sun \
             --datestart 2001-02-03T04:05:06 --datestop 2012-09-08T09:06:05 --kerneltz",
        ),
        Case::Saves("--timestart 8:00", "--timestart 08:00:00 --timestop 23:59:59 --datestop 2038-01-19T03:14:07"),
        Case::Saves("! --weekdays Sat,7", "--weekdays Mon,Tue,Wed,Thu,Fri --datestop 2038-01-19T03:14:07"),
        Case::Saves("--datestart 2020-02", "--datestart 2020-02-01T00:00:00 --datestop 2038-01-19T03:14:07"),
        Case::Saves(
            "--timestart 22:00 --timestop 6:00 --contiguous --utc",
            "--timestart 22:00:00 --timestop 06:00:00 --datestop 2038-01-19T03:14:07 --contiguous",
        ),
        Case::Fails("--timestart 24:00", "invalid time \"24:00\" specified"),
        Case::Fails("--weekdays foo", "foo is not a valid day specifier"),
        Case::Fails("--weekdays 0", "No, the week does NOT begin with Sunday."),
        Case::Fails("--monthdays 32", "32 is not a valid day for --monthdays"),
        Case::Fails("--datestart 2039", "Invalid date \"2039\" specified."),
        Case::Fails("--contiguous", "--contiguous only makes sense when stoptime is smaller than starttime"),
        Case::Fails("--utc --kerneltz", "cannot be used together"),
    ],
};

#[derive(Debug)]
struct Time {
    /// Seconds since 1970.
    date_start: u32,
    date_stop: u32,
    /// Seconds since midnight.
    day_start: u32,
    day_stop: u32,
    /// Bits 1 to 7, Monday first.
    weekdays: u8,
    /// Bits 1 to 31.
    monthdays: u32,
    contiguous: bool,
    kernel_zone: bool,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = |name: &str| parsed.get(name).map(|given| (given.value(), given.inverted));
    let date = |name: &str, default| given(name).map_or(Ok(default), |(text, _)| parse_date(text));
    let time = |name: &str, default| given(name).map_or(Ok(default), |(text, _)| parse_time(text));
    let time = Time {
        date_start: date("datestart", 0)?,
        date_stop: date("datestop", NO_STOP)?,
        day_start: time("timestart", 0)?,
        day_stop: time("timestop", LAST_SECOND)?,
        weekdays: match given("weekdays") {
            Some((text, inverted)) => parse_weekdays(text)? ^ if inverted { ALL_WEEKDAYS } else { 0 },
            None => ALL_WEEKDAYS,
        },
        monthdays: match given("monthdays") {
            Some((text, inverted)) => parse_monthdays(text)? ^ if inverted { ALL_MONTHDAYS } else { 0 },
            None => ALL_MONTHDAYS,
        },
        contiguous: parsed.has("contiguous"),
        kernel_zone: parsed.has("kerneltz") || parsed.has("localtz"),
    };
    if time.contiguous && time.day_start < time.day_stop {
        let message = "time: --contiguous only makes sense when stoptime is smaller than starttime";
        return Err(SyntaxError::parameter(message));
    }
    Ok(Arc::new(time))
}

/// A date without time zone as seconds since 1970; only its front part may be given.
fn parse_date(text: &str) -> Result<u32, SyntaxError> {
    let bad = || {
        let message = format!("Invalid date \"{text}\" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]");
        SyntaxError::parameter(message).at(text)
    };
    // What follows each field, and the largest value of it.
    const FIELDS: [(Option<char>, u32); 6] =
        [(Some('-'), 2038), (Some('-'), 12), (Some('T'), 31), (Some(':'), 23), (Some(':'), 59), (None, 59)];
    let mut fields = [1970, 1, 1, 0, 0, 0];
    let mut rest = text;
    for (place, (separator, most)) in fields.iter_mut().zip(FIELDS) {
        let (number, after) = leading_number(rest);
        *place = number.filter(|n| *n <= most).ok_or_else(bad)?;
        if after.is_empty() {
            rest = "";
            break;
        }
        rest = separator.and_then(|c| after.strip_prefix(c)).ok_or_else(bad)?;
        if rest.is_empty() {
            break;
        }
    }
    let [year, month, day, hour, minute, second] = fields;
    if year < 1970 || !rest.is_empty() {
        return Err(bad());
    }
    // A month or day of 0 is the one before the first, as mktime has it.
    let days = days_before(i64::from(year), i64::from(month)) + i64::from(day) - 1;
    let seconds = days * 86400 + i64::from(hour * 3600 + minute * 60 + second);
    u32::try_from(seconds).map_err(|_| SyntaxError::other("mktime returned an error"))
}

/// Days from 1970-01-01 to the first of a month, in the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let months = year * 12 + month - 3;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 - 719_468
}

/// The day of the month, 1 to 31, of a day since 1970-01-01.
fn month_day(days: i64) -> u32 {
    let days = days + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    (day_of_year - (153 * month + 2) / 5 + 1) as u32
}

/// A time of day as seconds since midnight.
fn parse_time(text: &str) -> Result<u32, SyntaxError> {
    let bad = |rest: &str| {
        let message =
            format!("invalid time \"{rest}\" specified, should be hh:mm[:ss] format and within the boundaries");
        SyntaxError::parameter(message).at(text)
    };
    let field = |rest: &str, most| leading_number(rest).0.filter(|n| *n <= most).ok_or_else(|| bad(rest));
    let hours = field(text, 23)?;
    let rest = leading_number(text).1.strip_prefix(':').ok_or_else(|| bad(text))?;
    let minutes = field(rest, 59)?;
    let seconds = match leading_number(rest).1 {
        "" => 0,
        after => {
            let rest = after.strip_prefix(':').ok_or_else(|| bad(rest))?;
            match leading_number(rest) {
                (_, "") => field(rest, 59)?,
                _ => return Err(bad(rest)),
            }
        }
    };
    Ok(hours * 3600 + minutes * 60 + seconds)
}

/// As `strtoul` reads a decimal number: the digits at the beginning, 0 when there are none.
fn leading_number(text: &str) -> (Option<u32>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (if digits.is_empty() { Some(0) } else { digits.parse().ok() }, rest)
}

fn parse_weekdays(text: &str) -> Result<u8, SyntaxError> {
    // Of the number the lowest five bits count, as the processor has it.
    let bit = |day: u64| (1u32 << (day & 31)) as u8;
    let mut days = 0;
    for word in list(text) {
        // Only the first three characters of a word are looked at, and two of a name.
        let word: String = word.chars().take(3).collect();
        match (value::parse_number(&word), word.as_str()) {
            (Some(0), _) | (_, "") => {
                return Err(SyntaxError::parameter("No, the week does NOT begin with Sunday.").at(word));
            }
            (Some(day), _) => days |= bit(day),
            // A negative number is one of those that end with its lowest bits.
            (None, name) if name.strip_prefix('-').is_some_and(|n| value::parse_number(n).is_some()) => {
                days |= bit(name.strip_prefix('-').and_then(value::parse_number).unwrap_or(0).wrapping_neg());
            }
            (None, name) => {
                let same = |day: &&str| day.get(..2) == name.get(..2) && name.len() >= 2;
                match WEEKDAYS.iter().position(same) {
                    Some(at) => days |= 2 << at,
                    None => {
                        let message = format!("{name} is not a valid day specifier");
                        return Err(SyntaxError::parameter(message).at(name));
                    }
                }
            }
        }
    }
    Ok(days)
}

fn parse_monthdays(text: &str) -> Result<u32, SyntaxError> {
    list(text).try_fold(0, |days, word| {
        let word: String = word.chars().take(2).collect();
        let day = if word.is_empty() { Some(0) } else { value::number_within(&word, 0, 31) };
        match day {
            Some(day) => Ok(days | 1 << day),
            None => Err(SyntaxError::parameter(format!("{word} is not a valid day for --monthdays")).at(word)),
        }
    })
}

/// The words between commas; a comma at the end begins none.
fn list(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix(',').unwrap_or(text);
    text.split(',').filter(move |_| !text.is_empty())
}

impl Match for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let now = look.now().wall.secs();
        if now < u64::from(self.date_start) || now > u64::from(self.date_stop) {
            return false;
        }
        let second = (now % 86400) as u32;
        let mut days = (now / 86400) as i64;
        if self.day_start < self.day_stop {
            if second < self.day_start || second > self.day_stop {
                return false;
            }
        } else {
            if second < self.day_start && second > self.day_stop {
                return false;
            }
            if self.contiguous && second <= self.day_stop {
                days -= 1;
            }
        }
        // The first of January 1970 was a Thursday.
        let weekday = (days + 3).rem_euclid(7) + 1;
        self.weekdays & 1 << weekday != 0
            && (self.monthdays == ALL_MONTHDAYS || self.monthdays & 1 << month_day(days) != 0)
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.day_start, self.day_stop) != (0, LAST_SECOND) {
            for (name, time) in [("timestart", self.day_start), ("timestop", self.day_stop)] {
                write!(f, " --{name} {:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60)?;
            }
        }
        if self.monthdays != ALL_MONTHDAYS {
            f.write_str(" --monthdays ")?;
            self.write_monthdays(f, |_| "")?;
        }
        if self.weekdays != ALL_WEEKDAYS {
            f.write_str(" --weekdays ")?;
            self.write_weekdays(f)?;
        }
        write_date(f, " --datestart ", self.date_start, 'T')?;
        write_date(f, " --datestop ", self.date_stop, 'T')?;
        if self.kernel_zone {
            f.write_str(" --kerneltz")?;
        }
        f.write_str(if self.contiguous { " --contiguous" } else { "" })
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(" TIME")?;
        if (self.day_start, self.day_stop) != (0, LAST_SECOND) {
            for (word, time) in [("from", self.day_start), ("to", self.day_stop)] {
                write!(f, " {word} {:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60)?;
            }
        }
        if self.weekdays != ALL_WEEKDAYS {
            f.write_str(" on ")?;
            self.write_weekdays(f)?;
        }
        if self.monthdays != ALL_MONTHDAYS {
            f.write_str(" on ")?;
            self.write_monthdays(f, ordinal)?;
        }
        write_date(f, " starting from ", self.date_start, ' ')?;
        if self.date_stop != NO_STOP {
            write_date(f, " until date ", self.date_stop, ' ')?;
        }
        f.write_str(if self.kernel_zone { "" } else { " UTC" })?;
        f.write_str(if self.contiguous { " contiguous" } else { "" })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Time {
    fn write_weekdays(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = WEEKDAYS.iter().enumerate().filter(|(at, _)| self.weekdays & 2 << at != 0);
        set.enumerate().try_for_each(|(n, (_, day))| write!(f, "{}{day}", if n == 0 { "" } else { "," }))
    }

    /// Each with an ending.
    fn write_monthdays(&self, f: &mut fmt::Formatter<'_>, ending: impl Fn(u32) -> &'static str) -> fmt::Result {
        let set = (1..=31).filter(|day| self.monthdays & 1 << day != 0);
        set.enumerate().try_for_each(|(n, day)| write!(f, "{}{day}{}", if n == 0 { "" } else { "," }, ending(day)))
    }
}

/// The ending of an ordinal number, as the front end has it: 11st, 12nd, 13rd.
fn ordinal(day: u32) -> &'static str {
    match day % 10 {
        1 => "st",
        2 => "nd",
        3 => "rd",
        _ => "th",
    }
}

/// Nothing for 1970-01-01T00:00:00, the default of the start. The default of the stop is written out, as iptables does.
fn write_date(f: &mut fmt::Formatter<'_>, before: &str, date: u32, between: char) -> fmt::Result {
    if date == 0 {
        return Ok(());
    }
    let days = i64::from(date / 86400);
    let mut month = (days / 31).min(12 * 137);
    while days_before(1970, 1 + month + 1) <= days {
        month += 1;
    }
    let (year, month) = (1970 + month / 12, month % 12 + 1);
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (date / 3600 % 24, date / 60 % 60, date % 60);
    write!(f, "{before}{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}")
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ALL_WEEKDAYS: u8 = 0xfe;
const ALL_MONTHDAYS: u32 = 0xffff_fffe;
const LAST_SECOND: u32 = 86399;
const NO_STOP: u32 = i32::MAX as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, No, Yes, check_in, probe, udp};
    use hairpin_engine::Wall;

    fn at(date: &str, rule: &str, expected: Answer) {
        let mut probe = probe(udp(1, 2));
        probe.now.wall = Wall(u64::from(parse_date(date).unwrap()) * 1_000_000_000);
        check_in(&mut probe, &format!("-m time {rule}"), expected);
    }

    #[test]
    fn calendar() {
        assert_eq!(parse_date("1970").unwrap(), 0);
        assert_eq!(parse_date("2000-03-01").unwrap(), 951_868_800);
        assert_eq!(parse_date("2024-02-29T12:34:56").unwrap(), 1_709_210_096);
        assert_eq!(parse_date("2038-01-19T03:14:07").unwrap(), NO_STOP);
        for (date, day) in [("1970-01-01", 1), ("2024-02-29", 29), ("2023-03-01", 1), ("2000-12-31", 31)] {
            assert_eq!(month_day(i64::from(parse_date(date).unwrap()) / 86400), day, "{date}");
        }
    }

    #[test]
    fn times_of_day() {
        at("2024-05-15T07:59:59", "--timestart 8:00 --timestop 17:00", No);
        at("2024-05-15T08:00:00", "--timestart 8:00 --timestop 17:00", Yes);
        at("2024-05-15T17:00:00", "--timestart 8:00 --timestop 17:00", Yes);
        at("2024-05-15T17:00:01", "--timestart 8:00 --timestop 17:00", No);
        at("2024-05-15T23:30:00", "--timestart 22:00 --timestop 6:00", Yes);
        at("2024-05-15T06:00:01", "--timestart 22:00 --timestop 6:00", No);
    }

    #[test]
    fn days() {
        // A Wednesday.
        at("2024-05-15", "--weekdays Wed", Yes);
        at("2024-05-15", "! --weekdays 3", No);
        at("2024-05-19", "--weekdays Sun", Yes);
        at("2024-05-15", "--monthdays 14,15", Yes);
        at("2024-05-15", "! --monthdays 15", No);
        at("2024-05-15", "--datestart 2024-05-15 --datestop 2024-05-15", Yes);
        at("2024-05-15T00:00:01", "--datestop 2024-05-15", No);
        // After midnight it is Thursday, unless the night is one.
        at("2024-05-16T01:00:00", "--timestart 22:00 --timestop 6:00 --weekdays Wed", No);
        at("2024-05-16T01:00:00", "--timestart 22:00 --timestop 6:00 --weekdays Wed --contiguous", Yes);
    }
}
