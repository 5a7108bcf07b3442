//! The control socket: the known commands act on the running gateway.
//!
//! A thread accepts, one more serves each client, and the loop never waits for any of them: they hand it short pieces of work
//! ([`Handle`]) and make text, read rules and lay out tables themselves. A client that is slow, silent or hostile loses its
//! connection; what it can make the gateway keep is bounded by the limits below.

mod clients;
mod events;
mod live;
mod live_sets;
mod queueing;
mod status;
mod sysctl;
mod top;
mod watching;

pub use events::Hub;
pub use queueing::listening;
pub(crate) use status::{Numbers, TableNumbers};

use crate::host_file::Live;
use crate::names::{self, Group};
use crate::seam::{Attendant, Handle, Moment};
use clients::Clients;
use hairpin_control::protocol::DEFAULT_SOCKET;
use hairpin_engine::{Engine, Event, Now};
use hairpin_ruleset::names::SystemNames;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Clients served at a time.
pub const MAX_CLIENTS: usize = 32;

/// Everything that serving a client needs.
pub(crate) struct Context {
    pub(crate) handle: Handle,
    pub(crate) hub: Arc<Hub>,
    pub(crate) names: SystemNames,
    /// Held by who changes rules.
    pub(crate) turn: Mutex<()>,
    /// Held by who sends a long request: only one at a time is kept in memory.
    pub(crate) long_request: Mutex<()>,
    pub(crate) started: Instant,
    /// Where `hairpin save` writes the rules of each family.
    pub(crate) rule_files: [Option<PathBuf>; 2],
    /// Where the snapshot is kept.
    pub(crate) snapshot: Option<PathBuf>,
}

/// Serves the control socket.
pub struct Control {
    socket: PathBuf,
    group: Option<Group>,
    rule_files: [Option<PathBuf>; 2],
    snapshot: Option<PathBuf>,
    hub: Arc<Hub>,
    /// Until the thread that accepts has it.
    listener: Option<UnixListener>,
}

impl Control {
    /// Listens where a host file says, or else at the usual place if that can be had: None and a line when it cannot. Members of the
    /// group (hairpin, if nothing is said) may use it beside root and the gateway's own user.
    ///
    /// # Errors
    /// The place or the group that the file names cannot be had.
    pub fn open(live: &Live) -> io::Result<Option<Control>> {
        let socket = Control::place(live);
        let say = |why: io::Error| io::Error::new(why.kind(), format!("control socket {}: {why}", socket.display()));
        let group = names::group(live.control_group.as_deref().unwrap_or("hairpin"));
        if let (Some(name), None) = (&live.control_group, &group) {
            return Err(say(io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}"))));
        }
        match bind(&socket, group.as_ref().map(|group| group.id)).map_err(say) {
            Ok(listener) => Ok(Some(Control {
                group,
                rule_files: live.rule_files.clone(),
                snapshot: live.state.clone(),
                hub: Arc::new(Hub::default()),
                listener: Some(listener),
                socket,
            })),
            Err(why) if live.control.is_none() => {
                eprintln!("hairpin: {why}; commands cannot act on this gateway");
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// Where it listens.
    pub fn place(live: &Live) -> PathBuf {
        let usual = || std::env::var_os("HAIRPIN_SOCKET").map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from);
        live.control.clone().unwrap_or_else(usual)
    }
}

impl Attendant for Control {
    fn start(&mut self, _moment: &mut Moment<'_>, handle: &Handle) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let context = Arc::new(Context {
            handle: handle.clone(),
            hub: Arc::clone(&self.hub),
            names: names::of_system(),
            turn: Mutex::new(()),
            long_request: Mutex::new(()),
            started: Instant::now(),
            rule_files: self.rule_files.clone(),
            snapshot: self.snapshot.clone(),
        });
        let clients = Clients::new(context, self.group.clone());
        std::thread::Builder::new().name("control".to_owned()).spawn(move || clients.accept(&listener))?;
        Ok(())
    }

    fn events(&mut self, engine: &Engine, now: &Now, events: &[Event]) {
        self.hub.tell(engine, now, events, None);
    }

    fn tick(&mut self, moment: &mut Moment<'_>) {
        // Who went away without a word watches no more.
        moment.engine.set_watched(self.hub.is_watched(), &moment.now);
    }

    fn stop(&mut self, _moment: &mut Moment<'_>) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Listens at the path; what a gateway that was killed left there goes. Its mode is 0660.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway listens there"));
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
