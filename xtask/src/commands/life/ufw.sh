sed -i 's,^IPT_SYSCTL=.*,IPT_SYSCTL=,' /etc/default/ufw
step ufw --force enable
step ufw allow 22/tcp
step ufw allow from 10.0.0.0/8 to any port 80 proto tcp
step ufw deny 23
step ufw limit ssh
step ufw status verbose
step ufw reload
step ufw delete deny 23
step ufw --force delete 1
step ufw status numbered
step ufw disable
step ufw --force reset
