//! The `kafka`, `grpc` and `command` checks.

use super::*;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Reads one request as the protocol frames it, and answers in version 0 with `code`.
async fn broker(code: i16) -> Server {
    Server::start(move |mut client| async move {
        let Ok(size) = client.read_i32().await else { return };
        let mut request = vec![0; usize::try_from(size).unwrap()];
        client.read_exact(&mut request).await.unwrap();
        assert_eq!(request[..4], [0, 18, 0, 0], "ApiVersions in version 0");
        let mut body = request[4..8].to_vec();
        body.extend(code.to_be_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend([0, 18, 0, 0, 0, 3]);
        client.write_i32(i32::try_from(body.len()).unwrap()).await.unwrap();
        client.write_all(&body).await.unwrap();
    })
    .await
}

/// A gRPC server that answers its health service with `status`, or `None` for a server
/// without one.
async fn grpc(status: Option<u8>) -> Server {
    Server::start(move |client| async move {
        let Ok(mut connection) = h2::server::handshake(client).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let head = ::http::Response::builder().header("content-type", "application/grpc");
            let Some(status) = status else {
                let head = head.header("grpc-status", "12").body(()).unwrap();
                respond.send_response(head, true).unwrap();
                continue;
            };
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
            let mut trailers = ::http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await
}

/// S5: a broker answers `ApiVersions`, the health service says that it serves, a command
/// ends with 0; every other outcome says what it was.
#[tokio::test(flavor = "multi_thread")]
async fn s5_kafka_grpc_and_commands_are_proved_by_their_answers() {
    let sshd = Sshd::start();
    let (good, wrong) = (broker(0).await, broker(35).await);
    let (serving, stopping, without) = (grpc(Some(1)).await, grpc(Some(2)).await, grpc(None).await);
    let greeter = Server::greeter("SSH-2.0-OpenSSH_9.2\r\n").await;
    let kafka = || HealthCheckKind::Kafka { bootstrap_servers: "localhost:1".to_owned() };
    let health = || HealthCheckKind::Grpc { service: "orders".to_owned(), tls: None };
    let command = |argv: &[&str]| HealthCheckKind::Command {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
    };
    let on = |name, server: &Server, kind| checked(name, &sshd, server.port(), kind);
    let engine = start(
        &sshd,
        vec![
            on("kafka", &good, kafka()),
            on("kafka-wrong", &wrong, kafka()),
            on("kafka-other", &greeter, kafka()),
            on("grpc", &serving, health()),
            on("grpc-stopping", &stopping, health()),
            on("grpc-without", &without, health()),
            on("grpc-other", &greeter, health()),
            on("command", &good, command(&["sh", "-c", "test \"$LOCALPORT_FORWARD\" = command"])),
            on("command-wrong", &good, command(&["sh", "-c", "echo no luck >&2; exit 3"])),
            on("command-missing", &good, command(&["/nowhere/check"])),
            on("command-hangs", &good, command(&["sleep", "600"])),
        ],
    );
    serves(&engine, "kafka", "kafka").await;
    serves(&engine, "grpc", "grpc").await;
    serves(&engine, "command", "command").await;
    let wrong = fails(&engine, "kafka-wrong", Code::TargetAnswer).await.problem.unwrap();
    assert!(wrong.sentence.contains("`35`"), "{wrong:?}");
    let stopping = fails(&engine, "grpc-stopping", Code::TargetAnswer).await.problem.unwrap();
    assert!(stopping.sentence.contains("not serving"), "{stopping:?}");
    for name in ["kafka-other", "grpc-without", "grpc-other"] {
        fails(&engine, name, Code::TargetAnswer).await;
    }
    let command = fails(&engine, "command-wrong", Code::CheckCommand).await.problem.unwrap();
    assert!(command.sentence.contains("exit status: 3: no luck"), "{command:?}");
    fails(&engine, "command-missing", Code::CheckInvalid).await;
    fails(&engine, "command-hangs", Code::TargetTimeout).await;
    engine.stop().await;
}
