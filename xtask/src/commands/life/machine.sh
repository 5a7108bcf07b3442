# A throw-away machine in namespaces of its own: a tree with everything written to it in memory, and in it the programs of
# iptables as links to hairpin, or to the real ones of the legacy variant.
# TREE: the tree. PROGRAM: hairpin, or empty for the real ones. CLEANS: the life's programs drop the environment. SCRIPT: the life.
set -e
work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay none -o "lowerdir=$TREE,upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mkdir -p "$root/run/lock" "$root/opt/links"
ip link set lo up 2>/dev/null || true
programs="$root/usr/sbin/xtables-nft-multi $root/usr/sbin/xtables-legacy-multi"
if [ -n "$PROGRAM" ]; then
  cp "$PROGRAM" "$root/opt/hairpin"
  chroot "$root" /opt/hairpin install-links /opt/links >/dev/null
  rm -f "$root/opt/links/ipset" "$root/opt/links/conntrack"
  if [ -n "$CLEANS" ]; then
    printf '#!/bin/bash\nexport HAIRPIN_STATE=/tmp/state\nexec -a "$0" /opt/hairpin "$@"\n' > "$root/opt/program"
    chmod +x "$root/opt/program"
  else
    ln "$root/opt/hairpin" "$root/opt/program"
  fi
  for program in $programs; do rm "$program"; cp "$root/opt/program" "$program"; done
  export HAIRPIN_STATE=/tmp/state
else
  cp "$root/usr/sbin/xtables-legacy-multi" "$root/opt/real"
  cp "$root/opt/real" "$root/usr/sbin/xtables-nft-multi"
fi
printf '%s' "$SCRIPT" > "$root/tmp/life.sh"
status=0
env -i PATH=/opt/links:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 ${HAIRPIN_STATE:+HAIRPIN_STATE=$HAIRPIN_STATE} \
  chroot "$root" /bin/bash /tmp/life.sh </dev/null || status=$?
exit $status
