mkdir -p /tmp/f2b /run/fail2ban; touch /tmp/f2b/auth.log
cat > /tmp/f2b/jail.local <<'X'
[DEFAULT]
backend = polling
[one]
enabled = true
filter = sshd
logpath = /tmp/f2b/auth.log
port = ssh
banaction = iptables-multiport
[two]
enabled = true
filter = sshd
logpath = /tmp/f2b/auth.log
banaction = iptables-allports
[three]
enabled = true
filter = sshd
logpath = /tmp/f2b/auth.log
port = 80
protocol = tcp
banaction = iptables
[four]
enabled = true
filter = sshd
logpath = /tmp/f2b/auth.log
port = 443
banaction = iptables-new
X
rm -f /etc/fail2ban/jail.d/*; cp /tmp/f2b/jail.local /etc/fail2ban/jail.local
sed -i 's,^dbfile.*,dbfile = None,' /etc/fail2ban/fail2ban.conf
step fail2ban-client start
for j in one two three four; do step fail2ban-client set $j banip 192.0.2.7; done
step fail2ban-client set one banip 2001:db8::7
step fail2ban-client set one banip 192.0.2.8
step fail2ban-client status one
step fail2ban-client set one unbanip 192.0.2.7
step fail2ban-client reload
step fail2ban-client unban --all
step fail2ban-client stop
