//! `heliometer completions` and `heliometer man`: what the command line says of itself, for shells and for `man`.

use std::{io::Write, path::PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CommandError, CommandLine};

const NAME: &str = "heliometer";

/// Write a script that completes commands and options in your shell.
///
/// For bash: heliometer completions bash > ~/.local/share/bash-completion/completions/heliometer
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual: `heliometer man | man --local-file -` shows it.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for every command into this directory, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn completions(arguments: &CompletionsArgs) -> Result<(), CommandError> {
    // Into memory first: the library panics when standard output is a pipe that has been closed.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), NAME, &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

pub(super) fn man(arguments: &ManArgs) -> Result<(), CommandError> {
    let command = CommandLine::command().name(NAME);
    let Some(directory) = &arguments.output else {
        return Ok(clap_mangen::Man::new(command).render(&mut std::io::stdout().lock())?);
    };
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)?;
    let pages = std::fs::read_dir(directory)?.count();
    writeln!(std::io::stdout().lock(), "{pages} pages in {}", directory.display())?;
    Ok(())
}
