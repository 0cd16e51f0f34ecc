//! The command line of Doorstep. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    doorstep::cli::main()
}
