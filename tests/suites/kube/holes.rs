//! Paths that die without a word while bytes are on their way up (S7.4): noticed within
//! ten seconds on every way, and never mistaken for a pod that does not read.

use crate::rig::{Rig, pod, within};
use localport_engine::adapter::Connection;
use localport_tests::apiserver::{ApiServer, Backend, PodSpec};
use localport_tests::network::Network;
use std::io;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const WAYS: [&str; 3] = ["spdy-ws", "spdy", "v4"];

/// A double that serves `way` alone, behind a network, with a pod that takes what `handle`
/// takes.
struct Scene {
    rig: Rig,
    network: Network,
    _backend: Backend,
    _dir: TempDir,
}

impl Scene {
    async fn new<F, H>(way: &str, handle: H) -> Self
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let server = ApiServer::start().await.unwrap();
        let backend = Backend::serve(handle).await.unwrap();
        server.add_pod(PodSpec::new("shop", "orders-0").port("http", 8080, &backend));
        for other in WAYS.into_iter().filter(|other| *other != way) {
            server.refuse_way(other, 404, false);
        }
        let network = Network::to(server.address()).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        network.kubeconfig(&server, &path).unwrap();
        let rig = Rig::before(server, |options| options.kubeconfig = Some(vec![path]));
        Self { rig, network, _backend: backend, _dir: dir }
    }

    async fn connect(&self, way: &str) -> Connection {
        let session = self.rig.opened(&pod("orders-0", 8080)).await;
        let connection = within(session.connect()).await.unwrap();
        assert_eq!(session.route().path, way);
        connection
    }
}

async fn take_all(mut socket: TcpStream) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    while socket.read(&mut piece).await? > 0 {}
    Ok(())
}

/// Sends for as long as it is taken while it waits for an answer, as the engine does, and
/// gives the error that ended it.
async fn upload(connection: &mut Connection) -> io::Error {
    let (mut read, mut write) = tokio::io::split(&mut connection.stream);
    let up = async {
        let piece = vec![7; 16 << 10];
        loop {
            if let Err(error) = write.write_all(&piece).await {
                return error;
            }
            // As a client on a link of some 5 MB/s.
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        error = up => error,
        answer = read.read_u8() => answer.expect_err("the pod says nothing"),
    }
}

/// What happens to a network.
type Cut = fn(&Network);

async fn noticed(way: &'static str, cut: Cut) -> Duration {
    let scene = Scene::new(way, take_all).await;
    let mut connection = scene.connect(way).await;
    let early = timeout(Duration::from_secs(4), upload(&mut connection)).await;
    assert!(early.is_err(), "{way}: {early:?}");
    cut(&scene.network);
    let begun = Instant::now();
    let error = timeout(Duration::from_secs(30), upload(&mut connection)).await;
    let error = error.unwrap_or_else(|_| panic!("{way}: not noticed within 30 s"));
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{way}: {error}");
    begun.elapsed()
}

/// A path that forgot its connections, and one that carries nothing any more, under an
/// upload that no answer comes to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_a_hole_under_an_upload_is_noticed_within_ten_seconds_on_every_way() {
    let cuts: [(&str, Cut); 2] = [("forgotten", Network::forget), ("swallowed", Network::swallow)];
    let all = WAYS
        .into_iter()
        .flat_map(|way| cuts.map(|(how, cut)| async move { (way, how, noticed(way, cut).await) }));
    for (way, how, took) in futures_util::future::join_all(all).await {
        println!("{way}, {how}: noticed after {took:?}");
        assert!(took <= Duration::from_secs(10), "{way}, {how}: noticed after {took:?}");
    }
}

/// A pod that reads nothing for longer than that is waited for: the cluster answers, so
/// the path is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_4_a_pod_that_does_not_read_for_a_while_is_waited_for_on_every_way() {
    let all = WAYS.into_iter().map(|way| async move {
        let scene = Scene::new(way, |mut socket: TcpStream| async move {
            socket.read_exact(&mut [0; 1]).await?;
            sleep(Duration::from_secs(13)).await;
            let mut piece = vec![0; 256 << 10];
            let mut total = 1_usize;
            while total < 32 << 20 {
                total += socket.read(&mut piece).await?;
            }
            socket.write_all(b"all").await
        })
        .await;
        let mut connection = scene.connect(way).await;
        let (mut read, mut write) = tokio::io::split(&mut connection.stream);
        let up = async {
            write.write_all(&vec![7; 32 << 20]).await.unwrap();
            write.flush().await.unwrap();
        };
        let mut answer = [0; 3];
        let (_, read) = tokio::join!(up, within(read.read_exact(&mut answer)));
        read.unwrap();
        assert_eq!(&answer, b"all", "{way}");
    });
    futures_util::future::join_all(all).await;
}
