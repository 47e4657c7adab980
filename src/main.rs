//! The `heliometer` program.

use std::process::ExitCode;

use clap::Parser;
use heliometer::command::CommandLine;

fn main() -> ExitCode {
    ExitCode::from(CommandLine::parse().run())
}
