//! Refuses an agent that could not run as the only program of a ramdisk.

use object::{
    Endianness,
    elf::{self, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

/// How a static agent is built.
pub const HOW_TO_BUILD: &str = "RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile agent \
     --target x86_64-unknown-linux-gnu -p bessemer-agent";

/// Why a file cannot be the agent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AgentError {
    /// Not an ELF file, or a broken one.
    #[error("the agent is not an ELF program: give the binary that this makes: {HOW_TO_BUILD}")]
    NotElf,
    /// A program for another machine.
    #[error("the agent is not a program for Linux on x86-64: build it with: {HOW_TO_BUILD}")]
    Machine,
    /// Needs libraries that a ramdisk does not have.
    #[error("the agent is dynamically linked, a ramdisk has no libraries: build it with: {HOW_TO_BUILD}")]
    Dynamic,
}

/// Checks that the bytes are a static x86-64 program.
pub fn check(bytes: &[u8]) -> Result<(), AgentError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(AgentError::NotElf);
    }
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|_| AgentError::Machine)?;
    let endian = header.endian().map_err(|_| AgentError::NotElf)?;
    let kind = header.e_type(endian);
    if header.e_machine(endian) != elf::EM_X86_64 || (kind != elf::ET_EXEC && kind != elf::ET_DYN) {
        return Err(AgentError::Machine);
    }
    for segment in header.program_headers(endian, bytes).map_err(|_| AgentError::NotElf)? {
        if segment.p_type(endian) == elf::PT_INTERP {
            return Err(AgentError::Dynamic);
        }
        // A static-pie program has a dynamic section too, but one that names no library.
        let entries = segment.dynamic(endian, bytes).map_err(|_| AgentError::NotElf)?.unwrap_or_default();
        if entries.iter().any(|entry| entry.tag(endian) == elf::DT_NEEDED) {
            return Err(AgentError::Dynamic);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_and_things_that_are_none_are_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&own), Err(AgentError::Dynamic));
        assert_eq!(check(b"#!/bin/sh\n"), Err(AgentError::NotElf));
        assert_eq!(check(&own[..40]), Err(AgentError::Machine));
        let mut other = own;
        other[18] = 183; // AArch64
        assert_eq!(check(&other), Err(AgentError::Machine));
    }

    #[test]
    fn a_static_program_is_taken() {
        // One program header of type LOAD and nothing else.
        let mut program = vec![0; 64 + 56];
        program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        program[16..20].copy_from_slice(&[2, 0, 62, 0]);
        program[20] = 1;
        program[32] = 64; // program headers start
        program[52] = 64; // size of this header
        program[54] = 56; // size of a program header
        program[56] = 1; // count
        program[64] = 1; // PT_LOAD
        assert_eq!(check(&program), Ok(()));
    }
}
