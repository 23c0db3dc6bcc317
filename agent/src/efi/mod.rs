//! UEFI boot entries: which loader a disk has, and how the firmware is told to start it.
//!
//! [`esp`] reads the EFI system partition, [`loader`] decides which file in it boots the system, [`load_option`] is
//! the firmware's form of an entry, [`variables`] reads and writes efivarfs, [`boot_entry`] puts them together.

pub mod boot_entry;
pub mod esp;
pub mod load_option;
pub mod loader;
pub mod variables;
