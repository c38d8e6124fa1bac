//! The SSH host on the way to a cluster: how it is written, for whom it holds, how it is
//! shown.

use crate::machine::Machine;
use localport_core::config::{Config, Secret, Source, SshHost, Target, load};
use std::path::PathBuf;

fn file(context: &str, contexts: &str, via: &str) -> String {
    format!(
        "version: \"1.0\"\n{contexts}services:\n  - name: a\n    technology: kubectl\n    \
         local_port: 15001\n    remote_port: 80\n    connection:\n      resource_name: orders\n{context}{via}"
    )
}

fn loaded(text: &str) -> Config {
    load(&[Source::new("/home/u/localport.yaml", text)], &Machine::bare())
}

fn via(config: &Config) -> Option<SshHost> {
    match &config.forwards.first()?.target {
        Target::Kube(target) => target.via.clone(),
        Target::Ssh(_) => None,
    }
}

fn host(host: &str) -> SshHost {
    SshHost { host: host.to_owned(), user: None, port: None, key_file: None, password: None }
}

/// S7.4: as text, as `ssh` takes a destination, or as a map.
#[test]
fn s7_4_every_form_of_a_stop() {
    let me = Some("me".to_owned());
    let table = [
        ("bastion", host("bastion")),
        ("me@bastion", SshHost { user: me.clone(), ..host("bastion") }),
        ("me@bastion:2222", SshHost { user: me.clone(), port: Some(2222), ..host("bastion") }),
        ("'[fd00::1]:22'", SshHost { port: Some(22), ..host("fd00::1") }),
        ("'fd00::1'", host("fd00::1")),
        ("{host: bastion}", host("bastion")),
        (
            "{host: me@bastion, port: 22, password: p}",
            SshHost {
                user: me,
                port: Some(22),
                password: Some(Secret::new("p".to_owned())),
                ..host("bastion")
            },
        ),
    ];
    for (written, expected) in table {
        let config = loaded(&file("", "", &format!("      via: {written}\n")));
        assert_eq!(config.diagnostics, [], "{written}");
        assert_eq!(via(&config), Some(expected), "{written}");
        // What is shown is the same again, but for the password.
        let again = loaded(&config.show_yaml());
        let shown = via(&again).unwrap();
        let kept = via(&config).unwrap();
        assert_eq!((shown.host, shown.user, shown.port), (kept.host, kept.user, kept.port));
        assert!(!config.show_yaml().contains("password: p\n"));
    }
}

#[test]
fn what_is_no_stop_is_an_error_of_the_service() {
    for written in ["me@-oProxyCommand", "bastion:port", "bastion:0", "[a, b]", "''", "{user: me}"]
    {
        let config = loaded(&file("", "", &format!("      via: {written}\n")));
        assert!(config.forwards.is_empty(), "{written}");
        assert!(!config.diagnostics.is_empty(), "{written}");
    }
    let config = loaded(&file("", "", "      bastion: host\n"));
    let said = &config.diagnostics[0];
    assert!(said.hint.contains("via"), "{said:?}");
}

#[test]
fn a_key_file_that_is_missing_stops_the_service() {
    let config = loaded(&file("", "", "      via: {host: b, key_file: ~/.ssh/gone}\n"));
    assert!(config.forwards.is_empty());
    let said = &config.diagnostics[0].message;
    let file = PathBuf::from("/home/u/.ssh/gone");
    assert!(said.contains(&file.display().to_string()), "{said}");
}

/// S7.4: a context's stop holds for every forward into it that names none.
#[test]
fn s7_4_the_stop_of_a_context() {
    let contexts = "cluster_contexts:\n  prod:\n    via: gate\n";
    let prod = "      context: prod\n";
    assert_eq!(via(&loaded(&file(prod, contexts, ""))), Some(host("gate")));
    assert_eq!(via(&loaded(&file(prod, contexts, "      via: own\n"))), Some(host("own")));
    assert_eq!(via(&loaded(&file("      context: dev\n", contexts, ""))), None);
    assert_eq!(via(&loaded(&file("", contexts, ""))), None, "the current one is not known");
}
