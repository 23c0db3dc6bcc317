//! The box: packs the agent and a Linux kernel into an initramfs and one hybrid ISO.
//!
//! The ISO boots on BIOS, UEFI and UEFI with Secure Boot, from a CD or a USB stick, and carries the region that
//! a controller fills with boot parameters. Equal inputs give equal bytes.
//!
//! - [`agent_binary`] refuses an agent that could not run as `/init`
//! - [`kernel`] finds a kernel and its modules, or downloads Debian's
//! - [`modules`] chooses modules, adds what they depend on, writes their index
//! - [`initramfs`] the file tree of the ramdisk and its archive
//! - [`esp`] the FAT image that UEFI firmware boots from, [`iso`] the ISO around everything
//! - [`medium`] looks into a finished ISO and fills its region
//! - [`build`] the whole recipe; [`manifest`] what it says about its result
//!
//! Nothing here knows the controller, and of the agent only its binary.

pub mod agent_binary;
pub mod build;
pub mod command;
pub mod debian;
pub mod esp;
pub mod files;
pub mod initramfs;
pub mod iso;
pub mod kernel;
pub mod manifest;
pub mod medium;
pub mod modules;
