//! Wiring: builds the rooms from the configuration and runs them.
