//! The `http` check against a server with each fault.

use super::*;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn http(path: &str) -> HealthCheckKind {
    HealthCheckKind::Http {
        url: format!("http://localhost:1{path}"),
        method: "GET".to_owned(),
        expected_status: vec![200, 204],
        expected_content: None,
        headers: BTreeMap::new(),
        tls: TlsCheck::default(),
    }
}

fn with(
    path: &str,
    edit: impl FnOnce(&mut Option<String>, &mut BTreeMap<String, Secret>),
) -> HealthCheckKind {
    let mut kind = http(path);
    if let HealthCheckKind::Http { expected_content, headers, .. } = &mut kind {
        edit(expected_content, headers);
    }
    kind
}

/// Answers by the path that is asked for.
async fn server() -> Server {
    Server::start(|mut client| async move {
        let mut request = vec![];
        while !request.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            match client.read(&mut piece).await {
                Ok(size @ 1..) => request.extend_from_slice(&piece[..size]),
                _ => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap();
        let answer = match path {
            "/ok" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "/empty" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/broken" => "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
            "/moved" => "HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n",
            "/key" if request.contains("x-key: open-sesame") => {
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            }
            "/key" => "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello",
            "/other" => "SSH-2.0-OpenSSH_9.2\r\n",
            "/gone" => "",
            _ => std::future::pending().await,
        };
        let _ = client.write_all(answer.as_bytes()).await;
        let _ = client.shutdown().await;
    })
    .await
}

/// S5: status, body, headers, silence, a broken answer and another protocol.
#[tokio::test(flavor = "multi_thread")]
async fn s5_http_is_proved_by_the_answer_that_is_asked_for() {
    let (sshd, server, refusing) = (Sshd::start(), server().await, RefusingPort::take());
    let key = |word: &'static str| {
        with("/key", move |_, headers| {
            headers.insert("X-Key".to_owned(), Secret::new(word.to_owned()));
        })
    };
    let text = |path, word: &'static str| with(path, move |text, _| *text = Some(word.to_owned()));
    let good = [
        ("ok", http("/ok")),
        ("empty", http("/empty")),
        ("text", text("/ok", "ell")),
        ("key", key("open-sesame")),
    ];
    let bad = [
        ("broken", http("/broken"), Code::TargetAnswer),
        ("moved", http("/moved"), Code::TargetAnswer),
        ("no-text", text("/ok", "goodbye"), Code::TargetAnswer),
        ("no-key", key("open-barley"), Code::TargetAnswer),
        ("short", text("/short", "goodbye"), Code::TargetAnswer),
        ("other", http("/other"), Code::TargetAnswer),
        ("gone", http("/gone"), Code::TargetClosed),
        ("silent", http("/silent"), Code::TargetTimeout),
    ];
    let mut forwards: Vec<ForwardSpec> =
        good.iter().map(|(name, kind)| checked(name, &sshd, server.port(), kind.clone())).collect();
    forwards.extend(
        bad.iter().map(|(name, kind, _)| checked(name, &sshd, server.port(), kind.clone())),
    );
    forwards.push(checked("refused", &sshd, refusing.port(), http("/ok")));
    let engine = start(&sshd, forwards);
    for (name, _) in &good {
        serves(&engine, name, "http").await;
    }
    for (name, _, code) in &bad {
        let problem = fails(&engine, name, *code).await.problem.unwrap();
        assert!(!format!("{problem:?}").contains("open-barley"), "{problem:?}");
    }
    fails(&engine, "refused", Code::TargetRefused).await;
    let broken = engine.handle.fresh().await.forwards[4].problem.clone().unwrap();
    assert!(broken.sentence.contains("answered `500` to `/broken`"), "{broken:?}");
    engine.stop().await;
}
