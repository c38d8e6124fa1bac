//! Owns the way from a service to a pod through endpoint slices, for whoever may not see
//! the pods themselves.

use super::{Choice, ContainerPort, Fault, Pod, Service, Slice, choose};
use crate::config::{KubeTarget, PortRef};
use std::collections::BTreeMap;

/// The pods behind `service` in all its slices, with their ports named as the service
/// names them. Labels, age and reasons are not in slices.
#[must_use]
pub fn pods_in(slices: &BTreeMap<String, Slice>, service: &str) -> BTreeMap<String, Pod> {
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    for slice in slices.values().filter(|slice| slice.service == service) {
        for seen in &slice.pods {
            // A pod is in several slices when its ports have numbers of their own.
            let pod = pods.entry(seen.name.clone()).or_insert_with(|| Pod {
                name: seen.name.clone(),
                uid: seen.uid.clone(),
                ready: seen.ready,
                terminating: seen.terminating,
                ..Pod::default()
            });
            pod.ports.extend(slice.ports.iter().cloned().map(named));
        }
    }
    pods
}

/// The pod and the port that serve `target`, a service called `name`, out of `pods`, which
/// are its own by [`pods_in`]; `current` and `avoid` as in [`choose`].
///
/// # Errors
/// What is missing or unfit.
pub fn resolve_among<'a>(
    target: &KubeTarget,
    name: &str,
    services: &BTreeMap<String, Service>,
    pods: &'a BTreeMap<String, Pod>,
    current: Option<&str>,
    avoid: &[String],
) -> Result<Choice<'a>, Fault> {
    let missing = || Fault::Missing { kind: "service", name: name.to_owned() };
    let service = services.get(name).ok_or_else(missing)?;
    if let Some(host) = &service.external_name {
        return Err(Fault::ExternalName { host: host.clone() });
    }
    super::service_port(service, &target.port)
        .map_err(|known| Fault::NoServicePort { wanted: target.port.to_string(), known })?;
    if service.selector.is_empty() && pods.is_empty() {
        return Err(Fault::NoSelector);
    }
    let port = service.ports.iter().find(|port| match &target.port {
        PortRef::Number(number) => port.number == *number,
        PortRef::Name(name) => port.name.as_ref() == Some(name),
    });
    let name = port.and_then(|port| port.name.clone()).unwrap_or_default();
    choose(pods.values(), &PortRef::Name(name), current, avoid).map_err(Fault::Unfit)
}

/// A service's only port may have no name.
fn named(port: ContainerPort) -> ContainerPort {
    ContainerPort { name: Some(port.name.unwrap_or_default()), ..port }
}

#[cfg(test)]
mod tests {
    use super::super::{ServicePort, SlicePod, Unfit};
    use super::*;
    use crate::config::KubeResource;

    fn slice(service: &str, ports: &[(Option<&str>, u16)], pods: &[(&str, bool, bool)]) -> Slice {
        let port = |(name, number): &(Option<&str>, u16)| ContainerPort {
            name: name.map(str::to_owned),
            number: *number,
        };
        let pod = |(name, ready, terminating): &(&str, bool, bool)| SlicePod {
            name: (*name).to_owned(),
            uid: format!("uid-{name}"),
            ready: *ready,
            terminating: *terminating,
        };
        Slice {
            service: service.to_owned(),
            ports: ports.iter().map(port).collect(),
            pods: pods.iter().map(pod).collect(),
        }
    }

    fn service(name: &str, port: Option<&str>) -> (String, Service) {
        let service = Service {
            name: name.to_owned(),
            selector: [("app".to_owned(), name.to_owned())].into(),
            external_name: None,
            ports: vec![ServicePort {
                name: port.map(str::to_owned),
                number: 80,
                target: PortRef::Name("http".to_owned()),
            }],
        };
        (name.to_owned(), service)
    }

    /// S7.2: slices alone lead to a ready pod and the number of its port.
    #[test]
    fn s7_2_slices_lead_to_a_ready_pod_and_its_port() {
        let slices: BTreeMap<String, Slice> = [
            slice("a", &[(Some("web"), 8080)], &[("a-1", true, true), ("a-2", true, false)]),
            slice("a", &[(Some("web"), 9090)], &[("a-3", false, false)]),
            slice("plain", &[(None, 7070)], &[("p-1", true, false)]),
            slice("down", &[(Some("web"), 1)], &[("d-1", false, false)]),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, slice)| (number.to_string(), slice))
        .collect();
        let services = BTreeMap::from([
            service("a", Some("web")),
            service("plain", None),
            service("down", Some("web")),
            service("none", Some("web")),
        ]);
        let find = |name: &str, port: PortRef| {
            let target = KubeTarget {
                context: None,
                via: None,
                namespace: "shop".to_owned(),
                resource: KubeResource::Service(name.to_owned()),
                port,
            };
            let pods = pods_in(&slices, name);
            resolve_among(&target, name, &services, &pods, None, &[])
                .map(|choice| (choice.pod.name.clone(), choice.pod.uid.clone(), choice.port))
        };
        let web = || PortRef::Name("web".to_owned());
        let served = |pod: &str, port| Ok((pod.to_owned(), format!("uid-{pod}"), port));
        assert_eq!(find("a", web()), served("a-2", 8080));
        assert_eq!(find("plain", PortRef::Number(80)), served("p-1", 7070));
        assert!(matches!(find("down", web()), Err(Fault::Unfit(Unfit::NoneReady { .. }))));
        assert_eq!(find("none", web()), Err(Fault::Unfit(Unfit::NoPods)));
        assert!(matches!(find("a", PortRef::Number(81)), Err(Fault::NoServicePort { .. })));
        assert!(matches!(find("gone", web()), Err(Fault::Missing { kind: "service", .. })));
    }
}
