//! Serves `hairpin sysctl`: the host is made anew with the changed settings on the client's thread, and put in place between two batches.

use super::Context;
use hairpin_commands::Outcome;
use hairpin_commands::sysctl::{Did, parse, run};
use hairpin_control::protocol::Request;
use hairpin_engine::Change;
use std::sync::{Arc, PoisonError};

/// Settings made by hand that are remembered for when the host is made anew (a link that goes down and up).
const MAX_SETTINGS: usize = 4096;

pub(super) fn sysctl(context: &Context, request: &Request) -> Outcome {
    let asked = match parse(&request.words) {
        Ok(asked) => asked,
        Err(outcome) => return outcome,
    };
    let loaded = String::from_utf8_lossy(&request.input);
    let _turn = context.turn.lock().unwrap_or_else(PoisonError::into_inner);
    // Somebody else may change the host meanwhile, a device that goes down perhaps: then once more.
    for _ in 0..10 {
        let taken = context.handle.ask(|moment| {
            let state = moment.engine.state();
            (Arc::clone(state.net()), moment.setup.clone(), state.tracker().conns.count())
        });
        let Ok((net, mut setup, connections)) = taken else { break };
        let Did { outcome, set, .. } = run(&asked, &loaded, &net.sysctl, connections);
        if set.is_empty() {
            return outcome;
        }
        for (name, value) in set {
            match setup.sysctls.last_mut() {
                Some((last, old)) if *last == name => *old = value,
                _ => setup.sysctls.push((name, value)),
            }
        }
        if setup.sysctls.len() > MAX_SETTINGS {
            let text = "sysctl: too many settings were made by hand: put them into the host file and send SIGHUP\n";
            return Outcome::failed(1, text);
        }
        let new = match setup.clone().build() {
            Ok(new) => Arc::new(new),
            Err(why) => return Outcome::failed(1, format!("sysctl: {why}\n")),
        };
        let put = context.handle.ask(move |moment| {
            let is_same = Arc::ptr_eq(moment.engine.state().net(), &net);
            if is_same {
                moment.setup.sysctls = setup.sysctls;
                // A change of the host cannot be refused.
                let _ = moment.engine.apply(&moment.now, Change::Net(new));
            }
            // Let go of on the thread that asked.
            (is_same, net)
        });
        match put {
            Ok((true, _)) => return outcome,
            Ok((false, _)) => {}
            Err(_) => break,
        }
    }
    Outcome::failed(1, "sysctl: the gateway has ended, or its host keeps changing; nothing was set\n")
}
