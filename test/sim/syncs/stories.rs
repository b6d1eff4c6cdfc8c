//! Lives with a plot.
