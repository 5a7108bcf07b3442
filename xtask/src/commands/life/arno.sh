mkdir -p /etc/arno-iptables-firewall/conf.d
cat > /etc/arno-iptables-firewall/conf.d/00life.conf <<'X'
EXT_IF="eth0"
INT_IF="eth1"
INTERNAL_NET="192.168.1.0/24"
INT_NET_BCAST_ADDRESS="192.168.1.255"
NAT=1
NAT_INTERNAL_NET="192.168.1.0/24"
NAT_FORWARD_TCP="8080>192.168.1.10~80 0/0~2222>192.168.1.11~22"
NAT_FORWARD_UDP="5000:5010>192.168.1.12"
OPEN_TCP="22 80 443 6000:6010"
OPEN_UDP="53 123"
OPEN_ICMP=1
HOST_OPEN_TCP="1.2.3.4,5.6.7.0/24~25"
DENY_TCP="23"
REJECT_TCP="113"
LAN_INET_HOST_DENY_TCP="192.168.1.50>0/0~25"
BLOCK_HOSTS="198.51.100.7 198.51.100.8"
IPV6_SUPPORT=1
MANGLE_TOS=1
SET_MSS=1
TTL_INC=1
X
step arno-iptables-firewall start
sed -i 's/^OPEN_TCP=.*/OPEN_TCP="22 8443"/; s/^IPV6_SUPPORT=1/IPV6_SUPPORT=0/' /etc/arno-iptables-firewall/conf.d/00life.conf
step arno-iptables-firewall restart
step arno-iptables-firewall status
step arno-iptables-firewall stop
