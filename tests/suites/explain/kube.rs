//! Faults on the way into a cluster.

use crate::{Ground, asks_for_a_page, assert_found, assert_well, forward};
use localport_core::config::{ForwardSpec, KubeResource, KubeTarget, PortRef, SshHost, Target};
use localport_core::diagnosis::{Diagnosis, Step, Subject};
use localport_core::problem::Code;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec, Tls};
use localport_tests::ports::free_port;
use localport_tests::sshd::Sshd;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A cluster with one ready pod behind `svc/orders`.
struct Cluster {
    server: ApiServer,
    _backend: Backend,
}

impl Cluster {
    async fn new() -> Self {
        Self::with(Tls::Good).await
    }

    async fn with(tls: Tls) -> Self {
        let server = ApiServer::start_with(tls).await.unwrap();
        let backend = Backend::start("orders-0").await.unwrap();
        let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
        server.add_pod(pod.port("http", 8080, &backend));
        server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
        Self { server, _backend: backend }
    }

    async fn explain(&self, spec: ForwardSpec) -> Diagnosis {
        Ground::new(SshOptions::default(), self.server.kubeconfig()).explain(spec).await
    }

    /// Changes the kubeconfig's cluster entry.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.server.kubeconfig()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        edit(&mut config["clusters"][0]["cluster"]);
        fs::write(self.server.kubeconfig(), config.to_string()).unwrap();
    }

    /// A login plugin of these lines of shell, and the kubeconfig that names it.
    fn plugin(&self, script: &str) {
        let file = self.server.kubeconfig().with_file_name("plugin");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        self.names_plugin(file.to_str().unwrap(), &[]);
    }

    fn names_plugin(&self, command: &str, args: &[&str]) {
        let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": command,
            "args": args, "interactiveMode": "Never" });
        self.server.write_kubeconfig(&json!({ "exec": exec })).unwrap();
    }
}

fn to(resource: KubeResource, port: PortRef) -> ForwardSpec {
    forward(Target::Kube(KubeTarget {
        context: Some(CONTEXT.to_owned()),
        namespace: "shop".to_owned(),
        resource,
        port,
        via: None,
    }))
}

fn service(name: &str) -> ForwardSpec {
    to(KubeResource::Service(name.to_owned()), PortRef::Number(80))
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_a_whole_way_into_a_cluster_holds() {
    for tls in [Tls::Good, Tls::Off] {
        let cluster = Cluster::with(tls).await;
        let found = cluster.explain(service("orders")).await;
        if tls == Tls::Good {
            assert_well(&found);
        } else {
            assert!(found.well, "{found:?}");
        }
        assert!(
            cluster.server.open_watches().is_empty() || cluster.server.count("watch", "pods") > 0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_the_kubeconfig_and_its_context() {
    let cluster = Cluster::new().await;
    let mut elsewhere = service("orders");
    let Target::Kube(target) = &mut elsewhere.target else { unreachable!() };
    target.context = Some("doubel".to_owned());
    let found = cluster.explain(elsewhere).await;
    assert_found(
        &found,
        Step::Kubeconfig,
        Code::KubeContext,
        &["`doubel`", "`double`", "kubectl config get-contexts"],
    );

    fs::write(cluster.server.kubeconfig(), "clusters: [").unwrap();
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Kubeconfig, Code::KubeConfig, &["cannot be used"]);

    fs::remove_file(cluster.server.kubeconfig()).unwrap();
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Kubeconfig, Code::KubeConfig, &["there is no kubeconfig at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_names_and_connections() {
    let cluster = Cluster::new().await;
    cluster.edit(|it| it["server"] = json!("https://no-such-host.invalid:6443"));
    let found = cluster.explain(service("orders")).await;
    assert_found(
        &found,
        Step::Dns,
        Code::KubeUnreachable,
        &["`https://no-such-host.invalid:6443` does not resolve"],
    );

    cluster.edit(|it| it["server"] = json!(format!("https://127.0.0.1:{}", free_port())));
    let found = cluster.explain(service("orders")).await;
    assert_found(
        &found,
        Step::Tcp,
        Code::KubeUnreachable,
        &["refuses connections", "get --raw /version"],
    );

    // A backlog that is full takes no connection, and says nothing: a black hole.
    let hole = full_backlog();
    cluster.edit(|it| it["server"] = json!(format!("https://{}", hole.address)));
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Tcp, Code::KubeUnreachable, &["does not answer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_proxies() {
    let cluster = Cluster::new().await;
    let port = free_port();
    cluster.edit(|it| it["proxy-url"] = json!(format!("http://me:hunter2@127.0.0.1:{port}")));
    let found = cluster.explain(service("orders")).await;
    let words = ["the proxy `http://127.0.0.1:", "refuses connections"];
    assert_found(&found, Step::Tcp, Code::KubeUnreachable, &words);
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));

    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    cluster.edit(|it| it["proxy-url"] = json!(format!("http://me:hunter2@{address}")));
    let asked = std::thread::spawn(move || {
        let (mut client, _) = proxy.accept().unwrap();
        let mut head = vec![0; 1024];
        let size = client.read(&mut head).unwrap();
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
        String::from_utf8_lossy(&head[..size]).into_owned()
    });
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Tcp, Code::KubeUnreachable, &["does not accept the login (407)"]);
    assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("CONNECT 127.0.0.1:"), "{asked}");
    assert!(asked.contains("Proxy-Authorization: Basic bWU6aHVudGVyMg=="), "{asked}");
}

/// A server that accepts and then says nothing is not mistaken for one that is away.
#[tokio::test(flavor = "multi_thread")]
async fn g8_a_server_that_never_shakes_hands() {
    let cluster = Cluster::new().await;
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.edit(|it| it["server"] = json!(format!("https://{}", mute.local_addr().unwrap())));
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Tls, Code::KubeUnreachable, &["does not answer"]);
}

/// The whole walk has a limit, and blames the step that it was in.
#[tokio::test(flavor = "multi_thread")]
async fn g8_a_walk_has_a_limit() {
    let cluster = Cluster::new().await;
    cluster.plugin("sleep 1000");
    let ground = Ground::new(SshOptions::default(), cluster.server.kubeconfig());
    let explainer = ground.explainer.clone().within(Duration::from_secs(2));
    let subject = Subject { spec: service("orders"), context: None };
    let found = explainer.explain(subject, None, None, false).await;
    assert_found(&found, Step::Auth, Code::KubeLoginPlugin, &["did not end within"]);
}

/// A walk that is called off takes what it started along.
#[tokio::test(flavor = "multi_thread")]
async fn g8_a_walk_that_is_called_off_leaves_nothing() {
    let cluster = Cluster::new().await;
    let told = cluster.server.kubeconfig().with_file_name("pid");
    cluster.plugin(&format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", told.display()));
    let walk = cluster.explain(service("orders"));
    let started = async {
        loop {
            // The plugin tells of itself by this file only.
            if let Ok(pid) = fs::read_to_string(&told) {
                return pid.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let pid = tokio::select! {
        found = walk => panic!("it ended: {found:?}"),
        pid = started => pid,
    };
    let end = std::time::Instant::now() + crate::DEADLINE;
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    while lives() {
        assert!(std::time::Instant::now() < end, "the plugin {pid} outlives the walk");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A cluster behind an SSH host: the host is named when it is the host that fails.
#[tokio::test(flavor = "multi_thread")]
async fn g8_a_cluster_behind_an_ssh_host() {
    let cluster = Cluster::new().await;
    let mut sshd = Sshd::start();
    let options = SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() };
    let ground = Ground::new(options, cluster.server.kubeconfig());
    let behind = sshd.target("127.0.0.1", 0);
    let spec = || {
        let mut spec = service("orders");
        let Target::Kube(target) = &mut spec.target else { unreachable!() };
        target.via = Some(SshHost {
            host: behind.host.clone(),
            user: behind.user.clone(),
            port: behind.port,
            key_file: behind.key_file.clone(),
            password: None,
        });
        spec
    };
    let found = ground.explain(spec()).await;
    assert!(found.well, "{found:?}");
    let tcp = found.steps.iter().find(|walked| walked.step == Step::Tcp).unwrap();
    assert!(tcp.said.contains(&format!("127.0.0.1:{}", sshd.port())), "{tcp:?}");
    sshd.stop();
    let found = ground.explain(spec()).await;
    let place = format!("127.0.0.1:{}", sshd.port());
    assert_eq!(found.finding.as_ref().map(|it| it.step), Some(Step::Tcp), "{found:?}");
    assert!(found.finding.unwrap().problem.sentence.contains(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_certificates() {
    let table = [
        (Tls::UnknownIssuer, "not trusted"),
        (Tls::WrongName, "another name"),
        (Tls::Expired, "has expired"),
    ];
    for (tls, words) in table {
        let cluster = Cluster::with(tls).await;
        let found = cluster.explain(service("orders")).await;
        assert_found(&found, Step::Tls, Code::KubeTls, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_logins() {
    let cluster = Cluster::new().await;
    cluster.server.accept_token("another");
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Auth, Code::KubeUnauthorized, &["(401)", "auth whoami"]);

    cluster.names_plugin("no-such-plugin", &[]);
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Auth, Code::KubeLoginPlugin, &["`no-such-plugin`", "was not found"]);

    cluster.plugin("echo 'token expired' >&2; exit 1");
    let found = cluster.explain(service("orders")).await;
    assert_found(&found, Step::Auth, Code::KubeLoginPlugin, &["failed: token expired"]);

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    let (certificate, files) = (params.self_signed(&key).unwrap(), cluster.server.kubeconfig());
    let (pem, private) = (files.with_file_name("me.pem"), files.with_file_name("me.key"));
    fs::write(&pem, certificate.pem()).unwrap();
    fs::write(&private, key.serialize_pem()).unwrap();
    let user = json!({ "client-certificate": pem, "client-key": private });
    cluster.server.write_kubeconfig(&user).unwrap();
    let found = cluster.explain(service("orders")).await;
    assert_found(
        &found,
        Step::Auth,
        Code::KubeUnauthorized,
        &["client certificate", "has expired", "2021"],
    );
}

/// A plugin that may open a browser does not run unless that is wanted, and what was not
/// looked at does not count as well.
#[tokio::test(flavor = "multi_thread")]
async fn g8_no_browser_opens_unasked() {
    let cluster = Cluster::new().await;
    let told = cluster.server.kubeconfig().with_file_name("it ran");
    cluster.plugin(&format!("touch '{}'; exit 1", told.display()));
    let script = cluster.server.kubeconfig().with_file_name("plugin");
    let named = script.with_file_name("kubectl");
    fs::rename(script, &named).unwrap();
    cluster.names_plugin(named.to_str().unwrap(), &["oidc-login", "get-token"]);
    let found = cluster.explain(service("orders")).await;
    assert!(!told.exists(), "no step runs it");
    assert!(!found.well && found.finding.is_none(), "{found:?}");
    let auth = found.steps.iter().find(|walked| walked.step == Step::Auth).unwrap();
    assert!(auth.said.contains("--login"), "{auth:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_rights() {
    let table = [
        ("list", "pods", "`list` on `pods`"),
        ("create", "pods/portforward", "`create` on `pods/portforward`"),
        ("get", "pods/portforward", "`get` on `pods/portforward`"),
    ];
    for (verb, resource, words) in table {
        let cluster = Cluster::new().await;
        cluster.server.forbid(verb, resource);
        let found = cluster.explain(service("orders")).await;
        assert_found(&found, Step::Rbac, Code::KubeForbidden, &[words, "auth can-i"]);
        // Where the server does not answer questions about rights, trying tells.
        cluster.server.forbid("create", "selfsubjectaccessreviews");
        let found = cluster.explain(service("orders")).await;
        if resource == "pods" {
            assert_found(&found, Step::Rbac, Code::KubeForbidden, &[words]);
        } else {
            let said = format!("cannot {verb} resource \"pods/portforward\"");
            assert_found(&found, Step::Port, Code::KubeFailed, &["(403)", &said]);
        }
    }
}

/// A right that the forward can do without is not called missing.
#[tokio::test(flavor = "multi_thread")]
async fn g8_endpoint_slices_do_where_pods_may_not_be_listed() {
    let server = ApiServer::start().await.unwrap();
    server.serve_slices();
    let backend = Backend::start("orders-0").await.unwrap();
    server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
    let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
    server.add_pod(pod.port("http", 8080, &backend));
    server.forbid("list", "pods");
    let cluster = Cluster { server, _backend: backend };
    assert_well(&cluster.explain(service("orders")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn g8_targets_pods_and_ports() {
    let cluster = Cluster::new().await;
    let server = &cluster.server;
    server.add_service("shop", "bare", &[], &[("web", 80, "80")]);
    server.add_service("shop", "empty", &[("app", "none")], &[("web", 80, "80")]);
    server.add_service("shop", "sick", &[("app", "sick")], &[("web", 80, "80")]);
    server.add_service("shop", "deaf", &[("app", "deaf")], &[("web", 80, "http")]);
    server.add_pod(PodSpec::new("shop", "sick-0").label("app", "sick").waiting("CrashLoopBackOff"));
    server.add_pod(PodSpec::new("shop", "deaf-0").label("app", "deaf").dead_port("http", 8080));
    let outside = json!({ "spec": { "type": "ExternalName", "externalName": "db.example" } });
    server.put("services", "shop", "outside", outside);
    let named = |name: &str| PortRef::Name(name.to_owned());
    let orders = || KubeResource::Service("orders".to_owned());
    let pod = KubeResource::Pod("orders-0".to_owned());
    let gone = KubeResource::Deployment("gone".to_owned());
    let mut nowhere = service("orders");
    let Target::Kube(target) = &mut nowhere.target else { unreachable!() };
    target.namespace = "nowhere".to_owned();
    let table = [
        (service("gone"), Step::Target, Code::KubeNotFound, "service `gone`"),
        (to(gone, PortRef::Number(80)), Step::Target, Code::KubeNotFound, "deployment `gone`"),
        (nowhere, Step::Target, Code::KubeNotFound, "namespace `nowhere`"),
        (service("bare"), Step::Target, Code::KubeNoSelector, "has no selector"),
        (service("outside"), Step::Target, Code::KubeExternalName, "`db.example`"),
        (to(orders(), PortRef::Number(81)), Step::Target, Code::KubePort, "no port `81`"),
        (to(pod, named("grpc")), Step::Target, Code::KubePort, "`http (8080)`"),
        (service("empty"), Step::Pod, Code::KubeNoReadyPod, "no pod belongs"),
        (service("sick"), Step::Pod, Code::KubeNoReadyPod, "CrashLoopBackOff"),
        (service("deaf"), Step::Port, Code::TargetRefused, "refuses connections on port `8080`"),
    ];
    for (spec, step, code, words) in table {
        assert_found(
            &cluster.explain(spec).await,
            step,
            code,
            &[words, "kubectl --context double"],
        );
    }
    // The backend greets in no protocol that HTTP knows.
    let mut asking = service("orders");
    asking.health_check = Some(asks_for_a_page());
    let found = cluster.explain(asking).await;
    assert_eq!(found.finding.as_ref().map(|finding| finding.step), Some(Step::Answer), "{found:?}");
}

/// A listener that takes no connection any more.
struct Hole {
    address: std::net::SocketAddr,
    _socket: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

fn full_backlog() -> Hole {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let waiting = (0..4)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        })
        .collect();
    Hole { address: address.as_socket().unwrap(), _socket: socket, _waiting: waiting }
}
