//! Owns the whole way from a target to a pod and its port.

use super::{Choice, Fault, Pod, PodPort, Selector, Service, choose, service_port};
use crate::config::{KubeResource, KubeTarget};
use std::collections::BTreeMap;

/// What is known about a target's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its services by name; empty where the target is none.
    pub services: &'a BTreeMap<String, Service>,
    /// Its pods by name.
    pub pods: &'a BTreeMap<String, Pod>,
    /// The labels of the target's pods, where the target is a workload or a selector.
    pub selector: &'a Selector,
}

/// The pod and the port that serve `target`; `current` and `avoid` as in [`choose`].
///
/// # Errors
/// What is missing or unfit.
pub fn resolve<'a>(
    target: &KubeTarget,
    known: Known<'a>,
    current: Option<&str>,
    avoid: &[String],
) -> Result<Choice<'a>, Fault> {
    match &target.resource {
        KubeResource::Service(name) => {
            let (selector, port) = behind_service(target, name, known)?;
            among(known, &selector, &port, current, avoid)
        }
        KubeResource::Pod(name) => {
            let missing = || Fault::Missing { kind: "pod", name: name.clone() };
            let pod = known.pods.get(name).ok_or_else(missing)?;
            choose(std::iter::once(pod), &target.port, current, avoid).map_err(Fault::Unfit)
        }
        _ => among(known, known.selector, &target.port, current, avoid),
    }
}

fn among<'a>(
    known: Known<'a>,
    selector: &Selector,
    port: &PodPort,
    current: Option<&str>,
    avoid: &[String],
) -> Result<Choice<'a>, Fault> {
    let pods = known.pods.values().filter(|pod| selector.matches(&pod.labels));
    choose(pods, port, current, avoid).map_err(Fault::Unfit)
}

fn behind_service(
    target: &KubeTarget,
    name: &str,
    known: Known<'_>,
) -> Result<(Selector, PodPort), Fault> {
    let missing = || Fault::Missing { kind: "service", name: name.to_owned() };
    let service = known.services.get(name).ok_or_else(missing)?;
    if let Some(host) = &service.external_name {
        return Err(Fault::ExternalName { host: host.clone() });
    }
    let port = service_port(service, &target.port)
        .map_err(|known| Fault::NoServicePort { wanted: target.port.to_string(), known })?;
    if service.selector.is_empty() {
        return Err(Fault::NoSelector);
    }
    Ok((Selector::labels(&service.selector), port))
}

#[cfg(test)]
mod tests {
    use super::super::{ContainerPort, ServicePort, Unfit};
    use super::*;
    use crate::config::PortRef;

    fn pod(name: &str, app: &str) -> (String, Pod) {
        let pod = Pod {
            name: name.to_owned(),
            uid: name.to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            ready: true,
            ports: vec![ContainerPort { name: Some("http".to_owned()), number: 8080 }],
            ..Pod::default()
        };
        (name.to_owned(), pod)
    }

    fn service(name: &str, app: Option<&str>, outside: Option<&str>) -> (String, Service) {
        let service = Service {
            name: name.to_owned(),
            selector: app.map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect(),
            external_name: outside.map(str::to_owned),
            ports: vec![ServicePort {
                name: None,
                number: 80,
                target: PortRef::Name("http".to_owned()),
            }],
        };
        (name.to_owned(), service)
    }

    #[test]
    fn every_kind_of_target_leads_to_its_pod_or_its_fault() {
        let pods = BTreeMap::from([pod("a-1", "a"), pod("b-1", "b")]);
        let services = BTreeMap::from([
            service("a", Some("a"), None),
            service("bare", None, None),
            service("out", None, Some("db.example")),
            service("empty", Some("none"), None),
        ]);
        let selector = Selector::parse("app=b").unwrap();
        let known = Known { services: &services, pods: &pods, selector: &selector };
        let number = PortRef::Number;
        let svc = |name: &str| KubeResource::Service(name.to_owned());
        let pod = |name: &str| KubeResource::Pod(name.to_owned());
        let deployment = KubeResource::Deployment("b".to_owned());
        let missing = |kind, name: &str| Err(Fault::Missing { kind, name: name.to_owned() });
        let table = [
            (svc("a"), number(80), Ok(("a-1", 8080))),
            (
                svc("a"),
                number(81),
                Err(Fault::NoServicePort { wanted: "81".to_owned(), known: vec!["80".to_owned()] }),
            ),
            (svc("bare"), number(80), Err(Fault::NoSelector)),
            (svc("out"), number(80), Err(Fault::ExternalName { host: "db.example".to_owned() })),
            (svc("empty"), number(80), Err(Fault::Unfit(Unfit::NoPods))),
            (svc("gone"), number(80), missing("service", "gone")),
            (pod("b-1"), number(5432), Ok(("b-1", 5432))),
            (pod("gone"), number(5432), missing("pod", "gone")),
            (deployment.clone(), PortRef::Name("http".to_owned()), Ok(("b-1", 8080))),
            (deployment, number(9), Ok(("b-1", 9))),
        ];
        for (resource, port, expected) in table {
            let target = KubeTarget {
                context: None,
                namespace: "shop".to_owned(),
                resource,
                port,
                via: None,
            };
            let got = resolve(&target, known, None, &[]);
            let got = got.map(|choice| (choice.pod.name.as_str(), choice.port));
            assert_eq!(got, expected, "{} {}", target.resource, target.port);
        }
    }
}
