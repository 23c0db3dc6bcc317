#!/bin/sh
# Runs inside the new root (by chroot) after the packages are there.
set -eu

# Demo login, documented in tests/images/README.md. Never use this image for more than a demonstration.
echo 'root:bessemer' | chpasswd

# Nothing here needs the network to be up, a timer, or a console other than the serial one and the first screen.
systemctl enable systemd-networkd.service bessemer-demo-banner.service
systemctl disable systemd-networkd-wait-online.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-pstore.service systemd-tpm2-setup.service 2>/dev/null

# An empty machine-id is filled in at boot; each deployed machine gets its own.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt /tmp/* /var/tmp/*
