cat > /tmp/f.conf <<'X'
@def $LAN = 192.168.0.0/16;
domain (ip ip6) {
  table filter {
    chain INPUT { policy DROP; mod state state INVALID DROP; mod state state (ESTABLISHED RELATED) ACCEPT; interface lo ACCEPT; proto icmp ACCEPT; proto tcp dport (ssh http https) ACCEPT; proto udp dport 53 mod limit limit 5/second ACCEPT; }
    chain FORWARD policy DROP;
    chain own { proto tcp REJECT reject-with tcp-reset; RETURN; }
    chain INPUT jump own;
  }
}
domain ip table nat chain POSTROUTING { saddr $LAN outerface eth0 MASQUERADE; }
domain ip table nat chain PREROUTING interface eth0 proto tcp dport 8080 DNAT to 192.168.1.2:80;
X
step ferm /tmp/f.conf
sed -i 's/(ssh http https)/(ssh 8443)/; s/8080/8081/' /tmp/f.conf
step ferm /tmp/f.conf
step ferm --noexec --lines /tmp/f.conf
iptables -A INPUT -s 9.9.9.9 -j DROP
step ferm --noflush /tmp/f.conf
step ferm --slow /tmp/f.conf
step ferm --flush /tmp/f.conf
