//! Owns what a failure in a cluster means for a person: one sentence and what to do.
//!
//! Receives a [`Fault`], which the adapter classified where it happened, and the
//! [`Place`] it happened at; emits the [`Problem`].

use super::Unfit;
use crate::problem::{Code, Problem};
use std::fmt;
use std::time::Duration;

/// Where something failed, in the words of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Context of the kubeconfig.
    pub context: String,
    /// Address of the API server; empty until it is known.
    pub server: String,
    /// Namespace.
    pub namespace: String,
    /// The target, such as `svc/orders`.
    pub target: String,
}

/// A right that the user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The verb, such as `create`.
    pub verb: String,
    /// The resource, such as `pods/portforward`.
    pub resource: String,
}

/// What went wrong with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The server's certificate is signed by nobody that is trusted.
    UnknownIssuer,
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is for another name.
    WrongName,
    /// Something else.
    Other(String),
}

/// What failed, as the adapter saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None of the kubeconfig files exists.
    ConfigMissing {
        /// The files looked for.
        paths: Vec<String>,
    },
    /// A kubeconfig file cannot be read or understood.
    ConfigUnreadable {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// No context is named and the kubeconfig has no current one.
    NoCurrentContext {
        /// The contexts that exist.
        known: Vec<String>,
    },
    /// The named context does not exist.
    NoContext {
        /// The contexts that exist.
        known: Vec<String>,
    },
    /// The login plugin is not installed.
    PluginMissing {
        /// Its command.
        plugin: String,
        /// What the kubeconfig says about installing it.
        install: Option<String>,
    },
    /// The login plugin ended with an error or an answer of no use.
    PluginFailed {
        /// Its command.
        plugin: String,
        /// The last line it printed, or what is wrong with its answer.
        said: String,
    },
    /// The login plugin did not end in time.
    PluginSlow {
        /// Its command.
        plugin: String,
        /// The time it had.
        limit: Duration,
        /// The last line it printed: where it waits for a person, it says so there.
        said: Option<String>,
    },
    /// The server does not accept the credentials (401).
    Unauthorized,
    /// Rights are missing (403).
    Forbidden {
        /// Which.
        missing: Vec<Right>,
    },
    /// Something does not exist (404).
    Missing {
        /// Its kind in words, such as `service`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The namespace does not exist.
    NamespaceMissing,
    /// No pod can serve.
    Unfit(Unfit),
    /// The service has no selector.
    NoSelector,
    /// The service stands for a host outside the cluster.
    ExternalName {
        /// That host.
        host: String,
    },
    /// The service has no such port.
    NoServicePort {
        /// The port asked for.
        wanted: String,
        /// The ports that it has.
        known: Vec<String>,
    },
    /// The label selector of the configuration cannot be read.
    BadSelector {
        /// Why.
        why: String,
    },
    /// The server has too much to do (429, 503).
    Overloaded {
        /// The status it answered.
        status: u16,
    },
    /// The server's name does not resolve.
    Dns,
    /// The server's host refuses the connection.
    Refused,
    /// The server does not answer in time.
    Timeout,
    /// The connection to the server cannot be made or broke.
    Unreachable {
        /// Why.
        why: String,
    },
    /// The proxy on the way to the server fails.
    Proxy {
        /// Its address, without the login.
        proxy: String,
        /// What it does or said, as the rest of a sentence about it.
        said: String,
    },
    /// The SSH host on the way to the server fails.
    Via {
        /// The SSH host.
        via: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// TLS failed.
    Tls(TlsFault),
    /// The pod refuses connections on the port.
    TargetRefused {
        /// The pod.
        pod: String,
        /// The port.
        port: u16,
    },
    /// The node could not reach into the pod, or the connection broke.
    PodLost {
        /// The pod.
        pod: String,
        /// What was said about it.
        said: String,
    },
    /// Anything else the server said.
    Other {
        /// Its words.
        said: String,
    },
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on `{}`", self.verb, self.resource)
    }
}

/// Whether what a node said means that it never reached the pod, so that nothing of the
/// client's was delivered. Such texts are all there is: containerd, CRI-O and the kubelet
/// have no codes for it.
#[must_use]
pub fn dial_failed(said: &str) -> bool {
    const WORDS: [&str; 6] = [
        "failed to connect to",
        "connection refused",
        "network namespace for sandbox",
        "failed to find sandbox",
        "not running",
        "not found",
    ];
    WORDS.iter().any(|words| said.contains(words))
}

/// The problem that `fault` at `place` is for a person.
#[must_use]
pub fn problem(fault: &Fault, place: &Place) -> Problem {
    kubeconfig(fault, place)
        .or_else(|| plugin(fault))
        .or_else(|| rights(fault, place))
        .or_else(|| target(fault, place))
        .unwrap_or_else(|| network(fault, place))
}

/// The known name that is nearest to `wanted`, if one is near enough to be a slip.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.as_str())
}

fn kubeconfig(fault: &Fault, place: &Place) -> Option<Problem> {
    let some = |code, sentence: String, hint: String| Some(Problem::new(code, sentence, hint));
    match fault {
        Fault::ConfigMissing { paths } => some(
            Code::KubeConfig,
            format!("there is no kubeconfig at {}", listed(paths)),
            "Log in to your cluster so that its tool writes one, or set `KUBECONFIG` to the file you use".to_owned(),
        ),
        Fault::ConfigUnreadable { path, why } => some(
            Code::KubeConfig,
            format!("the kubeconfig `{path}` cannot be used: {why}"),
            "Check the file with `kubectl config view`".to_owned(),
        ),
        Fault::NoCurrentContext { known } => some(
            Code::KubeContext,
            "no context is named and the kubeconfig has no current one".to_owned(),
            format!(
                "Give the service a `context`{}, or choose one with `kubectl config use-context`",
                one_of(known)
            ),
        ),
        Fault::NoContext { known } => some(
            Code::KubeContext,
            format!("the kubeconfig has no context `{}`", place.context),
            match nearest(&place.context, known) {
                Some(near) => format!("Did you mean `{near}`? `kubectl config get-contexts` lists all"),
                None if known.is_empty() => "The kubeconfig has no contexts at all; log in to your cluster first".to_owned(),
                None => format!("It has {}", listed(known)),
            },
        ),
        _ => None,
    }
}

fn plugin(fault: &Fault) -> Option<Problem> {
    let some =
        |sentence: String, hint: String| Some(Problem::new(Code::KubeLoginPlugin, sentence, hint));
    match fault {
        Fault::PluginMissing { plugin, install } => some(
            format!("the login plugin `{plugin}` of this context was not found"),
            install.clone().unwrap_or_else(|| {
                format!("Install `{plugin}`, or put its folder on the PATH that your login shell sets")
            }),
        ),
        Fault::PluginFailed { plugin, said } => some(
            format!("the login plugin `{plugin}` failed: {said}"),
            "Log in again in a terminal (`kubectl get pods` shows whether it works), then retry".to_owned(),
        ),
        Fault::PluginSlow { plugin, limit, said } => some(
            match said {
                Some(said) => format!(
                    "the login plugin `{plugin}` did not end within {} s, and said last: {said}",
                    limit.as_secs()
                ),
                None => format!("the login plugin `{plugin}` did not end within {} s", limit.as_secs()),
            },
            "It may be waiting for a login in the browser or a terminal: run `kubectl get pods` once, then retry".to_owned(),
        ),
        _ => None,
    }
}

fn rights(fault: &Fault, place: &Place) -> Option<Problem> {
    let Place { context, namespace, .. } = place;
    match fault {
        Fault::Unauthorized => Some(Problem::new(
            Code::KubeUnauthorized,
            format!("the cluster of context `{context}` does not accept your credentials (401)"),
            "They have expired or were withdrawn: log in to the cluster again, then retry",
        )),
        Fault::Forbidden { missing } => {
            let rights: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let and = rights.join(" and ");
            let also = if missing.iter().any(|right| right.resource == "pods/portforward") {
                "; clusters from 1.35 on ask for both `get` and `create` on `pods/portforward`"
            } else {
                ""
            };
            Some(Problem::new(
                Code::KubeForbidden,
                format!(
                    "your user has no right to {and} in namespace `{namespace}` of context `{context}`"
                ),
                format!("Ask the cluster's administrator for {and}{also}"),
            ))
        }
        _ => None,
    }
}

fn target(fault: &Fault, place: &Place) -> Option<Problem> {
    let Place { context, namespace, target, .. } = place;
    let some = |code, sentence: String, hint: String| Some(Problem::new(code, sentence, hint));
    let kubectl = format!("kubectl --context {context} -n {namespace}");
    match fault {
        Fault::Missing { kind, name } => some(
            Code::KubeNotFound,
            format!(
                "there is no {kind} `{name}` in namespace `{namespace}` of context `{context}`"
            ),
            format!("`{kubectl} get {kind}s` lists what there is"),
        ),
        Fault::NamespaceMissing => some(
            Code::KubeNotFound,
            format!("there is no namespace `{namespace}` in context `{context}`"),
            format!("`kubectl --context {context} get namespaces` lists what there is"),
        ),
        Fault::Unfit(Unfit::NoPods) => some(
            Code::KubeNoReadyPod,
            format!("no pod belongs to `{target}` in namespace `{namespace}`"),
            "It may be scaled to zero; clients are held and served as soon as a pod is ready"
                .to_owned(),
        ),
        Fault::Unfit(unfit @ Unfit::NoneReady { example, .. }) => some(
            Code::KubeNoReadyPod,
            format!("{} behind `{target}`", unfit.words()),
            format!(
                "`{kubectl} describe pod {example}` says why; clients are held and served as soon as a pod is ready"
            ),
        ),
        Fault::Unfit(Unfit::NoPort { pod, known }) => some(
            Code::KubePort,
            format!("pod `{pod}` behind `{target}` has no port of that name"),
            format!("It has {}", listed_or_none(known)),
        ),
        Fault::NoSelector => some(
            Code::KubeNoSelector,
            format!("`{target}` has no selector, so no pod can be found behind it"),
            "Forward to a pod, a deployment or a label selector instead".to_owned(),
        ),
        Fault::ExternalName { host } => some(
            Code::KubeExternalName,
            format!("`{target}` only stands for `{host}` outside the cluster"),
            format!("Connect to `{host}` directly, or forward to it over SSH"),
        ),
        Fault::NoServicePort { wanted, known } => some(
            Code::KubePort,
            format!("`{target}` has no port `{wanted}`"),
            format!("It has {}", listed_or_none(known)),
        ),
        Fault::BadSelector { why } => some(
            Code::ConfigInvalid,
            why.clone(),
            "Write labels as kubectl takes them, such as `app=orders,tier in (db,cache)`"
                .to_owned(),
        ),
        Fault::TargetRefused { pod, port } => some(
            Code::TargetRefused,
            format!("pod `{pod}` refuses connections on port `{port}`"),
            format!(
                "Nothing listens there, or only on another address: `{kubectl} logs {pod}` may say why"
            ),
        ),
        Fault::PodLost { pod, said } => some(
            Code::KubeLost,
            format!("the way to pod `{pod}` broke: {said}"),
            "It is tried again, on another pod where one is ready".to_owned(),
        ),
        _ => None,
    }
}

fn network(fault: &Fault, place: &Place) -> Problem {
    let Place { context, server, .. } = place;
    let unreachable = |what: String| {
        Problem::new(
            Code::KubeUnreachable,
            format!("the API server of context `{context}` {what}"),
            "Check the network and the VPN; it is tried again until it answers",
        )
    };
    match fault {
        Fault::Dns => unreachable(format!("cannot be found: `{server}` does not resolve")),
        Fault::Refused => unreachable(format!("refuses connections at `{server}`")),
        Fault::Timeout => unreachable(format!("does not answer at `{server}`")),
        Fault::Unreachable { why } => {
            unreachable(format!("cannot be reached at `{server}`: {why}"))
        }
        Fault::Overloaded { status } => Problem::new(
            Code::KubeOverloaded,
            format!("the API server of context `{context}` has too much to do ({status})"),
            "Nothing to do: it is tried again, with growing pauses",
        ),
        Fault::Tls(tls) => tls_problem(tls, place),
        Fault::Proxy { proxy, said } => Problem::new(
            Code::KubeUnreachable,
            format!("the proxy `{proxy}` on the way to context `{context}` {said}"),
            "Check `proxy-url` of the cluster in your kubeconfig, or `HTTPS_PROXY`; servers in `NO_PROXY` are reached without it",
        ),
        Fault::Via { via, problem } => behind(via, problem, place),
        // Every other fault has its problem above.
        other => Problem::new(
            Code::KubeFailed,
            match other {
                Fault::Other { said } => {
                    format!("the API server of context `{context}` said: {said}")
                }
                other => format!("the cluster of context `{context}` failed: {other:?}"),
            },
            "It is tried again; `kubectl get pods` shows whether the cluster itself works",
        ),
    }
}

/// The problem of a cluster that lies behind an SSH host: the host's own, and its code,
/// because that is where it has to be mended.
fn behind(via: &str, problem: &Problem, place: &Place) -> Problem {
    let context = &place.context;
    let Problem { code, sentence, hint } = problem;
    // What the host cannot reach is the API server, not a forward's own target.
    let unreached = matches!(code, Code::TargetRefused | Code::TargetTimeout);
    Problem::new(
        if unreached { Code::KubeUnreachable } else { *code },
        format!("context `{context}` is reached through `{via}`: {sentence}"),
        if unreached {
            format!(
                "Check that `{via}` reaches the API server at `{}`; it is tried again until it does",
                place.server
            )
        } else {
            hint.clone()
        },
    )
}

fn tls_problem(fault: &TlsFault, place: &Place) -> Problem {
    let Place { context, server, .. } = place;
    let (what, hint) = match fault {
        TlsFault::UnknownIssuer => (
            "is signed by an authority that is not trusted".to_owned(),
            "Check `certificate-authority` of the cluster in your kubeconfig; a proxy that opens TLS needs its own authority there",
        ),
        TlsFault::Expired => (
            "has expired".to_owned(),
            "Check this machine's clock; else the cluster's certificates have to be renewed",
        ),
        TlsFault::WrongName => (
            "is for another name".to_owned(),
            "Check `server` and `tls-server-name` of the cluster in your kubeconfig",
        ),
        TlsFault::Other(why) => {
            (format!("cannot be used: {why}"), "Check the cluster's entry in your kubeconfig")
        }
    };
    let sentence =
        format!("the certificate of the API server of context `{context}` at `{server}` {what}");
    Problem::new(Code::KubeTls, sentence, hint)
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn listed_or_none(names: &[String]) -> String {
    if names.is_empty() { "no ports at all".to_owned() } else { listed(names) }
}

fn one_of(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (one of {})", listed(names)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            context: "prod".to_owned(),
            server: "https://10.0.0.1:6443".to_owned(),
            namespace: "shop".to_owned(),
            target: "svc/orders".to_owned(),
        }
    }

    fn known(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn right(verb: &str, resource: &str) -> Right {
        Right { verb: verb.to_owned(), resource: resource.to_owned() }
    }

    fn behind_bastion(code: Code) -> Fault {
        let problem = Box::new(Problem::new(code, "it said no", "mend it"));
        Fault::Via { via: "bastion".to_owned(), problem }
    }

    #[test]
    fn every_fault_has_its_code_and_names_what_is_wrong() {
        let unready = Unfit::NoneReady {
            total: 2,
            terminating: 0,
            reasons: known(&["ImagePullBackOff"]),
            example: "orders-1".to_owned(),
        };
        let text = str::to_owned;
        let table: Vec<(Fault, Code, &[&str])> = vec![
            (Fault::ConfigMissing { paths: known(&["/k"]) }, Code::KubeConfig, &["`/k`"]),
            (
                Fault::ConfigUnreadable { path: text("/k"), why: text("line 3") },
                Code::KubeConfig,
                &["`/k`", "line 3"],
            ),
            (Fault::NoCurrentContext { known: known(&["a"]) }, Code::KubeContext, &["`a`"]),
            (
                Fault::NoContext { known: known(&["prods", "x"]) },
                Code::KubeContext,
                &["`prod`", "`prods`"],
            ),
            (Fault::NoContext { known: known(&["x", "y"]) }, Code::KubeContext, &["`x`, `y`"]),
            (
                Fault::PluginMissing { plugin: text("aws"), install: None },
                Code::KubeLoginPlugin,
                &["`aws`", "PATH"],
            ),
            (
                Fault::PluginMissing { plugin: text("aws"), install: Some(text("brew it")) },
                Code::KubeLoginPlugin,
                &["brew it"],
            ),
            (
                Fault::PluginFailed { plugin: text("aws"), said: text("token expired") },
                Code::KubeLoginPlugin,
                &["`aws`", "token expired"],
            ),
            (
                Fault::PluginSlow {
                    plugin: text("aws"),
                    limit: Duration::from_secs(60),
                    said: None,
                },
                Code::KubeLoginPlugin,
                &["`aws`", "60 s"],
            ),
            (
                Fault::PluginSlow {
                    plugin: text("aws"),
                    limit: Duration::from_secs(60),
                    said: Some(text("open https://login and enter ABC")),
                },
                Code::KubeLoginPlugin,
                &["60 s", "said last: open https://login and enter ABC"],
            ),
            (
                Fault::Proxy { proxy: text("http://proxy:3128"), said: text("refuses (407)") },
                Code::KubeUnreachable,
                &["`http://proxy:3128`", "`prod` refuses (407)", "NO_PROXY"],
            ),
            (
                behind_bastion(Code::SshAuthRefused),
                Code::SshAuthRefused,
                &["`bastion`", "`prod`", "mend it"],
            ),
            (
                behind_bastion(Code::TargetRefused),
                Code::KubeUnreachable,
                &["`bastion`", "10.0.0.1"],
            ),
            (Fault::Unauthorized, Code::KubeUnauthorized, &["`prod`", "401"]),
            (
                Fault::Forbidden {
                    missing: vec![
                        right("get", "pods/portforward"),
                        right("create", "pods/portforward"),
                    ],
                },
                Code::KubeForbidden,
                &[
                    "`get` on `pods/portforward` and `create` on `pods/portforward`",
                    "`shop`",
                    "1.35",
                ],
            ),
            (
                Fault::Forbidden { missing: vec![right("list", "pods")] },
                Code::KubeForbidden,
                &["`list` on `pods`"],
            ),
            (
                Fault::Missing { kind: "service", name: text("orders") },
                Code::KubeNotFound,
                &["service `orders`", "`shop`"],
            ),
            (Fault::NamespaceMissing, Code::KubeNotFound, &["namespace `shop`"]),
            (Fault::Unfit(Unfit::NoPods), Code::KubeNoReadyPod, &["`svc/orders`"]),
            (
                Fault::Unfit(unready),
                Code::KubeNoReadyPod,
                &["0 of 2 pods are ready (ImagePullBackOff)", "orders-1"],
            ),
            (
                Fault::Unfit(Unfit::NoPort { pod: text("orders-1"), known: known(&["http (80)"]) }),
                Code::KubePort,
                &["`orders-1`", "`http (80)`"],
            ),
            (Fault::NoSelector, Code::KubeNoSelector, &["`svc/orders`"]),
            (
                Fault::ExternalName { host: text("db.example") },
                Code::KubeExternalName,
                &["`db.example`"],
            ),
            (
                Fault::NoServicePort { wanted: text("81"), known: known(&["web (80)"]) },
                Code::KubePort,
                &["`81`", "`web (80)`"],
            ),
            (
                Fault::NoServicePort { wanted: text("81"), known: vec![] },
                Code::KubePort,
                &["no ports at all"],
            ),
            (
                Fault::BadSelector { why: text("`a b` is no label") },
                Code::ConfigInvalid,
                &["`a b`"],
            ),
            (Fault::Overloaded { status: 429 }, Code::KubeOverloaded, &["429"]),
            (Fault::Dns, Code::KubeUnreachable, &["does not resolve", "10.0.0.1"]),
            (Fault::Refused, Code::KubeUnreachable, &["refuses", "10.0.0.1"]),
            (Fault::Timeout, Code::KubeUnreachable, &["does not answer"]),
            (Fault::Unreachable { why: text("no route") }, Code::KubeUnreachable, &["no route"]),
            (
                Fault::Tls(TlsFault::UnknownIssuer),
                Code::KubeTls,
                &["not trusted", "certificate-authority"],
            ),
            (Fault::Tls(TlsFault::Expired), Code::KubeTls, &["expired"]),
            (Fault::Tls(TlsFault::WrongName), Code::KubeTls, &["another name"]),
            (Fault::Tls(TlsFault::Other(text("alert"))), Code::KubeTls, &["alert"]),
            (
                Fault::TargetRefused { pod: text("orders-1"), port: 80 },
                Code::TargetRefused,
                &["`orders-1`", "`80`"],
            ),
            (
                Fault::PodLost { pod: text("orders-1"), said: text("reset") },
                Code::KubeLost,
                &["`orders-1`", "reset"],
            ),
            (Fault::Other { said: text("teapot") }, Code::KubeFailed, &["teapot"]),
        ];
        for (fault, code, named) in table {
            let problem = problem(&fault, &place());
            assert_eq!(problem.code, code, "{fault:?}");
            let all = format!("{} / {}", problem.sentence, problem.hint);
            for part in named {
                assert!(all.contains(part), "{part:?} is not said in {all:?}");
            }
            assert!(!problem.sentence.ends_with('.'), "{all}");
            assert!(!problem.hint.is_empty() && !all.contains("{"), "{all}");
        }
    }

    #[test]
    fn only_a_failed_dial_counts_as_one() {
        let sandbox = "failed to execute portforward in network namespace \"/var/run/netns/cni\":";
        for (said, failed) in [
            (format!("{sandbox} failed to connect to localhost:81 inside namespace \"0\""), true),
            ("dial tcp4 127.0.0.1:81: connect: connection refused".to_owned(), true),
            ("network namespace for sandbox \"0\" is closed".to_owned(), true),
            ("failed to find sandbox \"0\" in store: not found".to_owned(), true),
            ("container not running (0)".to_owned(), true),
            (format!("{sandbox} write tcp4: broken pipe"), false),
            (format!("{sandbox} read tcp4: connection reset by peer"), false),
            ("lost connection to pod".to_owned(), false),
        ] {
            assert_eq!(dial_failed(&said), failed, "{said}");
        }
    }

    #[test]
    fn only_near_names_are_offered() {
        let known = known(&["kind-local", "prod-eu", "prod-us"]);
        assert_eq!(nearest("prod-ue", &known), Some("prod-eu"));
        assert_eq!(nearest("kind-locl", &known), Some("kind-local"));
        assert_eq!(nearest("staging", &known), None);
    }
}
