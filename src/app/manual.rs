//! `kaizen completions` and `kaizen man`: help for a shell and for readers, from the definition of
//! the command line.

use std::path::PathBuf;

use clap::Command;

use super::outcome::Outcome;
use super::output;
use crate::Error;
use crate::file::write_atomic;

#[derive(clap::Args)]
pub(super) struct Completions {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub(super) struct Pages {
    /// Folder for kaizen.1 and one page a command
    dir: PathBuf,
}

pub(super) fn completions(arguments: &Completions, mut command: Command) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "kaizen", &mut script);
    output::bytes(&script)?;
    Ok(Outcome::Done)
}

pub(super) fn pages(arguments: &Pages, mut command: Command) -> anyhow::Result<Outcome> {
    let dir = &arguments.dir;
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    // Gives each command its full name and the options that all commands have.
    command.build();
    let mut commands = vec![command.clone()];
    commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
    for command in commands {
        let man = clap_mangen::Man::new(command);
        let path = dir.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page)?;
        write_atomic(&path, &page)?;
        output::line(&path.display().to_string())?;
    }
    Ok(Outcome::Done)
}
