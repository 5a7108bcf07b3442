# A router with two zones behind Debian's defaults: what is detected, compiled, started, changed and stopped.
said() { "$@" 2>&1 | sed -E -e 's/(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} .*/DATE/' -e 's/ at [^ ]+ - / /' -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}.*/DATE/' -e 's/pid=[0-9]+//'; return ${PIPESTATUS[0]}; }
# It names two chains by chance.
eval "plain_$(declare -f step)"
step() { plain_step "$@" | sed -E 's/(sha-[lr]h-)[0-9a-f]+/\1X/'; }
if [ -x /opt/hairpin ]; then ln -sf /opt/hairpin /usr/sbin/ipset; fi
ip link add eth0 type veth peer name far0 && ip link add eth1 type veth peer name far1
ip address add 192.0.2.1/24 dev eth0 && ip address add 10.0.0.1/24 dev eth1
ip address add 2001:db8::1/64 dev eth0 nodad && ip address add fd00::1/64 dev eth1 nodad
for device in eth0 far0 eth1 far1; do ip link set $device up; done
ip route add default via 192.0.2.254 2>/dev/null
sed -i -e 's/^STARTUP_ENABLED=.*/STARTUP_ENABLED=Yes/' -e 's/^LOGFILE=.*/LOGFILE=\/tmp\/log/' -e 's/^IP_FORWARDING=.*/IP_FORWARDING=Keep/' \
  -e 's/^BLACKLIST_DEFAULT=.*/BLACKLIST_DEFAULT=none/' -e 's/^LOAD_HELPERS_ONLY=.*/LOAD_HELPERS_ONLY=No/' /etc/shorewall/shorewall.conf /etc/shorewall6/shorewall6.conf
touch /tmp/log
for family in 4 6; do
  dir=/etc/shorewall; [ $family = 6 ] && dir=/etc/shorewall6
  printf 'fw firewall\nnet ipv%s\nloc ipv%s\n' $family $family > $dir/zones
  options=tcpflags; [ $family = 4 ] && options=tcpflags,nosmurfs,routefilter=0,logmartians=0,sourceroute=0
  printf '?FORMAT 2\nnet eth0 %s\nloc eth1 tcpflags\n' $options > $dir/interfaces
  printf 'loc net ACCEPT\n$FW net ACCEPT\nnet all DROP info\nall all REJECT info\n' > $dir/policy
done
cat > /etc/shorewall/rules <<'X'
?SECTION ALL
?SECTION ESTABLISHED
?SECTION RELATED
?SECTION INVALID
?SECTION UNTRACKED
?SECTION NEW
Invalid(DROP) net all tcp
SSH(ACCEPT) loc $FW
DNS(ACCEPT) $FW net
Ping(ACCEPT) loc $FW
Ping(DROP) net $FW
DNAT net loc:10.0.0.2:80 tcp 8080
DNAT net loc:10.0.0.3 udp 5060:5070
REDIRECT loc 3128 tcp www - !192.0.2.0/24
ACCEPT:info net:192.0.2.7,192.0.2.8 $FW tcp 22 - - 3/min:5
LOG:warn loc net tcp 25
REJECT loc net tcp 25
ACCEPT net $FW icmp 8
Web(ACCEPT) net:!192.0.2.128/25 $FW
ACCEPT loc $FW tcp 21 { helper=ftp }
X
sed -i '$d' /etc/shorewall/rules
printf 'MASQUERADE 10.0.0.0/24 eth0\n' > /etc/shorewall/snat
printf 'TTL(-1):F eth1 - tcp 22\nMARK(5):P eth1 - tcp 80\nDSCP(EF):F 0.0.0.0/0 0.0.0.0/0 udp 5060\n' > /etc/shorewall/mangle
printf '?FORMAT 3\nNOTRACK:P eth1:10.0.0.9 - udp 53\n' > /etc/shorewall/conntrack
printf 'DROP net:192.0.2.66 all\n' > /etc/shorewall/blrules
printf 'SSH(ACCEPT) loc $FW\nPing(ACCEPT) all all\nACCEPT net loc:fd00::2 tcp 80\n' > /etc/shorewall6/rules
step said shorewall show -f capabilities
step said shorewall check
step said shorewall start
step said shorewall show net-fw
step said shorewall show nat
step said shorewall show policies
step said shorewall drop 192.0.2.9 192.0.2.10
step said shorewall logreject 192.0.2.11
step said shorewall show dynamic
step said shorewall allow 192.0.2.9
printf 'ACCEPT net $FW tcp 8443\n' >> /etc/shorewall/rules
step said shorewall reload
step said shorewall save
step said shorewall reset
step said shorewall stop
step said shorewall restore
step said shorewall clear
step said shorewall6 show -f capabilities
step said shorewall6 start
step said shorewall6 reload
step said shorewall6 stop
step said shorewall6 clear
