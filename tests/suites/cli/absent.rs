//! The command while nothing runs, and the configuration, which needs no host.

use crate::{keys, set};
use localport_tests::host::{Sandbox, unreachable};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

#[test]
fn without_a_host_every_question_says_so_and_how_to_start_one() {
    let sandbox = Sandbox::new();
    for arguments in [
        vec!["status"],
        vec!["start", "--all"],
        vec!["stop", "x"],
        vec!["restart", "--tag", "t"],
        vec!["retry", "--all"],
        vec!["events"],
        vec!["events", "-f"],
        vec!["resources"],
        vec!["logs", "-f"],
        vec!["ssh", "trust", "x"],
        vec!["quit"],
    ] {
        let said = sandbox.run(&arguments);
        assert_eq!(said.code, Some(4), "{arguments:?}: {said:?}");
        assert!(said.err.contains("LocalPort is not running"), "{said:?}");
        assert!(said.err.contains("`localport run`"), "{said:?}");
        assert_eq!(said.out, "");
        let said = sandbox.run(arguments.iter().chain(&["--json"]));
        assert_eq!(said.code, Some(4), "{arguments:?}: {said:?}");
        assert_eq!(said.json()["code"], "not-running");
        assert_eq!(keys(&said.json()), set(&["code", "message", "hint"]));
    }
    let said = sandbox.run(["logs"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "no log is no failure");
}

#[test]
fn wrong_usage_is_two() {
    let sandbox = Sandbox::new();
    for arguments in
        [&["start"][..], &["start", "a", "--all"], &["nonsense"], &["run", "--nonsense"], &[]]
    {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(sandbox.run(arguments).code, Some(0));
    }
}

#[test]
fn shells_and_man_are_served() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let said = sandbox.run(["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(said.out.contains("restart"), "{shell}");
    }
    let said = sandbox.run(["man"]);
    assert!(said.out.starts_with(".") && said.out.contains("localport"), "{}", said.out);
}

/// S4.2: all problems at once, each with its place, rule and hint.
#[test]
fn s4_2_config_check_tells_every_problem_and_exits_two() {
    let sandbox = Sandbox::with_config(
        "version: \"1.0\"\nservices:\n  - name: a\n    technology: ssh\n    local_port: 99999\n    \
         remote_prt: 1\n    connection: {host: h}\n",
    );
    let said = sandbox.run(["config", "check", "--json"]);
    assert_eq!(said.code, Some(2));
    let complaints = said.json();
    let complaints = complaints.as_array().unwrap();
    for complaint in complaints {
        let expected = ["severity", "code", "file", "line", "column", "message", "hint"];
        assert_eq!(keys(complaint), set(&expected));
    }
    let codes: BTreeSet<&str> = complaints.iter().map(|c| c["code"].as_str().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from(["missing-key", "out-of-range", "unknown-key"]));
    let range = complaints.iter().find(|c| c["code"] == "out-of-range").unwrap();
    assert_eq!((&range["line"], &range["column"]), (&json!(5), &json!(17)));
    let said = sandbox.run(["config", "check"]);
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains("localport.yaml:5:17: error:"), "{}", said.out);
    assert!(said.out.contains("2 errors, 1 warning, 0 forwards can run"), "{}", said.out);
    // The same by name, from elsewhere, and with the global flag.
    let file = sandbox.config();
    let elsewhere = Sandbox::new();
    let by_name = elsewhere.run(["config".as_ref(), "check".as_ref(), file.as_os_str()]);
    assert_eq!(by_name.code, Some(2));
    let by_flag =
        elsewhere.run(["-c".as_ref(), file.as_os_str(), "config".as_ref(), "check".as_ref()]);
    assert_eq!(by_flag.out, by_name.out);
}

#[test]
fn config_check_of_a_good_file_is_zero_and_of_none_is_two() {
    let sandbox = Sandbox::with_config(&unreachable(&["a", "b"]));
    let said = sandbox.run(["config", "check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("0 errors, 0 warnings, 2 forwards can run"), "{}", said.out);
    assert_eq!(sandbox.run(["config", "check", "--json"]).json(), json!([]));
    let paths = sandbox.run(["config", "path", "--json"]).json();
    assert_eq!(paths["used"], json!(sandbox.config()));

    let nothing = Sandbox::new();
    let said = nothing.run(["config", "check"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("localport config path"), "{said:?}");
    let said = nothing.run(["config", "check", "gone.yaml", "--json"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.json()[0]["code"], "unreadable-file");
    let said = nothing.run(["run", "--config", "gone.yaml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("gone.yaml"), "{said:?}");
}

/// S13: forwards of other tools become a configuration that can be used as it is, what is
/// left out is said, and no file of a person is written over.
#[test]
fn s13_forwards_of_other_tools_become_a_configuration() {
    let sandbox = Sandbox::with_config(unreachable(&["orders"]).as_str());
    let words =
        ["kubectl", "--context=c", "-n", "shop", "port-forward", "svc/orders", "15432:5432"];
    let typed = sandbox.run(["import", "command"].iter().chain(&words));
    let pasted = sandbox.run(["import", "command", &words.join(" ")]);
    assert_eq!((typed.code, &typed.out), (Some(0), &pasted.out), "{typed:?}");
    assert!(typed.out.contains("name: orders-15432"), "its name is taken: {typed:?}");
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("config"), dir.path().join("new.yaml"));
    fs::write(&from, "Host jump\nLocalForward 8080 web:80\nDynamicForward 1080\n").unwrap();
    let to = to.to_str().unwrap();
    let import = ["import", "--to", to, "ssh-config", from.to_str().unwrap()];
    let written = sandbox.run(import);
    assert_eq!((written.code, written.out.as_str()), (Some(0), ""), "{written:?}");
    assert!(written.err.contains("`DynamicForward 1080` is left out"), "{written:?}");
    let checked = sandbox.run(["config", "check", to]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("1 forward can run"), "{checked:?}");
    let again = sandbox.run(import);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(fs::read_to_string(to).unwrap().contains("web"), "the file stays");
    let said = sandbox.run(["import", "command", "ssh host", "--json"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = sandbox.run(["import", "kftray", "/nowhere"]);
    assert!(said.code == Some(2) && said.err.contains("`/nowhere` cannot be read"), "{said:?}");
    let said = sandbox.run(["--json", "import", "command", "ssh -L 1:a:1 -D 2 host"]);
    assert_eq!(said.json()["forwards"], json!(["a"]), "{said:?}");
    assert_eq!(said.json()["remarks"].as_array().unwrap().len(), 1);
}
