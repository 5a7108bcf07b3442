//! Words of a line in a rule file, split as iptables-restore splits them.

use hairpin_xt::option::SyntaxError;
use std::borrow::Cow;

/// The longest word in bytes.
pub const MAX_WORD: usize = 1023;
/// The most words of one line; iptables has room for 254 and puts three of its own before them.
pub const MAX_WORDS: usize = 251;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Without quotes and escapes.
    pub text: Cow<'a, str>,
    /// The byte at which it begins in the line, from 0; the quote if it begins with one.
    pub start: usize,
}

impl AsRef<str> for Word<'_> {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// Splits a line, which ends with its line feed if the file has one there.
///
/// Blanks, tabs and line feeds separate words. A double quote opens a part in which blanks count as text and a backslash
/// takes the next character as it is; the closing quote ends the word, so `"a"b` is two words and `a"b"` is one. Outside of
/// quotes a backslash is an ordinary character, and so is a single quote everywhere. A part that is never closed goes on to
/// the end, line feed included.
///
/// # Errors
/// A word longer than [`MAX_WORD`] bytes or more than [`MAX_WORDS`] words.
pub fn split(line: &str) -> Result<Vec<Word<'_>>, SyntaxError> {
    split_within(line, MAX_WORD, MAX_WORDS)
}

/// Splits a rule's text as it was saved, which may be longer than a line of a rule file.
///
/// # Errors
/// None, but for a text that no memory could hold.
pub fn split_saved(text: &str) -> Result<Vec<Word<'_>>, SyntaxError> {
    split_within(text, usize::MAX, usize::MAX)
}

fn split_within(line: &str, max_word: usize, max_words: usize) -> Result<Vec<Word<'_>>, SyntaxError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let Some(blanks) = rest.bytes().position(|b| !is_blank(b)) else { return Ok(words) };
        rest = rest.get(blanks..).unwrap_or_default();
        let start = line.len() - rest.len();
        let (text, after) = first_word(rest);
        if text.len() > max_word {
            return Err(SyntaxError::parameter("Parameter too long!").at(text.get(..20).unwrap_or_default()));
        }
        if words.len() == max_words {
            return Err(SyntaxError::parameter("Parser cannot handle more arguments").at(text));
        }
        // An empty word is one only when it was written as "".
        words.push(Word { text, start });
        rest = after;
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

/// The word at the beginning of `text`, and what follows it. `text` is not empty and does not begin with a blank.
fn first_word(text: &str) -> (Cow<'_, str>, &str) {
    let end = text.bytes().position(|b| is_blank(b) || b == b'"').unwrap_or(text.len());
    let (bare, mut rest) = text.split_at(end);
    if !rest.starts_with('"') {
        return (Cow::Borrowed(bare), rest);
    }
    let mut word = bare.to_owned();
    rest = &rest[1..];
    loop {
        let end = rest.find(['"', '\\']).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(end);
        word.push_str(plain);
        if let Some(after) = after.strip_prefix('\\') {
            let mut chars = after.chars();
            word.extend(chars.next());
            rest = chars.as_str();
        } else {
            return (Cow::Owned(word), after.strip_prefix('"').unwrap_or(after));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|w| w.text.into_owned()).collect()
    }

    #[test]
    fn words_are_split_like_iptables_restore() {
        assert_eq!(texts("-A INPUT\t-j  ACCEPT\n"), ["-A", "INPUT", "-j", "ACCEPT"]);
        assert_eq!(texts("a \"b c\" d"), ["a", "b c", "d"]);
        assert_eq!(texts(r#""a\"b\\c\'d" e"#), [r#"a"b\c'd"#, "e"]);
        assert_eq!(texts(r#""a"b"#), ["a", "b"]);
        assert_eq!(texts(r#"a"b c""#), ["ab c"]);
        assert_eq!(texts(r"a\ b"), [r"a\", "b"]);
        assert_eq!(texts("\"\" x"), ["", "x"]);
        assert_eq!(texts("\"open\n"), ["open\n"]);
        assert_eq!(texts("it's"), ["it's"]);
        assert_eq!(texts(" \t\n"), [""; 0]);
        assert_eq!(texts("\"end\\"), ["end"]);
    }

    #[test]
    fn starts_are_bytes() {
        let starts: Vec<usize> = split("ä \"b\" c").unwrap().iter().map(|w| w.start).collect();
        assert_eq!(starts, [0, 3, 7]);
    }

    #[test]
    fn limits_hold() {
        assert!(split(&"x".repeat(MAX_WORD)).is_ok());
        assert!(split(&"x".repeat(MAX_WORD + 1)).is_err());
        assert!(split(&"x ".repeat(MAX_WORDS)).is_ok());
        assert!(split(&"x ".repeat(MAX_WORDS + 1)).is_err());
    }
}
