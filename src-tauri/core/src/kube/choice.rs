//! Owns which pod serves a target, and on which of its ports.

use super::{ContainerPort, Pod, Service};
use crate::config::PortRef;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The pod that serves, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its port.
    pub port: u16,
}

/// A port of a pod: any number, or the name that a container gave it.
pub type PodPort = PortRef;

/// Why no pod can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No pod belongs to the target.
    NoPods,
    /// Pods belong to it, but none is ready.
    NoneReady {
        /// How many belong to it.
        total: usize,
        /// How many of them are ending.
        terminating: usize,
        /// Why the others are not ready, each reason once.
        reasons: Vec<String>,
        /// One of them, to look at.
        example: String,
    },
    /// Ready pods have no port of the wanted name.
    NoPort {
        /// One of them.
        pod: String,
        /// The names and numbers that it has.
        known: Vec<String>,
    },
}

impl Unfit {
    /// How many pods are ready, in words: `0 of 2 pods are ready (CrashLoopBackOff)`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Unfit::NoPods => "no pod exists".to_owned(),
            Unfit::NoPort { pod, .. } => format!("pod `{pod}` has no such port"),
            Unfit::NoneReady { total, terminating, reasons, .. } => {
                let mut text = match total {
                    1 => "0 of 1 pod is ready".to_owned(),
                    total => format!("0 of {total} pods are ready"),
                };
                let mut why = reasons.clone();
                if *terminating > 0 {
                    why.push(format!("{terminating} terminating"));
                }
                if !why.is_empty() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " ({})", why.join(", "));
                }
                text
            }
        }
    }
}

/// Chooses among `pods`, all of which belong to the target.
///
/// Only a ready pod that is not ending and has the port can be chosen. The pod with
/// the UID `current` is kept while it can. Otherwise the youngest is taken: during a
/// rolling update the older ones are the next to go. Pods whose UID is in `avoid` just
/// failed a connection and are passed over.
///
/// # Errors
/// [`Unfit`], when no pod can be chosen.
pub fn choose<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    port: &PodPort,
    current: Option<&str>,
    avoid: &[String],
) -> Result<Choice<'a>, Unfit> {
    let pods: Vec<&Pod> = pods.collect();
    let ready = || pods.iter().copied().filter(|pod| pod.ready && !pod.terminating);
    let usable = ready()
        .filter(|pod| !avoid.contains(&pod.uid))
        .filter_map(|pod| Some(Choice { pod, port: number(&pod.ports, port)? }));
    let best = usable.max_by_key(|choice| {
        let kept = Some(choice.pod.uid.as_str()) == current;
        (kept, choice.pod.created, &choice.pod.name)
    });
    if let Some(best) = best {
        return Ok(best);
    }
    Err(match ready().find(|pod| number(&pod.ports, port).is_none()) {
        Some(pod) => Unfit::NoPort { pod: pod.name.clone(), known: names(&pod.ports) },
        None => unready(&pods),
    })
}

/// The pod's port behind the port `wanted` of `service`.
///
/// # Errors
/// The ports that the service has, when it has no such one.
pub fn service_port(service: &Service, wanted: &PortRef) -> Result<PodPort, Vec<String>> {
    let found = service.ports.iter().find(|port| match wanted {
        PortRef::Number(number) => port.number == *number,
        PortRef::Name(name) => port.name.as_ref() == Some(name),
    });
    found.map(|port| port.target.clone()).ok_or_else(|| {
        service.ports.iter().map(|port| described(port.name.as_deref(), port.number)).collect()
    })
}

fn number(ports: &[ContainerPort], wanted: &PodPort) -> Option<u16> {
    match wanted {
        // Containers may serve ports that they do not declare.
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => {
            ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.number)
        }
    }
}

fn names(ports: &[ContainerPort]) -> Vec<String> {
    ports.iter().map(|port| described(port.name.as_deref(), port.number)).collect()
}

fn described(name: Option<&str>, number: u16) -> String {
    match name {
        Some(name) => format!("{name} ({number})"),
        None => number.to_string(),
    }
}

fn unready(pods: &[&Pod]) -> Unfit {
    let ending = |pod: &&&Pod| pod.terminating;
    let Some(example) = pods.iter().find(|pod| !pod.terminating).or_else(|| pods.first()) else {
        return Unfit::NoPods;
    };
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.terminating) {
        *reasons.entry(pod.waiting.as_deref().unwrap_or("not ready")).or_default() += 1;
    }
    Unfit::NoneReady {
        total: pods.len(),
        terminating: pods.iter().filter(ending).count(),
        reasons: reasons.into_keys().map(str::to_owned).collect(),
        example: example.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServicePort;
    use super::*;

    fn pod(name: &str, created: i64, state: &str) -> Pod {
        Pod {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            created,
            ready: state == "ready" || state == "ending",
            terminating: state == "ending",
            waiting: (!matches!(state, "ready" | "ending")).then(|| state.to_owned()),
            ports: vec![
                ContainerPort { name: Some("http".to_owned()), number: 8080 },
                ContainerPort { name: None, number: 9090 },
            ],
            ..Pod::default()
        }
    }

    fn chosen(pods: &[Pod], current: Option<&str>, avoid: &[&str]) -> Result<String, Unfit> {
        let avoid: Vec<String> = avoid.iter().map(|name| format!("uid-{name}")).collect();
        let current = current.map(|name| format!("uid-{name}"));
        choose(pods.iter(), &PortRef::Number(80), current.as_deref(), &avoid)
            .map(|choice| choice.pod.name.clone())
    }

    #[test]
    fn the_choice_table() {
        let (a, b) = (pod("a", 10, "ready"), pod("b", 20, "ready"));
        let ending = pod("c", 30, "ending");
        let crashing = pod("d", 40, "CrashLoopBackOff");
        let all = [a.clone(), b.clone(), ending.clone(), crashing.clone()];

        assert_eq!(chosen(&all, None, &[]).unwrap(), "b", "the youngest ready one");
        assert_eq!(chosen(&all, Some("a"), &[]).unwrap(), "a", "kept while ready");
        assert_eq!(chosen(&all, Some("c"), &[]).unwrap(), "b", "left when ending");
        assert_eq!(chosen(&all, Some("d"), &[]).unwrap(), "b", "left when unready");
        assert_eq!(chosen(&all, Some("b"), &["b"]).unwrap(), "a", "left when it just failed");
        assert_eq!(chosen(&[], None, &[]), Err(Unfit::NoPods));
    }

    #[test]
    fn a_pod_that_came_back_under_its_name_is_another_pod() {
        let mut again = pod("a", 50, "ready");
        again.uid = "uid-new".to_owned();
        let other = pod("b", 60, "ready");
        assert_eq!(chosen(&[again, other], Some("a"), &[]).unwrap(), "b");
    }

    #[test]
    fn why_none_is_ready_is_said_once_each() {
        let pods = [
            pod("a", 1, "CrashLoopBackOff"),
            pod("b", 2, "CrashLoopBackOff"),
            pod("c", 3, "Pending"),
            pod("d", 4, "ending"),
        ];
        let unfit = chosen(&pods, None, &[]).unwrap_err();
        assert_eq!(
            unfit.words(),
            "0 of 4 pods are ready (CrashLoopBackOff, Pending, 1 terminating)"
        );
        let one = chosen(&pods[..1], None, &[]).unwrap_err();
        assert_eq!(one.words(), "0 of 1 pod is ready (CrashLoopBackOff)");
    }

    #[test]
    fn when_every_ready_pod_was_avoided_nothing_is_said_about_ports() {
        let pods = [pod("a", 1, "ready")];
        assert!(matches!(chosen(&pods, None, &["a"]), Err(Unfit::NoneReady { .. })));
    }

    #[test]
    fn named_ports_are_looked_up_in_the_chosen_pod() {
        let pods = [pod("a", 1, "ready")];
        let by_name = |name: &str| {
            choose(pods.iter(), &PortRef::Name(name.to_owned()), None, &[]).map(|c| c.port)
        };
        assert_eq!(by_name("http"), Ok(8080));
        let known = vec!["http (8080)".to_owned(), "9090".to_owned()];
        assert_eq!(by_name("grpc"), Err(Unfit::NoPort { pod: "a".to_owned(), known }));
    }

    #[test]
    fn a_service_port_leads_to_its_target_port() {
        let port = |name: Option<&str>, number, target| ServicePort {
            name: name.map(str::to_owned),
            number,
            target,
        };
        let service = Service {
            ports: vec![
                port(Some("web"), 80, PortRef::Name("http".to_owned())),
                port(Some("metrics"), 81, PortRef::Number(9090)),
            ],
            ..Service::default()
        };
        let named = |name: &str| PortRef::Name(name.to_owned());
        let table = [
            (PortRef::Number(80), Ok(named("http"))),
            (named("web"), Ok(named("http"))),
            (PortRef::Number(81), Ok(PortRef::Number(9090))),
            (PortRef::Number(9090), Err(vec!["web (80)".to_owned(), "metrics (81)".to_owned()])),
            (named("http"), Err(vec!["web (80)".to_owned(), "metrics (81)".to_owned()])),
        ];
        for (wanted, expected) in table {
            assert_eq!(service_port(&service, &wanted), expected, "{wanted}");
        }
    }
}
