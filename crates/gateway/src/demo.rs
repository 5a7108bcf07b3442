//! A first minute with real packets and without root: a home network, a router and a stranger's network, each in a network namespace
//! of this process, with the gateway between them and real sockets that talk through it. Namespaces and devices belong to the process
//! and go with it, however it ends.

use crate::host_file::{self, HostFileError};
use crate::rules::{self, RulesError};
use crate::{Gateway, GatewayError, Handle, names};
use hairpin_datapath::netlink;
use hairpin_datapath::sys::{self, Signals};
use hairpin_engine::rule::Ruleset;
use hairpin_engine::track::text;
use hairpin_ruleset::save::{SaveOptions, save};
use hairpin_wire::Family;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

const LAPTOP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 1, 11), Ipv4Addr::new(192, 168, 1, 12)];
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The router's rules, as iptables-save prints them.
pub const RULES: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.168.1.11:80
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 80 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 192.168.1.11:80
-A PREROUTING -d 203.0.113.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.168.1.12:80
-A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.0/24 -p tcp -m tcp --dport 80 -j MASQUERADE
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lan0 -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -i lan0 -o wan0 -j ACCEPT
COMMIT
";

/// Why there is no demonstration.
#[derive(Debug)]
pub enum DemoError {
    /// The system forbids what is needed; which setting, and what to do.
    Forbidden(String),
    /// The gateway.
    Gateway(GatewayError),
    /// A step of the story did not go as it should.
    Story(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Forbidden(text) | DemoError::Story(text) => f.write_str(text),
            DemoError::Gateway(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DemoError {}

impl From<GatewayError> for DemoError {
    fn from(error: GatewayError) -> DemoError {
        DemoError::Gateway(error)
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> DemoError {
        DemoError::Gateway(GatewayError::System(error))
    }
}

impl From<HostFileError> for DemoError {
    fn from(error: HostFileError) -> DemoError {
        DemoError::Gateway(GatewayError::HostFile(error))
    }
}

impl From<RulesError> for DemoError {
    fn from(error: RulesError) -> DemoError {
        DemoError::Gateway(GatewayError::Rules(error))
    }
}

/// Tells the story, or runs a command inside the home network instead (its exit code comes back). Must be called while the process has
/// one thread.
pub fn run(command: Vec<OsString>, say: fn(&str)) -> Result<u8, DemoError> {
    sys::enter_own_namespaces().map_err(|error| forbidden(&error))?;
    // Before threads are made, which inherit that Ctrl-C is held back.
    let _held = Signals::catch()?;
    let home = Place::new()?;
    let outside = Place::new()?;
    let by_tap = sys::may_use_tun();
    if !by_tap {
        for (place, here, there) in [(&home, "lan0", "home0"), (&outside, "wan0", "net0")] {
            netlink::create_veth(here, there, &place.netns)?;
            sys::set_up(here)?;
        }
    }
    let places =
        [(&home, "home0", vec![LAPTOP, SERVERS[0], SERVERS[1]], INSIDE), (&outside, "net0", vec![STRANGER], PUBLIC)];
    let settle_all = |by_tap: bool| {
        places.iter().zip(["lan0", "wan0"]).try_for_each(|((place, veth, addrs, router), tap)| {
            let (device, addrs, router) = (if by_tap { tap } else { *veth }, addrs.clone(), *router);
            place.run(move || settle(device, &addrs, router))
        })
    };
    if !by_tap {
        settle_all(false)?;
    }
    let file = host_file::load_text("the demo's host file", &host_text(by_tap, &home.path, &outside.path))?;
    let rules = rules::parse("the demo's rules", RULES.as_bytes(), Family::V4)?;
    let mut gateway = Gateway::with_rules(file, rules.rules)?;
    gateway.ignores_interrupt = !command.is_empty();
    // TAP devices are there since the gateway opened them.
    if by_tap {
        settle_all(true)?;
    }
    for (place, name, addr) in [
        (&home, "server A", SERVERS[0]),
        (&home, "server B", SERVERS[1]),
        (&outside, "the stranger's server", STRANGER),
    ] {
        place.run(move || serve(name, addr))?;
    }
    let handle = gateway.handle();
    let (start, started) = channel();
    let story = thread::spawn(move || {
        // Only when it forwards; it may also have failed before.
        if started.recv().is_err() {
            return Ok(1);
        }
        let told = match command.is_empty() {
            true => tell(&home, &outside, &handle, by_tap, say),
            false => run_inside(&home, command),
        };
        let _ = handle.ask(|moment| *moment.end = true);
        told
    });
    gateway.run(move || {
        let _ = start.send(());
    })?;
    if gateway.was_told_to_end() {
        return story.join().unwrap_or_else(|_| Err(DemoError::Story("the story broke off".to_owned())));
    }
    // Ctrl-C: whoever still talks goes with the process.
    Ok(130)
}

fn host_text(by_tap: bool, home: &str, outside: &str) -> String {
    let datapath = |netns: &str| match by_tap {
        true => format!("datapath = \"tap\"\nnetns = \"{netns}\""),
        false => "datapath = \"packet\"".to_owned(),
    };
    format!(
        "[sysctl]\n\"net.ipv4.ip_forward\" = 1\n\
         [[interface]]\nname = \"lan0\"\n{}\naddresses = [\"{INSIDE}/24\"]\n\
         [[interface]]\nname = \"wan0\"\n{}\naddresses = [\"{PUBLIC}/24\"]\n",
        datapath(home),
        datapath(outside)
    )
}

/// Which setting forbids namespaces, and what to do about it.
fn forbidden(error: &io::Error) -> DemoError {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|s| s.trim().to_owned());
    let settings = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ];
    let found = settings.into_iter().find(|(name, value, _)| setting(name).as_deref() == Some(value));
    let advice = match found {
        Some((name, value, remedy)) => format!(
            "{} is {value}: `sudo sysctl -w {remedy}' allows it, or run the demo with sudo",
            name.replace('/', ".")
        ),
        None => "a container often forbids it (seccomp): run the demo outside of it, or as root".to_owned(),
    };
    DemoError::Forbidden(format!("this system lets no ordinary user make namespaces ({error}); {advice}"))
}

/// A network namespace, and a thread in it that does what it is told.
struct Place {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    path: String,
    netns: OwnedFd,
}

impl Place {
    fn new() -> io::Result<Place> {
        let (jobs, inbox) = channel::<Box<dyn FnOnce() + Send>>();
        let (made, result) = channel();
        thread::spawn(move || {
            let _ = made.send(sys::new_network_namespace());
            inbox.into_iter().for_each(|job| job());
        });
        let (path, netns) = result.recv().map_err(io::Error::other)??;
        Ok(Place { jobs, path, netns })
    }

    /// Does something there, and waits for the result.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (done, result) = channel();
        self.jobs.send(Box::new(move || drop(done.send(work())))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        result.recv().map_err(io::Error::other)?
    }
}

/// Addresses and the way out.
fn settle(device: &str, addrs: &[Ipv4Addr], router: Ipv4Addr) -> io::Result<()> {
    sys::set_up(device)?;
    let index = sys::index_of(device)?;
    for addr in addrs {
        netlink::add_address(index, IpAddr::V4(*addr), 24)?;
    }
    netlink::add_default_route(IpAddr::V4(router))
}

/// A web server that tells who it is and whom it sees.
fn serve(name: &'static str, addr: Ipv4Addr) -> io::Result<()> {
    let listener = TcpListener::bind((addr, 80))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, name, addr);
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str, addr: Ipv4Addr) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let peer = stream.peer_addr()?;
    let mut request = Vec::new();
    let mut some = [0; 512];
    // All of it: closing while something is unread would reset the connection.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        match stream.read(&mut some)? {
            0 => break,
            n => request.extend_from_slice(&some[..n]),
        }
    }
    let body = format!("{name} ({addr}) sees {peer}\n");
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
    stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// Asks a web server, and gives its answer's text.
fn fetch(addr: Ipv4Addr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((addr, port)), Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim().to_owned())
}

fn run_inside(home: &Place, command: Vec<OsString>) -> Result<u8, DemoError> {
    let status = home.run(move || {
        let (program, words) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Command::new(program)
            .args(words)
            .status()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", program.to_string_lossy())))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn tell(home: &Place, outside: &Place, handle: &Handle, by_tap: bool, say: fn(&str)) -> Result<u8, DemoError> {
    let how = if by_tap { "TAP devices" } else { "packet sockets on veth (/dev/net/tun is not open to you)" };
    say(&format!(
        "A home network ({LAPTOP}, two servers), a router ({INSIDE} inside, {PUBLIC} outside), a stranger ({STRANGER}).\n\
         Each is a network namespace of this process; between them hairpin forwards real packets, by {how}.\n"
    ));
    let mut story = Story { handle, before: counters(handle)?, say };
    story.step(
        "The laptop opens the stranger's web page. MASQUERADE gives it the router's address:",
        home.run(|| fetch(STRANGER, 80)),
        &format!("the stranger's server ({STRANGER}) sees {PUBLIC}:"),
    )?;
    story.step(
        &format!("The stranger opens http://{PUBLIC}:8080/. The port is forwarded, his address stays:"),
        outside.run(|| fetch(PUBLIC, 8080)),
        &format!("server A ({}) sees {STRANGER}:", SERVERS[0]),
    )?;
    story.step(
        &format!(
            "The laptop opens the same public address from inside: a hairpin. Both ends meet at the router ({INSIDE}):"
        ),
        home.run(|| fetch(PUBLIC, 8080)),
        &format!("server A ({}) sees {INSIDE}:", SERVERS[0]),
    )?;
    for (n, name) in [(1, 'A'), (2, 'B')] {
        story.step(
            &format!("The stranger opens http://{PUBLIC}/, time {n}. Two servers share the port:"),
            outside.run(|| fetch(PUBLIC, 80)),
            &format!("server {name} "),
        )?;
    }
    story
        .refused("The stranger tries the router's own port 22. No rule lets him:", outside.run(|| fetch(PUBLIC, 22)))?;
    let lines = handle.ask(|moment| {
        let conns = moment.engine.state().conns();
        conns.map(|(_, conn)| text::line(conn, moment.now.mono).trim_end().to_owned()).collect::<Vec<_>>()
    });
    say("\nWhat the router remembers of them (`conntrack -L'):\n");
    for line in lines.map_err(io::Error::other)? {
        say(&format!("  {line}\n"));
    }
    say(
        "\nTry your own: `hairpin demo -- curl http://203.0.113.9/', or `hairpin demo -- sh' for a shell inside the home network.\n",
    );
    Ok(0)
}

struct Story<'a> {
    handle: &'a Handle,
    before: Vec<String>,
    say: fn(&str),
}

impl Story<'_> {
    fn step(&mut self, what: &str, got: io::Result<String>, expected: &str) -> Result<(), DemoError> {
        (self.say)(&format!("\n{what}\n"));
        match got {
            Ok(text) if text.starts_with(expected) => (self.say)(&format!("  {text}\n")),
            Ok(text) => return Err(DemoError::Story(format!("expected {expected:?}, but: {text:?}"))),
            Err(error) => return Err(DemoError::Story(format!("nobody answered: {error}"))),
        }
        self.name_rules()
    }

    fn refused(&mut self, what: &str, got: io::Result<String>) -> Result<(), DemoError> {
        (self.say)(&format!("\n{what}\n"));
        match got {
            Ok(text) => return Err(DemoError::Story(format!("it should have been refused, but: {text:?}"))),
            Err(error) => (self.say)(&format!("  {error}\n")),
        }
        self.name_rules()
    }

    /// The rules whose counters moved.
    fn name_rules(&mut self) -> Result<(), DemoError> {
        let now = counters(self.handle)?;
        let mut table = "";
        for (before, now) in self.before.iter().zip(&now) {
            if let Some(name) = now.strip_prefix('*') {
                table = name;
            }
            let (Some((was, _)), Some((packets, rule))) = (counted(before), counted(now)) else { continue };
            if packets > was {
                let count = packets - was;
                let noun = if count == 1 { "packet " } else { "packets" };
                (self.say)(&format!("    {count:2} {noun}  -t {table} {rule}\n"));
            }
        }
        self.before = now;
        Ok(())
    }
}

/// Packets and rule of a line such as `[3:180] -A FORWARD -j ACCEPT`.
fn counted(line: &str) -> Option<(u64, &str)> {
    let (packets, rest) = line.strip_prefix('[')?.split_once(':')?;
    let (_, rule) = rest.split_once("] ")?;
    Some((packets.parse().ok()?, rule))
}

/// The rules with their counters, as iptables-save prints them.
fn counters(handle: &Handle) -> Result<Vec<String>, DemoError> {
    let text = handle.ask(|moment| {
        let state = moment.engine.state();
        let ruleset = Ruleset { family: Family::V4, tables: state.rules(Family::V4).tables().cloned().collect() };
        let names = names::of_system();
        let how = SaveOptions { counters: true, names: Some(&names), ..SaveOptions::default() };
        save(&ruleset, &how, |table| Some(state.counters(Family::V4, table)))
    });
    Ok(text.map_err(io::Error::other)?.lines().map(str::to_owned).collect())
}
