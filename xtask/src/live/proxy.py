"""A transparent proxy on port 3129, for TCP as its clients to their servers, and for UDP answering in a server's name. Says `ready'."""
import select, socket, struct, sys, threading

IP_TRANSPARENT, IPV6_TRANSPARENT, RECVORIGDST = 19, 75, 20
PORT = 3129


def transparent(family, kind, at):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    level, option = (socket.SOL_IP, IP_TRANSPARENT) if family == socket.AF_INET else (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setsockopt(level, option, 1)
    s.bind(at)
    return s


def serve(client):
    """Asks the server in the client's name, and says so to the client."""
    server_at, client_at = client.getsockname(), client.getpeername()
    request = client.recv(65536)
    server = transparent(client.family, socket.SOCK_STREAM, (client_at[0], 0))
    server.settimeout(5)
    server.connect(server_at[:2])
    server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answer = b""
    while piece := server.recv(65536):
        answer += piece
    body = answer.split(b"\r\n\r\n", 1)[1] + b"by the proxy for %s\n" % server_at[0].encode()
    client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    client.close()


tcp = [transparent(family, socket.SOCK_STREAM, (any, PORT)) for family, any in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))]
udp = transparent(socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", PORT))
udp.setsockopt(socket.SOL_IP, RECVORIGDST, 1)
for s in tcp:
    s.listen()
print("ready", flush=True)
while True:
    for s in select.select(tcp + [udp], [], [])[0]:
        if s is not udp:
            threading.Thread(target=serve, args=(s.accept()[0],)).start()
            continue
        data, control, _, client_at = s.recvmsg(65536, 1024)
        port, addr = struct.unpack("!2xH4s", next(value for level, kind, value in control if kind == RECVORIGDST)[:8])
        answer = transparent(socket.AF_INET, socket.SOCK_DGRAM, (socket.inet_ntoa(addr), port))
        answer.sendto(b"%s, by the proxy for port %d" % (data, port), client_at)
        answer.close()
