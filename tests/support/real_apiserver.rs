//! Owns a real `kube-apiserver` with its etcd, and a double of a kubelet as its one node.
//!
//! Nothing else of a cluster runs: a test makes the objects that a scheduler and
//! controllers would make. `LOCALPORT_REAL_APISERVER` names the directory of the programs.

use crate::apiserver::{ApiServer, Backend, PodSpec};
use crate::ports::free_ports;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Name of the context in every kubeconfig here.
pub const CONTEXT: &str = "real";

/// The token of an administrator.
pub const ADMIN: &str = "admin-token";

/// The token of a user who has no rights but those that a test gives to `dev`.
pub const DEV: &str = "dev-token";

/// What the server has to get ready within, on a busy machine.
const READY: Duration = Duration::from_secs(90);

/// A running server; it and its etcd end when it is dropped.
pub struct RealApiServer {
    dir: TempDir,
    port: u16,
    /// Its one node.
    pub kubelet: ApiServer,
    children: Vec<Child>,
}

impl RealApiServer {
    /// Starts all of it with the node `node-1` and the namespace `shop`.
    pub async fn start() -> Self {
        let programs = std::env::var_os("LOCALPORT_REAL_APISERVER");
        let programs = PathBuf::from(programs.expect("run `cargo xtask test --real-apiserver`"));
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(3);
        let kubelet = ApiServer::start().await.unwrap();
        let children = vec![
            etcd(&programs, dir.path(), ports[0], ports[1]),
            server(&programs, dir.path(), ports[0], ports[2]),
        ];
        let mut server = Self { dir, port: ports[2], kubelet, children };
        server.ready();
        server.furnish();
        server
    }

    /// A kubeconfig whose one user logs in with `token`.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        let cluster = json!({ "server": format!("https://127.0.0.1:{}", self.port),
            "certificate-authority": self.at("ca.pem") });
        let config = json!({ "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
            "clusters": [{ "name": CONTEXT, "cluster": cluster }],
            "users": [{ "name": CONTEXT, "user": { "token": token } }],
            "contexts": [{ "name": CONTEXT, "context": { "cluster": CONTEXT, "user": CONTEXT } }] });
        let file = self.at(&format!("kubeconfig-{token}"));
        fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// A ready pod `name` with the label `app: orders`, whose port 8080 `http` leads to
    /// `backend` on the node.
    pub fn add_pod(&self, name: &str, backend: &Backend) {
        let pod = PodSpec::new("shop", name).port("http", 8080, backend);
        self.kubelet.add_pod(pod);
        let port = json!({ "name": "http", "containerPort": 8080 });
        let container = json!({ "name": "main", "image": "main", "ports": [port] });
        let pod = json!({ "metadata": { "name": name, "labels": { "app": "orders" } },
            "spec": { "nodeName": "node-1", "containers": [container] } });
        self.made("POST", "/api/v1/namespaces/shop/pods", &pod);
        let running = json!({ "name": "main", "image": "main", "imageID": "main", "ready": true,
            "restartCount": 0, "state": { "running": {} } });
        let status = json!({ "status": { "phase": "Running", "containerStatuses": [running],
            "conditions": [{ "type": "Ready", "status": "True" }] } });
        self.made("PATCH", &format!("/api/v1/namespaces/shop/pods/{name}/status"), &status);
    }

    /// Deletes a pod at once, here and on the node.
    pub fn delete_pod(&self, name: &str) {
        let path = format!("/api/v1/namespaces/shop/pods/{name}?gracePeriodSeconds=0");
        self.made("DELETE", &path, &json!({}));
        self.kubelet.delete_pod("shop", name);
    }

    /// Asks the server as an administrator; expects what it asks to be done.
    pub fn made(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, body);
        let log = || fs::read_to_string(self.at("kube-apiserver.log")).unwrap_or_default();
        let done = (200..300).contains(&status);
        assert!(done, "{}\n{method} {path}: {status} {answer}", log());
        answer
    }

    /// The status and the body of an administrator's request.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-X", method, "-w", "\n%{http_code}", "--cacert"]);
        curl.arg(self.at("ca.pem"));
        curl.args(["-H", &format!("Authorization: Bearer {ADMIN}")]);
        curl.args(["-H", &format!("Content-Type: {kind}")]);
        if method != "GET" {
            curl.args(["-d", &body.to_string()]);
        }
        curl.arg(format!("https://127.0.0.1:{}{path}", self.port));
        let output = curl.output().unwrap();
        if !output.status.success() {
            return (0, json!(String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        let said = || Value::String(body.to_owned());
        (status.parse().unwrap_or(0), serde_json::from_str(body).unwrap_or_else(|_| said()))
    }

    fn ready(&mut self) {
        let begun = Instant::now();
        loop {
            let (status, said) = self.ask("GET", "/readyz", &Value::Null);
            if status == 200 {
                return;
            }
            let log = self.at("kube-apiserver.log");
            let log = || fs::read_to_string(&log).unwrap_or_default();
            let ended = self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            assert!(!ended && begun.elapsed() < READY, "{}\nnot ready: {status} {said}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn furnish(&self) {
        self.made("POST", "/api/v1/namespaces", &json!({ "metadata": { "name": "shop" } }));
        self.made("POST", "/api/v1/nodes", &json!({ "metadata": { "name": "node-1" } }));
        let address = self.kubelet.address();
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": address.ip() }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": address.port() } } } });
        self.made("PATCH", "/api/v1/nodes/node-1/status", &status);
        let port = json!({ "name": "web", "port": 80, "targetPort": "http" });
        let service = json!({ "metadata": { "name": "orders" },
            "spec": { "selector": { "app": "orders" }, "ports": [port] } });
        self.made("POST", "/api/v1/namespaces/shop/services", &service);
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for RealApiServer {
    fn drop(&mut self) {
        // The server first: without its etcd it would complain for a minute.
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn etcd(programs: &Path, dir: &Path, clients: u16, peers: u16) -> Child {
    let (clients, peers) =
        (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    let mut etcd = Command::new(programs.join("etcd"));
    etcd.arg("--data-dir").arg(dir.join("etcd"));
    etcd.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    etcd.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    etcd.args(["--initial-cluster", &format!("default={peers}")]);
    start(etcd, &dir.join("etcd.log"))
}

fn server(programs: &Path, dir: &Path, etcd: u16, port: u16) -> Child {
    certificates(dir);
    let tokens = format!("{ADMIN},admin,1,\"system:masters\"\n{DEV},dev,2\n");
    fs::write(dir.join("tokens.csv"), tokens).unwrap();
    let mut server = Command::new(programs.join("kube-apiserver"));
    server.arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"));
    server.arg(format!("--secure-port={port}"));
    for (flag, file) in [
        ("cert-dir", ""),
        ("tls-cert-file", "server.pem"),
        ("tls-private-key-file", "server.key"),
        ("service-account-key-file", "accounts.pub"),
        ("service-account-signing-key-file", "accounts.key"),
        ("token-auth-file", "tokens.csv"),
    ] {
        server.arg(format!("--{flag}={}", dir.join(file).display()));
    }
    server.args([
        "--bind-address=127.0.0.1",
        "--insecure-port=0",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--kubelet-preferred-address-types=InternalIP",
    ]);
    start(server, &dir.join("kube-apiserver.log"))
}

fn start(mut program: Command, log: &Path) -> Child {
    let log = File::create(log).unwrap();
    let errors = log.try_clone().unwrap();
    program.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap()
}

fn certificates(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // OpenSSL takes a certificate for self-signed whose issuer has its own name.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    write("ca.pem", authority.pem());
    write("server.pem", server.pem());
    write("server.key", key.serialize_pem());
    let accounts = KeyPair::generate().unwrap();
    write("accounts.key", accounts.serialize_pem());
    write("accounts.pub", accounts.public_key_pem());
}
