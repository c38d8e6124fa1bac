//! Owns the single steps of the way to a cluster, for a diagnosis that walks them one by
//! one: what the kubeconfig says, the name, the connection, TLS, the login, the rights.
//!
//! Receives a target; emits what each step found, or its problem.

use super::KubeAdapter;
use super::classify::{self, Doing};
use super::cluster::{Cluster, unusable};
use crate::adapter::Upstream;
use http::Uri;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Config;
use kube::api::{Api, PostParams};
use kube::client::ConfigExt;
use kube::config::KubeConfigOptions;
use localport_core::config::{KubeResource, KubeTarget};
use localport_core::kube::{Fault, Right, TlsFault, problem};
use localport_core::problem::{Code, Problem};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

/// Time for one step of the network.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a proxy's answer that are read; its head is smaller.
const PROXY_HEAD: usize = 8 * 1024;

/// Where a context leads, before anything is asked.
pub(crate) struct Server {
    cluster: Arc<Cluster>,
    target: KubeTarget,
    config: Config,
    /// The kubeconfig files, for people.
    pub(crate) files: String,
    /// The login plugin, with its arguments.
    pub(crate) plugin: Option<(String, Vec<String>)>,
}

impl KubeAdapter {
    /// What the kubeconfig says of the context of `target`.
    pub(crate) async fn server(&self, target: &KubeTarget) -> Result<Server, Problem> {
        let cluster = self.cluster(target).await?;
        let made = async {
            let merged = cluster.shared.kubeconfigs.read().await?;
            let options = KubeConfigOptions {
                context: Some(cluster.context.clone()),
                ..KubeConfigOptions::default()
            };
            let config = Config::from_custom_kubeconfig(merged.config.clone(), &options)
                .await
                .map_err(|error| unusable(&error, &merged))?;
            Ok((config, merged.paths()))
        };
        let (config, files) =
            made.await.map_err(|fault: Fault| problem(&fault, &cluster.place(target)))?;
        let plugin = config.auth_info.exec.as_ref().map(|exec| {
            (exec.command.clone().unwrap_or_default(), exec.args.clone().unwrap_or_default())
        });
        Ok(Server { cluster, target: target.clone(), config, files, plugin })
    }
}

impl Server {
    /// The context's name.
    pub(crate) fn context(&self) -> &str {
        &self.cluster.context
    }

    /// The API server's address.
    pub(crate) fn address(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// The proxy on the way, without its password.
    pub(crate) fn proxy(&self) -> Option<String> {
        let proxy = self.config.proxy_url.as_ref()?;
        let (host, port) = place(proxy);
        Some(format!("{}://{host}:{port}", proxy.scheme_str().unwrap_or("http")))
    }

    /// Whether the API server is spoken to in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.config.cluster_url.scheme_str() == Some("https")
    }

    /// The addresses of the first thing on the way, and its name.
    pub(crate) async fn resolve(&self) -> Result<(String, Vec<SocketAddr>), Problem> {
        let first = self.config.proxy_url.as_ref().unwrap_or(&self.config.cluster_url);
        let (host, port) = place(first);
        let asked = timeout(STEP_LIMIT, tokio::net::lookup_host((host.clone(), port))).await;
        match asked {
            Ok(Ok(found)) => {
                let found: Vec<SocketAddr> = found.collect();
                if found.is_empty() {
                    Err(self.problem(&self.nameless(&host)))
                } else {
                    Ok((host, found))
                }
            }
            Ok(Err(_)) | Err(_) => Err(self.problem(&self.nameless(&host))),
        }
    }

    fn nameless(&self, host: &str) -> Fault {
        match self.proxy() {
            None => Fault::Dns,
            Some(_) => Fault::Unreachable { why: format!("its proxy `{host}` does not resolve") },
        }
    }

    /// A connection to the first of `addresses` that answers, through the proxy where
    /// there is one.
    pub(crate) async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Box<dyn Upstream>, Problem> {
        let stream = crate::explain::reach(addresses, STEP_LIMIT).await;
        let mut stream = stream.map_err(|error| {
            let fault = classify::transport(&error);
            self.problem(&match (self.proxy(), fault) {
                (None, fault) => fault,
                (Some(proxy), Fault::Refused) => {
                    Fault::Unreachable { why: format!("its proxy `{proxy}` refuses connections") }
                }
                (Some(proxy), Fault::Timeout) => {
                    Fault::Unreachable { why: format!("its proxy `{proxy}` does not answer") }
                }
                (Some(proxy), _) => {
                    Fault::Unreachable { why: format!("its proxy `{proxy}`: {error}") }
                }
            })
        })?;
        if let Some(proxy) = self.config.proxy_url.as_ref().filter(|_| self.is_tls())
            && matches!(proxy.scheme_str(), Some("http") | None)
        {
            let asked = timeout(STEP_LIMIT, pass(&mut stream, proxy, &self.config.cluster_url));
            let why = match asked.await {
                Ok(Ok(None)) => return Ok(Box::new(stream)),
                Ok(Ok(Some(said))) => format!("its proxy says `{said}`"),
                Ok(Err(error)) => format!("its proxy broke off: {error}"),
                Err(_) => "its proxy does not answer".to_owned(),
            };
            return Err(self.problem(&Fault::Unreachable { why }));
        }
        Ok(Box::new(stream))
    }

    /// The handshake with the API server over `stream`.
    pub(crate) async fn handshake(&self, stream: Box<dyn Upstream>) -> Result<String, Problem> {
        let config = self
            .config
            .rustls_client_config()
            .map_err(|error| self.problem(&Fault::Tls(TlsFault::Other(error.to_string()))))?;
        let (host, _) = place(&self.config.cluster_url);
        let name = self.config.tls_server_name.clone().unwrap_or(host);
        let server = ServerName::try_from(name.clone()).map_err(|_| {
            self.problem(&Fault::Tls(TlsFault::Other(format!("`{name}` is not a name for TLS"))))
        })?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(server, stream);
        match timeout(STEP_LIMIT, shaken).await {
            Ok(Ok(stream)) => {
                let version = stream.get_ref().1.protocol_version();
                let version = version.and_then(|version| version.as_str().map(str::to_owned));
                Ok(format!(
                    "the certificate is trusted and for `{name}`, {}",
                    version.unwrap_or_default().replace("TLSv1_", "TLS 1.")
                ))
            }
            Ok(Err(error)) => Err(self.problem(&classify::transport(&error))),
            Err(_) => Err(self.problem(&Fault::Timeout)),
        }
    }

    /// The login: a certificate that is valid, a plugin that gives credentials, a server
    /// that accepts them.
    pub(crate) async fn login(&self) -> Result<(), Problem> {
        self.certificate()?;
        match self.review("list", "", "pods", None).await {
            // Whoever is refused the question is somebody.
            Ok(_) | Err(Fault::Forbidden { .. } | Fault::Missing { .. } | Fault::Other { .. }) => {
                Ok(())
            }
            Err(fault) => Err(self.problem(&fault)),
        }
    }

    fn certificate(&self) -> Result<(), Problem> {
        let auth = &self.config.auth_info;
        let pem = match (&auth.client_certificate_data, &auth.client_certificate) {
            (Some(data), _) => crate::explain::unbase64(data),
            (None, Some(file)) => std::fs::read(file).ok(),
            (None, None) => None,
        };
        let Some(pem) = pem else { return Ok(()) };
        let Ok(certificate) = CertificateDer::from_pem_slice(&pem) else { return Ok(()) };
        let Ok((_, certificate)) = parse_x509_certificate(&certificate) else { return Ok(()) };
        let ends = certificate.validity().not_after;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if ends.timestamp() >= i64::try_from(now).unwrap_or(i64::MAX) {
            return Ok(());
        }
        Err(Problem::new(
            Code::KubeUnauthorized,
            format!(
                "your client certificate for context `{}` has expired, on `{ends}`",
                self.context()
            ),
            "Have a new one made: log in to the cluster again, or ask who gave you the kubeconfig",
        ))
    }

    /// The rights that the target takes and the user lacks; none where the server does
    /// not answer such questions, so that only trying tells.
    pub(crate) async fn lacking(&self) -> Result<Option<Vec<Right>>, Problem> {
        let mut missing = Vec::new();
        for (group, resource, sub, verbs, single) in self.needed() {
            let words = match sub {
                Some(sub) => format!("{resource}/{sub}"),
                None => resource.to_owned(),
            };
            // One object can be looked at with `get` where listing is forbidden.
            if single && self.may("get", group, resource, sub).await? == Some(true) {
                continue;
            }
            for verb in verbs {
                match self.may(verb, group, resource, sub).await? {
                    None => return Ok(None),
                    Some(true) => {}
                    Some(false) => {
                        missing.push(Right { verb: (*verb).to_owned(), resource: words.clone() });
                    }
                }
            }
        }
        Ok(Some(missing))
    }

    /// The problem of lacking `missing`.
    pub(crate) fn forbidden(&self, missing: Vec<Right>) -> Problem {
        self.problem(&Fault::Forbidden { missing })
    }

    #[allow(clippy::type_complexity, reason = "a table of five columns, read in one place")]
    fn needed(
        &self,
    ) -> Vec<(&'static str, &'static str, Option<&'static str>, &'static [&'static str], bool)>
    {
        const WATCH: &[&str] = &["list", "watch"];
        const GET: &[&str] = &["get"];
        let pods = ("", "pods", None, WATCH, matches!(self.target.resource, KubeResource::Pod(_)));
        let mut needed = match &self.target.resource {
            KubeResource::Service(_) => vec![("", "services", None, WATCH, true), pods],
            KubeResource::Deployment(_) => vec![("apps", "deployments", None, GET, false), pods],
            KubeResource::StatefulSet(_) => vec![("apps", "statefulsets", None, GET, false), pods],
            KubeResource::DaemonSet(_) => vec![("apps", "daemonsets", None, GET, false), pods],
            KubeResource::ReplicaSet(_) => vec![("apps", "replicasets", None, GET, false), pods],
            KubeResource::Pod(_) | KubeResource::Selector(_) => vec![pods],
        };
        needed.push(("", "pods", Some("portforward"), &["get", "create"], false));
        needed
    }

    async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        sub: Option<&str>,
    ) -> Result<Option<bool>, Problem> {
        match self.review(verb, group, resource, sub).await {
            Ok(allowed) => Ok(Some(allowed)),
            Err(Fault::Forbidden { .. } | Fault::Missing { .. } | Fault::Other { .. }) => Ok(None),
            Err(fault) => Err(self.problem(&fault)),
        }
    }

    async fn review(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        sub: Option<&str>,
    ) -> Result<bool, Fault> {
        let attributes = ResourceAttributes {
            namespace: Some(self.target.namespace.clone()),
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: sub.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = &SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let doing = Doing::new("create", "selfsubjectaccessreviews", "review", verb);
        let ask = |client| async move {
            Api::<SelfSubjectAccessReview>::all(client).create(&PostParams::default(), review).await
        };
        let answer = self.cluster.ask(&doing, ask).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    fn problem(&self, fault: &Fault) -> Problem {
        let mut place = self.cluster.place(&self.target);
        place.server = self.address();
        problem(fault, &place)
    }
}

/// Host and port of an address, with its scheme's port where it names none.
fn place(uri: &Uri) -> (String, u16) {
    let port = match uri.scheme_str() {
        Some("https") => 443,
        Some("socks5" | "socks5h") => 1080,
        _ => 80,
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, uri.port_u16().unwrap_or(port))
}

/// Asks an HTTP proxy for a way to `server`; what it says when it gives none.
async fn pass(
    stream: &mut tokio::net::TcpStream,
    proxy: &Uri,
    server: &Uri,
) -> std::io::Result<Option<String>> {
    let (host, port) = place(server);
    let login = proxy.authority().and_then(|authority| {
        let (login, _) = authority.as_str().rsplit_once('@')?;
        Some(format!("Proxy-Authorization: Basic {}\r\n", crate::explain::base64(login.as_bytes())))
    });
    let ask = format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n",
        login.unwrap_or_default()
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < PROXY_HEAD {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if !head.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    let first = String::from_utf8_lossy(&head);
    let first = first.lines().next().unwrap_or_default().trim();
    let agreed = first.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
    Ok((!agreed).then(|| first.chars().take(120).collect()))
}
