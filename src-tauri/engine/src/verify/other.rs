//! Owns what is seen where the system names nothing that a process holds cheaply, as on
//! Windows: no descriptors, sockets, children or threads are checked there. Windows ends
//! the children itself, with the job object that holds them.

use localport_core::audit::View;

pub(super) fn look() -> View {
    View::default()
}
