//! Owns the command line: what can be typed, and what `--help` says about it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps local ports connected to Kubernetes clusters and SSH hosts.
#[derive(Debug, Parser)]
#[command(name = "localport", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, \
    3 something had to be forced, 4 LocalPort is not running")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
/// `localport resources`
#[derive(Debug, Args)]
pub(crate) struct Resources {
    /// Compare them with what the operating system shows; exit code 1 when something is
    /// not explained.
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Form of the output, as LocalPort has it.
    #[arg(short = 'o', long = "output", global = true, hide = true, value_enum)]
    pub(crate) form: Option<Form>,
    /// No colour, also on a terminal; NO_COLOR does the same.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Configuration file, instead of the first one found; may be given again.
    #[arg(
        short,
        long = "config",
        global = true,
        value_name = "FILE",
        env = "LOCALPORT_CONFIG_FILE"
    )]
    pub(crate) config: Vec<PathBuf>,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the forwards in the foreground, until Ctrl-C.
    Run(Run),
    /// Show how the forwards stand.
    Status(Status),
    /// Switch forwards on.
    Start(Selection),
    /// Switch forwards off.
    Stop(Selection),
    /// Open new sessions; the local ports stay open.
    Restart(Selection),
    /// Try waiting forwards again now.
    Retry(Selection),
    /// Let forwards go empty: no new clients, open connections finish. `resume` undoes it.
    Drain(Drain),
    /// Switch on again what `drain` took.
    Resume(Selection),
    /// Read the configuration again and apply what changed.
    Reload,
    /// Show what happened.
    Events(Events),
    /// Walk a forward's way step by step: what fails, and what mends it.
    Explain(Explain),
    /// Show how a forward stood: outages, round trip, traffic.
    History(History),
    /// Show the log.
    Logs(Logs),
    /// Show everything that LocalPort holds: listeners, connections, sessions, children.
    Resources(Resources),
    /// Print figures for monitoring, in Prometheus' text format.
    Metrics,
    /// Check or show the configuration.
    Config(Config),
    /// Print forwards written for other tools as a configuration.
    Import(Import),
    /// Clusters and SSH hosts as a whole: whether they answer, nodes, warnings.
    Cluster(Cluster),
    /// Log in to a Kubernetes context, then connect what waits for it.
    Login {
        /// Name of the context.
        context: String,
    },
    /// SSH hosts.
    Ssh(Ssh),
    /// End the running LocalPort.
    Quit(Quit),
    /// Show how LocalPort ended, also when it does not run.
    Shutdown(Shutdown),
    /// Show LocalPort at work, with an SSH server and a web service of its own.
    Demo(Demo),
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page.
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Log more: -v for debug, -vv for everything. LOCALPORT_LOG takes filters.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing on the terminal but errors; the log files get everything.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only the forwards with these names.
    pub(crate) names: Vec<String>,
    /// Go on showing it as it changes.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// Which forwards.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// Names of the forwards.
    pub(crate) names: Vec<String>,
    /// All forwards with this tag.
    #[arg(short, long)]
    pub(crate) tag: Option<String>,
    /// All forwards through this Kubernetes context or SSH destination.
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// All forwards.
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// How long open connections may finish before they are cut: `30s`, `5m`, `0`; 8 s
    /// when absent.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Return when everything of it is drained, and say how it went.
    #[arg(short, long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only what is about this forward.
    pub(crate) name: Option<String>,
    /// Go on with what happens from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many past events.
    #[arg(short = 'n', long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name of the forward, of a Kubernetes context or of an SSH destination.
    pub(crate) name: String,
    /// Let a login plugin open a browser.
    #[arg(long)]
    pub(crate) login: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Name of the forward.
    pub(crate) name: String,
    /// How far back: `30m`, `24h`; all that is kept when absent.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Only lines about this forward.
    pub(crate) name: Option<String>,
    /// Go on with the lines written from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many past lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    pub(crate) limit: usize,
    /// Print only where the log files are.
    #[arg(long)]
    pub(crate) path: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report every problem with its place; exit code 2 when there is an error.
    #[command(alias = "validate")]
    Check {
        /// The file; the first one found when absent.
        file: Option<PathBuf>,
    },
    /// Print what the configuration amounts to, without secrets.
    Show {
        /// The file; the first one found when absent.
        file: Option<PathBuf>,
    },
    /// Print what a reload would change in the running LocalPort, and change nothing.
    Plan,
    /// Show the configurations that were in force, newest first.
    History,
    /// Print what changed since a configuration that was in force, without secrets.
    Diff {
        /// Its number in the history; the one before the newest when absent.
        number: Option<u64>,
    },
    /// Put a configuration that was in force back in its place; the present file is kept
    /// beside it.
    Rollback {
        /// Its number in the history; the one before the newest when absent.
        number: Option<u64>,
    },
    /// Print which file is used, and where LocalPort looks.
    Path,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Write them to this new file instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) from: ImportFrom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// A `kubectl port-forward` or `ssh -L` command line, as it is typed or in quotes.
    Command {
        /// The command line.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// The LocalForward lines of an ssh_config.
    SshConfig {
        /// The file, `-` for the standard input; `~/.ssh/config` when absent.
        file: Option<PathBuf>,
    },
    /// A JSON export of kftray.
    Kftray {
        /// The file, `-` for the standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show whether they answer, how long that takes, and what waits for them.
    Status {
        /// Only this context or SSH destination.
        context: Option<String>,
    },
    /// Show what clusters warned of in the last hour, in the namespaces in use.
    Events {
        /// Only this context; all of them when absent.
        context: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    #[command(subcommand)]
    pub(crate) command: SshCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SshCommand {
    /// Accept the unknown host key that keeps a forward from connecting.
    Trust {
        /// Name of the forward.
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Quit {
    /// Return when everything is released, and say how it went.
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Call an end off that is under way, as long as no connection was cut.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) cancel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    #[command(subcommand)]
    pub(crate) command: ShutdownCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShutdownCommand {
    /// Show the whole receipt of the last shutdown.
    Last,
    /// List the shutdowns: when, why, how long, and how they went.
    History {
        /// How many, the last first.
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
    /// Tell what happened in a shutdown, stage by stage, and what can be done about it.
    Explain {
        /// Its number, or the beginning of its time, such as `2026-03-01`; the last one
        /// when absent.
        which: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after this many seconds.
    #[arg(long = "for", value_name = "SECONDS", conflicts_with = "once")]
    pub(crate) seconds: Option<u64>,
    /// End after everything was shown.
    #[arg(long)]
    pub(crate) once: bool,
    /// Show it in the tray app: the path of `localport-desktop`.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) desktop: Option<PathBuf>,
}

impl Global {
    /// Whether programs read the output.
    pub(crate) fn wants_json(&self) -> bool {
        self.json || self.form == Some(Form::Json)
    }
}

/// Longest time that a drain can be given; more would be no limit.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

/// `30s`, `1.5m`, `250ms`, `2h`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err("the units are `ms`, `s`, `m` and `h`".to_owned()),
    };
    let number: f64 =
        number.parse().map_err(|_| "give a number and a unit, such as `30s`".to_owned())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "at most `168h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_a_limit() {
        let good = [("0", 0), ("30", 30_000), ("30s", 30_000), ("1.5m", 90_000), ("250ms", 250)];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "5 days", "1e9", "999999999999h", "169h", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
