//! `conntrack`: connections listed, searched, changed, removed and watched, with the words and texts of conntrack-tools.

mod filter;
mod form;
mod options;
mod protocols;
pub mod table;
mod values;
mod watch;

pub use form::Happening;
pub use watch::Watch;

use crate::call::{Call, Input, Outcome};
use crate::state::{Failure, State};
use form::Form;
use hairpin_engine::track::{ConnChange, ConnId, ManageError, Record, Tuple, Wanted, Zone};
use hairpin_wire::{Addr, Family};
use hairpin_xt::option::Names;
use options::{Command, Opt, Output, Refusal, Request, Side, Table, wrong};
use protocols::Protocol;
use table::{Connections, Cursor, Handle, Trouble};

/// The conntrack-tools whose words this speaks.
pub const VERSION: &str = "1.4.8";

/// Runs `conntrack`. `-E` never ends and is the caller's: see [`Watch::of`].
pub(crate) fn run(call: &Call<'_>, state: &mut dyn State) -> Outcome {
    let request = match options::parse(call.words, state.names()) {
        Ok(request) => request,
        Err(refusal) => return refuse(&refusal),
    };
    match request.command {
        Command::Help => return Outcome::done(help()),
        Command::Version => return Outcome::done(format!("conntrack v{VERSION} (conntrack-tools)\n")),
        _ => {}
    }
    let mut outcome = Outcome::failed(0, request.warnings.clone());
    let done = if request.command == Command::Load {
        load(call, state, &mut outcome)
    } else {
        act(&request, state, &mut outcome)
    };
    if let Err(refusal) = done {
        let more = refuse(&refusal);
        outcome.stderr.extend(more.stderr);
        outcome.code = more.code;
    }
    outcome
}

/// What `conntrack` reads: the file of `-R`.
pub(crate) fn input(words: &[String]) -> Input {
    let loads = words.iter().position(|word| word == "-R" || word == "--load-file");
    match loads.and_then(|at| words.get(at + 1)).map(String::as_str) {
        Some("-") => Input::Stdin,
        Some(file) => Input::File(file.to_owned()),
        None => Input::Nothing,
    }
}

/// What comes of a file for `-R` that cannot be read.
pub fn no_file(file: &str) -> Outcome {
    refuse(&wrong(format!("Failed to open file {file} for reading")))
}

fn refuse(refusal: &Refusal) -> Outcome {
    let mut outcome = Outcome::failed(refusal.code, refusal.warning.clone());
    outcome.complain(format_args!("conntrack v{VERSION} (conntrack-tools): {}", refusal.text));
    if refusal.code == 2 {
        outcome.complain("Try `conntrack -h' or 'conntrack --help' for more information.");
    }
    outcome
}

/// A refusal that is no fault of the command line.
fn failed(text: impl Into<String>) -> Refusal {
    Refusal { code: 1, ..wrong(text) }
}

/// How the tool says that the kernel, or here the gateway, refuses.
fn trouble(command: Command, trouble: Trouble) -> Refusal {
    let error = match trouble {
        Trouble::Unavailable(text) => return Refusal { code: 1, ..wrong(text) },
        Trouble::Refused(error) => error,
    };
    let creates = matches!(command, Command::Create | Command::Add);
    let finds = matches!(command, Command::Create | Command::Get | Command::Delete);
    let text = match error {
        ManageError::Invalid => "invalid parameters",
        ManageError::Exists if creates => "Such conntrack exists, try -U to update",
        ManageError::NotFound if finds => "such conntrack doesn't exist",
        ManageError::Full if creates || command == Command::Get => "not enough memory",
        ManageError::NotPermitted => "sorry, you must be root or get CAP_NET_ADMIN capability to do this",
        other => other.text(),
    };
    failed(format!("Operation failed: {text}"))
}

fn act(request: &Request, state: &mut dyn State, outcome: &mut Outcome) -> Result<(), Refusal> {
    let command = request.command;
    let (names, conns) = state.connections().map_err(unavailable)?;
    let mut work = Work { request, names, conns, outcome, xml_begun: false };
    let done = match (request.table, command) {
        (Table::Conntrack, Command::List) => work.list(),
        // Connections that are not, or no longer, in the table live as long as a packet's handling.
        (Table::Dying | Table::Unconfirmed, _) => work.summary(0, "flow entries", "shown"),
        (Table::Conntrack, Command::Get) => work.get(),
        (Table::Conntrack, Command::Delete) => work.delete(),
        (Table::Conntrack, Command::Create | Command::Add) => work.create(),
        (Table::Conntrack, Command::Update) => work.update(),
        (Table::Conntrack, Command::Flush) => work.flush(),
        (Table::Conntrack, Command::Count) => work.count(),
        (Table::Conntrack, Command::Stats) => work.stats(),
        (Table::Expect, Command::List) => work.list_expectations(),
        (Table::Expect, Command::Flush) => work.flush_expectations(),
        (Table::Expect, Command::Count) => work.count_expectations(),
        (Table::Expect, Command::Stats) => work.expect_stats(),
        (_, Command::Event) => return Err(failed("Operation failed: there is no running gateway to watch")),
        (Table::Expect, _) => {
            let text =
                "Operation failed: hairpin makes, shows and removes no single expectation; `-F expect' removes all";
            return Err(failed(text));
        }
        (Table::Conntrack, Command::Load | Command::Version | Command::Help) => Ok(()),
    };
    done.map_err(|why| trouble(command, why))
}

fn unavailable(failure: Failure) -> Refusal {
    failed(failure.to_string())
}

/// `-R`: the words of each line.
fn load(call: &Call<'_>, state: &mut dyn State, outcome: &mut Outcome) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(call.input);
    let mut requests = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<String> = line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
        let request = options::parse(&words, state.names())?;
        match request.command {
            Command::Create | Command::Add | Command::Update | Command::Delete | Command::Flush => {
                requests.push(request)
            }
            Command::Help => return Err(wrong("Cannot use command `unknown' with --load-file")),
            _ => return Err(wrong(format!("Cannot use command `{}' with --load-file", words[0]))),
        }
    }
    for request in requests {
        // Only what could not be done is said.
        let mut quiet = Outcome::default();
        act(&request, state, &mut quiet)?;
        outcome.stdout.extend(quiet.stdout);
    }
    Ok(())
}

/// A command at work.
struct Work<'a> {
    request: &'a Request,
    names: &'a dyn Names,
    conns: &'a mut dyn Connections,
    outcome: &'a mut Outcome,
    xml_begun: bool,
}

type Done = Result<(), Trouble>;

impl Work<'_> {
    fn say(&mut self, line: &str) {
        self.outcome.stdout.extend_from_slice(line.as_bytes());
        self.outcome.stdout.push(b'\n');
    }

    fn summary(&mut self, count: usize, what: &str, done: &str) -> Done {
        self.outcome.complain(format_args!("conntrack v{VERSION} (conntrack-tools): {count} {what} have been {done}."));
        Ok(())
    }

    fn form(&mut self, letter: char, uses: u32) -> Result<Form<'static>, Trouble> {
        Ok(Form {
            output: self.request.output,
            by_command: false,
            happening: None,
            letter,
            uses,
            wall: self.conns.wall()?,
            names: &hairpin_xt::option::NoNames,
        })
    }

    fn show(&mut self, form: &Form<'_>, record: &Record) {
        let text = Form { names: self.names, ..*form }.text(record);
        let is_listing = matches!(self.request.command, Command::List);
        if form.output.json && is_listing {
            self.outcome.stdout.extend_from_slice(if self.xml_begun { b",\n" } else { b"[" });
            self.xml_begun = true;
            self.outcome.stdout.extend_from_slice(text.as_bytes());
            return;
        }
        if form.output.xml && matches!(self.request.command, Command::List | Command::Get) && !self.xml_begun {
            self.xml_begun = true;
            self.say("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>");
        }
        self.say(&text);
    }

    /// Goes over the connections that are meant, piece by piece.
    fn each(&mut self, mut visit: impl FnMut(&mut Self, Handle<ConnId>, Record) -> Done) -> Done {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let (found, then) = self.conns.list(from)?;
            for (id, record) in found {
                if self.request.means(&record) {
                    visit(self, id, record)?;
                }
            }
            next = then;
        }
        Ok(())
    }

    fn list(&mut self) -> Done {
        // The kernel refuses to search for no status at all.
        if self.request.status.is_some_and(|status| status.0 == 0) {
            return Err(ManageError::Invalid.into());
        }
        let form = self.form('A', 1)?;
        let mut count = 0;
        let mut shown = Vec::new();
        let zero = self.request.has(Opt::Zero);
        self.each(|work, id, record| {
            work.show(&form, &record);
            count += 1;
            if zero {
                shown.push(id);
            }
            Ok(())
        })?;
        self.end_document("conntrack");
        self.conns.zero(&shown)?;
        self.summary(count, "flow entries", "shown")
    }

    fn end_document(&mut self, name: &str) {
        let Output { xml, json, .. } = self.request.output;
        if json {
            self.say(if self.xml_begun { "]" } else { "[]" });
        } else if xml && self.xml_begun {
            self.say(&format!("</{name}>"));
        }
    }

    fn get(&mut self) -> Done {
        // What is said of the reply only filters; the tool cannot ask by it alone.
        let by = Request { reply: Side::default(), ..self.request.clone() };
        let is_named = by.original.src.is_some() && by.original.dst.is_some();
        let (tuple, _) = tuples(&by).filter(|_| is_named).ok_or(ManageError::Invalid)?;
        let (_, record) = self.conns.find(&tuple, Zone::default())?.ok_or(ManageError::NotFound)?;
        let form = self.form('A', 2)?;
        let fits = self.request.means(&record);
        if fits {
            self.show(&form, &record);
        }
        self.outcome.code = u8::from(!fits);
        self.summary(usize::from(fits), "flow entries", "shown")
    }

    fn delete(&mut self) -> Done {
        let form = self.form('D', 1)?;
        let mut count = 0;
        self.each(|work, id, record| {
            if work.conns.delete(id)? {
                work.show(&form, &record);
                count += 1;
            }
            Ok(())
        })?;
        self.outcome.code = u8::from(count == 0);
        self.summary(count, "flow entries", "deleted")
    }

    fn create(&mut self) -> Done {
        let adds = self.request.command == Command::Add;
        let wanted = wanted(self.request).ok_or(ManageError::Invalid)?;
        match self.conns.create(&wanted) {
            // -A changes what is there.
            Err(Trouble::Refused(ManageError::Exists)) if adds => {
                let (id, record) = self.conns.find(&wanted.tuples[0], wanted.zone)?.ok_or(ManageError::Exists)?;
                let mut changes = ConnChange { timeout: Some(wanted.timeout), ..wanted.changes };
                changes.status = changes.status.map(|status| status.union(record.status));
                self.conns.change(id, &changes)?;
            }
            other => other?,
        }
        self.summary(1, "flow entries", if adds { "added" } else { "created" })
    }

    fn update(&mut self) -> Done {
        let form = self.form('U', 2)?;
        let mut count = 0;
        self.each(|work, id, record| {
            let changes = changes(work.request, &record);
            if is_nothing(&changes, &record) {
                return Ok(());
            }
            match work.conns.change(id, &changes) {
                Ok(after) => {
                    work.show(&form, &after);
                    count += 1;
                    Ok(())
                }
                // It ended meanwhile.
                Err(Trouble::Refused(ManageError::NotFound)) => Ok(()),
                Err(why) => Err(why),
            }
        })?;
        self.outcome.code = u8::from(count == 0);
        self.summary(count, "flow entries", "updated")
    }

    fn flush(&mut self) -> Done {
        self.conns.flush(self.request.family)?;
        self.outcome.complain(format_args!(
            "conntrack v{VERSION} (conntrack-tools): connection tracking table has been emptied."
        ));
        Ok(())
    }

    fn count(&mut self) -> Done {
        let count = self.conns.count()?;
        self.say(&count.to_string());
        Ok(())
    }

    fn stats(&mut self) -> Done {
        for (cpu, s) in self.conns.stats()?.into_iter().enumerate() {
            self.say(&format!(
                "cpu={cpu:<4}\tfound={} invalid={} insert={} insert_failed={} drop={} early_drop={} error={} \
                 search_restart={} clash_resolve={} chaintoolong={} ",
                s.found,
                s.invalid,
                s.insert,
                s.insert_failed,
                s.drop,
                s.early_drop,
                s.error,
                s.search_restart,
                s.clash_resolve,
                s.chaintoolong
            ));
        }
        Ok(())
    }

    fn expect_stats(&mut self) -> Done {
        for (cpu, s) in self.conns.stats()?.into_iter().enumerate() {
            let (new, create, delete) = (s.expect_new, s.expect_create, s.expect_delete);
            self.say(&format!("cpu={cpu:<4}\texpect_new={new} expect_create={create} expect_delete={delete} "));
        }
        Ok(())
    }

    fn list_expectations(&mut self) -> Done {
        let wall = self.conns.wall()?;
        let output = self.request.output;
        let all = self.conns.expectations()?;
        let meant = |family: Family| self.request.family.is_none_or(|wish| wish == family);
        let texts: Vec<String> = all
            .iter()
            .filter(|(_, record)| meant(record.tuple.family))
            .map(|(_, record)| form::expectation(record, output, None, wall))
            .collect();
        if output.json {
            self.say(&format!("[{}]", texts.join(",\n")));
        } else {
            if output.xml && !texts.is_empty() {
                self.xml_begun = true;
                self.say("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>");
            }
            texts.iter().for_each(|text| self.say(text));
            self.end_document("expect");
        }
        self.summary(texts.len(), "expectations", "shown")
    }

    fn flush_expectations(&mut self) -> Done {
        let ids: Vec<_> = self.conns.expectations()?.into_iter().map(|(id, _)| id).collect();
        self.conns.delete_expectations(&ids)?;
        self.outcome
            .complain(format_args!("conntrack v{VERSION} (conntrack-tools): expectation table has been emptied."));
        Ok(())
    }

    fn count_expectations(&mut self) -> Done {
        let count = self.conns.expectations()?.len();
        self.say(&count.to_string());
        Ok(())
    }
}

/// Both tuples of the connection that `-I`, `-A` and `-G` name. A direction of which nothing is said is the other one turned round;
/// one of which something is said must have its ports, and addresses that are missing are zero. None: that is no connection.
fn tuples(request: &Request) -> Option<(Tuple, Tuple)> {
    let family = request.family.unwrap_or(Family::V4);
    let protocol = request.protocol?;
    let is_given = |side: &Side| side.src.is_some() || side.dst.is_some();
    let tuple = |side: &Side| {
        let needs_ids = protocol.has_ports() || protocol.is_icmp();
        let ids = (side.src_id.is_some() || protocol.is_icmp()) && side.dst_id.is_some();
        (ids || !needs_ids).then(|| Tuple {
            src: side.src.unwrap_or(Addr::UNSPECIFIED),
            dst: side.dst.unwrap_or(Addr::UNSPECIFIED),
            src_id: if has_ids(protocol) { side.src_id.unwrap_or(0) } else { 0 },
            dst_id: if has_ids(protocol) { side.dst_id.unwrap_or(0) } else { 0 },
            protocol: protocol.0,
            family,
        })
    };
    match (is_given(&request.original), is_given(&request.reply)) {
        (true, false) => {
            let original = tuple(&request.original)?;
            Some((original, original.invert()?))
        }
        (false, _) => {
            let reply = tuple(&request.reply)?;
            Some((reply.invert()?, reply))
        }
        (true, true) => {
            let original = tuple(&request.original)?;
            let mut reply = request.reply;
            if protocol.is_icmp() {
                let inverse = original.invert()?;
                (reply.src_id, reply.dst_id) = (Some(inverse.src_id), Some(inverse.dst_id));
            }
            Some((original, tuple(&reply)?))
        }
    }
}

fn has_ids(protocol: Protocol) -> bool {
    protocol.has_ports() || protocol.is_icmp() || protocol.0 == hairpin_wire::proto::GRE
}

fn wanted(request: &Request) -> Option<Wanted> {
    let (original, reply) = tuples(request)?;
    let both = request.zone.unwrap_or(0);
    // The tool sends no other ids.
    let has_ports = request.protocol.is_some_and(Protocol::has_ports);
    let [source, destination] = [request.source, request.destination]
        .map(|wish| wish.addr.map(|addr| (addr, wish.ports.filter(|_| has_ports))));
    Some(Wanted {
        tuples: [original, reply],
        zone: Zone { original: request.zones[0].unwrap_or(both), reply: request.zones[1].unwrap_or(both) },
        timeout: request.timeout?,
        source,
        destination,
        helper: None,
        changes: ConnChange {
            timeout: None,
            status: request.status,
            mark: request.mark.map(|(mark, _)| mark),
            state: request.state,
            tags: request.tags,
            labels: (request.labels_added != 0).then_some(request.labels_added),
        },
    })
}

/// What `-U` changes of a connection.
fn changes(request: &Request, record: &Record) -> ConnChange {
    let labels = record.labels.unwrap_or(0);
    let labels = match request.labels_removed {
        Some(0) => Some(request.labels_added),
        Some(removed) => Some(labels & !removed | request.labels_added),
        None => (request.labels_added != 0).then_some(labels | request.labels_added),
    };
    ConnChange {
        timeout: request.timeout,
        status: request.status.map(|status| status.union(record.status)),
        mark: request.mark.map(|(mark, mask)| record.mark & !mask ^ mark),
        state: request.state,
        tags: request.tags,
        labels,
    }
}

/// Whether a connection is so already: then it is left alone and not counted.
fn is_nothing(changes: &ConnChange, record: &Record) -> bool {
    changes.timeout.is_none_or(|secs| u64::from(secs) == record.left.as_secs())
        && changes.status.is_none_or(|status| status == record.status)
        && changes.mark.is_none_or(|mark| mark == record.mark)
        && changes.state.is_none_or(|state| filter::state_number(record) == Some(state))
        && filter::tags(record).iter().zip(changes.tags).all(|(is, wish)| wish.is_none_or(|wish| *is == Some(wish)))
        && changes.labels.is_none_or(|labels| labels == record.labels.unwrap_or(0))
}

fn help() -> String {
    format!(
        "\
Command line interface for the connection tracking system. Version {VERSION}
Usage: conntrack [commands] [options]

Commands:
  -L [table] [options]\t\tList conntrack or expectation table
  -G [table] parameters\t\tGet conntrack or expectation
  -D [table] parameters\t\tDelete conntrack or expectation
  -I [table] parameters\t\tCreate a conntrack or expectation
  -U [table] parameters\t\tUpdate a conntrack
  -E [table] [options]\t\tShow events
  -F [table]\t\t\tFlush table
  -C [table]\t\t\tShow counter
  -S\t\t\t\tShow statistics

Tables: conntrack, expect, dying, unconfirmed

Conntrack parameters and options:
  -n, --src-nat ip\t\t\tsource NAT ip
  -g, --dst-nat ip\t\t\tdestination NAT ip
  -j, --any-nat ip\t\t\tsource or destination NAT ip
  -m, --mark mark\t\t\tSet mark
  -c, --secmark secmark\t\t\tSet selinux secmark
  -e, --event-mask eventmask\t\tEvent mask, eg. NEW,DESTROY
  -z, --zero \t\t\t\tZero counters while listing
  -o, --output type[,...]\t\tOutput format, eg. xml
  -l, --label label[,...]\t\tconntrack labels

Expectation parameters and options:
  --tuple-src ip\tSource address in expect tuple
  --tuple-dst ip\tDestination address in expect tuple

Updating parameters and options:
  --label-add label\tAdd label
  --label-del label\tDelete label

Common parameters and options:
  -s, --src, --orig-src ip\t\tSource address from original direction
  -d, --dst, --orig-dst ip\t\tDestination address from original direction
  -r, --reply-src ip\t\tSource address from reply direction
  -q, --reply-dst ip\t\tDestination address from reply direction
  -p, --protonum proto\t\tLayer 4 Protocol, eg. 'tcp'
  -f, --family proto\t\tLayer 3 Protocol, eg. 'ipv6'
  -t, --timeout timeout\t\tSet timeout
  -u, --status status\t\tSet status, eg. ASSURED
  -w, --zone value\t\tSet conntrack zone
  --orig-zone value\t\tSet zone for original direction
  --reply-zone value\t\tSet zone for reply direction
  -b, --buffer-size\t\tNetlink socket buffer size
  --mask-src ip\t\t\tSource mask address
  --mask-dst ip\t\t\tDestination mask address

"
    )
}
