"""What NFLOG gives away: nflog.py kernel GROUP, or nflog.py CAPTURE. Says `ready', and then a line for each packet: prefix, hook,
protocol of the frame, whether a device shows on either side, and the packet. A capture (link type 239) is read when it has been written."""
import os, socket, struct, sys, time

PACKET_HDR, MARK, IN, OUT, PAYLOAD, PREFIX, UID, SEQ = 1, 2, 4, 5, 9, 10, 11, 12


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack("=HH", data[:4])
        if length < 4:
            break
        found[kind & 0x7FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def tell(message):
    of = attributes(message[4:])
    protocol, hook = struct.unpack("!HB", of[PACKET_HDR][:3])
    packet = of[PAYLOAD]
    ends = ">".join(socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16)) if packet[0] >> 4 == 4 else "IPv6"
    mark = struct.unpack("!I", of[MARK])[0] if MARK in of else 0
    devices = ("in " if IN in of else "") + ("out " if OUT in of else "")
    print("%r hook %d %04x %s%s %d bytes mark %d" % (of[PREFIX].rstrip(b"\0").decode(), hook, protocol, devices, ends, len(packet), mark), flush=True)


def from_kernel(group):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    s.bind((0, 0))
    # The group is bound, and whole packets are copied.
    for kind, value in ((1, struct.pack("=B", 1)), (2, struct.pack("!IBx", 65535, 2))):
        attribute = struct.pack("=HH", 4 + len(value), kind) + value
        attribute += bytes(-len(attribute) % 4)
        body = struct.pack("!BBH", 0, 0, group) + attribute
        s.send(struct.pack("=IHHII", 16 + len(body), 4 << 8 | 1, 5, 1, 0) + body)
        s.recv(4096)
    print("ready", flush=True)
    while True:
        data = s.recv(1 << 17)
        while len(data) >= 16:
            length, kind = struct.unpack("=IH", data[:6])
            if kind == 4 << 8:
                tell(data[16:length])
            data = data[(length + 3) & ~3 :]


def from_capture(path):
    at = os.path.getsize(path) if os.path.exists(path) else 0
    print("ready", flush=True)
    at = max(at, 24)
    while True:
        if os.path.exists(path) and os.path.getsize(path) >= at + 16:
            with open(path, "rb") as file:
                file.seek(at)
                data = file.read()
            while len(data) >= 16 and len(data) >= 16 + (length := struct.unpack("=I", data[8:12])[0]):
                tell(data[16 : 16 + length])
                data, at = data[16 + length :], at + 16 + length
        time.sleep(0.05)


try:
    from_kernel(int(sys.argv[2])) if sys.argv[1] == "kernel" else from_capture(sys.argv[1])
except BrokenPipeError:
    # Who started it has seen enough.
    sys.stderr.close()
