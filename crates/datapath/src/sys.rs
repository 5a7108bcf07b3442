//! System calls that several files of this crate share: names of devices, requests about them, waiting, signals.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The value of a call that gives -1 for an error.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An error with words before it.
pub(crate) fn at(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Takes over a descriptor that a call has just made.
pub(crate) fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the call made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option to a value.
pub(crate) fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of one value.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) }).map(drop)
}

/// Who is at the other end of a Unix socket: user and group. His process may have no number here, when it is in another namespace.
pub fn peer_of(socket: &UnixStream) -> io::Result<(u32, u32)> {
    credentials(socket).map(|peer| (peer.uid, peer.gid))
}

/// The process at the other end, as this process namespace numbers it; None for one that it does not see.
pub fn process_of_peer(socket: &UnixStream) -> Option<u32> {
    let peer = credentials(socket).ok()?;
    u32::try_from(peer.pid).ok().filter(|pid| *pid != 0)
}

fn credentials(socket: &UnixStream) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: room for so many bytes.
    check(unsafe {
        let peer = (&raw mut peer).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, peer, &raw mut len)
    })?;
    Ok(peer)
}

/// The number that the kernel gives a device of this network namespace.
pub fn index_of(name: &str) -> io::Result<u32> {
    let text = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: a string that ends with 0.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no device {name}"))),
        index => Ok(index),
    }
}

/// What `ioctl` asks about a device, with its name filled in.
pub(crate) fn request_for(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no device name")));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

/// A socket to ask about devices with.
pub(crate) fn any_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    own(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}

pub(crate) fn device_ioctl(call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = any_socket()?;
    // SAFETY: these calls read and write one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), call, std::ptr::from_mut(request)) }).map(drop)
}

/// What a device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The kernel's number.
    pub index: u32,
    /// Its link address.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: u32,
    /// Up and with carrier.
    pub up: bool,
    /// It has Ethernet headers.
    pub ethernet: bool,
}

/// Asks the kernel about a device of this network namespace.
pub fn device(name: &str) -> io::Result<DeviceFacts> {
    let index = index_of(name)?;
    let mut request = request_for(name)?;
    device_ioctl(libc::SIOCGIFHWADDR, &mut request).map_err(at(name))?;
    // SAFETY: the call filled in this member.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0; 6];
    for (place, byte) in mac.iter_mut().zip(hardware.sa_data) {
        *place = byte as u8;
    }
    device_ioctl(libc::SIOCGIFMTU, &mut request).map_err(at(name))?;
    // SAFETY: the call filled in this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    let flags = flags(name)?;
    let on = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    Ok(DeviceFacts {
        index,
        mac,
        mtu: mtu as u32,
        up: flags & on == on,
        ethernet: hardware.sa_family == libc::ARPHRD_ETHER,
    })
}

fn flags(name: &str) -> io::Result<libc::c_short> {
    let mut request = request_for(name)?;
    device_ioctl(libc::SIOCGIFFLAGS, &mut request).map_err(at(name))?;
    // SAFETY: the call filled in this member.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Brings a device up.
pub fn set_up(name: &str) -> io::Result<()> {
    let flags = flags(name)? | libc::IFF_UP as libc::c_short;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = flags;
    device_ioctl(libc::SIOCSIFFLAGS, &mut request).map_err(at(format_args!("{name} cannot be brought up")))
}

/// Sets a device's largest packet.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
    device_ioctl(libc::SIOCSIFMTU, &mut request).map_err(at(format_args!("the MTU of {name} cannot be {mtu}")))
}

/// Does something in another network namespace (a name as `ip netns` has it, or a path), and comes back.
pub fn in_namespace<T>(netns: Option<&str>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(netns) = netns else { return work() };
    let path = if netns.contains('/') { netns.to_owned() } else { format!("/run/netns/{netns}") };
    let home = File::open("/proc/thread-self/ns/net")?;
    let there = File::open(&path).map_err(at(&path))?;
    enter(&there).map_err(at(format_args!("network namespace {netns}")))?;
    let result = work();
    enter(&home)?;
    result
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: no pointers; only this thread changes its namespace.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Waits until one of several descriptors can be read. Its list is kept from one wait to the next.
#[derive(Debug, Default)]
pub struct Waiter {
    list: Vec<libc::pollfd>,
}

impl Waiter {
    /// The descriptors from now on.
    pub fn watch(&mut self, fds: impl Iterator<Item = RawFd>) {
        self.list.clear();
        self.list.extend(fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }));
    }

    /// Waits at most this long; how many descriptors can be read (an error counts, its reader finds it).
    pub fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let time = libc::timespec {
            tv_sec: timeout.as_secs().min(3600) as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        let len = self.list.len() as libc::nfds_t;
        // SAFETY: a list and its length; the time lives until the call is over.
        let result = unsafe { libc::ppoll(self.list.as_mut_ptr(), len, &raw const time, std::ptr::null()) };
        match check(result) {
            Ok(count) => Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.list.iter_mut().for_each(|one| one.revents = 0);
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the n-th one could be read when the last wait was over.
    pub fn is_ready(&self, n: usize) -> bool {
        self.list.get(n).is_some_and(|one| one.revents != 0)
    }
}

/// One descriptor that can be read when one of these can.
pub(crate) fn epoll_of(fds: impl Iterator<Item = RawFd>) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let any = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    for fd in fds {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the event lives until the call is over.
        check(unsafe { libc::epoll_ctl(any.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    }
    Ok(any)
}

/// Can be read from a time on.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Timer> {
        // SAFETY: no pointers.
        own(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) }).map(Timer)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The time, as [`monotonic_nanos`] counts; None for never.
    pub(crate) fn set(&self, nanos: Option<u64>) {
        // A time of zero would mean never.
        let nanos = nanos.map_or(0, |nanos| nanos.max(1));
        let value = libc::timespec {
            tv_sec: (nanos / 1_000_000_000) as libc::time_t,
            tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: the time lives until the call is over; it is a valid one, so that the call cannot fail.
        unsafe { libc::timerfd_settime(self.fd(), libc::TFD_TIMER_ABSTIME, &raw const time, std::ptr::null_mut()) };
    }

    /// Lets it sleep again.
    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: room for eight bytes.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Wakes a waiting loop from another thread.
#[derive(Clone, Debug)]
pub struct Wake(Arc<OwnedFd>);

impl Wake {
    /// A new one.
    pub fn new() -> io::Result<Wake> {
        // SAFETY: no pointers.
        let fd = own(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Wake(Arc::new(fd)))
    }

    /// What to wait on.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Wakes.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are there. A counter that is full wakes all the same.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Lets it sleep again.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: room for eight bytes.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// The signals that a gateway listens to, as a descriptor. They must be asked for before threads are made, which inherit that they
/// are held back.
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end.
    Stop,
    /// SIGINT (Ctrl-C): end, unless it was meant for somebody else.
    Interrupt,
    /// SIGHUP: read the files anew.
    Reload,
}

impl Signals {
    /// Holds these signals back from their usual effect.
    pub fn catch() -> io::Result<Signals> {
        // SAFETY: the set is made by the calls that follow; none keeps a pointer.
        unsafe {
            let mut set: libc::sigset_t = zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            }
            own(libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)).map(Signals)
        }
    }

    /// What to wait on.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// A signal that is there.
    pub fn next(&self) -> Option<Signal> {
        // SAFETY: plain numbers, for which zero is a value.
        let mut info: libc::signalfd_siginfo = unsafe { zeroed() };
        let len = size_of::<libc::signalfd_siginfo>();
        // SAFETY: room for one.
        let got = unsafe { libc::read(self.fd(), std::ptr::from_mut(&mut info).cast(), len) };
        if got != len as isize {
            return None;
        }
        Some(match info.ssi_signo as libc::c_int {
            libc::SIGHUP => Signal::Reload,
            libc::SIGINT => Signal::Interrupt,
            _ => Signal::Stop,
        })
    }
}

/// Tells the service manager something (`READY=1`), if there is one that wants to know.
pub fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let text = name.to_string_lossy();
    let addr = match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes()),
        None => SocketAddr::from_pathname(Path::new(&name)),
    };
    if let Ok(addr) = addr {
        let _ = socket.send_to_addr(state.as_bytes(), &addr);
    }
}

/// A number that nobody can guess.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: room for eight bytes.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(io::Error::last_os_error()) }
}

/// Nanoseconds of the clock that never jumps, and goes on while the machine sleeps.
pub fn monotonic_nanos() -> u64 {
    clock(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds since 1970.
pub fn wall_nanos() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for one time. These clocks always exist.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whether a device answers ARP; what it was before.
pub(crate) fn set_arp(name: &str, on: bool) -> io::Result<bool> {
    let flags = flags(name)?;
    let no_arp = libc::IFF_NOARP as libc::c_short;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = if on { flags & !no_arp } else { flags | no_arp };
    device_ioctl(libc::SIOCSIFFLAGS, &mut request).map_err(at(format_args!("{name}: ARP cannot be switched")))?;
    Ok(flags & no_arp == 0)
}

/// Whether the running kernel is of this version or later.
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let own = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    own >= (major, minor)
}

/// The name of a device's driver.
pub(crate) fn driver_of(name: &str) -> Option<String> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = request_for(name).ok()?;
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    device_ioctl(libc::SIOCETHTOOL, &mut request).ok()?;
    let end = info.driver.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&info.driver[..end]).into_owned())
}

/// Moves this process into a user namespace of its own, where it is root, and a new network namespace. Only while it has one thread.
pub fn enter_own_namespaces() -> io::Result<()> {
    // SAFETY: no pointers, these calls cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) })?;
    // Without this, the group map is refused to an ordinary user.
    std::fs::write("/proc/self/setgroups", "deny").map_err(at("/proc/self/setgroups"))?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(at("/proc/self/uid_map"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(at("/proc/self/gid_map"))?;
    set_up("lo")
}

/// Moves this thread into a new network namespace. Its name for [`in_namespace`], and its descriptor.
pub fn new_network_namespace() -> io::Result<(String, OwnedFd)> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    set_up("lo")?;
    // SAFETY: no pointers, this call cannot fail.
    let thread = unsafe { libc::gettid() };
    let path = format!("/proc/self/task/{thread}/ns/net");
    let file = File::open(&path)?;
    Ok((path, OwnedFd::from(file)))
}

/// Whether this user may make TAP devices (in a namespace of his own).
pub fn may_use_tun() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok()
}
