#!/bin/bash
# `make demo`: a bare (virtual) machine gets a real Debian, from power off to the login prompt.
#
#   demo.sh [--keep] [--firmware uefi|bios|secure-boot]
#
# Starts a virtual machine with a virtual BMC and a controller, all on this machine and as its user; deploys the demo
# image; logs in on the serial console to prove it. --keep leaves everything running until Ctrl-C. What it started
# and wrote is gone when it ends.
set -euo pipefail

keep=no firmware=uefi
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=yes ;;
        --firmware) firmware=${2:-}; shift ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${BESSEMER_TARGET:-$root/target/debug}
iso=${BESSEMER_DEPLOY_ISO:-$root/.cache/ramdisk/deploy.iso}
images=$root/.cache/images
readonly boot_limit=300

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
seconds() { printf '%d s' "$SECONDS"; }
step() { printf '\n%s[%4s] %s%s\n' "$bold" "$(seconds)" "$*" "$plain"; }
show() { printf '%s  $ %s%s\n' "$dim" "$*" "$plain"; }
die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }

for file in "$bin/bessemer" "$bin/bessemer-lab" "$iso" "$images/debian.raw.zst"; do
    [ -e "$file" ] || die "$file is missing: run make demo, which makes it first"
done

# A short path: QEMU's sockets lie below it.
dir=$(mktemp -d /tmp/bessemer-demo.XXXXXX)
lab='' controller='' follower=''
cleanup() {
    local status=$?
    trap - EXIT INT TERM
    if [ $status != 0 ] && [ $status != 130 ] && [ -s "$dir/controller.log" ]; then
        printf '\nThe end of the controller'\''s log:\n' >&2
        tail -n 15 "$dir/controller.log" >&2
    fi
    for process in $follower $controller $lab; do kill "$process" 2>/dev/null || true; done
    for process in $controller $lab; do wait "$process" 2>/dev/null || true; done
    rm -rf "$dir"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$machine" "$1"; }
# The serial console without colours and cursor movements.
readable() { sed -u -e 's/\x1b\[[0-9;?=]*[A-Za-z]//g' -e 's/\x1bM//g' -e 's/\r//g'; }
bessemer() { "$bin/bessemer" "$@"; }
run() { show "bessemer $*"; bessemer "$@"; }

start_lab() {
    : > "$dir/lab.json"
    "$bin/bessemer-lab" run --dir "$dir/lab" --machines 1 --firmware "$firmware" --memory 1024 --disk-size 8G \
        > "$dir/lab.json" 2> "$dir/lab.log" &
    lab=$!
    for _ in $(seq 300); do
        machine=$(head -n1 "$dir/lab.json")
        [ -z "$machine" ] || break
        kill -0 $lab 2>/dev/null || die "the lab did not start: $(cat "$dir/lab.log")"
        sleep 0.1
    done
    [ -n "$machine" ] || die "the lab did not start within 30 s: $(cat "$dir/lab.log")"
    serial=$(field serial_log)
    printf 'A bare machine: %s, 1 GiB of memory, 8 GiB of empty disk, switched off.\nIts BMC speaks Redfish at %s\n' \
        "$firmware" "$(field address)"
}

start_controller() {
    local api agents files
    api=$(free_port) agents=$(free_port) files=$(free_port)
    # The guest reaches this machine's loopback as 10.0.2.2; the BMC is on this machine.
    cat > "$dir/demo.toml" <<TOML
state_dir = "$dir/state"

[api]
listen = "127.0.0.1:$api"

[agents]
listen = "127.0.0.1:$agents"
advertise = ["10.0.2.2:$agents"]

[files]
listen = "127.0.0.1:$files"
url_for_bmcs = "http://127.0.0.1:$files"
url_for_agents = "http://10.0.2.2:$files"

[boot]
deploy_iso = "$iso"

[images]
file_url_allowed_paths = ["$images"]
TOML
    export BESSEMER_URL=http://127.0.0.1:$api
    show "bessemer serve --config $dir/demo.toml"
    "$bin/bessemer" serve --config "$dir/demo.toml" > "$dir/controller.log" 2>&1 &
    controller=$!
    for _ in $(seq 300); do
        ! bessemer node list >/dev/null 2>&1 || break
        kill -0 $controller 2>/dev/null || die "the controller ended at once"
        sleep 0.1
    done
    bessemer node list >/dev/null || die "the controller does not answer"
    printf 'The Ironic API is at %s\n' "$BESSEMER_URL"
}

enroll() {
    local password
    password=$(cat "$(field password_file)")
    show "bessemer node create --name demo --driver-info redfish_address=$(field address) ..."
    bessemer node create --name demo --driver redfish \
        --driver-info "redfish_address=$(field address)" --driver-info "redfish_system_id=$(field system)" \
        --driver-info "redfish_username=$(field user)" --driver-info "redfish_password=$password" > "$dir/create.log"
    show "bessemer port create $(field mac) --node demo"
    bessemer port create "$(field mac)" --node demo > "$dir/port.log"
    run node manage demo --wait
    run node provide demo --wait
}

deploy() {
    local sha256
    sha256=$(awk '$2 == "debian.raw.zst" { print $1 }' "$images/SHA256SUMS")
    started=$SECONDS
    run deploy demo --image "file://$images/debian.raw.zst" --sha256 "$sha256" --watch
    deployed=$((SECONDS - started))
}

# The machine's serial console, from the moment the agent switched it off, until the login prompt.
follow_boot() {
    local from end=$((SECONDS + boot_limit)) shower
    from=$(grep -abo 'reboot: Power down' "$serial" | tail -n1 | cut -d: -f1 || true)
    # `tail` ends soon after this process, and the others with it, with all their output shown.
    sleep $((boot_limit * 2)) &
    follower=$!
    tail --pid=$follower -s 0.2 -c +$((${from:-0} + 1)) -F "$serial" 2>/dev/null | readable |
        grep --line-buffered -v -e '^ *$' -e 'Power down' | sed -u "s/^/  ${dim}|${plain} /" &
    shower=$!
    until grep -aq 'bessemer-demo login:' "$serial"; do
        kill -0 $lab 2>/dev/null || die "the lab ended: $(tail -n 5 "$dir/lab.log")"
        [ $SECONDS -lt $end ] || die "no login prompt on the serial console within $boot_limit s"
        sleep 0.2
    done
    sleep 0.5
    kill $follower
    wait $follower 2>/dev/null || true
    follower=''
    wait $shower || true
    echo
}

look_around() {
    cat <<TEXT

Everything is still running. In another terminal:

  export BESSEMER_URL=$BESSEMER_URL
  $bin/bessemer node show demo              what the controller knows
  $bin/bessemer node history demo           which way it went
  $bin/bessemer node logs demo              what the agent logged
  $bin/bessemer node power off demo         the BMC does it
  $root/.cache/venv/bin/baremetal --os-auth-type none --os-endpoint \$BESSEMER_URL node list
                                            OpenStack's own command line works too
  python3 $here/console.py $(field serial_socket)
                                            the serial console; log in as root, password bessemer; leave by Ctrl-]

Ctrl-C here ends everything and removes $dir.
TEXT
    while kill -0 $lab 2>/dev/null && kill -0 $controller 2>/dev/null; do sleep 1; done
    die "the lab or the controller ended"
}

step "A virtual machine with a virtual BMC"
start_lab
step "A controller"
start_controller
step "The controller gets to know the machine"
enroll
step "Deploying Debian 12: $(stat -c %s "$images/debian.raw.zst" | numfmt --to=iec-i)B compressed, 1.3GiB on the disk"
deploy
step "The machine boots from its disk"
follow_boot
step "Logging in on the serial console, to prove it"
python3 "$here/console.py" "$(field serial_socket)" \
    'cat /etc/debian_version' 'lsblk -o NAME,SIZE,FSTYPE,MOUNTPOINTS' 'test ! -d /sys/firmware/efi || efibootmgr'
step "Done: deployed in $deployed s, logged in after $(seconds) in all"
if [ $keep = yes ]; then
    look_around
fi
printf 'To keep it running and look around: make demo KEEP=1\n'
