//! Owns the kubeconfig: which files, merged how, and whether they changed.

use super::shell::Shell;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use localport_core::kube::Fault;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Mutex;

/// What a file looks like; none where there is none.
type Stamp = Option<(SystemTime, u64)>;

/// The user's kubeconfig, read again when a file changed.
pub(super) struct Kubeconfigs {
    given: Option<Vec<PathBuf>>,
    shell: Arc<Shell>,
    cache: Mutex<Option<Arc<Merged>>>,
}

/// The merged files, and what they looked like when they were read.
pub(super) struct Merged {
    pub(super) config: Kubeconfig,
    stamp: Vec<(PathBuf, Stamp)>,
}

/// What the files say about one context.
pub(super) struct Entry {
    pub(super) config: Config,
    /// `proxy-url` of its cluster.
    pub(super) proxy: Option<String>,
}

/// Tells whether what is said about a context is the same as before, the certificates
/// that it names among it. Token files are not: they are read again as they are used.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digest {
    said: [u8; 32],
    files: Vec<(PathBuf, Stamp)>,
}

impl Digest {
    /// Whether the files that the context names look as they did.
    pub(super) fn files_stand(&self) -> bool {
        self.files.iter().all(|(path, seen)| stamp(path) == *seen)
    }
}

impl Merged {
    /// The names of all contexts.
    pub(super) fn contexts(&self) -> Vec<String> {
        self.config.contexts.iter().map(|context| context.name.clone()).collect()
    }

    /// What is said about `context`.
    ///
    /// # Errors
    /// [`Fault::NoContext`] or [`Fault::ConfigUnreadable`].
    pub(super) fn entry(&self, context: &str) -> Result<Entry, Fault> {
        let (about, cluster, mut auth) = self.parts(context).ok_or_else(|| self.lacks())?;
        let cluster = cluster.ok_or_else(|| {
            self.unusable(&format!("context `{context}` names a cluster that it does not hold"))
        })?;
        let url = cluster.server.clone().unwrap_or_default();
        let url = url.parse().ok().filter(|url: &http::Uri| url.host().is_some());
        let url = url.ok_or_else(|| {
            self.unusable(&format!("the cluster of context `{context}` has no usable `server`"))
        })?;
        let known = ExecAuthCluster::try_from(cluster);
        let known = known.map_err(|error| self.unusable(&first_line(&error)))?;
        let mut config = Config::new(url);
        // A busy server is shown at once; the supervisor's backoff does the waiting.
        config.default_retry = false;
        config.default_namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        config.root_cert = match &known.certificate_authority_data {
            Some(pem) => Some(self.authorities(pem)?),
            None => None,
        };
        config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.tls_server_name.clone_from(&cluster.tls_server_name);
        if let Some(exec) = &mut auth.exec
            && exec.provide_cluster_info
        {
            exec.cluster = Some(known);
        }
        config.auth_info = auth;
        Ok(Entry { config, proxy: cluster.proxy_url.clone() })
    }

    /// Changes with what is said about `context`; none when there is no such context.
    pub(super) fn digest(&self, context: &str) -> Option<Digest> {
        let (about, cluster, auth) = self.parts(context)?;
        // Through a value, whose keys have an order.
        let said = json!([about, cluster, auth]).to_string();
        let named = [
            cluster.and_then(|cluster| cluster.certificate_authority.as_ref()),
            auth.client_certificate.as_ref(),
            auth.client_key.as_ref(),
        ];
        let files = named.into_iter().flatten().map(PathBuf::from);
        Some(Digest {
            said: Sha256::digest(said).into(),
            files: files.map(|path| (path.clone(), stamp(&path))).collect(),
        })
    }

    /// The fault of a context that is not there.
    pub(super) fn lacks(&self) -> Fault {
        Fault::NoContext { known: self.contexts() }
    }

    fn parts(&self, context: &str) -> Option<(&Context, Option<&Cluster>, AuthInfo)> {
        let Kubeconfig { contexts, clusters, auth_infos, .. } = &self.config;
        let about = contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
        let cluster = clusters.iter().find(|named| named.name == about.cluster);
        // As kubectl, without credentials where the user is not there.
        let user = about.user.as_ref();
        let user = user.and_then(|user| auth_infos.iter().find(|named| named.name == *user));
        let auth = user.and_then(|named| named.auth_info.clone()).unwrap_or_default();
        Some((about, cluster.and_then(|named| named.cluster.as_ref()), auth))
    }

    fn authorities(&self, pem: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(found) if !found.is_empty() => Ok(found.iter().map(|der| der.to_vec()).collect()),
            _ => Err(self.unusable("a `certificate-authority` in it holds no certificate in PEM")),
        }
    }

    fn unusable(&self, why: &str) -> Fault {
        Fault::ConfigUnreadable { path: self.paths(), why: why.to_owned() }
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

    /// The files that are looked for.
    pub(super) async fn paths(&self) -> Vec<PathBuf> {
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

fn stamp(path: &Path) -> Stamp {
    let meta = path.metadata().ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn merge(stamp: Vec<(PathBuf, Stamp)>) -> Result<Merged, Fault> {
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
