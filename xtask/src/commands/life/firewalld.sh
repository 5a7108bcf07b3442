mkdir -p /etc/firewalld; printf "DefaultZone=public\nCleanupOnExit=yes\nIPv6_rpfilter=yes\nIndividualCalls=no\nLogDenied=off\nFirewallBackend=iptables\n" > /etc/firewalld/firewalld.conf
rm -rf /etc/firewalld/zones/*
mkdir -p /run/dbus; dbus-uuidgen --ensure; dbus-daemon --system --fork
firewalld --nofork --nopid >/tmp/fw.log 2>&1 &
for n in $(seq 60); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.5; done
step firewall-cmd --state
step firewall-cmd --add-service=http
step firewall-cmd --add-port=8443/tcp
step firewall-cmd --zone=trusted --add-source=10.0.0.0/8
step firewall-cmd --add-rich-rule='rule family=ipv4 source address=192.0.2.0/24 reject'
step firewall-cmd --add-masquerade
step firewall-cmd --add-forward-port=port=8080:proto=tcp:toport=80:toaddr=192.168.1.2
step firewall-cmd --list-all
step firewall-cmd --remove-service=http
step firewall-cmd --direct --add-rule ipv4 filter INPUT 0 -p tcp --dport 99 -j ACCEPT
step firewall-cmd --reload
step firewall-cmd --panic-on
step firewall-cmd --panic-off
kill %1; wait %1 2>/dev/null
step true

