//! Owns log-ins that a person does: by the command of the configuration, or by the
//! kubeconfig's own login plugin with ample time.
//!
//! Receives the cluster and the command, emits new credentials or why there are none. By
//! itself nothing here runs: a plugin that waits for somebody is run once, then not again
//! until a person asks or the kubeconfig changes.

use super::child::{self, Ran};
use super::classify::Doing;
use super::cluster::Cluster;
use super::login;
use super::shell;
use kube::config::ExecConfig;
use localport_core::kube::{Fault, Place, problem};
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::LoginNeeded;
use std::time::Duration;
use tokio::process::Command;

/// A plugin that failed is not run again sooner, whoever needs its credentials: most of
/// what makes one fail takes a person.
const PLUGIN_KEPT: Duration = Duration::from_secs(45);

/// A plugin that waited for somebody in vain would open the next browser window. A day is
/// beyond what a forgotten login lasts.
const PROMPT_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How long a failure to get credentials stands before it is tried again by itself; what
/// is no login's stands for `usual`.
pub(super) fn kept(fault: &Fault, usual: Duration) -> Duration {
    match fault {
        Fault::PluginSlow { .. } => PROMPT_KEPT,
        Fault::PluginFailed { .. } => PLUGIN_KEPT,
        _ => usual,
    }
}

/// The log-in that mends `fault`, said as `what`; none when no log-in does.
pub(super) async fn needed(cluster: &Cluster, fault: &Fault, what: &str) -> Option<LoginNeeded> {
    match fault {
        Fault::Unauthorized | Fault::PluginFailed { .. } | Fault::PluginSlow { .. } => {}
        _ => return None,
    }
    let command = cluster.gate.plugin().await.map(|exec| words(&exec));
    Some(LoginNeeded { what: what.to_owned(), command, running: false })
}

/// Logs in, and proves that the server accepts what came of it.
pub(super) async fn run(
    cluster: &Cluster,
    command: &[String],
    limit: Duration,
) -> Result<String, Problem> {
    let context = &cluster.context;
    let place = Place { context: context.clone(), ..Place::default() };
    let how = match command.split_first() {
        Some((program, arguments)) => {
            run_command(cluster, program, arguments, limit).await?;
            format!("`{program}`")
        }
        None => match cluster.gate.plugin().await {
            Some(exec) => format!("the login plugin `{}`", exec.command.unwrap_or_default()),
            None => return Err(nothing_known(context)),
        },
    };
    cluster.gate.make_anew(limit).await.map_err(|fault| problem(&fault, &place))?;
    let doing = Doing::new("get", "/version", "path", "/version");
    let asked = cluster.ask(&doing, |client| async move { client.apiserver_version().await }).await;
    match asked {
        // Whoever may not ask for the version was let in all the same.
        Ok(_) | Err(Fault::Forbidden { .. }) => Ok(format!("{how} logged in to `{context}`")),
        Err(fault) => Err(problem(&fault, &place)),
    }
}

/// The plugin's command as a person would read it. Options are left out: they may carry
/// secrets.
fn words(exec: &ExecConfig) -> String {
    let plain = exec.args.iter().flatten().take_while(|word| !word.starts_with('-'));
    let words = exec.command.iter().chain(plain);
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

async fn run_command(
    cluster: &Cluster,
    program: &str,
    arguments: &[String],
    limit: Duration,
) -> Result<(), Problem> {
    let failed = |said: String| {
        Problem::new(
            Code::KubeLoginPlugin,
            format!("the login command `{program}` failed: {said}"),
            "Run it in a terminal to see what it needs, then `localport retry`",
        )
    };
    let path = cluster.shared.shell.path().await;
    let Some(file) = shell::find(program, &path) else {
        return Err(Problem::new(
            Code::KubeLoginPlugin,
            format!("the login command `{program}` of context `{}` was not found", cluster.context),
            "Check `login_command` under `cluster_contexts`",
        ));
    };
    let mut command = Command::new(file);
    command.args(arguments).env("PATH", path);
    let name = format!("login command {program}");
    let ran = child::run(command, &name, cluster.shared.tasks.registry(), limit).await;
    match ran.map_err(|error| failed(error.to_string()))? {
        Ran::Ended(output) if output.status.success() => Ok(()),
        Ran::Ended(output) => Err(failed(login::last_words(&output))),
        Ran::TimedOut(said) => {
            let last = login::last_line(&said).map(|line| format!("; it last said: {line}"));
            let last = last.unwrap_or_default();
            Err(failed(format!("it did not end within {} s{last}", limit.as_secs())))
        }
    }
}

fn nothing_known(context: &str) -> Problem {
    Problem::new(
        Code::KubeUnauthorized,
        format!("nothing is known that logs in to `{context}`: its user has no login plugin"),
        format!(
            "Give `login_command` under `cluster_contexts: {context}`, or log in the usual way: the kubeconfig is read again by itself"
        ),
    )
}
