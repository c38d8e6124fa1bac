//! What OpenSSH 8 to 10 prints, and what it means.

use super::*;

fn problem(text: &str) -> Problem {
    let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    classify(&lines, "me@bastion")
}

/// S7 (problems of item 4): each way to fail has its own code.
#[test]
fn every_way_to_fail_has_its_code() {
    let table = [
        ("ssh: Could not resolve hostname nosuch: Name or service not known", Code::SshUnknownHost),
        (
            "ssh: Could not resolve hostname nosuch: nodename nor servname provided, or not known",
            Code::SshUnknownHost,
        ),
        ("ssh: connect to host 10.0.0.1 port 22: Connection refused", Code::SshUnreachable),
        ("ssh: connect to host h port 22: Connection timed out", Code::SshUnreachable),
        ("ssh: connect to host h port 22: Operation timed out", Code::SshUnreachable),
        ("ssh: connect to host h port 22: No route to host", Code::SshUnreachable),
        ("ssh: connect to host h port 22: Network is unreachable", Code::SshUnreachable),
        (
            "Connection timed out during banner exchange\nConnection to 127.0.0.1 port 2222 timed out",
            Code::SshUnreachable,
        ),
        (
            "kex_exchange_identification: Connection closed by remote host\nConnection closed by 1.2.3.4 port 22",
            Code::SshUnreachable,
        ),
        ("Host key verification failed.", Code::SshHostKeyUnknown),
        (
            "No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict checking.\nHost key verification failed.",
            Code::SshHostKeyUnknown,
        ),
        (
            "Host key verification failed.\nConnection closed by UNKNOWN port 65535",
            Code::SshHostKeyUnknown,
        ),
        ("me@bastion: Permission denied (publickey,password).", Code::SshAuthRefused),
        (
            "Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures\nDisconnected from 1.2.3.4 port 22",
            Code::SshAuthRefused,
        ),
        (
            "no such identity: /k/none: No such file or directory\nme@bastion: Permission denied (publickey).",
            Code::SshKeyFile,
        ),
        (
            "Warning: Identity file /k/none not accessible: No such file or directory.\nme@bastion: Permission denied (publickey).",
            Code::SshKeyFile,
        ),
        (
            "Permissions 0644 for '/k/open' are too open.\nLoad key \"/k/open\": bad permissions\nme@bastion: Permission denied (publickey).",
            Code::SshKeyFile,
        ),
        (
            "Load key \"/k/locked\": incorrect passphrase supplied to decrypt private key\nme@bastion: Permission denied (publickey).",
            Code::SshKeyFile,
        ),
        (
            "Load key \"/k/junk\": error in libcrypto\nme@bastion: Permission denied (publickey).",
            Code::SshKeyFile,
        ),
        ("Timeout, server bastion not responding.", Code::SshFrozen),
        ("Connection to bastion closed by remote host.", Code::SshLost),
        ("client_loop: send disconnect: Broken pipe", Code::SshLost),
        (
            "Read from remote host bastion: Connection reset by peer\nclient_loop: send disconnect: Broken pipe",
            Code::SshLost,
        ),
        (
            "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\nConnection closed by UNKNOWN port 65535",
            Code::SshUnreachable,
        ),
        (
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed",
            Code::SshForwardingForbidden,
        ),
        ("command-line: line 0: Bad configuration option: foo", Code::SshFailed),
        (
            "Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-rsa,ssh-dss",
            Code::SshFailed,
        ),
        ("", Code::SshFailed),
    ];
    for (text, code) in table {
        let problem = problem(text);
        assert_eq!(problem.code, code, "{text:?} became {problem:?}");
        assert!(!problem.sentence.ends_with('.'), "{problem:?}");
        assert!(!problem.hint.is_empty(), "{problem:?}");
    }
}

#[test]
fn a_changed_key_names_the_new_fingerprint_and_the_place_of_the_old() {
    let problem = problem(
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
         @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
         @@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
         IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
         The fingerprint for the ED25519 key sent by the remote host is
         SHA256:5JgMc4e1iYDMsCVLEsYHTRgTyKcKJYbO5jSyYLhcoyM.
         Please contact your system administrator.
         Add correct host key in /home/me/.ssh/known_hosts to get rid of this message.
         Offending ED25519 key in /home/me/.ssh/known_hosts:3
         Host key verification failed.",
    );
    assert_eq!(problem.code, Code::SshHostKeyChanged);
    assert!(
        problem.sentence.contains("`SHA256:5JgMc4e1iYDMsCVLEsYHTRgTyKcKJYbO5jSyYLhcoyM`"),
        "{problem:?}"
    );
    assert!(problem.hint.contains("`/home/me/.ssh/known_hosts:3`"), "{problem:?}");
}

#[test]
fn a_refused_login_names_what_the_server_takes() {
    let problem = problem("me@bastion: Permission denied (publickey,keyboard-interactive).");
    assert!(problem.sentence.contains("`publickey,keyboard-interactive`"), "{problem:?}");
}

#[test]
fn a_refused_dial_says_why() {
    let refused = |prohibited, text| refused(prohibited, text, "db:5432", "me@bastion");
    let closed = refused(false, "Connection refused");
    assert_eq!(closed.code, Code::TargetRefused);
    assert_eq!(
        closed.sentence,
        "`db:5432` cannot be reached from `me@bastion`: connection refused"
    );
    assert!(refused(false, "Name or service not known").hint.contains("remote_host"));
    assert_eq!(refused(false, "Connection timed out").code, Code::TargetTimeout);
    assert_eq!(refused(true, "open failed").code, Code::SshForwardingForbidden);
}

#[test]
fn noise_is_no_note() {
    assert!(is_note("Warning: Permanently added 'x' (ED25519) to the list of known hosts."));
    assert!(!is_note("channel 3: open failed: connect failed: Connection refused"));
    assert!(!is_note("Authenticated to 127.0.0.1 ([127.0.0.1]:2222) using \"publickey\"."));
}
