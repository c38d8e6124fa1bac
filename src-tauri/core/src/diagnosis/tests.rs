//! The walk's rules, without IO.

use super::*;
use crate::config::{KubeResource, KubeTarget, PortRef, SshTarget};

fn spec(name: &str, target: Target) -> ForwardSpec {
    ForwardSpec {
        name: name.to_owned(),
        enabled: true,
        tags: vec![],
        description: None,
        local_port: 15_432,
        bind: vec![],
        hold: Duration::from_secs(30),
        target,
        health_check: None,
        restart_policy: None,
    }
}

fn kube() -> ForwardSpec {
    spec(
        "orders",
        Target::Kube(KubeTarget {
            context: Some("my staging".to_owned()),
            namespace: "shop".to_owned(),
            resource: KubeResource::Service("orders".to_owned()),
            port: PortRef::Number(80),
            via: None,
        }),
    )
}

fn ssh() -> ForwardSpec {
    spec(
        "wiki",
        Target::Ssh(SshTarget {
            host: "bastion".to_owned(),
            user: Some("me".to_owned()),
            port: Some(2222),
            key_file: None,
            password: None,
            remote_host: "wiki.internal".to_owned(),
            remote_port: 80,
        }),
    )
}

fn walk(spec: ForwardSpec) -> Walk {
    Walk::new(Subject { spec, context: None })
}

fn problem(code: Code) -> Problem {
    Problem::new(code, "it is so", "do that")
}

/// G8: whatever step is under way, a problem of any code lands on a step of the plan, is
/// the finding, and everything behind it is skipped because of it.
#[test]
fn g8_every_code_fails_one_step_of_every_way() {
    for spec in [kube(), ssh()] {
        for code in Code::ALL {
            for reached in 0..walk(spec.clone()).plan.len() {
                let mut walk = walk(spec.clone());
                let (plan, last) = (walk.plan.clone(), *walk.plan.last().unwrap());
                for step in &plan[..reached] {
                    walk.ok(*step, None, "");
                }
                walk.settle(last, Duration::from_millis(3), problem(*code));
                let found = walk.finish();
                let finding = found.finding.as_ref().unwrap();
                let at = plan.iter().position(|step| *step == finding.step).unwrap();
                assert!(at >= reached, "{code} after {reached} steps blames {:?}", finding.step);
                assert!(!found.well);
                let steps: Vec<Step> = found.steps.iter().map(|walked| walked.step).collect();
                assert_eq!(steps, plan, "every step is told, in order");
                for (place, walked) in found.steps.iter().enumerate() {
                    let expected = match place.cmp(&at) {
                        std::cmp::Ordering::Less => Outcome::Ok,
                        std::cmp::Ordering::Equal => Outcome::Failed,
                        std::cmp::Ordering::Greater => Outcome::Skipped,
                    };
                    assert_eq!(walked.outcome, expected, "{code} {:?}", walked.step);
                }
                assert!(finding.command.is_some(), "{code}: nothing to run by hand");
            }
        }
    }
}

/// A step that cannot be looked at is not well, though nothing failed; a step without
/// anything to look at does no harm.
#[test]
fn g8_not_looked_at_is_not_well() {
    let mut whole = walk(ssh());
    for step in whole.plan.clone() {
        if step == Step::Listener {
            whole.skip(step, "LocalPort does not run");
        } else {
            whole.ok(step, None, "");
        }
    }
    assert!(whole.finish().well);
    let mut stopped = walk(kube());
    stopped.ok(Step::Config, None, "");
    stopped.stop(Step::Auth, "it may open a browser");
    let found = stopped.finish();
    assert!(!found.well && found.finding.is_none());
}

#[test]
fn g8_a_walk_that_takes_too_long_blames_the_step_under_way() {
    let mut walk = walk(kube());
    walk.ok(Step::Config, None, "");
    walk.skip(Step::Listener, "");
    walk.ok(Step::Kubeconfig, None, "");
    walk.late(Duration::from_secs(60));
    let finding = walk.finish().finding.unwrap();
    assert_eq!((finding.step, finding.problem.code), (Step::Dns, Code::KubeUnreachable));
}

#[test]
fn g8_a_forward_comes_before_a_context_of_its_name() {
    let mut other = kube();
    other.name = "bastion".to_owned();
    let forwards = [ssh(), other];
    let found = Subject::find("bastion", &forwards).unwrap();
    assert_eq!((found.spec.name.as_str(), found.context), ("bastion", None));
    for name in ["me@bastion:2222", "my staging"] {
        let found = Subject::find(name, &forwards).unwrap();
        assert_eq!(found.context.as_deref(), Some(name));
        assert!(!found.plan().contains(&Step::Target) && found.plan().contains(&Step::Auth));
    }
    assert!(Subject::find("gone", &forwards).is_none());
}

#[test]
fn g8_what_is_to_be_run_by_hand_names_the_place() {
    let of = |spec: ForwardSpec, step| {
        command(step, &Subject { spec, context: None }, Code::Internal).unwrap()
    };
    let table = [
        (of(kube(), Step::Tls), "kubectl --context 'my staging' get --raw /version"),
        (
            of(kube(), Step::Port),
            "kubectl --context 'my staging' -n shop port-forward svc/orders 15432:80",
        ),
        (of(ssh(), Step::HostKey), "ssh -v -N -p 2222 -l me bastion"),
        (of(ssh(), Step::Target), "ssh -v -N -L 15432:wiki.internal:80 -p 2222 -l me bastion"),
    ];
    for (said, expected) in table {
        assert_eq!(said, expected);
    }
}

#[test]
fn g8_people_read_one_line_a_step_and_then_the_remedy() {
    let mut walk = walk(ssh());
    walk.ok(Step::Config, None, "localport.yaml, line 3");
    walk.skip(Step::Listener, "LocalPort does not run");
    walk.ok(Step::SshConfig, Some(Duration::from_micros(4_210)), "bastion:2222");
    walk.fail(Step::Dns, Some(Duration::from_millis(1_500)), problem(Code::SshUnknownHost));
    let said = lines(&walk.finish());
    assert_eq!(said[0], "wiki · wiki.internal:80 · ssh me@bastion:2222");
    assert_eq!(said[4], "  ok       ssh-config   4.2 ms  bastion:2222");
    assert_eq!(said[5], "  failed   dns           1.5 s  it is so");
    assert_eq!(said[6], "  skipped  tcp                  because `dns` failed");
    let tail = &said[said.len() - 3..];
    assert_eq!(
        tail,
        ["it is so", "  do that", "  See for yourself: ssh -v -N -p 2222 -l me bastion"]
    );
}
