//! `-m u32`: numbers read from the packet, computed with and compared.

use crate::option::{Opt, Parsed, SyntaxError};
use crate::{Case, Families, Kind, MatchSpec, value};
use hairpin_engine::Look;
use hairpin_engine::rule::{Listing, Match, Place, Refused};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What the list knows of it.
pub static SPEC: MatchSpec = MatchSpec {
    name: "u32",
    aliases: &[],
    families: Families::Both,
    about: "numbers read from the packet",
    kind: Kind::Evaluated,
    options: &[
        Opt::new("u32", &["tests"], "location=values[&&...]; a location is a number, then & << >> or @ and a number")
            .inverts()
            .required(),
    ],
    build,
    cases: &[
        Case::Same("--u32 \"0x0>>0x16&0x3c@0x0=0x5\""),
        Case::Saves("--u32 \"0 >> 22 & 0x3C @ 0 = 5\"", "--u32 \"0x0>>0x16&0x3c@0x0=0x5\""),
        Case::Saves(
            "! --u32 \"4&0xFF=0:5,010&&6&0xFF=17\"",
            "! --u32 \"0x4&0xff=0x0:0x5,0x8&&0x6&0xff=0x11\"",
        ),
        Case::Same("--u32 \"0x0=0x1,0x2,0x3,0x4,0x5,0x6,0x7,0x8,0x9,0xa\""),
        Case::Fails("--u32 \"\"", "abrupt end of input after location specifier"),
        Case::Fails("--u32 \"=1\"", "at char 0: location spec missing"),
        Case::Fails("--u32 \"0=x\"", "at char 2: not a number or out of range"),
        Case::Fails("--u32 \"0=4294967296\"", "not a number or out of range"),
        Case::Fails("--u32 \"0=1:2:3\"", "expected \",\" or \"&&\""),
        Case::Fails("--u32 \"0=1,2,3,4,5,6,7,8,9,10,11\"", "too many \",\"s"),
        Case::Fails("--u32 \"0&1&1&1&1&1&1&1&1&1&1=1\"", "too many operators"),
        Case::Fails("--u32 \"1=1&&1=1&&1=1&&1=1&&1=1&&1=1&&1=1&&1=1&&1=1&&1=1&&1=1\"", "too many \"&&\"s"),
        Case::Fails("", "must be specified"),
    ],
};

#[derive(Debug)]
struct U32 {
    tests: Vec<Test>,
    inverted: bool,
}

#[derive(Debug)]
struct Test {
    start: u32,
    steps: Vec<(Operator, u32)>,
    values: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    And,
    Left,
    Right,
    At,
}

fn build(parsed: &Parsed<'_>) -> Result<Arc<dyn Match>, SyntaxError> {
    let given = parsed.required("u32")?;
    let mut parser = Parser { text: given.value(), rest: given.value() };
    Ok(Arc::new(U32 { tests: parser.tests()?, inverted: given.inverted }))
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn tests(&mut self) -> Result<Vec<Test>, SyntaxError> {
        let mut tests = Vec::new();
        loop {
            let (start, steps) = self.location()?;
            tests.push(Test { start, steps, values: self.values()? });
            if tests.len() > MOST {
                self.eat("&");
                return Err(self.error("too many \"&&\"s"));
            }
            if self.rest.is_empty() {
                return Ok(tests);
            }
            self.eat("&&");
        }
    }

    fn location(&mut self) -> Result<(u32, Vec<(Operator, u32)>), SyntaxError> {
        self.skip_blanks();
        if self.rest.starts_with('=') {
            return Err(self.error("location spec missing"));
        }
        if self.rest.is_empty() {
            return Err(self.abrupt());
        }
        let start = self.number()?;
        let mut steps = Vec::new();
        loop {
            self.skip_blanks();
            if self.rest.is_empty() {
                return Err(self.abrupt());
            }
            if self.eat("=") {
                return Ok((start, steps));
            }
            let Some((_, operator)) = OPERATORS.iter().find(|(text, _)| self.eat(text)) else {
                return Err(self.error("operator expected"));
            };
            let number = self.number()?;
            steps.push((*operator, number));
            if steps.len() == MOST {
                return Err(self.error("too many operators"));
            }
        }
    }

    /// Stops at the end and before `&&`.
    fn values(&mut self) -> Result<Vec<(u32, u32)>, SyntaxError> {
        let mut values = Vec::new();
        self.skip_blanks();
        if self.rest.is_empty() {
            return Err(SyntaxError::parameter("u32: test ended with no value specified").at(self.text));
        }
        loop {
            let from = self.number()?;
            self.skip_blanks();
            let to = if self.eat(":") { self.number()? } else { from };
            if values.len() == MOST {
                return Err(self.error("too many \",\"s"));
            }
            values.push((from, to));
            self.skip_blanks();
            if self.rest.is_empty() || self.rest.starts_with("&&") {
                return Ok(values);
            }
            if !self.eat(",") {
                return Err(self.error("expected \",\" or \"&&\""));
            }
        }
    }

    fn number(&mut self) -> Result<u32, SyntaxError> {
        self.skip_blanks();
        match value::split_number(self.rest).and_then(|(n, rest)| Some((u32::try_from(n).ok()?, rest))) {
            Some((number, rest)) => {
                self.rest = rest;
                Ok(number)
            }
            None => Err(self.error("not a number or out of range")),
        }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn error(&self, what: &str) -> SyntaxError {
        let at = self.text.len() - self.rest.len();
        SyntaxError::parameter(format!("u32: at char {at}: {what}")).at(self.text)
    }

    fn abrupt(&self) -> SyntaxError {
        SyntaxError::parameter("u32: abrupt end of input after location specifier").at(self.text)
    }
}

impl Match for U32 {
    fn name(&self) -> &'static str {
        "u32"
    }

    fn matches(&self, look: &Look<'_>) -> bool {
        let bytes = look.bytes();
        self.tests.iter().all(|test| test.holds(bytes).unwrap_or(false)) != self.inverted
    }

    fn save(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " ! --u32 " } else { " --u32 " })?;
        self.write(f)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, _: &Listing<'_>) -> fmt::Result {
        f.write_str(if self.inverted { " u32 ! " } else { " u32 " })?;
        self.write(f)
    }

    fn check(&self, _place: &Place<'_>) -> Result<(), Refused> {
        let shifts = self.tests.iter().flat_map(|test| &test.steps);
        if shifts.into_iter().any(|(op, n)| matches!(op, Operator::Left | Operator::Right) && *n >= 32) {
            return Err(Refused::Invalid("xt_u32: a shift by 32 bits or more".to_owned()));
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl U32 {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for (n, test) in self.tests.iter().enumerate() {
            write!(f, "{}{:#x}", if n == 0 { "" } else { "&&" }, test.start)?;
            for (operator, number) in &test.steps {
                let text = OPERATORS.iter().find(|(_, o)| o == operator).map_or("", |(text, _)| text);
                write!(f, "{text}{number:#x}")?;
            }
            let mut separator = "=";
            for (from, to) in &test.values {
                write!(f, "{separator}{from:#x}")?;
                separator = ",";
                if from != to {
                    write!(f, ":{to:#x}")?;
                }
            }
        }
        f.write_str("\"")
    }
}

impl Test {
    /// None when it reads outside of the packet.
    fn holds(&self, bytes: &[u8]) -> Option<bool> {
        let mut base: u32 = 0;
        let mut value = read(bytes, base, self.start)?;
        for (operator, number) in &self.steps {
            match operator {
                Operator::And => value &= number,
                Operator::Left => value = value.checked_shl(*number).unwrap_or(0),
                Operator::Right => value = value.checked_shr(*number).unwrap_or(0),
                Operator::At => {
                    base = base.checked_add(value)?;
                    value = read(bytes, base, *number)?;
                }
            }
        }
        Some(self.values.iter().any(|(from, to)| (*from..=*to).contains(&value)))
    }
}

fn read(bytes: &[u8], base: u32, offset: u32) -> Option<u32> {
    let at = usize::try_from(base.checked_add(offset)?).ok()?;
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// Tests, numbers in a location and ranges of values, each (`XT_U32_MAXSIZE`).
const MOST: usize = 10;

const OPERATORS: &[(&str, Operator)] =
    &[("&", Operator::And), ("<<", Operator::Left), (">>", Operator::Right), ("@", Operator::At)];

#[cfg(test)]
mod tests {
    use crate::testing::{No, Yes, check, loads, parse, udp};
    use hairpin_wire::Family;

    #[test]
    fn reads_and_computes() {
        check("-m u32 --u32 \"6&0xff=17\"", udp(1, 2), Yes);
        check("-m u32 --u32 \"6&0xff=1:16,18\"", udp(1, 2), No);
        check("-m u32 --u32 \"6&0xff=17&&0>>22&0x3c@0&0xffff=2\"", udp(1, 2), Yes);
        check("-m u32 --u32 \"12=0x0a000001\"", udp(1, 2), Yes);
        check("-m u32 ! --u32 \"12=0x0a000001\"", udp(1, 2), No);
    }

    /// What is outside of the packet does not fit, and so does when inverted.
    #[test]
    fn outside_of_the_packet() {
        check("-m u32 --u32 \"34=0:0xffffffff\"", udp(1, 2), Yes);
        check("-m u32 --u32 \"35=0:0xffffffff\"", udp(1, 2), No);
        check("-m u32 ! --u32 \"35=0:0xffffffff\"", udp(1, 2), Yes);
        check("-m u32 --u32 \"0@0=0:0xffffffff\"", udp(1, 2), No);
        check("-m u32 --u32 \"4294967295=0:0xffffffff\"", udp(1, 2), No);
    }

    #[test]
    fn what_the_kernel_refuses() {
        assert!(loads(parse(Family::V4, "-m u32 --u32 \"0<<32=1\"").unwrap()).is_err());
        assert!(loads(parse(Family::V4, "-m u32 --u32 \"0<<31=1\"").unwrap()).is_ok());
    }
}
