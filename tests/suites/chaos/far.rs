//! Owns the far sides that chaos comes over: a real sshd, and a double of an API server
//! behind a line that can fall silent.

use crate::transfer;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::host::Sandbox;
use localport_tests::ports::free_ports;
use localport_tests::sshd::{self, Sshd};
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What happens to the far side, or to the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The way swallows everything: no answer, no end.
    Silence,
    /// The host's own `ssh` processes are stopped where they stand.
    StoppedChild,
    /// The host's own `ssh` processes are killed.
    KilledChild,
    /// The far side goes away and comes back at once.
    Restart,
}

/// One far side.
pub(crate) enum Far {
    Ssh(Box<Sshd>),
    Kube(Box<Cluster>),
}

impl Far {
    pub(crate) fn ssh() -> Self {
        Far::Ssh(Box::new(Sshd::start()))
    }

    pub(crate) fn kube() -> Self {
        Far::Kube(Box::new(Cluster::start()))
    }

    /// A home with `count` forwards through this far side to a [`transfer::source`].
    pub(crate) fn sandbox(&self, count: usize) -> Sandbox {
        let names: Vec<String> = (0..count).map(|index| format!("f{index}")).collect();
        match self {
            Far::Ssh(sshd) => {
                let source = transfer::source();
                let forwards: Vec<_> = names.iter().map(|name| (name.as_str(), source)).collect();
                Sandbox::behind(sshd, &forwards)
            }
            Far::Kube(cluster) => {
                let mut text = String::from("version: \"1.0\"\nservices:\n");
                for (name, port) in names.iter().zip(free_ports(count)) {
                    text.push_str(&format!(
                        "  - {{name: {name}, technology: kubectl, local_port: {port}, \
                         remote_port: 80, connection: {{resource_name: orders, \
                         namespace: shop, context: double}}}}\n"
                    ));
                }
                let sandbox = Sandbox::with_config(&text);
                let place = sandbox.path().join(".kube");
                fs::create_dir(&place).unwrap();
                fs::write(place.join("config"), cluster.kubeconfig()).unwrap();
                sandbox
            }
        }
    }

    /// Does `fault`; `children` are the host's own processes.
    pub(crate) fn suffer(&mut self, fault: Fault, children: &[u32]) {
        match (fault, self) {
            (Fault::Silence, Far::Ssh(sshd)) => sshd.freeze(),
            (Fault::Silence, Far::Kube(cluster)) => drop(cluster.carries.send_replace(false)),
            (Fault::StoppedChild, _) => {
                children.iter().for_each(|pid| sshd::signal(*pid, Signal::STOP));
            }
            (Fault::KilledChild, _) => {
                children.iter().for_each(|pid| sshd::signal(*pid, Signal::KILL));
            }
            (Fault::Restart, Far::Ssh(sshd)) => {
                sshd.stop();
                sshd.run();
            }
            (Fault::Restart, Far::Kube(cluster)) => {
                cluster.runtime.block_on(cluster.server.resume()).unwrap();
            }
        }
    }
}

/// A cluster whose one service leads to a [`transfer::source`].
pub(crate) struct Cluster {
    runtime: Runtime,
    server: ApiServer,
    line: SocketAddr,
    carries: watch::Sender<bool>,
    _backend: Backend,
}

impl Cluster {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (carries, is_open) = watch::channel(true);
        let (server, backend, line) = runtime.block_on(async {
            let server = ApiServer::start().await.unwrap();
            let source = transfer::source();
            let backend = Backend::serve(move |mut client| async move {
                let mut far = TcpStream::connect(("127.0.0.1", source)).await?;
                copy_bidirectional(&mut client, &mut far).await.map(drop)
            })
            .await
            .unwrap();
            let pod = PodSpec::new("shop", "orders-0").label("app", "orders");
            server.add_pod(pod.port("http", 8080, &backend));
            server.add_service("shop", "orders", &[("app", "orders")], &[("web", 80, "http")]);
            let line = line(server.address(), is_open).await;
            (server, backend, line)
        });
        Self { runtime, server, line, carries, _backend: backend }
    }

    /// The server's own, with the line in the place of its address.
    fn kubeconfig(&self) -> String {
        let text = fs::read_to_string(self.server.kubeconfig()).unwrap();
        let (direct, line) = (self.server.address().to_string(), self.line.to_string());
        assert!(text.contains(&direct));
        text.replace(&direct, &line)
    }
}

/// A line to `far` that carries while `is_open`, and swallows nothing and says nothing
/// while it is not.
async fn line(far: SocketAddr, is_open: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let is_open = is_open.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(far).await?;
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                let there = carry(near_in, far_out, is_open.clone());
                tokio::join!(there, carry(far_in, near_out, is_open));
                std::io::Result::Ok(())
            });
        }
    });
    address
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_open: watch::Receiver<bool>,
) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut piece).await;
        if is_open.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        let Ok(read @ 1..) = read else { break };
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
