"""A listener of NFQUEUE: queue.py kernel|SOCKET NUMBER VERDICT [WORD...]. Says `ready', then gives its verdict to each packet.

VERDICT is accept, drop, repeat, change (the payload of a UDP datagram becomes another one of another length) or silent (none is given);
WORDs are mark=N, maxlen=N, fail-open. The kernel is spoken to by nfnetlink, a gateway by its control socket."""
import socket, struct, sys

where, number, verdict = sys.argv[1], int(sys.argv[2]), sys.argv[3]
words = dict(word.partition("=")[::2] for word in sys.argv[4:])
mark = int(words["mark"]) if "mark" in words else None
maxlen = int(words.get("maxlen", 1024))
code = {"drop": 0, "accept": 1, "change": 1, "repeat": 4}.get(verdict)


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def changed(packet):
    if verdict != "change":
        return None
    header = (packet[0] & 15) * 4
    udp = packet[header : header + 4] + struct.pack("!HH", 8 + len(b"changed here"), 0) + b"changed here"
    ip = packet[:2] + struct.pack("!H", header + len(udp)) + packet[4:10] + bytes(2) + packet[12:header]
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + udp


class Kernel:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.bind((0, 0))
        # Copy whole packets; so many may wait; then the command that binds the queue.
        self.send(2, (2, struct.pack("!IB", 65535, 2)), (1, struct.pack("!BxH", 1, 0)), flags=5)
        self.send(2, (2, struct.pack("!IB", 65535, 2)), (3, struct.pack("!I", maxlen)), flags=5)
        if "fail-open" in words:
            self.send(2, (4, struct.pack("!I", 1)), (5, struct.pack("!I", 1)), flags=5)

    def send(self, kind, *attributes, flags=1):
        body = struct.pack("!BBH", 0, 0, number)
        for name, value in attributes:
            body += struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)
        self.socket.send(struct.pack("=IHHII", 16 + len(body), 3 << 8 | kind, flags, 0, 0) + body)
        if flags & 4:
            error = struct.unpack("=i", self.socket.recv(4096)[16:20])[0]
            assert error == 0, error

    def packets(self):
        while True:
            message = self.socket.recv(1 << 17)
            length, kind = struct.unpack("=IH", message[:6])
            if kind != 3 << 8:
                continue
            at, found = 20, {}
            while at < length:
                size, name = struct.unpack("=HH", message[at : at + 4])
                found[name & 0x3FFF] = message[at + 4 : at + size]
                at += size + -size % 4
            yield struct.unpack("!I", found[1][:4])[0], found[10]

    def decide(self, packet, data):
        more = [] if mark is None else [(3, struct.pack("!I", mark))]
        more += [] if data is None else [(10, data)]
        self.send(1, (2, struct.pack("!II", code, packet)), *more)


class Gateway:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(where)
        text = lambda word: struct.pack("!I", len(word)) + word.encode()
        asked = [str(number), "--maxlen", str(maxlen)] + ["--fail-open"] * ("fail-open" in words)
        asked = struct.pack("!I", len(asked)) + b"".join(map(text, asked))
        self.send(1, b"\0\1" + text("queue") * 2 + text("") + b"\0" + asked + text(""))

    def send(self, kind, content):
        self.socket.sendall(struct.pack("!IB", 1 + len(content), kind) + content)

    def packets(self):
        stream = self.socket.makefile("rb")
        while True:
            length, kind = struct.unpack("!IB", stream.read(5))
            content = stream.read(length - 1)
            assert kind == 20, (kind, content)
            packet, at = struct.unpack("!I", content[:4])[0], 24
            for _ in range(4):
                at += 4 + struct.unpack("!I", content[at : at + 4])[0]
            yield packet, content[at:]

    def decide(self, packet, data):
        has_mark = struct.pack("!BI", mark is not None, mark or 0)
        self.send(3, struct.pack("!IBH", packet, code, 0) + has_mark + struct.pack("!B", data is not None) + (data or b""))


listener = Kernel() if where == "kernel" else Gateway()
print("ready", flush=True)
for packet, data in listener.packets():
    if code is not None:
        listener.decide(packet, changed(data))
