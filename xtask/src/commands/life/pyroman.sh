cp -r /usr/share/doc/pyroman/examples/example1 /tmp/example1
gunzip /tmp/example1/*.gz 2>/dev/null
step pyroman -p
step pyroman
step pyroman /tmp/example1
step pyroman /usr/share/doc/pyroman/examples/personal-firewall
