# What Docker runs at its start, for a container with a published port, and when the container stops. A check comes before each
# insertion, as Docker does it, so that exit codes decide what follows.
w() { step "$@"; }
quiet() { "$@" >/dev/null 2>&1; }
ensure() {
  local program=$1 verb=$2 table=$3 chain=$4
  shift 4
  quiet "$program" --wait -t "$table" -C "$chain" "$@" || step "$program" --wait -t "$table" "$verb" "$chain" "$@"
}
step iptables --version >/dev/null
for program in iptables ip6tables; do
  if [ $program = iptables ]; then net=172.17.0.0/16 host=172.17.0.2 lo=127.0.0.0/8; else net=fd00:17::/64 host=fd00:17::2 lo=::1/128; fi
  w $program --wait -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
  w $program --wait -t nat -D OUTPUT -m addrtype --dst-type LOCAL ! --dst $lo -j DOCKER
  w $program --wait -t nat -D PREROUTING
  for chain in DOCKER DOCKER-ISOLATION; do
    w $program --wait -t nat -F $chain
    w $program --wait -t nat -X $chain
  done
  for place in "nat DOCKER" "filter DOCKER" "filter DOCKER-ISOLATION-STAGE-1" "filter DOCKER-ISOLATION-STAGE-2" "filter DOCKER-USER"; do
    set -- $place
    quiet $program --wait -t $1 -n -L $2 || w $program --wait -t $1 -N $2
  done
  ensure $program -A filter DOCKER-ISOLATION-STAGE-1 -j RETURN
  ensure $program -A filter DOCKER-ISOLATION-STAGE-2 -j RETURN
  ensure $program -I nat POSTROUTING -s $net ! -o docker0 -j MASQUERADE
  ensure $program -I nat DOCKER -i docker0 -j RETURN
  w $program --wait -D FORWARD -i docker0 -o docker0 -j DROP
  ensure $program -I filter FORWARD -i docker0 -o docker0 -j ACCEPT
  ensure $program -I filter FORWARD -i docker0 ! -o docker0 -j ACCEPT
  ensure $program -A nat PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
  ensure $program -A nat OUTPUT -m addrtype --dst-type LOCAL -j DOCKER ! --dst $lo
  ensure $program -I filter FORWARD -o docker0 -j DOCKER
  ensure $program -I filter FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  ensure $program -I filter FORWARD -j DOCKER-ISOLATION-STAGE-1
  ensure $program -I filter DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
  ensure $program -I filter DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
  ensure $program -A filter DOCKER-USER -j RETURN
  w $program --wait -D FORWARD -j DOCKER-USER
  ensure $program -I filter FORWARD -j DOCKER-USER
  w $program --wait -P FORWARD DROP
  # A container with a published port, and its end.
  for verb in -A -D; do
    w $program --wait -t nat $verb DOCKER -p tcp --dport 8080 -j DNAT --to-destination "$([ $program = iptables ] && echo $host:80 || echo "[$host]:80")" ! -i docker0
    w $program --wait -t filter $verb DOCKER ! -i docker0 -o docker0 -p tcp -d $host --dport 80 -j ACCEPT
    w $program --wait -t nat $verb POSTROUTING -p tcp -s $host -d $host --dport 80 -j MASQUERADE
    w $program --wait -t nat -L DOCKER -n -v
  done
  w $program --wait -t filter -S DOCKER-ISOLATION-STAGE-1
  w $program --wait -t nat -X DOCKER
done
