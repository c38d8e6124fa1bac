//! Owns what shells and `man` need of the command line.

use crate::args::Arguments;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;

/// `localport completions SHELL`
pub(crate) fn completions(shell: Shell, output: &mut Output) -> Result<Exit, CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "localport", &mut text);
    output.line(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Done)
}

/// `localport man`
pub(crate) fn man(output: &mut Output) -> Result<Exit, CommandError> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut text)?;
    output.line(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Done)
}
