//! The command line: what can be typed, a file a verb, rendering.
