//! Owns the walk into a cluster.

use super::{Explainer, OWNER, named, prove, timed};
use crate::adapter::kube::KubeAdapter;
use crate::adapter::kube::walk::Server;
use crate::adapter::{Adapter, Session};
use crate::registry::Tasks;
use localport_core::config::{KubeTarget, Target};
use localport_core::diagnosis::{Step, Walk, opens_browser};
use std::net::SocketAddr;
use std::sync::Arc;

impl Explainer {
    pub(super) async fn kube(
        &self,
        walk: &mut Walk,
        adapter: &KubeAdapter,
        target: &KubeTarget,
        login: bool,
    ) {
        let Some(server) = reached(walk, adapter, target).await else { return };
        if let Some((plugin, arguments)) = server.plugin.clone().filter(|_| !login)
            && opens_browser(&plugin, &arguments)
        {
            let why = format!("the login plugin `{plugin}` may open a browser; `--login` lets it");
            return walk.stop(Step::Auth, why);
        }
        let (took, logged_in) = timed(server.login()).await;
        match logged_in {
            Ok(()) => walk.ok(Step::Auth, Some(took), "the credentials are accepted"),
            Err(problem) => return walk.fail(Step::Auth, Some(took), problem),
        }
        if walk.has(Step::Rbac) && rights(walk, &server).await {
            self.target(walk, adapter, target).await;
        }
    }

    async fn target(&self, walk: &mut Walk, adapter: &KubeAdapter, target: &KubeTarget) {
        let tasks = Tasks::new(OWNER, &self.registry);
        let wanted = Target::Kube(target.clone());
        let (took, opened) = timed(adapter.open(&wanted, self.scope(&tasks))).await;
        let session: Arc<dyn Session> = match opened {
            Ok(session) => session,
            Err(problem) => return walk.settle(Step::Pod, took, problem),
        };
        walk.ok(Step::Rbac, None, "nothing was refused");
        walk.ok(Step::Target, Some(took), format!("{}:{}", target.resource, target.port));
        walk.ok(Step::Pod, None, session.route().endpoint);
        prove(walk, &session, Step::Port).await;
    }
}

/// From the kubeconfig to an API server that shakes hands.
async fn reached(walk: &mut Walk, adapter: &KubeAdapter, target: &KubeTarget) -> Option<Server> {
    let (took, read) = timed(adapter.server(target)).await;
    let server = match read {
        Ok(server) => server,
        Err(problem) => {
            walk.fail(Step::Kubeconfig, Some(took), problem);
            return None;
        }
    };
    let said = format!("`{}` in {}, {}", server.context(), server.files, server.address());
    walk.ok(Step::Kubeconfig, Some(took), said);
    let addresses = match server.via() {
        // The name is the SSH host's to resolve.
        Some(via) => {
            walk.skip(Step::Dns, format!("resolved by `{via}`, through which the way goes"));
            vec![]
        }
        None => named_addresses(walk, &server).await?,
    };
    let (took, connected) = timed(server.connect(&addresses)).await;
    let stream = match connected {
        Ok(stream) => stream,
        Err(problem) => {
            walk.fail(Step::Tcp, Some(took), problem);
            return None;
        }
    };
    walk.ok(Step::Tcp, Some(took), through(&server));
    if !server.is_tls() {
        walk.skip(Step::Tls, "the API server is spoken to without TLS");
        return Some(server);
    }
    let (took, shaken) = timed(server.handshake(stream)).await;
    match shaken {
        Ok(said) => walk.ok(Step::Tls, Some(took), said),
        Err(problem) => {
            walk.fail(Step::Tls, Some(took), problem);
            return None;
        }
    }
    Some(server)
}

async fn named_addresses(walk: &mut Walk, server: &Server) -> Option<Vec<SocketAddr>> {
    let (took, resolved) = timed(server.resolve()).await;
    match resolved {
        Ok((host, addresses)) => {
            walk.ok(Step::Dns, Some(took), named(&host, &addresses));
            Some(addresses)
        }
        Err(problem) => {
            walk.fail(Step::Dns, Some(took), problem);
            None
        }
    }
}

fn through(server: &Server) -> String {
    match (server.proxy(), server.via()) {
        (None, None) => "connected".to_owned(),
        (Some(proxy), None) => format!("through the proxy {proxy}"),
        (None, Some(via)) => format!("through `{via}`"),
        (Some(proxy), Some(via)) => format!("through `{via}` and the proxy {proxy}"),
    }
}

/// Whether the walk may go on.
async fn rights(walk: &mut Walk, server: &Server) -> bool {
    let (took, asked) = timed(server.lacking()).await;
    match asked {
        Ok(Some(missing)) if missing.is_empty() => {
            walk.ok(Step::Rbac, Some(took), "may look at the target and forward to its pods");
        }
        Ok(Some(missing)) => {
            walk.fail(Step::Rbac, Some(took), server.forbidden(missing));
            return false;
        }
        // Only trying tells: the next step's refusal blames this one.
        Ok(None) => {}
        Err(problem) => {
            walk.fail(Step::Rbac, Some(took), problem);
            return false;
        }
    }
    true
}
