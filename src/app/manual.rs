//! `kaizen completions` and `kaizen man`: what a shell and a reader of manuals want to know, from the same definition.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;

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

pub(super) fn completions(arguments: &Completions, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "kaizen", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the files are the command's output")]
pub(super) fn pages(arguments: &Pages, mut command: Command) -> anyhow::Result<ExitCode> {
    let dir = &arguments.dir;
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    // Gives each command its whole name and the options that all have.
    command.build();
    let mut commands = vec![command.clone()];
    commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
    for command in commands {
        let man = clap_mangen::Man::new(command);
        let path = dir.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page)?;
        write_atomic(&path, &page)?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
