"""What a program is told: talk.py connect HOST PORT..., ask HOST PORT, mss HOST PORT. One word for each port."""
import errno, socket, sys

what, host = sys.argv[1], sys.argv[2]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
for port in sys.argv[3:]:
    s = socket.socket(family, socket.SOCK_DGRAM if what == "ask" else socket.SOCK_STREAM)
    s.settimeout(2)
    try:
        s.connect((host, int(port)))
        if what == "ask":
            s.send(b"hello")
            print(s.recv(2000).decode())
        elif what == "mss":
            print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
        else:
            print("connected")
    except TimeoutError:
        print("silence")
    except OSError as error:
        print(errno.errorcode.get(error.errno, str(error)))
