# Sends what nobody needs: python3 flood.py KIND DEVICE COUNT, from the namespace it runs in. About 20,000 a second, in bursts.
import os, random, socket, struct, sys, time

kind, device, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
rnd = random.Random(5)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ip4(src, dst, proto, payload, ident=0, frag=0):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0, src, socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def pseudo(src, dst, proto, payload):
    return checksum(src + socket.inet_aton(dst) + struct.pack("!BBH", 0, proto, len(payload)) + payload)


def syn():
    src, dst = bytes([100, 64 + rnd.randrange(64), rnd.randrange(256), rnd.randrange(1, 255)]), "203.0.113.1"
    tcp = struct.pack("!HHIIBBHHH", rnd.randrange(1024, 65536), 8080, rnd.getrandbits(32), 0, 0x50, 2, 1024, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", pseudo(src, dst, 6, tcp)) + tcp[18:]
    return ip4(src, dst, 6, tcp), dst


def udp():
    src, dst = bytes([192, 168, 1, rnd.randrange(20, 250)]), "203.0.113.9"
    return ip4(src, dst, 17, struct.pack("!HHHH", rnd.randrange(1, 65536), rnd.randrange(1, 65536), 16, 0) + b"a flood."), dst


def fragment():
    src, dst = bytes([192, 168, 1, rnd.randrange(20, 250)]), "203.0.113.9"
    more = 0x2000 if rnd.random() < 0.8 else 0
    return ip4(src, dst, 17, os.urandom(64), rnd.randrange(1, 65536), more | rnd.randrange(0, 8) * 8), dst


def mac(name):
    return bytes.fromhex(open("/sys/class/net/%s/address" % name).read().strip().replace(":", ""))


def arp(own):
    sender = bytes([2, 0]) + os.urandom(4)
    ask = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, rnd.choice([1, 1, 2]), sender, bytes([203, 0, 113, rnd.randrange(1, 255)]), b"\0" * 6,
                      bytes([203, 0, 113, rnd.choice([1, rnd.randrange(1, 255)])]))
    return b"\xff" * 6 + sender + b"\x08\x06" + ask


def neighbor(own):
    sender = bytes([2, 0]) + os.urandom(4)
    src = bytes.fromhex("20010db8000900000000000000000000")[:8] + os.urandom(8)
    target = bytes.fromhex("20010db8000900000000000000000001")
    dst = bytes.fromhex("ff0200000000000000000001ff000001")
    body = struct.pack("!BBHI16sBB6s", 135, 0, 0, 0, target, 1, 1, sender)
    sum16 = checksum(src + dst + struct.pack("!II", len(body), 58) + body)
    body = body[:2] + struct.pack("!H", sum16) + body[4:]
    return bytes.fromhex("3333ff000001") + sender + b"\x86\xdd" + struct.pack("!IHBB16s16s", 6 << 28, len(body), 58, 255, src, dst) + body


def malformed(own):
    good, _ = rnd.choice([syn, udp, fragment])()
    bad = bytearray(good)
    for _ in range(rnd.randrange(1, 4)):
        bad[rnd.randrange(len(bad))] = rnd.randrange(256)
    bad = bytes(bad[: rnd.randrange(len(bad) + 1)])
    if rnd.random() < 0.3:
        bad = bytes([0x60 | bad[0] & 15 if bad else 0x60]) + os.urandom(rnd.randrange(80))
    return own + b"\x86\xdd" + bad if bad[:1] and bad[0] >> 4 == 6 else own + b"\x08\x00" + bad


packets = {"syn": syn, "udp": udp, "fragments": fragment}
frames = {"arp": arp, "neighbors": neighbor, "malformed": malformed}
bare = "lan1" if device == "br0" else device
is_ethernet = int(open("/sys/class/net/%s/type" % device).read()) == 1
if kind in packets:
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
else:
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((device, 0))
# Sent to the router: its link address as the neighbor table has it.
router = b"\xff" * 6
for line in os.popen("ip neigh show dev " + device):
    words = line.split()
    if "lladdr" in words and words[0] in ("192.168.1.1", "203.0.113.1"):
        router = bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))
own = router + (mac(device) if is_ethernet else b"")
sent, begun = 0, time.time()
while sent < count:
    for _ in range(200):
        try:
            if kind in packets:
                packet, dst = packets[kind]()
                out.sendto(packet, (dst, 0))
            else:
                frame = frames[kind](own)
                out.send(frame if is_ethernet else frame[14:])
        except OSError:
            pass
        sent += 1
    ahead = sent / 20000 - (time.time() - begun)
    if ahead > 0:
        time.sleep(ahead)
print(sent)
