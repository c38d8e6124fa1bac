//! Tables of what people paste, and one property: what is imported can be loaded.

use super::*;
use crate::config::{Env, FileState, Severity, Source, Target, load};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

struct Machine;

impl Env for Machine {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/home/me".into())
    }

    fn can_bind_privileged(&self) -> bool {
        true
    }

    fn file(&self, _: &Path) -> FileState {
        FileState::Readable
    }
}

/// A forward in one line: name, local end, target, and where it goes through.
fn line(spec: &ForwardSpec) -> String {
    let bind: Vec<String> = spec.bind.iter().map(ToString::to_string).collect();
    let through = match &spec.target {
        Target::Kube(kube) => kube.context.clone().unwrap_or_else(|| "-".to_owned()),
        Target::Ssh(ssh) => ssh.destination(),
    };
    let bind = if bind.is_empty() { String::new() } else { format!("{} ", bind.join(" ")) };
    format!("{} {bind}{} → {} via {through}", spec.name, spec.local_port, spec.target_words())
}

fn lines(import: &Import) -> Vec<String> {
    import.forwards.iter().map(line).collect()
}

/// S13: what is imported is a configuration without an error, and means the same.
fn loads(import: &Import) {
    let config = load(&[Source::new("imported.yaml", import.yaml())], &Machine);
    let errors: Vec<String> = config
        .diagnostics
        .iter()
        .filter(|it| it.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{}", import.yaml());
    let mut imported = import.forwards.clone();
    for forward in &mut imported {
        if let Target::Ssh(ssh) = &mut forward.target
            && let Some(path) = &mut ssh.key_file
            && let Ok(below) = path.strip_prefix("~")
        {
            *path = Path::new("/home/me").join(below);
        }
    }
    assert_eq!(config.forwards, imported, "{}", import.yaml());
}

#[test]
fn s13_command_lines_become_forwards() {
    let table: &[(&str, &[&str], usize)] = &[
        (
            "kubectl --context=prod -n shop port-forward svc/orders 15432:5432",
            &["orders 15432 → svc/orders:5432 · shop via prod"],
            0,
        ),
        (
            "KUBECONFIG=~/.kube/x kubectl port-forward -nshop deploy/api 8080:http 9090 &",
            &[
                "api 8080 → deploy/api:http · shop via -",
                "api-9090 9090 → deploy/api:9090 · shop via -",
            ],
            2,
        ),
        (
            "kubectl port-forward --address 0.0.0.0,localhost orders-0 :5432 --context 'my prod'",
            &["orders-0 0.0.0.0 5432 → pod/orders-0:5432 · default via my prod"],
            0,
        ),
        (
            "kubectl port-forward statefulset.apps/db 5432 --context c --token abc --v=6 --foo",
            &["db 5432 → sts/db:5432 · default via c"],
            2,
        ),
        (
            "ssh -N -L 8080:localhost:80 me@jump.example",
            &["jump.example 8080 → localhost:80 via me@jump.example"],
            0,
        ),
        (
            "/usr/bin/ssh -fNT -p2222 -i ~/.ssh/wiki -L8081:wiki.internal:80 \\\n -L 5432:db:5432 -J bastion jump",
            &[
                "wiki.internal 8081 → wiki.internal:80 via jump:2222",
                "db 5432 → db:5432 via jump:2222",
            ],
            1,
        ),
        (
            "ssh jump -l me -L '[::1]:7000:[2001:db8::1]:70' -o ServerAliveInterval=5 -o Compression=yes",
            &["2001:db8::1 7000 → 2001:db8::1:70 via me@jump"],
            1,
        ),
        (
            "ssh -g -L 8080:web:80 ssh://root@jump:2200 tail -f -L x",
            &["web 0.0.0.0 :: 8080 → web:80 via root@jump:2200"],
            0,
        ),
        (
            "autossh -M 0 -L *:8080:web:80 -D 1080 jump",
            &["web 0.0.0.0 :: 8080 → web:80 via jump"],
            1,
        ),
        ("sshpass -p secret ssh -L 1:a:1 -L 2:a:2 h", &["a 1 → a:1 via h", "a-2 2 → a:2 via h"], 1),
    ];
    for (text, expected, remarks) in table {
        let import = command_text(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!(lines(&import), *expected, "{text}");
        assert_eq!(import.remarks.len(), *remarks, "{text}: {:?}", import.remarks);
        assert!(import.remarks.iter().all(|remark| !remark.contains("secret")));
        loads(&import);
    }
}

#[test]
fn s13_what_cannot_be_read_is_said_with_a_way_out() {
    let table = [
        ("", "there is no command"),
        ("kubectl get pods", "`kubectl get` forwards no port"),
        ("kubectl port-forward", "the command names no resource or no port"),
        ("kubectl port-forward svc/orders", "the command names no resource or no port"),
        ("kubectl port-forward job/x 80", "`job` is no kind that ports lead to"),
        ("kubectl port-forward svc/x http", "`http` names no local port"),
        ("kubectl port-forward svc/x 80:70000", "`70000` is no port"),
        ("kubectl port-forward svc/x 0:80", "`0:80` names no local port"),
        ("kubectl port-forward svc/x 80 --address here", "`here` is no address"),
        ("kubectl port-forward svc/x 80 -n", "`-n` has no value"),
        ("ssh host", "the command has no local forward"),
        ("ssh -L 1:a:1", "the command names no host"),
        ("ssh -L /tmp/a:b:1 host", "`/tmp/a` is no port"),
        ("ssh -L 1 host", "`-L 1` is not understood"),
        ("ssh -L 1:a:x host", "`x` is no port"),
        ("ssh -L", "`-L` has no value"),
        ("telnet host", "`telnet` is not known"),
        ("ssh -L '1:a:1 host", "a quote in the command is not closed"),
    ];
    for (text, sentence) in table {
        let refusal = command_text(text).expect_err(text);
        assert_eq!(refusal.sentence, sentence, "{text}");
        assert!(!refusal.hint.is_empty(), "{text}");
    }
}

#[test]
fn s13_local_forwards_of_an_ssh_config_become_forwards() {
    let import = ssh_config(
        "# mine\nHost jump j\n  HostName 10.0.0.1\n  LocalForward 8080 web:80\n  \
         localforward=127.0.0.1:9090 localhost:90\n  LocalForward /tmp/s db:1\n\
         Host *.example\n LocalForward 1 a:1\nHost db*\nHost !x \"box\"\n LocalForward 2 [::1]:2\n\
         Include ~/.ssh/more\nMatch host z\n DynamicForward 1080\n LocalForward 3 b:3\n",
    );
    assert_eq!(
        lines(&import),
        [
            "web 8080 → web:80 via jump",
            "jump 9090 → localhost:90 via jump",
            "box 2 → ::1:2 via box"
        ]
    );
    assert_eq!(import.remarks.len(), 5, "{:#?}", import.remarks);
    loads(&import);
    assert_eq!(ssh_config(""), Import::default());
}

#[test]
fn s13_an_export_of_kftray_becomes_forwards() {
    let text = r#"[
      {"service":"orders","namespace":"shop","local_port":15432,"remote_port":5432,
       "context":"kind-a","workload_type":"service","protocol":"tcp","local_address":"127.0.0.1",
       "alias":"orders db","domain_enabled":true,"kubeconfig":"default","id":7},
      {"service":"","target":"app=web,tier=front","namespace":"shop","local_port":0,
       "remote_port":80,"context":"kind-a","workload_type":"pod","kubeconfig":"/home/me/k"},
      {"service":"dns","remote_port":53,"protocol":"udp"},
      {"service":"x","remote_port":80,"workload_type":"proxy"},
      {"service":"y","workload_type":"service"}
    ]"#;
    let import = kftray(text).expect("it is one");
    assert_eq!(
        lines(&import),
        [
            "orders-db 15432 → svc/orders:5432 · shop via kind-a",
            "app=web,tier=front 80 → pods/app=web,tier=front:80 · shop via kind-a"
        ]
    );
    assert_eq!(import.remarks.len(), 5, "{:#?}", import.remarks);
    loads(&import);
    for text in ["", "{}", "[1]", r#"[{"local_port":70000}]"#] {
        assert!(kftray(text).is_err(), "{text}");
    }
}

#[test]
fn names_are_apart_from_those_there_are() {
    let mut import = command_text("ssh -L 1:a:1 -L 1:a:1 h").expect("it is one");
    import.name_apart(&["a".to_owned(), "a-1".to_owned()].into());
    let names: Vec<&str> = import.forwards.iter().map(|forward| forward.name.as_str()).collect();
    assert_eq!(names, ["a-1-2", "a-1-1"]);
}

proptest! {
    /// Whatever is pasted: an answer, never a panic; and what is taken can be loaded.
    #[test]
    fn s13_anything_has_an_answer(text in "(kubectl port-forward|ssh|ssh -L|LocalForward|Host)?[ -~\\n]{0,60}") {
        if let Ok(import) = command_text(&text) {
            prop_assert!(!import.forwards.is_empty());
        }
        let _ = ssh_config(&text);
        let _ = kftray(&text);
    }
}
