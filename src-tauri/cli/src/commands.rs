//! Owns what each command does.

mod cluster;
mod config;
mod config_history;
mod demo;
mod drain;
mod events;
mod explain;
mod history;
mod import;
mod live;
mod logs;
mod metrics;
mod quit;
mod reload;
mod resources;
mod run;
mod shell;
mod shutdown;
mod ssh;
mod status;
mod switch;

use crate::args::{Arguments, Command, Config, ConfigCommand};
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_engine::deadline::Deadline;
use localport_engine::home::Home;

/// Does what the arguments ask for.
pub(crate) async fn run(
    arguments: Arguments,
    output: &mut Output,
    deadline: Deadline,
) -> Result<Exit, CommandError> {
    let home = Home::find()?;
    let files = arguments.global.config;
    match arguments.command {
        Command::Run(run) => run::run(home, files, &run, deadline, output).await,
        Command::Status(status) => status::run(&home, &status, output).await,
        Command::Start(selection) => switch::run(&home, "start", selection, output).await,
        Command::Stop(selection) => switch::run(&home, "stop", selection, output).await,
        Command::Restart(selection) => switch::run(&home, "restart", selection, output).await,
        Command::Retry(selection) => switch::run(&home, "retry", selection, output).await,
        Command::Drain(drain) => drain::run(&home, drain, output).await,
        Command::Resume(selection) => switch::run(&home, "resume", selection, output).await,
        Command::Reload => reload::run(&home, false, output).await,
        Command::Config(Config { command }) => match command {
            ConfigCommand::Plan => reload::run(&home, true, output).await,
            ConfigCommand::History => config_history::list(&home, output),
            ConfigCommand::Diff { number } => config_history::diff(&home, number, output),
            ConfigCommand::Rollback { number } => {
                config_history::roll_back(&home, number, output).await
            }
            ConfigCommand::Check { file } => config::check(&home, file, files, output),
            ConfigCommand::Show { file } => config::show(&home, file, files, output),
            ConfigCommand::Path => config::path(&home, files, output),
        },
        Command::Events(events) => events::run(&home, &events, output).await,
        Command::Explain(explain) => explain::run(&home, files, &explain, output).await,
        Command::History(history) => history::run(&home, &history, output).await,
        Command::Logs(logs) => logs::run(&home, &logs, output).await,
        Command::Resources(wanted) => resources::run(&home, &wanted, output).await,
        Command::Metrics => metrics::run(&home, output).await,
        Command::Import(from) => import::run(&home, &files, from, output),
        Command::Cluster(cluster) => cluster::run(&home, cluster.command, output).await,
        Command::Login { context } => cluster::login(&home, &context, output).await,
        Command::Ssh(ssh) => ssh::run(&home, ssh.command, output).await,
        Command::Quit(quit) => quit::run(&home, &quit, output).await,
        Command::Shutdown(shutdown) => shutdown::run(&home, &shutdown.command, output),
        Command::Demo(demo) => demo::run(&demo, output).await,
        Command::Completions { shell } => shell::completions(shell, output),
        Command::Man => shell::man(output),
    }
}
