//! Owns what the user's login shell would set: an app started from a desktop has a
//! bare PATH, and login plugins live in folders that only the shell's profile adds.

use super::child;
use crate::registry::Registry;
use localport_core::kube::ProxyEnv;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Time the shell's profile may take. Slower ones are known, but a person waits.
const SHELL_LIMIT: Duration = Duration::from_secs(5);

/// Stands round each value, because profiles print greetings.
const MARK: &str = "__localport__";

/// Which login shell is asked.
#[derive(Clone, Debug, Default)]
pub enum LoginShell {
    /// The user's (`$SHELL`), unless a terminal started LocalPort: then the
    /// environment is the user's already.
    #[default]
    Auto,
    /// This one, always.
    At(PathBuf),
    /// None.
    Never,
}

/// The environment of the login shell, asked once.
pub(super) struct Shell {
    setting: LoginShell,
    registry: Registry,
    answer: OnceCell<Answer>,
}

/// What the shell is asked for. `$name` is the one form that all shells share.
const ASKED: [&str; 8] = [
    "PATH",
    "KUBECONFIG",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];

#[derive(Default)]
struct Answer {
    path: Option<String>,
    kubeconfig: Option<String>,
    proxies: ProxyEnv,
}

impl Shell {
    pub(super) fn new(setting: LoginShell, registry: Registry) -> Self {
        Self { setting, registry, answer: OnceCell::new() }
    }

    /// The login shell's PATH, then what only this process has.
    pub(super) async fn path(&self) -> OsString {
        let own = env::var_os("PATH").unwrap_or_default();
        let Some(asked) = &self.answer().await.path else { return own };
        let mut folders: Vec<PathBuf> = env::split_paths(asked).collect();
        for folder in env::split_paths(&own) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        env::join_paths(folders).unwrap_or(own)
    }

    /// The login shell's KUBECONFIG, when it sets one.
    pub(super) async fn kubeconfig(&self) -> Option<OsString> {
        self.answer().await.kubeconfig.as_ref().map(OsString::from)
    }

    /// The proxies that this process' own environment names, else the login shell's.
    pub(super) async fn proxies(&self) -> ProxyEnv {
        let own = proxies(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        if own != ProxyEnv::default() {
            return own;
        }
        self.answer().await.proxies.clone()
    }

    async fn answer(&self) -> &Answer {
        self.answer.get_or_init(|| self.ask()).await
    }

    async fn ask(&self) -> Answer {
        let Some(shell) = self.shell() else { return Answer::default() };
        let mut command = Command::new(&shell);
        let values: String = ASKED.iter().map(|name| format!(r#" "${name}""#)).collect();
        let script = format!("printf '{MARK}{}'{values}", format!("%s{MARK}").repeat(ASKED.len()));
        command.args(["-lic", &script]).env("TERM", "dumb");
        // Not until its end: profiles start agents that keep the pipe open for ever.
        let told = |printed: &str| printed.matches(MARK).count() > ASKED.len();
        let name = "login shell";
        let printed = child::read_until(command, name, &self.registry, SHELL_LIMIT, told).await;
        match printed {
            Ok(printed) => read(&printed),
            Err(error) => {
                tracing::warn!(shell = %shell.display(), %error, "the login shell gave no PATH");
                Answer::default()
            }
        }
    }

    fn shell(&self) -> Option<PathBuf> {
        match &self.setting {
            LoginShell::Never => None,
            LoginShell::At(shell) => Some(shell.clone()),
            LoginShell::Auto if cfg!(unix) && !has_terminal() => {
                env::var_os("SHELL").map(PathBuf::from).filter(|shell| shell.is_absolute())
            }
            LoginShell::Auto => None,
        }
    }
}

/// The file that runs when `command` is called with this PATH.
pub(super) fn find(command: &str, path: &OsString) -> Option<PathBuf> {
    let given = Path::new(command);
    if given.components().count() > 1 {
        return runnable(given).then(|| given.to_owned());
    }
    env::split_paths(path)
        .flat_map(|folder| candidates(&folder, command))
        .find(|file| runnable(file))
}

#[cfg(not(windows))]
fn candidates(folder: &Path, command: &str) -> Vec<PathBuf> {
    vec![folder.join(command)]
}

#[cfg(windows)]
fn candidates(folder: &Path, command: &str) -> Vec<PathBuf> {
    ["", ".exe", ".cmd", ".bat"].iter().map(|ext| folder.join(format!("{command}{ext}"))).collect()
}

#[cfg(unix)]
fn runnable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn runnable(file: &Path) -> bool {
    file.is_file()
}

/// Whether a terminal controls this process; opening it is how Unix tells.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

fn read(printed: &str) -> Answer {
    let values: Vec<&str> = printed.split(MARK).skip(1).collect();
    let value = |name: &str| {
        let at = ASKED.iter().position(|asked| *asked == name)?;
        values.get(at).filter(|value| !value.is_empty()).map(|value| (*value).to_owned())
    };
    Answer { path: value("PATH"), kubeconfig: value("KUBECONFIG"), proxies: proxies(value) }
}

fn proxies(value: impl Fn(&str) -> Option<String>) -> ProxyEnv {
    let either = |upper: &str, lower: &str| value(upper).or_else(|| value(lower));
    ProxyEnv {
        https: either("HTTPS_PROXY", "https_proxy"),
        http: either("HTTP_PROXY", "http_proxy"),
        except: either("NO_PROXY", "no_proxy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_among_greetings() {
        let answer = read(&format!("Welcome!\n{MARK}/opt/bin:/bin{MARK}/k{MARK}bye"));
        assert_eq!(answer.path.as_deref(), Some("/opt/bin:/bin"));
        assert_eq!(answer.kubeconfig.as_deref(), Some("/k"));
        let answer = read(&format!("{MARK}/bin{MARK}{MARK}"));
        assert_eq!((answer.path.as_deref(), answer.kubeconfig), (Some("/bin"), None));
        assert!(read("sh: illegal option").path.is_none());
        let proxies = ["", "p:3128", "", "", "", "", "example.com", ""].join(MARK);
        let answer = read(&format!("{MARK}/bin{MARK}{proxies}"));
        assert_eq!(answer.proxies.https.as_deref(), Some("p:3128"));
        assert_eq!((answer.proxies.http, answer.proxies.except.is_some()), (None, true));
    }
}
