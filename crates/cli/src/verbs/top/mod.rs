//! `hairpin top`.

mod sample;
mod view;

use crate::applet::socket;
use crate::program::{Failure, Verb, say};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use hairpin_control::protocol::{Request, ask_live};
use sample::Reader;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;
use view::View;

/// The verb.
pub const VERB: Verb = Verb {
    name: "top",
    about: "the running gateway's busiest flows, hosts, rules and drops, live",
    help: "\
usage: hairpin top [--once]

The busiest flows, talkers, rules and drops of the gateway at HAIRPIN_SOCKET (or /run/hairpin/control.sock), anew every second. Bytes of
flows are known where connections are counted (net.netfilter.nf_conntrack_acct = 1). Where standard output is no terminal, or with
--once, it is plain text, once.

  1 2 3 4, Tab        flows, talkers, rules, drops
  b, p, t             in the order of bytes or packets in a second, or of bytes in all
  space               pause
  q                   end
",
    run,
};

fn run(words: Vec<OsString>) -> Result<(), Failure> {
    let is_once = match words.as_slice() {
        [] => !std::io::stdout().is_terminal(),
        [word] if word == "--once" => true,
        [word, ..] => {
            return Err(Failure::usage(format!("top: {}? only --once can stand here", word.to_string_lossy())));
        }
    };
    if is_once { once() } else { live() }
}

/// Two samples, so that there are rates.
fn once() -> Result<(), Failure> {
    let (mut reader, mut view) = (Reader::default(), View::default());
    let mut error = Vec::new();
    let asked = ask_live(&socket(), Request::verb("top", &["2".to_owned()]), |_| {}, &mut |is_error, bytes| {
        if is_error {
            error.extend_from_slice(bytes);
        } else if let Some(sample) = reader.take(bytes) {
            view.take(sample);
        }
    });
    match asked.map_err(Failure::input)?.code {
        0 => {
            say(&view.text());
            Ok(())
        }
        code => Err(Failure { code, message: String::from_utf8_lossy(&error).trim_end().to_owned() }),
    }
}

/// What comes from the gateway's thread.
enum News {
    Bytes(Vec<u8>),
    End(Result<(), String>),
}

fn live() -> Result<(), Failure> {
    let (to, news) = channel();
    // It ends with the process.
    std::thread::spawn(move || {
        let asked = ask_live(&socket(), Request::verb("top", &[]), |_| {}, &mut |is_error, bytes| {
            if !is_error {
                let _ = to.send(News::Bytes(bytes.to_vec()));
            }
        });
        let _ = to.send(News::End(asked.map(|_| ())));
    });
    let mut terminal = ratatui::try_init().map_err(|why| Failure::input(format!("top: the terminal: {why}")))?;
    let shown = show(&mut terminal, &news);
    ratatui::restore();
    shown
}

fn show(terminal: &mut ratatui::DefaultTerminal, news: &Receiver<News>) -> Result<(), Failure> {
    let wrong = |why: std::io::Error| Failure::input(format!("top: the terminal: {why}"));
    let (mut reader, mut view) = (Reader::default(), View::default());
    loop {
        loop {
            match news.try_recv() {
                Ok(News::Bytes(bytes)) => reader.take(&bytes).into_iter().for_each(|sample| view.take(sample)),
                Ok(News::End(end)) => return end.map_err(Failure::input),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        terminal.draw(|frame| view.draw(frame)).map_err(wrong)?;
        if event::poll(Duration::from_millis(200)).map_err(wrong)?
            && let Event::Key(key) = event::read().map_err(wrong)?
            && key.kind == KeyEventKind::Press
        {
            let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if is_interrupt || !view.press(key.code) {
                return Ok(());
            }
        }
    }
}
