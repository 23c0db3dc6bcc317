#!/usr/bin/env python3
"""Puts GRUB for BIOS into a GPT disk image, as grub-bios-setup does on a device.

grub_bios.py IMAGE BOOT_IMG CORE_IMG START SECTORS

boot.img's code goes into the first sector, core.img into the BIOS boot partition at sector START. Each tells the
next where it lies: boot.img has the sector number of core.img, core.img's first sector has a list of the rest.
"""

import struct
import sys

SECTOR = 512
BOOT_CODE = 440  # what a partition table leaves to a boot loader
DRIVE_CHECK = 0x66  # a jump over the fix for firmware that passes a wrong drive number; not wanted on a hard disk
KERNEL_SECTOR = 0x5C
BLOCK_LIST = SECTOR - 12  # start (8 bytes), length (2), segment (2)


def main() -> None:
    """Checks the pieces, then writes them."""
    image, boot_path, core_path, start, sectors = sys.argv[1:6]
    start, sectors = int(start), int(sectors)
    with open(boot_path, "rb") as file:
        boot = bytearray(file.read())
    with open(core_path, "rb") as file:
        core = bytearray(file.read())
    core += bytes(-len(core) % SECTOR)
    if len(boot) != SECTOR:
        sys.exit(f"{boot_path} has {len(boot)} bytes, a boot sector has {SECTOR}")
    if len(core) > sectors * SECTOR:
        sys.exit(f"{core_path} has {len(core)} bytes, the BIOS boot partition only {sectors * SECTOR}")
    _, length, segment = struct.unpack_from("<QHH", core, BLOCK_LIST)
    if length != len(core) // SECTOR - 1:
        sys.exit(f"{core_path} lists {length} further sectors but has {len(core) // SECTOR - 1}")
    struct.pack_into("<QHH", core, BLOCK_LIST, start + 1, length, segment)
    struct.pack_into("<Q", boot, KERNEL_SECTOR, start)
    boot[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    with open(image, "r+b") as disk:
        disk.write(boot[:BOOT_CODE])
        disk.seek(start * SECTOR)
        disk.write(core)


main()
