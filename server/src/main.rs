//! The `homereel` program: calls the command line of the crate `homereel` and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    homereel::cli::main()
}
