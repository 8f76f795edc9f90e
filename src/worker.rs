//! Publication, recovery and the work after a push.
