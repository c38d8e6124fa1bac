//! Owns `explain`: the walk along a forward's way, by the running host or without one.

use crate::args::Explain;
use crate::exit::{CommandError, Exit};
use crate::output::{Output, paint};
use anstyle::AnsiColor;
use localport_core::diagnosis::{Diagnosis, Subject, lines};
use localport_engine::adapter::kube::install_tls_provider;
use localport_engine::control::client::{Client, ClientError, encode};
use localport_engine::explain::{Explainer, origin};
use localport_engine::home::Home;
use localport_engine::host::{configuration, ssh_options};
use std::path::PathBuf;

/// `localport explain NAME`
pub(crate) async fn run(
    home: &Home,
    files: Vec<PathBuf>,
    explain: &Explain,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let login = if explain.login { "?login=true" } else { "" };
    let path = format!("/v1/explain/{}{login}", encode(&explain.name));
    let diagnosis = match Client::new(home).get(&path).await {
        Err(ClientError::NotRunning) => alone(home, &files, explain).await?,
        answer => answer?,
    };
    show(&diagnosis, output)?;
    Ok(if diagnosis.well { Exit::Done } else { Exit::Failure })
}

/// The same without a host, from the configuration on the disk.
async fn alone(
    home: &Home,
    files: &[PathBuf],
    explain: &Explain,
) -> Result<Diagnosis, CommandError> {
    install_tls_provider();
    let config = configuration::load(home, files).config;
    let subject = Subject::find(&explain.name, &config.forwards).ok_or_else(|| {
        CommandError::new(
            Exit::Usage,
            "unknown-forward",
            format!("there is no forward and no context `{}`", explain.name),
            "`localport config check` says which forwards there are and what is wrong with the rest",
        )
    })?;
    let origin = origin(&config, &subject);
    let explainer = Explainer::alone(home, ssh_options())?;
    let called_off = explainer.called_off();
    let walk = explainer.explain(subject, None, origin, explain.login);
    tokio::pin!(walk);
    tokio::select! {
        diagnosis = &mut walk => return Ok(diagnosis),
        asked = tokio::signal::ctrl_c() => asked?,
    }
    // What it started ends before we do.
    called_off.cancel();
    let _ = walk.await;
    Err(CommandError::new(Exit::Failure, "called-off", "the walk was called off", ""))
}

fn show(diagnosis: &Diagnosis, output: &mut Output) -> Result<(), CommandError> {
    if output.json() {
        output.value(diagnosis)?;
        return Ok(());
    }
    for line in lines(diagnosis) {
        let line = [("ok", AnsiColor::Green), ("failed", AnsiColor::Red)]
            .into_iter()
            .find(|(word, _)| line.starts_with(&format!("  {word} ")))
            .map(|(word, hue)| line.replacen(word, &paint(output.colour(), hue, word), 1))
            .unwrap_or(line);
        output.line(line)?;
    }
    Ok(())
}
