#!/bin/bash
# Installs what building, testing and the demo need: Debian packages, cargo-nextest, a Python environment.
# What is there already is left alone, so a second run takes a moment. `make setup` runs it; `setup.sh ironic` (`make bench-api`) also
# installs the real Ironic.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
venv=${BESSEMER_VENV:-$root/.cache/venv}

say() { printf 'setup: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

packages() {
    local package missing=()
    # Python's headers belong to a Python version: Debian's own is used below.
    while read -r package; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done < <(sed 's/#.*//' "$here/packages.debian" | xargs -n1)
    [ ${#missing[@]} = 0 ] && return
    local sudo=() install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" != 0 ]; then
        sudo=(sudo)
        sudo -n true 2>/dev/null || die "Debian packages are missing and this is not root; run:
    sudo apt-get update && sudo ${install[*]}"
    fi
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    "${sudo[@]}" apt-get update -q
    without_starting "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
}

# Servers among the packages are started by tests, each with its own configuration, and never by the system.
without_starting() {
    local policy=/usr/sbin/policy-rc.d ours= result=0 package unit
    if [ ! -e $policy ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
        "${sudo[@]}" chmod +x $policy
    fi
    "$@" || result=$?
    [ -z "$ours" ] || "${sudo[@]}" rm -f $policy
    [ $result = 0 ] || die "apt-get could not install them"
    [ -d /run/systemd/system ] || return 0
    for package in "${missing[@]}"; do
        case $package in
            nginx-light) package=nginx-common ;;
            postgresql-*) package=postgresql-common ;;
            memcached | swift-*) ;;
            *) continue ;;
        esac
        for unit in $(dpkg -L "$package" | sed -n 's#.*/systemd/system/\([^/@]*\.service\)$#\1#p'); do
            "${sudo[@]}" systemctl disable --quiet "$unit" || true
        done
    done
}

rust() {
    command -v cargo >/dev/null || die "cargo is missing. Install Rust from https://rustup.rs, or with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] ||
        die "Rust $have is too old, $wanted is needed; run: rustup update stable"
    if ! cargo nextest --version >/dev/null 2>&1; then
        say "building cargo-nextest (once, some minutes)"
        cargo install cargo-nextest --locked
    fi
}

# python REQUIREMENTS VENV
python() {
    local wanted=$here/$1 venv=$2 stamp=$2/.requirements
    cmp -s "$wanted" "$stamp" && return
    say "making $venv"
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    # Debian's Python: libvirt's binding is built against Debian's headers.
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$stamp"
}

packages
rust
python requirements.txt "$venv"
# Only what the benchmark of the API compares with.
[ "${1:-}" != ironic ] || python requirements-ironic.txt "$venv-ironic"
