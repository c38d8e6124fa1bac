//! Owns the account that outlives a host: what is written ahead of every step, and what
//! it says to the next start.
//!
//! Receives entries, in the order in which they were written; emits the [`Past`]. The
//! bytes on the disk are [`format`]'s matter, the disk itself is the engine's.

pub mod format;
mod past;
mod switches;
mod words;

pub use past::{Child, Course, Life, Past, replay};
pub use switches::{Switch, Switches};
pub use words::Found;

use crate::shutdown::{Reason, Stage};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A process, known again after its number has passed to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the words of the operating system; none where it has none.
    pub started: Option<String>,
}

/// One life of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its process.
    #[serde(flatten)]
    pub process: Process,
    /// A name that no other life has.
    pub token: String,
    /// Its version.
    pub version: String,
    /// When it began.
    pub at: Timestamp,
}

/// One record, written before the step it announces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Entry {
    /// A host begins.
    HostBegan {
        /// Which.
        host: Host,
    },
    /// It serves.
    HostReady,
    /// A person switches a forward against its configuration.
    Switched {
        /// Its name.
        forward: String,
        /// What is wanted.
        #[serde(flatten)]
        switch: Switch,
    },
    /// The configuration alone says again whether a forward is on.
    SwitchForgotten {
        /// Its name.
        forward: String,
    },
    /// A child is about to be started.
    ChildIntended {
        /// The name it carries in its environment.
        token: String,
        /// The program.
        program: PathBuf,
        /// A directory that has to go when the child is gone.
        dir: Option<PathBuf>,
        /// The host that starts it.
        host: Process,
    },
    /// It runs.
    ChildStarted {
        /// Its name.
        token: String,
        /// Its process.
        #[serde(flatten)]
        process: Process,
    },
    /// It has ended.
    ChildEnded {
        /// Its name.
        token: String,
    },
    /// A file or directory is about to be made that has to go.
    FileMade {
        /// Where.
        path: PathBuf,
    },
    /// It is gone.
    FileGone {
        /// Where it was.
        path: PathBuf,
    },
    /// The host's end begins.
    EndBegun {
        /// Why, where somebody said.
        reason: Option<Reason>,
    },
    /// The end enters a stage.
    StageEntered {
        /// Which.
        stage: Stage,
    },
    /// The end was called off.
    EndCancelled,
    /// The host has ended.
    HostEnded {
        /// Whether everything was released, nothing by force.
        clean: bool,
    },
    /// Bytes of the journal could not be read and were left out.
    Damaged {
        /// How many.
        bytes: u64,
    },
}
