//! Owns login plugins: programs that the kubeconfig names for getting credentials.
//!
//! They run here and not inside the Kubernetes client, which would run each one three
//! times per client, on the caller's thread, without a limit, with the bare PATH.

use super::child::{self, Ran};
use super::shell::{self, Shell};
use crate::explain::base64;
use crate::registry::Registry;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use localport_core::config::Secret;
use localport_core::kube::{Fault, token_expiry};
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsString;
use std::process::Output;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// What a plugin gave.
pub(super) struct Credential {
    token: Option<Secret>,
    certificate: Option<(String, Secret)>,
    /// When it ends to be accepted.
    pub(super) expires: Option<SystemTime>,
}

impl Credential {
    /// Puts the credential in the place of the plugin.
    pub(super) fn apply(self, auth: &mut AuthInfo) {
        auth.exec = None;
        if let Some(token) = self.token {
            auth.token = Some(token.expose().to_owned().into());
        }
        if let Some((certificate, key)) = self.certificate {
            auth.client_certificate_data = Some(base64(certificate.as_bytes()));
            auth.client_key_data = Some(base64(key.expose().as_bytes()).into());
        }
    }
}

/// Runs the plugin that `exec` describes.
///
/// # Errors
/// [`Fault::PluginMissing`], [`Fault::PluginSlow`] or [`Fault::PluginFailed`].
pub(super) async fn run(
    exec: &ExecConfig,
    shell: &Shell,
    registry: &Registry,
    limit: Duration,
) -> Result<Credential, Fault> {
    let plugin = exec.command.clone().unwrap_or_default();
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        let said = "it only works in a terminal (`interactiveMode: Always`)".to_owned();
        return Err(Fault::PluginFailed { plugin, said });
    }
    let path = shell.path().await;
    let Some(file) = shell::find(&plugin, &path) else {
        return Err(Fault::PluginMissing { plugin, install: exec.install_hint.clone() });
    };
    let mut command = Command::new(file);
    command.args(exec.args.iter().flatten());
    environment(&mut command, exec, path);
    let name = format!("login plugin {plugin}");
    match child::run(command, &name, registry, limit).await {
        Ok(Ran::Ended(output)) => {
            read(&output).map_err(|said| Fault::PluginFailed { plugin, said })
        }
        Ok(Ran::TimedOut(said)) => Err(Fault::PluginSlow { plugin, limit, said: last_line(&said) }),
        Err(error) => Err(Fault::PluginFailed { plugin, said: error.to_string() }),
    }
}

fn environment(command: &mut Command, exec: &ExecConfig, path: OsString) {
    command.env("PATH", path);
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            command.env(name, value);
        }
    }
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info {
        spec["cluster"] = json!(exec.cluster);
    }
    let version = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let info = json!({ "apiVersion": version, "kind": "ExecCredential", "spec": spec });
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<Time>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

fn read(output: &Output) -> Result<Credential, String> {
    if !output.status.success() {
        return Err(last_words(output));
    }
    // The error is not shown: it could quote the token.
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| "its answer is no ExecCredential in JSON".to_owned())?;
    let status = answer.status.ok_or("its answer has no `status`")?;
    let certificate = status.client_certificate_data.zip(status.client_key_data.map(Secret::new));
    let said = status.expiration_timestamp.and_then(|time| u64::try_from(time.0.as_second()).ok());
    // Where the plugin does not say when they end, they do so themselves.
    let expires = said
        .map(Duration::from_secs)
        .or_else(|| status.token.as_deref().and_then(token_expiry))
        .map(|since| SystemTime::UNIX_EPOCH + since)
        .or_else(|| certificate_end(&certificate.as_ref()?.0));
    let credential = Credential { token: status.token.map(Secret::new), certificate, expires };
    if credential.token.is_none() && credential.certificate.is_none() {
        return Err("its answer has neither a token nor a certificate".to_owned());
    }
    Ok(credential)
}

pub(super) fn last_words(output: &Output) -> String {
    last_line(&output.stderr).unwrap_or_else(|| output.status.to_string())
}

/// The last line it printed to standard error, which is where tools say what is wrong.
pub(super) fn last_line(printed: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(printed);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// When the first certificate of a PEM text ends.
fn certificate_end(pem: &str) -> Option<SystemTime> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let end = block.parse_x509().ok()?.validity().not_after.timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(end).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_reach_the_client_as_base64() {
        assert_eq!(base64(b"-----BEGIN"), "LS0tLS1CRUdJTg==");
    }
}
