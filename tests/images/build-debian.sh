#!/bin/bash
# Makes the demo image: a bootable Debian 12 disk for BIOS, UEFI and UEFI with Secure Boot.
#
#   build-debian.sh [OUT]      OUT defaults to .cache/images in the repository
#
# Writes OUT/debian.raw, debian.raw.zst, debian.raw.gz and SHA256SUMS, and does nothing when they were already
# made from the same inputs (this script and everything in debian/). Needs root for the chroot, nothing else:
# no loop device, no mount of a partition, so any host kernel will do.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$(cd "$here/../.." && pwd)/.cache/images}

# One layout for every build: the same packages give the same partition table and UUIDs.
readonly disk_mib=1280
readonly bios_start=2048 bios_sectors=2048        # GRUB's core image
readonly esp_start=4096 esp_sectors=131072        # 64 MiB
readonly root_start=135168
readonly root_sectors=$((disk_mib * 2048 - root_start - 2048))    # a MiB is left for the backup GPT
readonly disk_guid=6be55e3e-0000-4d15-8000-00000000d15c
readonly root_guid=6be55e3e-0000-4d15-8000-000000000003
readonly root_uuid=6be55e3e-0000-4d15-8000-0000000000f5
readonly esp_serial=6be5e5be
readonly suite=bookworm

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need_tools() {
    local tool package missing=()
    while read -r tool package; do
        command -v "$tool" >/dev/null || missing+=("$package")
    done <<-'TOOLS'
	mmdebstrap mmdebstrap
	sgdisk gdisk
	mkfs.vfat dosfstools
	mcopy mtools
	mke2fs e2fsprogs
	zstd zstd
	python3 python3
	flock util-linux
	TOOLS
    [ ${#missing[@]} = 0 ] || die "missing tools; run: apt-get install --no-install-recommends ${missing[*]}"
    [ "$(id -u)" = 0 ] || die "must run as root (mmdebstrap unpacks packages into a chroot)"
}

inputs_hash() {
    (cd "$here" && find build-debian.sh grub_bios.py debian \( -type f -o -type l \) -printf '%m %p\n' | LC_ALL=C sort -k2 |
        while read -r mode file; do printf '%s %s\n' "$mode" "$(if [ -h "$file" ]; then readlink "$file"; else sha256sum "$file"; fi)"; done) | sha256sum | cut -d' ' -f1
}

# The machine's own Debian mirrors when it runs the same release, else Debian's.
apt_sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option= own
    [ -r "$keyring" ] && option="[signed-by=$keyring] "
    # apt-get fills in the $( ) fields, not this shell.
    # shellcheck disable=SC2016
    own=$(apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -F'|' -v suite="$suite" '$1 == "Debian" && index($2, suite) == 1 && $3 ~ / main$/ { print $3 }' | sort -u)
    if ! grep -q " $suite main" <<<"$own"; then
        own="http://deb.debian.org/debian $suite main
http://deb.debian.org/debian $suite-updates main
http://deb.debian.org/debian-security $suite-security main"
    fi
    sed "s|^|deb $option|" <<<"$own"
}

make_tree() { # TREE
    local tree=$1 packages options=() proxy=
    packages=$(sed 's/#.*//' "$here/debian/packages" | xargs | tr ' ' ,)
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -n "$proxy" ] && options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
    # The overlay comes before the packages, so that the initramfs is made once, with our settings; the
    # hook scripts see the new root as $1. Translations, manuals and most documentation stay out.
    # shellcheck disable=SC2016
    apt_sources | mmdebstrap --mode=root --variant=minbase --include="$packages" --skip=check/empty \
        "${options[@]}" \
        --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='force-confold' \
        --extract-hook="cp -a --no-preserve=ownership '$here/debian/overlay/.' \"\$1/\"" \
        --customize-hook="cp '$here/debian/customize.sh' \"\$1/customize.sh\" && chroot \"\$1\" /customize.sh && rm \"\$1/customize.sh\"" \
        "$suite" "$tree" -
    # mmdebstrap copies these from the host while it works.
    echo bessemer-demo > "$tree/etc/hostname"
    ln -sfn ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
    apt_sources | sed 's/ \[signed-by=[^]]*\]//' > "$tree/etc/apt/sources.list"
}

write_boot_files() { # TREE
    local tree=$1 modules=$1/usr/lib/grub/i386-pc
    mkdir -p "$tree/boot/efi" "$tree/boot/grub/i386-pc"
    # Both firmwares end up here; the kernel is reached by Debian's /vmlinuz link, so that the file needs no version.
    cat > "$tree/boot/grub/grub.cfg" <<-GRUB
	set default=0
	set timeout=0
	serial --unit=0 --speed=115200
	terminal_input console serial
	terminal_output console serial
	search --no-floppy --fs-uuid --set=root $root_uuid
	set gfxpayload=text
	menuentry 'Debian GNU/Linux' {
	    linux /vmlinuz root=UUID=$root_uuid ro console=tty0 console=ttyS0,115200 loglevel=4 systemd.show_status=1
	    initrd /initrd.img
	}
	GRUB
    cp "$modules"/*.mod "$modules"/*.lst "$tree/boot/grub/i386-pc/"
    chroot "$tree" grub-editenv /boot/grub/grubenv create
}

make_core_image() { # TREE WORK: GRUB for BIOS; it finds the root file system by UUID, whatever the disk is called
    local tree=$1 work=$2
    printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\n' "$root_uuid" > "$tree/tmp/core.cfg"
    chroot "$tree" grub-mkimage -O i386-pc -o /tmp/core.img -c /tmp/core.cfg -p /boot/grub \
        biosdisk part_gpt ext2 search_fs_uuid normal serial terminal linux configfile echo
    mv "$tree/tmp/core.img" "$work/core.img"
    rm "$tree/tmp/core.cfg"
}

make_esp() { # TREE ESP
    local tree=$1 esp=$2 lib=$1/usr/lib grubcfg
    grubcfg=$(mktemp -p "$(dirname "$esp")")
    printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$root_uuid" > "$grubcfg"
    truncate -s $((esp_sectors * 512)) "$esp"
    mkfs.vfat -F 32 -s 1 -n ESP -i "$esp_serial" "$esp" >/dev/null
    # The signed GRUB reads /EFI/debian/grub.cfg wherever it was started from. There is no fallback loader
    # (fbx64.efi) in /EFI/BOOT on purpose: it would make a boot entry of its own, and hide a deploy that made none.
    mmd -i "$esp" ::/EFI ::/EFI/debian ::/EFI/BOOT
    mcopy -i "$esp" "$lib/shim/shimx64.efi.signed" ::/EFI/debian/shimx64.efi
    mcopy -i "$esp" "$lib/shim/mmx64.efi.signed" ::/EFI/debian/mmx64.efi
    mcopy -i "$esp" "$lib/shim/BOOTX64.CSV" ::/EFI/debian/BOOTX64.CSV
    mcopy -i "$esp" "$lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::/EFI/debian/grubx64.efi
    mcopy -i "$esp" "$grubcfg" ::/EFI/debian/grub.cfg
    mcopy -i "$esp" "$lib/shim/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$esp" "$lib/shim/mmx64.efi.signed" ::/EFI/BOOT/mmx64.efi
    mcopy -i "$esp" "$lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
    rm "$grubcfg"
}

make_disk() { # TREE WORK RAW
    local tree=$1 work=$2 raw=$3
    rm -f "$raw"
    truncate -s ${disk_mib}M "$raw"
    sgdisk --clear --disk-guid="$disk_guid" --set-alignment=1 \
        --new=1:$bios_start:$((bios_start + bios_sectors - 1)) --typecode=1:ef02 --change-name=1:bios \
        --partition-guid=1:${root_guid%3}1 \
        --new=2:$esp_start:$((esp_start + esp_sectors - 1)) --typecode=2:ef00 --change-name=2:esp \
        --partition-guid=2:${root_guid%3}2 \
        --new=3:$root_start:$((root_start + root_sectors - 1)) --typecode=3:8304 --change-name=3:root \
        --partition-guid=3:"$root_guid" "$raw" >/dev/null
    make_esp "$tree" "$work/esp"
    dd if="$work/esp" of="$raw" bs=1M seek=$((esp_start / 2048)) conv=notrunc,sparse status=none
    python3 "$here/grub_bios.py" "$raw" "$tree/usr/lib/grub/i386-pc/boot.img" "$work/core.img" $bios_start $bios_sectors
    # GRUB 2.06 cannot read the two newest features.
    mke2fs -q -F -t ext4 -L bessemer-root -U "$root_uuid" -O ^metadata_csum_seed,^orphan_file -m 1 \
        -E offset=$((root_start * 512)),hash_seed="$root_uuid",assume_storage_prezeroed=1 \
        -d "$tree" "$raw" $((root_sectors / 2))k
    sgdisk --verify "$raw" | grep -q 'No problems found' || die "sgdisk finds fault with the partition table it made"
}

compress() { # WORK
    (
        cd "$1"
        zstd -q -T0 -9 -f debian.raw -o debian.raw.zst
        gzip -6 -n -c debian.raw > debian.raw.gz
        sha256sum debian.raw debian.raw.zst debian.raw.gz > SHA256SUMS
    )
}

main() {
    need_tools
    mkdir -p "$out"
    exec 9> "$out/.lock"
    flock 9
    local hash work started=$SECONDS
    hash=$(inputs_hash)
    if [ "$(cat "$out/debian.inputs" 2>/dev/null)" = "$hash" ] &&
        [ -s "$out/debian.raw" ] && [ -s "$out/debian.raw.zst" ] && [ -s "$out/debian.raw.gz" ] && [ -s "$out/SHA256SUMS" ]; then
        say "$out/debian.raw is up to date"
        return
    fi
    work=$(mktemp -d "$out/work.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$work'" EXIT
    say "installing Debian $suite into a folder (packages come from this machine's apt sources)"
    make_tree "$work/tree" > "$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "mmdebstrap failed; the end of its log is above"; }
    write_boot_files "$work/tree"
    make_core_image "$work/tree" "$work"
    say "$(du -sm "$work/tree" | cut -f1) MiB installed after $((SECONDS - started)) s; making the disk"
    make_disk "$work/tree" "$work" "$work/debian.raw"
    say "compressing"
    compress "$work"
    rm -f "$out/debian.inputs"
    mv "$work"/{debian.raw,debian.raw.zst,debian.raw.gz,SHA256SUMS} "$out/"
    echo "$hash" > "$out/debian.inputs"
    say "done in $((SECONDS - started)) s: $(cd "$out" && stat -c '%n %s bytes;' debian.raw debian.raw.zst debian.raw.gz | xargs)"
}

main
