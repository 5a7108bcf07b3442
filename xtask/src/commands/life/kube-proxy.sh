# What kube-proxy runs: a canary chain, jumps that are checked before they are made, and rule files onto what is there, in which chains
# come, change and go.
w() { step "$@"; }
opts="-w 5 -W 100000"
for table in mangle nat filter; do
  w iptables $opts -N KUBE-PROXY-CANARY -t $table
  w iptables $opts -S KUBE-PROXY-CANARY -t $table
done
for chain in KUBE-SERVICES KUBE-POSTROUTING KUBE-MARK-MASQ KUBE-NODEPORTS; do w iptables $opts -N $chain -t nat; done
for chain in KUBE-SERVICES KUBE-FORWARD KUBE-FIREWALL; do w iptables $opts -N $chain -t filter; done
jump() {
  iptables $opts -C "$@" >/dev/null 2>&1 || step iptables $opts -I "$@"
}
for _ in once again; do
  jump OUTPUT -t nat -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
  jump PREROUTING -t nat -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
  jump POSTROUTING -t nat -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
  jump FORWARD -t filter -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-FIREWALL
  jump FORWARD -t filter -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
done
services() {
  echo '*filter'
  printf ':KUBE-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-FIREWALL - [0:0]\n'
  echo '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP'
  echo '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT'
  echo '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'
  echo '-A KUBE-SERVICES -m comment --comment "default/none has no endpoints" -m tcp -p tcp -d 10.96.0.99/32 --dport 80 -j REJECT'
  printf 'COMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-NODEPORTS - [0:0]\n'
  for n in $(seq "$1" "$2"); do
    printf ':KUBE-SVC-%04d - [0:0]\n:KUBE-SEP-%04dA - [0:0]\n:KUBE-SEP-%04dB - [0:0]\n' $n $n $n
  done
  echo '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN'
  echo '-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000'
  echo '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully'
  echo '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000'
  for n in $(seq "$1" "$2"); do
    printf -- '-A KUBE-SERVICES -m comment --comment "default/s%d:http cluster IP" -m tcp -p tcp -d 10.96.0.%d/32 --dport 80 -j KUBE-SVC-%04d\n' $n $n $n
    printf -- '-A KUBE-SVC-%04d -m comment --comment "default/s%d:http" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-%04dA\n' $n $n $n
    printf -- '-A KUBE-SVC-%04d -m comment --comment "default/s%d:http" -j KUBE-SEP-%04dB\n' $n $n $n
    for pod in A B; do
      printf -- '-A KUBE-SEP-%04d%s -m comment --comment default/s%d:http -s 10.244.%d.9/32 -j KUBE-MARK-MASQ\n' $n $pod $n $n
      printf -- '-A KUBE-SEP-%04d%s -m comment --comment default/s%d:http -m tcp -p tcp -j DNAT --to-destination 10.244.%d.9:8080\n' $n $pod $n $n
    done
  done
  echo '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS'
  for n in $3; do printf -- ':KUBE-SVC-%04d - [0:0]\n-X KUBE-SVC-%04d\n' $n $n; done
  echo COMMIT
}
services 1 12 "" > /tmp/first
services 3 14 "1 2" > /tmp/second
sed 's/KUBE-SVC-0005$/KUBE-NOWHERE/' /tmp/first > /tmp/wrong
w sh -c "iptables-restore $opts --noflush --counters < /tmp/first"
w iptables-save -t nat >/dev/null
w sh -c "iptables-restore $opts --noflush --counters < /tmp/second"
w sh -c "iptables-restore $opts --noflush --counters < /tmp/second"
step sh -c "iptables-restore $opts --noflush --counters --test < /tmp/first"
sh -c "iptables-restore $opts --noflush --counters < /tmp/wrong" >/dev/null 2>&1
w echo "after a wrong file: $?"
w iptables $opts -D OUTPUT -t nat -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
w iptables $opts -F KUBE-FORWARD -t filter
w iptables $opts -X KUBE-PROXY-CANARY -t mangle
