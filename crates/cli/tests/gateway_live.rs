//! A gateway process between two namespaces, and the commands acting on it: what is changed takes effect on real traffic, nothing is
//! lost while rules are swapped, and after kill -9 established TCP goes on. Needs root.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "support/lab.rs"]
mod lab;

use lab::{Lab, RULES, quiet};

#[test]
fn the_commands_act_on_the_running_gateway() {
    let Some(mut lab) = Lab::new("c") else { return };
    lab.start();
    assert!(lab.pings(), "{}", lab.log());
    let listed = lab.says(&["conntrack", "-L"]);
    assert!(listed.contains("src=192.168.1.2 dst=203.0.113.2 type=8"), "{listed}");
    assert!(listed.contains("dst=203.0.113.1 type=0"), "translated: {listed}");
    // A rule holds from the moment the command ends, and what was counted before goes on.
    lab.says(&["iptables", "-I", "FORWARD", "1", "-p", "icmp", "-j", "DROP"]);
    assert!(!lab.pings());
    lab.says(&["iptables", "-D", "FORWARD", "1"]);
    assert!(lab.pings());
    let saved = lab.says(&["iptables-save", "-c"]);
    assert!(saved.contains("[2:168] -A FORWARD -i lan0 -j ACCEPT"), "{saved}");
    let status = lab.says(&["status"]);
    assert!(status.contains("rules: 4 IPv4, 0 IPv6"), "{status}");
    let top = lab.says(&["top", "--once"]);
    assert!(top.contains("192.168.1.2") && top.contains("IPv4 filter FORWARD 2"), "{top}");
    lab.says(&["save"]);
    let file = std::fs::read_to_string(lab.directory.join("rules.v4")).unwrap();
    assert!(file.contains("-A POSTROUTING -o wan0 -j MASQUERADE"), "{file}");
    assert_eq!(lab.hairpin(&["conntrack", "-D", "-p", "icmp"]).status.code(), Some(0));
    assert_eq!(lab.hairpin(&["conntrack", "-D", "-p", "icmp"]).status.code(), Some(1));
    is_confined(lab.pid());
    // What it leaves: nothing but its snapshot.
    lab.kill("-TERM");
    assert!(!lab.socket().exists());
}

/// Root was given up but for the devices.
fn is_confined(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    assert_eq!(field("CapEff:").trim_start_matches('0'), "1000", "CAP_NET_ADMIN alone");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
}

#[test]
fn events_come_as_they_happen() {
    let Some(mut lab) = Lab::new("e") else { return };
    lab.start();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .args(["conntrack", "-E", "-p", "icmp"])
        .env("HAIRPIN_SOCKET", lab.socket())
        .env_remove("HAIRPIN_STATE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(lab.pings());
    lab.says(&["conntrack", "-D", "-p", "icmp"]);
    let (mut out, mut err) = (String::new(), String::new());
    let mut told = BufReader::new(watching.stdout.take().unwrap());
    while !out.contains("[DESTROY]") {
        assert!(told.read_line(&mut out).unwrap() > 0, "{out}");
    }
    quiet(Command::new("kill").args(["-INT", &watching.id().to_string()]));
    told.read_to_string(&mut out).unwrap();
    watching.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(watching.wait().unwrap().success());
    let kinds: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(kinds, ["[NEW]", "[UPDATE]", "[DESTROY]"], "{out}");
    assert_eq!(err, "conntrack v1.4.8 (conntrack-tools): 3 flow events have been shown.\n");
}

/// A thousand changes of the rules while datagrams pass: each that was sent arrives.
#[test]
fn nothing_is_lost_while_rules_are_swapped() {
    let Some(mut lab) = Lab::new("s") else { return };
    lab.start();
    assert!(lab.pings());
    let script = |text: &str| ["python3".to_owned(), "-c".to_owned(), text.to_owned()];
    let receive = script(
        "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,1<<24)\n\
         s.bind(('203.0.113.2',9000))\nprint('up',flush=True)\nseen=set()\n\
         while True:\n  d=s.recv(100)\n  if d==b'end': break\n  seen.add(d)\nprint(len(seen),flush=True)\n",
    );
    let send = script(
        "import socket,time,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nn=0\n\
         while not os.path.exists('stop'):\n  for _ in range(5):\n    s.sendto(b'%d'%n,('203.0.113.2',9000)); n+=1\n  time.sleep(0.002)\n\
         time.sleep(0.5)\n[s.sendto(b'end',('203.0.113.2',9000)) for _ in range(3)]\nprint(n)\n",
    );
    let run = |net: usize, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = lab.inside(net, &words);
        command.current_dir(&lab.directory).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut receiver = run(0, &receive);
    let mut received = BufReader::new(receiver.stdout.take().unwrap());
    let mut line = String::new();
    received.read_line(&mut line).unwrap();
    let sender = run(1, &send);
    // As commands do it, one connection each; every second one is a whole table.
    let swaps = 1000;
    for n in 0..swaps {
        let rules = format!(
            "*filter\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -s 10.0.{}.{} -j DROP\n-A FORWARD -i lan0 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n",
            n / 250,
            n % 250
        );
        ask(&lab.socket(), "iptables-restore", &[], rules.as_bytes());
    }
    std::fs::write(lab.directory.join("stop"), "").unwrap();
    let sent: usize = String::from_utf8(sender.wait_with_output().unwrap().stdout).unwrap().trim().parse().unwrap();
    line.clear();
    received.read_line(&mut line).unwrap();
    receiver.wait().unwrap();
    println!("{swaps} swaps, {sent} datagrams sent, {} arrived", line.trim());
    assert!(sent > 500, "{sent} datagrams are too few to tell");
    assert_eq!(line.trim(), sent.to_string());
}

/// Asks over the socket without a process for each question.
fn ask(socket: &Path, program: &str, words: &[&str], input: &[u8]) -> Vec<u8> {
    use hairpin_control::protocol::{Request, ask_live};
    let request = Request {
        program: program.to_owned(),
        name: program.to_owned(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        input: input.to_vec(),
        ..Request::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = ask_live(socket, request, |_| {}, &mut |is_error, bytes| {
        if is_error { err.extend_from_slice(bytes) } else { out.extend_from_slice(bytes) }
    });
    assert_eq!(outcome.map(|outcome| outcome.code), Ok(0), "{}", String::from_utf8_lossy(&err));
    out
}

/// A quota that was used up stays used up.
#[test]
fn limits_go_on_after_kill_9() {
    let Some(mut lab) = Lab::new("q") else { return };
    let rules = "*filter\n-A FORWARD -p icmp -m quota --quota 400 -j ACCEPT\n-A FORWARD -p icmp -j DROP\nCOMMIT\n";
    std::fs::write(
        lab.directory.join("rules.v4"),
        format!("*nat\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n{rules}"),
    )
    .unwrap();
    lab.start();
    assert!(lab.pings() && lab.pings(), "four packets of 84 bytes");
    assert!(!lab.pings(), "the fifth is too much");
    std::thread::sleep(Duration::from_millis(2500));
    lab.kill("-KILL");
    lab.start();
    assert!(!lab.pings());
    assert!(lab.says(&["iptables-save", "-c"]).contains("[4:336] -A FORWARD -p icmp -m quota"));
}

/// Sets are asked by rules at once, and are there again after the gateway was killed.
#[test]
fn sets_go_on_after_kill_9() {
    let Some(mut lab) = Lab::new("i") else { return };
    lab.start();
    assert!(lab.pings());
    lab.says(&["ipset", "create", "blocked", "hash:ip", "timeout", "600"]);
    lab.says(&["iptables", "-I", "FORWARD", "1", "-m", "set", "--match-set", "blocked", "dst", "-j", "DROP"]);
    assert!(lab.pings(), "an empty set fits nothing");
    lab.says(&["ipset", "add", "blocked", "203.0.113.2"]);
    assert!(!lab.pings());
    std::thread::sleep(Duration::from_millis(2500));
    lab.kill("-KILL");
    lab.start();
    let saved = lab.says(&["ipset", "save"]);
    assert!(saved.contains("add blocked 203.0.113.2 timeout 59"), "{saved}");
    assert!(lab.pings(), "rules come from their file");
    lab.says(&["iptables", "-I", "FORWARD", "1", "-m", "set", "--match-set", "blocked", "dst", "-j", "DROP"]);
    assert!(!lab.pings());
}

/// Downloads that were under way when the gateway was killed are complete, each byte of them.
#[test]
fn tcp_goes_on_after_kill_9() {
    let Some(mut lab) = Lab::new("k") else { return };
    lab.start();
    assert!(lab.pings());
    let server = "import socketserver,time\nclass H(socketserver.BaseRequestHandler):\n  def handle(self):\n    d=bytes(range(256))*64\n    for i in range(400):\n      self.request.sendall(d); time.sleep(0.01)\n\
         socketserver.ThreadingTCPServer.request_queue_size=64\nsocketserver.ThreadingTCPServer.daemon_threads=True\n\
         s=socketserver.ThreadingTCPServer(('203.0.113.2',8000),H)\nprint('up',flush=True)\ns.serve_forever()\n";
    let client = "import socket,threading\nwant=bytes(range(256))*64*400\ndone=[]\ndef get():\n  s=socket.create_connection(('203.0.113.2',8000),timeout=30)\n  got=bytearray()\n  while True:\n    b=s.recv(65536)\n    if not b: break\n    got+=b\n  done.append(got==want)\n\
         t=[threading.Thread(target=get) for _ in range(8)]\n[x.start() for x in t]\n[x.join() for x in t]\nprint(sum(done))\n";
    let mut server = lab.inside(0, &["python3", "-c", server]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let client = lab.inside(1, &["python3", "-c", client]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    lab.kill("-KILL");
    let said = lab.start();
    assert!(said.iter().any(|line| line.contains("connections go on")), "{said:?}");
    let done = String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap();
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(done.trim(), "8", "{}", lab.says(&["conntrack", "-L"]));
    // A snapshot that is no more one is set aside, and the gateway starts.
    lab.kill("-KILL");
    let state = lab.directory.join("state");
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let said = lab.start();
    assert!(said.iter().any(|line| line.contains("damaged") && line.contains("set aside")), "{said:?}");
    assert!(lab.directory.join("state.damaged").exists() && lab.pings());
}

/// Clients that say nothing, half of something, nonsense, or never read: the others are served as before, and packets pass.
#[test]
fn hostile_clients_harm_nobody() {
    let Some(mut lab) = Lab::new("h") else { return };
    lab.start();
    let mut hostile = Vec::new();
    for n in 0..20u8 {
        let mut stream = UnixStream::connect(lab.socket()).unwrap();
        let _ = match n % 4 {
            0 => Ok(()),
            1 => stream.write_all(&[0, 0]),
            2 => stream.write_all(&[0xff; 64]),
            _ => stream.write_all(&[0, 0, 1, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        };
        hostile.push(stream);
    }
    let started = Instant::now();
    let saved = lab.says(&["iptables-save"]);
    assert!(saved.contains("MASQUERADE") && started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // More than there is room for are told so, and places become free when clients go.
    let crowd: Vec<UnixStream> = (0..60).filter_map(|_| UnixStream::connect(lab.socket()).ok()).collect();
    let until = Instant::now() + Duration::from_secs(5);
    let settles = |what: &str, is_so: &dyn Fn(&str) -> bool| {
        while !is_so(&String::from_utf8_lossy(&lab.hairpin(&["iptables-save"]).stderr)) {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    settles("too many", &|said| said.contains("too many clients"));
    assert!(lab.pings(), "packets pass");
    drop((crowd, hostile));
    settles("room again", &str::is_empty);
    lab.restore(RULES);
    assert!(lab.pings());
}

/// While a long change has its turn, others wait if they say so, and are told if they do not: as by the lock of iptables.
#[test]
fn commands_wait_for_their_turn() {
    let Some(mut lab) = Lab::new("turn") else { return };
    lab.start();
    let rules: String = (0..20_000).map(|n| format!("-A FORWARD -s 10.{}.{}.1 -j DROP\n", n / 250, n % 250)).collect();
    lab.write("many", &format!("*filter\n{rules}COMMIT\n"));
    let file = lab.directory.join("many").display().to_string();
    let refusals = std::thread::scope(|scope| {
        let change = scope.spawn(|| lab.says(&["iptables-restore", "-w", "60", &file]));
        let mut refusals = Vec::new();
        while !change.is_finished() {
            let output = lab.hairpin(&["iptables", "-A", "OUTPUT", "-j", "ACCEPT"]);
            if !output.status.success() {
                refusals.push((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()));
                // Who waits gets his turn.
                lab.says(&["iptables", "-w", "60", "-A", "OUTPUT", "-j", "RETURN"]);
            }
        }
        refusals
    });
    let text = "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n";
    assert!(
        !refusals.is_empty() && refusals.iter().all(|refusal| *refusal == (Some(4), text.to_owned())),
        "{refusals:?}"
    );
    let listed = lab.says(&["iptables", "-S"]);
    assert_eq!(listed.matches("-A FORWARD -s 10.").count(), 20_000);
    assert_eq!(listed.matches("-A OUTPUT -j RETURN").count(), refusals.len());
}
