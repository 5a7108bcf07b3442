"""What a router asks of its neighbors: neighbors.py DEVICE SECONDS ADDRESS4 ADDRESS6. Says `ready', and at the end for each family the
questions for these addresses: U for one that was sent to one machine, with the second it came in; B for one to all, with the seconds
since the first of these, which came when somebody had something to say."""
import socket, sys, time

device, seconds, four, six = sys.argv[1], float(sys.argv[2]), socket.inet_aton(sys.argv[3]), socket.inet_pton(socket.AF_INET6, sys.argv[4])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((device, 0))
print("ready", flush=True)
sys.stdin.readline()
begun, seen, to_all = time.monotonic(), {4: [], 6: []}, {}
while (left := begun + seconds - time.monotonic()) > 0:
    s.settimeout(left)
    try:
        frame, where = s.recvfrom(2000)
    except TimeoutError:
        break
    if where[2] == socket.PACKET_OUTGOING:
        continue
    kind = frame[12:14]
    is_arp = kind == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == four
    is_solicitation = kind == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135 and frame[62:78] == six
    if is_arp or is_solicitation:
        family, now = 4 if is_arp else 6, time.monotonic()
        since = to_all.setdefault(family, now) if frame[0] & 1 else begun
        seen[family].append("%s%d" % ("B" if frame[0] & 1 else "U", round(now - since)))
print(" ".join(seen[4]), flush=True)
print(" ".join(seen[6]), flush=True)
