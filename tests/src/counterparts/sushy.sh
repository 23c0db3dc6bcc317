# Runs libvirt and sushy-emulator in namespaces of their own, as process 1 of them: sushy.rs starts it by
# `unshare`. When this shell ends, everything that it started ends with it, virtual machines too.
#
#   sushy.sh FOLDER SUSHY_EMULATOR
set -eu
folder=$1 emulator=$2
uri=qemu:///system

# The test holds the other end of standard input. When it dies, however, that ends too.
exec 3<&0

# A libvirt that shares nothing with one that the host may run. Its default user need not exist there.
mkdir -p "$folder"/etc "$folder"/run "$folder"/lib "$folder"/cache "$folder"/log "$folder"/pool "$folder"/state
cp /etc/passwd "$folder/passwd"
cp /etc/group "$folder/group"
grep -q '^libvirt-qemu:' /etc/passwd ||
    echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >> "$folder/passwd"
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >> "$folder/group"
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
for pair in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "${pair#*:}"
    mount --bind "$folder/${pair%%:*}" "${pair#*:}"
done
cat > /etc/libvirt/qemu.conf <<'C'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
stdio_handler = "file"
dynamic_ownership = 0
C
cat > /etc/libvirt/libvirtd.conf <<'C'
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
C

PATH=$PATH:/usr/sbin:/sbin
libvirtd -p "$folder/libvirtd.pid" 3<&- &
libvirtd=$!
tries=0
until virsh -q -c $uri version >/dev/null 2>&1; do
    kill -0 $libvirtd 2>/dev/null || { echo 'libvirtd ended'; exit 1; }
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo 'libvirtd does not answer'; exit 1; }
    sleep 0.2
done
# sushy-emulator puts media into the pool of this name.
virsh -q -c $uri pool-define-as default dir --target "$folder/pool"
virsh -q -c $uri pool-start default
virsh -q -c $uri define "$folder/machine.xml"
"$emulator" --config "$folder/emulator.conf" 3<&- &
cat <&3 >/dev/null &
# Bash reaps the machines' processes meanwhile; without that libvirt takes a dead one for alive.
wait -n
