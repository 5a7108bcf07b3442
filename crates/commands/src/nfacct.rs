//! `nfacct`: makes, shows and takes out accounting objects, in the words of nfacct 1.0.2.

use crate::{Access, Call, Input, Outcome, State, Wait};
use hairpin_engine::account::{Account, AccountRequest, Quota};
use std::fmt::Write;

const VERSION: &str = "1.0.2";

const HELP: &str = "\
Commands:
  list [reset]\t\tList the accounting object table (and reset)
  add object-name\tAdd new accounting object to table
  delete object-name\tDelete existing accounting object
  get object-name\tGet existing accounting object
  flush\t\t\tFlush accounting object table
  restore\t\tRestore accounting object table reading 'list' output from stdin
  version\t\tDisplay version and disclaimer
  help\t\t\tDisplay this help message
";

/// What the command reads.
pub(crate) fn input(words: &[String]) -> Input {
    if words.first().is_some_and(|word| word == "restore") { Input::Stdin } else { Input::Nothing }
}

/// How a listing looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Xml,
}

pub(crate) fn run(call: &Call<'_>, state: &mut dyn State) -> Outcome {
    let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => return Outcome::failed(1, "Usage: nfacct command [parameters]...\n"),
        ["help", ..] => {
            let text = format!("Usage: nfacct command [parameters]...\n\n{HELP}");
            return Outcome::done(format!("nfacct v{VERSION} (hairpin)\n{text}"));
        }
        ["version", ..] => return Outcome::done(format!("nfacct v{VERSION} (hairpin)\n")),
        ["list", ref options @ ..] => list(state, None, options),
        ["get", name, ref options @ ..] => list(state, Some(cut(name)), options),
        ["add", name, ref quota @ ..] => add(state, name, quota),
        ["delete", name] => change(state, AccountRequest::Delete(cut(name))),
        ["flush"] => change(state, AccountRequest::Flush),
        ["restore"] => restore(state, call.input),
        ["add" | "delete" | "get"] => Err("missing object name".to_owned()),
        ["delete" | "flush" | "restore", ..] => Err("too many arguments".to_owned()),
        [other, ..] => {
            let text = format!("nfacct v{VERSION}: Unknown command: {other}\nUsage: nfacct command [parameters]...\n");
            return Outcome::failed(1, text);
        }
    };
    match done {
        Ok(text) => Outcome::done(text),
        Err(why) => Outcome::failed(1, format!("nfacct v{VERSION}: {why}\n")),
    }
}

/// The tool cuts names at the kernel's length.
fn cut(name: &str) -> String {
    let end = (0..=Account::MAX_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].to_owned()
}

fn ask(state: &mut dyn State, access: Access, request: AccountRequest) -> Result<Vec<Account>, String> {
    state.begin(access).map_err(|why| why.to_string())?;
    let done = state.account(request).map_err(|why| why.to_string())?;
    done.map_err(|why| format!("error: {why}"))
}

fn change(state: &mut dyn State, request: AccountRequest) -> Result<String, String> {
    ask(state, Access::Write(Wait::Forever), request).map(|_| String::new())
}

fn list(state: &mut dyn State, name: Option<String>, options: &[&str]) -> Result<String, String> {
    let (mut reset, mut form) = (false, Form::Plain);
    for option in options {
        match *option {
            "reset" => reset = true,
            "xml" => form = Form::Xml,
            _ => return Err("unknown argument".to_owned()),
        }
    }
    let access = if reset { Access::Write(Wait::Forever) } else { Access::Read };
    let all = ask(state, access, AccountRequest::List { name, reset })?;
    let lines: String = all.iter().map(|account| line(account, form)).collect();
    Ok(match form {
        Form::Plain => lines,
        Form::Xml => format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<nfacct>\n{lines}</nfacct>\n"),
    })
}

/// The objects as `nfacct list` shows them.
pub fn listing<'a>(all: impl Iterator<Item = &'a Account>) -> String {
    all.map(|account| line(account, Form::Plain)).collect()
}

fn line(account: &Account, form: Form) -> String {
    let Account { name, packets, bytes, quota, is_over } = account;
    if form == Form::Xml {
        return format!("<obj><name>{name}</name><pkts>{packets:020}</pkts><bytes>{bytes:020}</bytes></obj>\n");
    }
    let mut line = format!("{{ pkts = {packets:020}, bytes = {bytes:020}");
    if let Some(quota) = quota {
        let (limit, mode) = match quota {
            Quota::Packets(limit) => (limit, "packet"),
            Quota::Bytes(limit) => (limit, "byte"),
        };
        let over = if *is_over { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _ = write!(line, ", quota = {limit:020}, mode = {mode}, overquota = {over}");
    }
    line + &format!(" }} = {name};\n")
}

fn add(state: &mut dyn State, name: &str, quota: &[&str]) -> Result<String, String> {
    let quota = match quota {
        [] => None,
        ["packet" | "byte"] => return Err("missing quota value".to_owned()),
        [mode @ ("packet" | "byte"), limit] => {
            let limit = limit.parse().map_err(|_| format!("{limit}: a number is expected"))?;
            Some(if *mode == "packet" { Quota::Packets(limit) } else { Quota::Bytes(limit) })
        }
        ["packet" | "byte", ..] => return Err("too many arguments".to_owned()),
        _ => return Err("argument must \"byte\" or \"packet\"".to_owned()),
    };
    change(state, AccountRequest::Add(Account::new(&cut(name), quota)))
}

/// The lines of `list`, each an object to make.
fn restore(state: &mut dyn State, input: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(input);
    for line in text.lines() {
        let account = read(line).ok_or("invalid line")?;
        change(state, AccountRequest::Add(account))?;
    }
    Ok(String::new())
}

fn read(line: &str) -> Option<Account> {
    let (values, name) = line.trim().strip_prefix('{')?.strip_suffix(';')?.split_once("} =")?;
    let mut account = Account::new(&cut(name.trim()), None);
    let mut limit = None;
    for value in values.split(',') {
        let (key, value) = value.split_once('=')?;
        match (key.trim(), value.trim()) {
            ("pkts", value) => account.packets = value.parse().ok()?,
            ("bytes", value) => account.bytes = value.parse().ok()?,
            ("quota", value) => limit = Some(value.parse().ok()?),
            ("mode", "packet") => account.quota = Some(Quota::Packets(limit?)),
            ("mode", "byte") => account.quota = Some(Quota::Bytes(limit?)),
            ("overquota", value) => account.is_over = value == "yes",
            _ => return None,
        }
    }
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let plain = "{ pkts = 00000000000000000006, bytes = 00000000000000000288 } = http;\n";
        let over = "{ pkts = 00000000000000000006, bytes = 00000000000000000288, quota = 00000000000000000003, mode = packet, \
                    overquota = yes } = q;\n";
        for text in [plain, over] {
            assert_eq!(line(&read(text).unwrap(), Form::Plain), text);
        }
        for text in ["junk", "{ pkts = x } = a;", "{ mode = byte } = a;"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
