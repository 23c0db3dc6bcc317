//! Which steps a deploy takes, in which order.
