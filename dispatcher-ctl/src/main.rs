//! `dispatcher`: parse, run, report.
fn main() {}
