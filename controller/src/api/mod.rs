//! The Ironic-compatible REST API. Never touches hardware.
