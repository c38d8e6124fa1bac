//! Health with real parts: every probe through a real SSH forward against the server it
//! is for, and every fault of it; black holes are never green.
#![cfg(unix)]

use localport_core::config::{ForwardSpec, HealthCheck, HealthCheckKind, Secret, Target, TlsCheck};
use localport_core::problem::Code;
use localport_core::snapshot::{Forward, TargetState};
use localport_engine::adapter::kube::Options as KubeOptions;
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::databases::{Database, PASSWORD};
use localport_tests::engine::{Engine, forward};
use localport_tests::servers::{RefusingPort, Server};
use localport_tests::sshd::Sshd;
use std::time::Duration;

#[path = "health/black_holes.rs"]
mod black_holes;
#[path = "health/certificates.rs"]
mod certificates;
#[path = "health/http.rs"]
mod http;
#[path = "health/others.rs"]
mod others;

/// A forward behind `sshd` to `port`, checked every second by `kind`.
fn checked(name: &str, sshd: &Sshd, port: u16, kind: HealthCheckKind) -> ForwardSpec {
    let target = Target::Ssh(sshd.target("127.0.0.1", port));
    let check = HealthCheck {
        kind,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        cluster_aware: false,
    };
    // Nobody connects: any port does, and none can be taken by another test meanwhile.
    ForwardSpec { health_check: Some(check), ..forward(name, 0, target) }
}

fn start(sshd: &Sshd, forwards: Vec<ForwardSpec>) -> Engine {
    let options = SshOptions { extra_args: sshd.client_args(), ..SshOptions::default() };
    Engine::start(forwards, options, KubeOptions::default())
}

/// Waits until the target of `name` fails with `code`, and gives what is said of it.
async fn fails(engine: &Engine, name: &str, code: Code) -> Forward {
    let what = format!("{name}: {code}");
    engine
        .until_forward(name, &what, |f, _| {
            f.target_health.state == TargetState::Failing
                && f.problem.as_ref().is_some_and(|problem| problem.code == code)
        })
        .await
}

/// Waits until `name` serves, proved by `check`.
async fn serves(engine: &Engine, name: &str, check: &str) {
    let forward = engine.serving(name).await;
    assert_eq!(forward.target_health.proof.as_deref(), Some(check), "{name}");
    assert!(forward.target_health.took_ms.is_some_and(|took| took > 0.0), "{name}");
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.to_owned()))
}

fn postgres(password: Option<Secret>, database: &str, sslmode: &str) -> HealthCheckKind {
    HealthCheckKind::Postgres {
        database: database.to_owned(),
        user: "postgres".to_owned(),
        password,
        sslmode: Some(sslmode.to_owned()),
        tls: TlsCheck::default(),
    }
}

/// S5: a real login to PostgreSQL; a wrong password, a missing one, a missing database,
/// TLS that is not offered and a server that is gone are each told apart.
#[tokio::test(flavor = "multi_thread")]
async fn s5_postgresql_is_proved_by_a_login() {
    let (sshd, mut server) = (Sshd::start(), Database::postgres());
    let on = |name, kind| checked(name, &sshd, server.port(), kind);
    let engine = start(
        &sshd,
        vec![
            on("good", postgres(secret(PASSWORD), "postgres", "prefer")),
            on("wrong", postgres(secret("not-the-password"), "postgres", "prefer")),
            on("none", postgres(None, "postgres", "prefer")),
            on("database", postgres(secret(PASSWORD), "nowhere", "disable")),
            on("tls", postgres(secret(PASSWORD), "postgres", "require")),
        ],
    );
    serves(&engine, "good", "postgres").await;
    let wrong = fails(&engine, "wrong", Code::TargetLogin).await.problem.unwrap();
    assert!(!format!("{wrong:?}").contains("not-the-password"), "{wrong:?}");
    fails(&engine, "none", Code::TargetLogin).await;
    let database = fails(&engine, "database", Code::TargetLogin).await.problem.unwrap();
    assert!(database.sentence.contains("nowhere"), "{database:?}");
    fails(&engine, "tls", Code::TargetTls).await;
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    fails(&engine, "good", Code::TargetRefused).await;
    engine.stop().await;
}

/// S5: Redis answers `PONG` to those who may ask.
#[tokio::test(flavor = "multi_thread")]
async fn s5_redis_is_proved_by_a_pong() {
    let (sshd, mut server) = (Sshd::start(), Database::redis());
    let redis = |password| HealthCheckKind::Redis { user: None, password, tls: None };
    let on = |name, kind| checked(name, &sshd, server.port(), kind);
    let engine = start(
        &sshd,
        vec![
            on("good", redis(secret(PASSWORD))),
            on("wrong", redis(secret("not-the-password"))),
            on("none", redis(None)),
        ],
    );
    serves(&engine, "good", "redis").await;
    let wrong = fails(&engine, "wrong", Code::TargetLogin).await.problem.unwrap();
    assert!(!format!("{wrong:?}").contains("not-the-password"), "{wrong:?}");
    fails(&engine, "none", Code::TargetLogin).await;
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    fails(&engine, "good", Code::TargetRefused).await;
    engine.stop().await;
}

/// S5: MariaDB's greeting is proof without a user, a login with one.
#[tokio::test(flavor = "multi_thread")]
async fn s5_mysql_is_proved_by_a_greeting_or_a_login() {
    let (sshd, mut server) = (Sshd::start(), Database::mariadb());
    let mysql = |user: Option<&str>, password, tls| HealthCheckKind::Mysql {
        user: user.map(str::to_owned),
        password,
        tls,
    };
    let on = |name, kind| checked(name, &sshd, server.port(), kind);
    let engine = start(
        &sshd,
        vec![
            on("greeting", mysql(None, None, None)),
            on("good", mysql(Some("probe"), secret(PASSWORD), None)),
            on("wrong", mysql(Some("probe"), secret("not-the-password"), None)),
            on("tls", mysql(Some("probe"), secret(PASSWORD), Some(TlsCheck::default()))),
        ],
    );
    serves(&engine, "greeting", "mysql").await;
    serves(&engine, "good", "mysql").await;
    let wrong = fails(&engine, "wrong", Code::TargetLogin).await.problem.unwrap();
    assert!(!format!("{wrong:?}").contains("not-the-password"), "{wrong:?}");
    fails(&engine, "tls", Code::TargetTls).await;
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    fails(&engine, "good", Code::TargetRefused).await;
    engine.stop().await;
}
