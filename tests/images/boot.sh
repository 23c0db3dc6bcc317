#!/bin/bash
# Boots a disk image in QEMU (TCG, never KVM) until its login prompt, and tells the seconds.
#
#   boot.sh IMAGE [bios|uefi|uefi-secure-boot]... [--disk virtio|sata|nvme] [--show]
#
# The image is not changed (snapshot). Exit code 0 when every boot reached the prompt of bessemer-demo with the
# firmware that was asked for.
set -euo pipefail

image= disk=virtio show=no firmwares=()
limit=${LIMIT:-300}
while [ $# -gt 0 ]; do
    case $1 in
        --disk) disk=$2; shift ;;
        --show) show=yes ;;
        bios | uefi | uefi-secure-boot) firmwares+=("$1") ;;
        *) image=$1 ;;
    esac
    shift
done
[ -n "$image" ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
[ ${#firmwares[@]} -gt 0 ] || firmwares=(bios uefi uefi-secure-boot)

dir=$(mktemp -d)
qemu=
cleanup() { [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT

boot() { # FIRMWARE
    local machine=q35 ovmf=/usr/share/OVMF flags=() started
    case $1 in
        uefi)
            cp "$ovmf/OVMF_VARS_4M.fd" "$dir/vars"
            flags=(-drive "if=pflash,unit=0,format=raw,readonly=on,file=$ovmf/OVMF_CODE_4M.fd") ;;
        uefi-secure-boot)
            cp "$ovmf/OVMF_VARS_4M.ms.fd" "$dir/vars"
            machine=q35,smm=on
            flags=(-global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1
                -drive "if=pflash,unit=0,format=raw,readonly=on,file=$ovmf/OVMF_CODE_4M.secboot.fd") ;;
    esac
    [ "$1" = bios ] || flags+=(-drive "if=pflash,unit=1,format=raw,file=$dir/vars")
    flags+=(-drive "if=none,id=d0,file=$image,format=raw,snapshot=on,cache=unsafe")
    case $disk in
        virtio) flags+=(-device virtio-blk-pci,drive=d0) ;;
        sata) flags+=(-device ide-hd,drive=d0,bus=ide.0) ;;
        nvme) flags+=(-device nvme,drive=d0,serial=demo) ;;
    esac
    : > "$dir/serial"
    started=$(date +%s%N)
    qemu-system-x86_64 -M $machine -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -display none -monitor none \
        -serial "file:$dir/serial" -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= "${flags[@]}" &
    qemu=$!
    until grep -aq 'bessemer-demo login:' "$dir/serial"; do
        if ! kill -0 $qemu 2>/dev/null || [ $((($(date +%s%N) - started) / 1000000000)) -ge "$limit" ]; then
            echo "$1: no login prompt within $limit s; the end of the serial console:" >&2
            tail -n 30 "$dir/serial" >&2
            return 1
        fi
        sleep 0.1
    done
    printf '%s, %s disk: login prompt after %s s\n' "$1" "$disk" \
        "$(awk -v ns=$(($(date +%s%N) - started)) 'BEGIN { printf "%.1f", ns / 1e9 }')"
    kill $qemu
    wait $qemu 2>/dev/null || true
    qemu=
    [ $show = no ] || cat "$dir/serial"
    grep -a 'bessemer-demo: ' "$dir/serial"
    grep -aq "firmware=$1;" "$dir/serial"
}

for firmware in "${firmwares[@]}"; do boot "$firmware"; done
