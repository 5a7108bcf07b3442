//! What was seen, said at once and held against what the kernel did, whoever of them comes first.

use super::stage::Router;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

/// Where all stages say what they see.
#[derive(Default)]
pub(crate) struct Board(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// By name of the check, what each router made of it.
    checks: BTreeMap<String, Vec<(Router, String)>>,
    bad: Vec<String>,
}

impl Seen {
    fn say(text: &str) {
        // Somebody who does not listen any more is no reason to stop.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    fn bad(&mut self, text: String) {
        Seen::say(&text);
        self.bad.push(text);
    }
}

impl Board {
    /// What becomes of the checks of one router.
    pub(crate) fn of(&self, router: Router) -> Teller<'_> {
        Teller { board: self, router }
    }

    /// What is not as it should be.
    pub(crate) fn bad(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).bad
    }

    fn with(&self, work: impl FnOnce(&mut Seen)) {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

/// One router's part of the board.
#[derive(Clone, Copy)]
pub(crate) struct Teller<'a> {
    board: &'a Board,
    router: Router,
}

impl Teller<'_> {
    /// An outcome is the same text whoever routes, or begins with `failed`.
    pub(crate) fn check(&self, name: impl Into<String>, outcome: impl Into<String>) {
        let (name, outcome, router) = (name.into(), outcome.into(), self.router);
        self.board.with(|seen| {
            let line = |router: Router, outcome: &str| format!("{:7} {name:46} {outcome}", router.name());
            let all = seen.checks.entry(name.clone()).or_default();
            let mut differing = Vec::new();
            for (other, before) in all.iter().filter(|(_, before)| *before != outcome) {
                if *other == Router::Kernel {
                    differing.push(format!("{}   DIFFERS from {before}", line(router, &outcome)));
                } else if router == Router::Kernel {
                    differing.push(format!("{}   DIFFERS from {outcome}", line(*other, before)));
                }
            }
            all.push((router, outcome.clone()));
            if router == Router::Kernel || differing.is_empty() {
                match outcome.starts_with("failed") {
                    true => seen.bad(line(router, &outcome)),
                    false => Seen::say(&line(router, &outcome)),
                }
            }
            // What had failed is on the list already.
            differing.into_iter().for_each(|text| seen.bad(text));
        });
    }

    /// Of a fault.
    pub(crate) fn fault(&self, name: &str, outcome: Result<String, String>) {
        let begin = format!("{:7} fault: {name:46}", self.router.name());
        self.board.with(|seen| match outcome {
            Ok(text) => Seen::say(&format!("{begin} {text}")),
            Err(why) => seen.bad(format!("{begin} {why}   FAILED")),
        });
    }

    /// The whole stage could not be.
    pub(crate) fn none(&self, why: &str) {
        self.board.with(|seen| seen.bad(format!("{:7} {why}", self.router.name())));
    }

    /// Something that is neither good nor bad.
    pub(crate) fn note(&self, text: &str) {
        self.board.with(|_| Seen::say(&format!("{:7} {text}", self.router.name())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_differs_from_the_kernel_is_found_in_either_order() {
        let board = Board::default();
        board.of(Router::Packet).check("early", "1");
        board.of(Router::Kernel).check("early", "2");
        board.of(Router::Xdp).check("early", "2");
        board.of(Router::Kernel).check("late", "1");
        board.of(Router::Tap).check("late", "2");
        board.of(Router::Tun).check("alone", "1");
        board.of(Router::Tun).check("broken", "failed: so");
        board.of(Router::Tun).fault("flood", Err("lost".to_owned()));
        let squeeze = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            board.bad().iter().map(squeeze).collect::<Vec<_>>(),
            [
                "packet early 1 DIFFERS from 2",
                "tap late 2 DIFFERS from 1",
                "tun broken failed: so",
                "tun fault: flood lost FAILED"
            ]
        );
    }
}
