# What libvirt runs to start its default network and to stop it, in long options.
w() { step "$@"; }
network() {
  local verb=$1
  for protocol in tcp udp; do
    w iptables -w --table filter $verb LIBVIRT_INP --in-interface virbr0 --protocol $protocol --destination-port 67 --jump ACCEPT
    w iptables -w --table filter $verb LIBVIRT_OUT --out-interface virbr0 --protocol $protocol --destination-port 68 --jump ACCEPT
    w iptables -w --table filter $verb LIBVIRT_INP --in-interface virbr0 --protocol $protocol --destination-port 53 --jump ACCEPT
    w ip6tables -w --table filter $verb LIBVIRT_INP --in-interface virbr0 --protocol $protocol --destination-port 53 --jump ACCEPT
  done
  w iptables -w --table filter $verb LIBVIRT_FWO --in-interface virbr0 --jump REJECT
  w iptables -w --table filter $verb LIBVIRT_FWI --out-interface virbr0 --jump REJECT
  w iptables -w --table filter $verb LIBVIRT_FWX --in-interface virbr0 --out-interface virbr0 --jump ACCEPT
  w ip6tables -w --table filter $verb LIBVIRT_FWO --in-interface virbr0 --jump REJECT
  w iptables -w --table filter $verb LIBVIRT_FWO --source 192.168.122.0/24 --in-interface virbr0 --jump ACCEPT
  w iptables -w --table filter $verb LIBVIRT_FWI --destination 192.168.122.0/24 --out-interface virbr0 --match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT
  w iptables -w --table nat $verb LIBVIRT_PRT --source 192.168.122.0/24 '!' --destination 192.168.122.0/24 --jump MASQUERADE
  for protocol in udp tcp; do
    w iptables -w --table nat $verb LIBVIRT_PRT --source 192.168.122.0/24 -p $protocol '!' --destination 192.168.122.0/24 --jump MASQUERADE --to-ports 1024-65535
  done
  w iptables -w --table nat $verb LIBVIRT_PRT --source 192.168.122.0/24 --destination 255.255.255.255/32 --jump RETURN
  w iptables -w --table nat $verb LIBVIRT_PRT --source 192.168.122.0/24 --destination 224.0.0.0/24 --jump RETURN
  w iptables -w --table mangle $verb LIBVIRT_PRT --out-interface virbr0 --protocol udp --destination-port 68 --jump CHECKSUM --checksum-fill
}
for program in iptables ip6tables; do
  for place in "filter INPUT LIBVIRT_INP" "filter OUTPUT LIBVIRT_OUT" "filter FORWARD LIBVIRT_FWO" "filter FORWARD LIBVIRT_FWI" \
    "filter FORWARD LIBVIRT_FWX" "nat POSTROUTING LIBVIRT_PRT" "mangle POSTROUTING LIBVIRT_PRT"; do
    set -- $place
    w $program -w --table $1 --list-rules
    w $program -w --table $1 --new-chain $3
    w $program -w --table $1 --insert $2 --jump $3
  done
done
network --insert
network --delete
w iptables -w --table filter --delete LIBVIRT_INP --in-interface virbr0 --protocol tcp --destination-port 67 --jump ACCEPT
w iptables -w --table filter --delete-chain LIBVIRT_INP
