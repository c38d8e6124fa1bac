//! Owns the names of what an engine can hold.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What kind of thing is held.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
        pub enum LeaseKind { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl LeaseKind {
            /// Every kind.
            pub const ALL: &[LeaseKind] = &[$(LeaseKind::$variant,)*];

            /// The word that JSON and people see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(LeaseKind::$variant => $text,)* }
            }
        }
    };
}

kinds! {
    /// A bound local port.
    Listener = "listener",
    /// A client being carried or held.
    Connection = "connection",
    /// A session to a target.
    Session = "session",
    /// A tunnel that carries the streams of several sessions.
    Tunnel = "tunnel",
    /// A child process.
    Child = "child",
    /// A watch on a cluster.
    Watch = "watch",
    /// A task.
    Task = "task",
    /// A file or directory that has to go at the end.
    File = "file",
    /// A lock.
    Lock = "lock",
    /// A name on the message bus.
    BusName = "bus-name",
    /// A wish that the system waits before it sleeps or goes down.
    Inhibitor = "inhibitor",
}

/// Something that is held outside the engine, for its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// What kind.
    pub kind: LeaseKind,
    /// Its human name.
    pub name: String,
}
