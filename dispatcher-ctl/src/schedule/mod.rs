//! Schedules: the rings from which the datapath places new connections. Pure.
