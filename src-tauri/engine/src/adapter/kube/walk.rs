//! Owns the single steps of the way to a cluster, for a diagnosis that walks them one by
//! one: what the kubeconfig says, the name, the connection, TLS, the login, the rights.
//!
//! Receives a target; emits what each step found, or its problem.

use super::KubeAdapter;
use super::classify::{self, Doing};
use super::cluster::Cluster;
use super::kubeconfig::Entry;
use super::road::Road;
use crate::adapter::Upstream;
use http::Uri;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Config;
use kube::api::{Api, PostParams};
use kube::client::ConfigExt;
use localport_core::config::{KubeResource, KubeTarget};
use localport_core::kube::{Fault, Right, TlsFault, problem};
use localport_core::problem::{Code, Problem};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

/// Time for one step of the network.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// Where a context leads, before anything is asked.
pub(crate) struct Server {
    cluster: Arc<Cluster>,
    target: KubeTarget,
    config: Config,
    road: Road,
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
            let Entry { config, proxy } = merged.entry(&cluster.context)?;
            let road = cluster.gate.road(&config, proxy.as_deref(), &merged).await?;
            Ok((config, road, merged.paths()))
        };
        let (mut config, road, files) =
            made.await.map_err(|fault: Fault| problem(&fault, &cluster.place(target)))?;
        // Taken out: the client's own TLS settings would run it, unasked and without a limit.
        let plugin = config
            .auth_info
            .exec
            .take()
            .map(|exec| (exec.command.unwrap_or_default(), exec.args.unwrap_or_default()));
        Ok(Server { cluster, target: target.clone(), config, road, files, plugin })
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
        self.road.proxy.as_ref().map(ToString::to_string)
    }

    /// The SSH host on the way.
    pub(crate) fn via(&self) -> Option<String> {
        self.road.via.as_ref().map(|via| via.host.destination())
    }

    /// Whether the API server is spoken to in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.config.cluster_url.scheme_str() == Some("https")
    }

    /// The addresses of the first thing on the way, and its name.
    pub(crate) async fn resolve(&self) -> Result<(String, Vec<SocketAddr>), Problem> {
        let (host, port) = match &self.road.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => place(&self.config.cluster_url),
        };
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
            Some(proxy) => {
                Fault::Proxy { proxy, said: format!("cannot be found: `{host}` does not resolve") }
            }
        }
    }

    /// A connection to the API server: to the first of `addresses` that answers, or over
    /// the road that leads there.
    pub(crate) async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Box<dyn Upstream>, Problem> {
        if self.road.proxy.is_none() && self.road.via.is_none() {
            let stream = crate::explain::reach(addresses, STEP_LIMIT).await;
            return match stream {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(self.problem(&classify::transport(&error))),
            };
        }
        self.ready().await?;
        let connector = self.road.connector(&self.config);
        let connector = connector
            .map_err(|error| self.problem(&Fault::Tls(TlsFault::Other(error.to_string()))))?;
        match timeout(STEP_LIMIT, connector.open(&self.config.cluster_url)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.problem(&classify::transport(&*error))),
            Err(_) => Err(self.problem(&match self.proxy() {
                Some(proxy) => Fault::Proxy { proxy, said: "does not answer".to_owned() },
                None => Fault::Timeout,
            })),
        }
    }

    /// The connection to the SSH host on the way, if there is one.
    async fn ready(&self) -> Result<(), Problem> {
        let Some(via) = &self.road.via else { return Ok(()) };
        let ready = via.dial.ready(&via.host).await;
        ready.map_err(|problem| {
            let via = via.host.destination();
            self.problem(&Fault::Via { via, problem: Box::new(problem) })
        })
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
        let of_pods = missing.iter().filter(|right: &&Right| right.resource == "pods").count();
        let slices_would_do = of_pods > 0
            && of_pods == missing.len()
            && matches!(self.target.resource, KubeResource::Service(_))
            && self.may("list", "discovery.k8s.io", "endpointslices", None).await? == Some(true);
        // Whether the server has slices at all, trying tells.
        Ok((!slices_would_do).then_some(missing))
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
        _ => 80,
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, uri.port_u16().unwrap_or(port))
}
