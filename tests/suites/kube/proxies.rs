//! The road to the API server: proxies of every kind on every way, and TLS as the
//! kubeconfig asks for it.

use crate::rig::{Rig, greeting, pod, within};
use localport_core::config::Target;
use localport_core::kube::ProxyEnv;
use localport_core::problem::Code;
use localport_tests::apiserver::{Backend, ELSEWHERE, NAME, PodSpec, TOKEN, Tls};
use localport_tests::proxy::{Kind, Proxy};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// One ready pod, and the target that it is.
async fn furnished(rig: &Rig) -> (Backend, Target) {
    let backend = Backend::start("p").await.unwrap();
    rig.server.add_pod(PodSpec::new("shop", "p").port("http", 8080, &backend));
    (backend, pod("p", 8080))
}

/// An adapter to the same server in an environment of its own.
fn through(rig: &Rig, env: ProxyEnv) -> Rig {
    Rig::before(rig.server.clone(), |options| options.proxies = Some(env))
}

/// S7.4: requests, watches and upgrades of every way go through the proxy, whoever names
/// it, and TLS is with the server behind it, whose name only the proxy can resolve.
#[tokio::test]
async fn s7_4_every_connection_goes_through_the_proxy() {
    let login = Some(("me", "p@ss"));
    let kinds = [
        (Kind::Http, None, ""),
        (Kind::Http, login, "me:p%40ss"),
        (Kind::Https, None, ""),
        (Kind::Socks5, None, ""),
        (Kind::Socks5, login, "me:p%40ss"),
    ];
    for (kind, login, written) in kinds {
        for named_by_environment in [false, true] {
            let rig = Rig::new().await;
            let proxy = Proxy::start(kind, login, rig.server.address()).await.unwrap();
            let url = proxy.url(written);
            let mut entry = json!({ "server": format!("https://{NAME}:6443") });
            if kind == Kind::Https {
                // Its own certificate is trusted no more than the server's would be.
                entry["insecure-skip-tls-verify"] = json!(true);
                entry["certificate-authority"] = json!(null);
            }
            let rig = if named_by_environment {
                through(&rig, ProxyEnv { https: Some(url), ..ProxyEnv::default() })
            } else {
                entry["proxy-url"] = json!(url);
                rig
            };
            rig.server.write_kubeconfig_with(&entry, &json!({ "token": TOKEN })).unwrap();
            let (_backend, target) = furnished(&rig).await;
            let session = rig.opened(&target).await;
            assert_eq!(greeting(&session).await, "p", "{kind:?}");
            assert_eq!(session.route().path, "spdy-ws");
            let before = proxy.asked().len();
            rig.server.refuse_way("spdy-ws", 404, false);
            rig.server.refuse_way("spdy", 404, false);
            rig.server.drop_connections().await.unwrap();
            let session = rig.opened(&target).await;
            assert_eq!(greeting(&session).await, "p", "{kind:?} by v4");
            assert_eq!(session.route().path, "v4");
            let asked = proxy.asked();
            assert!(asked.len() > before, "{asked:?}");
            assert!(asked.iter().all(|place| *place == format!("{NAME}:6443")), "{asked:?}");
            assert!(rig.server.connections() <= asked.len(), "some came past the proxy");
        }
    }
}

/// S7.4: what excepts a server excepts it; the kubeconfig's own proxy is always used.
#[tokio::test]
async fn s7_4_excepted_servers_are_reached_directly() {
    let rig = Rig::new().await;
    let nowhere = Some("http://proxy.invalid:3128".to_owned());
    // This machine is never behind a proxy.
    let rig = through(&rig, ProxyEnv { https: nowhere.clone(), ..ProxyEnv::default() });
    let (_backend, target) = furnished(&rig).await;
    assert_eq!(greeting(&rig.opened(&target).await).await, "p");

    let entry = json!({ "server": format!("https://{NAME}:6443"), "proxy-url": nowhere });
    let except = Some("*".to_owned());
    let rig = through(&rig, ProxyEnv { except, ..ProxyEnv::default() });
    rig.server.write_kubeconfig_with(&entry, &json!({ "token": TOKEN })).unwrap();
    let problem = rig.problem(&target).await;
    let words =
        "the proxy `http://proxy.invalid:3128` on the way to context `double` cannot be found";
    assert!(problem.sentence.contains(words), "{problem:?}");
}

#[tokio::test]
async fn a_proxy_that_wants_another_login_is_named_without_the_password() {
    let rig = Rig::new().await;
    let (_backend, target) = furnished(&rig).await;
    for kind in [Kind::Http, Kind::Socks5] {
        let proxy = Proxy::start(kind, Some(("me", "right")), rig.server.address()).await.unwrap();
        for (login, words) in
            [("me:hunter2", "does not accept the login"), ("", "asks for a login")]
        {
            let entry = json!({ "proxy-url": proxy.url(login) });
            rig.server.write_kubeconfig_with(&entry, &json!({ "token": TOKEN })).unwrap();
            let problem = rig.problem(&target).await;
            assert_eq!(problem.code, Code::KubeUnreachable);
            assert!(problem.sentence.contains(words), "{problem:?}");
            assert!(problem.sentence.contains(&proxy.url("")), "{problem:?}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}

/// S7.4: what the kubeconfig says about TLS holds for requests and for tunnels.
#[tokio::test]
async fn s7_4_tls_is_as_the_kubeconfig_says() {
    let token = json!({ "token": TOKEN });
    let table = [
        (Tls::WrongName, json!({ "tls-server-name": ELSEWHERE })),
        (
            Tls::UnknownIssuer,
            json!({ "insecure-skip-tls-verify": true, "certificate-authority": null }),
        ),
    ];
    for (tls, entry) in table {
        let rig = Rig::with(tls, |_| {}).await;
        let (_backend, target) = furnished(&rig).await;
        assert_eq!(rig.problem(&target).await.code, Code::KubeTls);
        rig.server.write_kubeconfig_with(&entry, &token).unwrap();
        assert_eq!(greeting(&rig.opened(&target).await).await, "p", "{tls:?}");
    }
    // The authority inline.
    let rig = Rig::new().await;
    let (_backend, target) = furnished(&rig).await;
    let data = localport_tests::proxy::base64(&std::fs::read(beside(&rig, "ca.pem")).unwrap());
    let entry = json!({ "certificate-authority": null, "certificate-authority-data": data });
    rig.server.write_kubeconfig_with(&entry, &token).unwrap();
    assert_eq!(greeting(&rig.opened(&target).await).await, "p");
}

fn beside(rig: &Rig, name: &str) -> std::path::PathBuf {
    rig.server.kubeconfig().with_file_name(name)
}

/// S7.4: client certificates by file and inline; one that is written anew is used without
/// a change of the kubeconfig.
#[tokio::test]
async fn s7_4_client_certificates_are_shown_and_followed() {
    let rig = Rig::with(Tls::Mutual, |_| {}).await;
    let (_backend, target) = furnished(&rig).await;
    let refused = rig.problem(&target).await;
    assert!(matches!(refused.code, Code::KubeTls | Code::KubeUnreachable), "{refused:?}");

    let read = |name: &str| std::fs::read(beside(&rig, name)).unwrap();
    let inline = |name: &str| localport_tests::proxy::base64(&read(name));
    let user = json!({ "client-certificate-data": inline("client.pem"),
        "client-key-data": inline("client.key") });
    rig.server.write_kubeconfig(&user).unwrap();
    assert_eq!(greeting(&rig.opened(&target).await).await, "p");

    // By relative path; first a pair that the server does not know.
    let (good, key) = (read("client.pem"), read("client.key"));
    let stranger = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    std::fs::write(beside(&rig, "me.pem"), stranger.cert.pem()).unwrap();
    std::fs::write(beside(&rig, "me.key"), stranger.signing_key.serialize_pem()).unwrap();
    let user = json!({ "client-certificate": "me.pem", "client-key": "me.key" });
    rig.server.write_kubeconfig(&user).unwrap();
    let refused = rig.problem(&target).await;
    assert!(matches!(refused.code, Code::KubeTls | Code::KubeUnreachable), "{refused:?}");
    std::fs::write(beside(&rig, "me.key"), key).unwrap();
    std::fs::write(beside(&rig, "me.pem"), good).unwrap();
    let session = within(async {
        loop {
            // What failed is kept for two seconds.
            match rig.open(&target).await {
                Ok(session) => return session,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    assert_eq!(greeting(&session).await, "p");
}
