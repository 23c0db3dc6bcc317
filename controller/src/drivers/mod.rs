//! Hardware types: visible lists of interfaces.
