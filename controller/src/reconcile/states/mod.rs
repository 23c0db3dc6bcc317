//! One file per state; this is the list.
