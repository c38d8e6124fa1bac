//! Owns the kubeconfig: which files, merged how, and whether they changed.

use super::shell::Shell;
use kube::config::{Kubeconfig, KubeconfigError};
use localport_core::kube::Fault;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Mutex;

/// The user's kubeconfig, read again when a file changed.
pub(super) struct Kubeconfigs {
    given: Option<Vec<PathBuf>>,
    shell: Arc<Shell>,
    cache: Mutex<Option<Arc<Merged>>>,
}

/// The merged files, and what they looked like when they were read.
pub(super) struct Merged {
    pub(super) config: Kubeconfig,
    stamp: Vec<(PathBuf, Option<(SystemTime, u64)>)>,
}

impl Merged {
    /// The names of all contexts.
    pub(super) fn contexts(&self) -> Vec<String> {
        self.config.contexts.iter().map(|context| context.name.clone()).collect()
    }

    /// The files that exist, for people.
    pub(super) fn paths(&self) -> String {
        let paths = self.stamp.iter().filter(|(_, seen)| seen.is_some());
        paths.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Kubeconfigs {
    pub(super) fn new(given: Option<Vec<PathBuf>>, shell: Arc<Shell>) -> Self {
        Self { given, shell, cache: Mutex::new(None) }
    }

    /// The merged files as they are now. Unchanged files give the same `Arc`.
    ///
    /// # Errors
    /// [`Fault::ConfigMissing`] or [`Fault::ConfigUnreadable`].
    pub(super) async fn read(&self) -> Result<Arc<Merged>, Fault> {
        let mut cache = self.cache.lock().await;
        let paths = self.paths().await;
        let stamp: Vec<_> = paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect();
        if let Some(merged) = cache.as_ref().filter(|merged| merged.stamp == stamp) {
            return Ok(merged.clone());
        }
        let merged = Arc::new(merge(stamp)?);
        *cache = Some(merged.clone());
        Ok(merged)
    }

    /// The context that is meant when none is named.
    ///
    /// # Errors
    /// As [`Kubeconfigs::read`], and [`Fault::NoCurrentContext`].
    pub(super) async fn current(&self) -> Result<String, Fault> {
        let merged = self.read().await?;
        let current = merged.config.current_context.clone().filter(|name| !name.is_empty());
        current.ok_or_else(|| Fault::NoCurrentContext { known: merged.contexts() })
    }

    async fn paths(&self) -> Vec<PathBuf> {
        if let Some(given) = &self.given {
            return given.clone();
        }
        let named = match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
            Some(value) => Some(value),
            None => self.shell.kubeconfig().await,
        };
        let named: Vec<PathBuf> = named
            .iter()
            .flat_map(env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if !named.is_empty() {
            return named;
        }
        dirs::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = path.metadata().ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn merge(stamp: Vec<(PathBuf, Option<(SystemTime, u64)>)>) -> Result<Merged, Fault> {
    // As kubectl does, a listed file that does not exist is passed over.
    let mut merged: Option<Kubeconfig> = None;
    for (path, _) in stamp.iter().filter(|(_, seen)| seen.is_some()) {
        let unreadable = |error: KubeconfigError| Fault::ConfigUnreadable {
            path: path.display().to_string(),
            why: first_line(&error),
        };
        let next = Kubeconfig::read_from(path).map_err(unreadable)?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(unreadable)?,
        });
    }
    match merged {
        Some(config) => Ok(Merged { config, stamp }),
        None => {
            let paths = stamp.iter().map(|(path, _)| path.display().to_string()).collect();
            Err(Fault::ConfigMissing { paths })
        }
    }
}

fn first_line(error: &KubeconfigError) -> String {
    let text = match error {
        KubeconfigError::ReadConfig(io, _) => io.to_string(),
        // The parser's message; its later lines quote the file, which holds secrets.
        KubeconfigError::Parse(yaml) => yaml.to_string(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().trim().to_owned()
}
