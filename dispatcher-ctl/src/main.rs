//! The `dispatcher` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatcher_ctl::cli::main()
}
