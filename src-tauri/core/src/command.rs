//! Owns what can be asked of the engine.

use serde::{Deserialize, Serialize};

/// Which forwards a command is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// All forwards.
    All,
    /// The forwards with these names; an unknown name is an error and nothing happens.
    Names(Vec<String>),
    /// The forwards with this tag.
    Tag(String),
    /// The forwards that go through this Kubernetes context or SSH destination.
    Context(String),
}

/// What is wanted of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(tag = "command", content = "selector", rename_all = "snake_case")]
pub enum Command {
    /// Switch forwards on.
    Start(Selector),
    /// Switch forwards off: listener closed, open connections drained.
    Stop(Selector),
    /// End the session and open a new one; the listener stays.
    Restart(Selector),
    /// Make every waiting retry due now.
    RetryNow(Selector),
    /// Accept the unknown host key that the forward's problem names.
    TrustHostKey(String),
    /// Log in to this Kubernetes context, by its configured command or its login plugin,
    /// and connect what waits for it.
    Login(String),
    /// Switch forwards off for a while: listener closed, open connections get the time
    /// asked for, and a resume brings back exactly these.
    Drain(Drain),
    /// Switch on again what a drain took.
    Resume(Selector),
    /// Call the engine's end off, as long as nothing was cut.
    CancelQuit,
    /// Pass to the end's next stage: waiting becomes cutting, cleaning up becomes force.
    HurryQuit,
}

/// A drain of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Which forwards.
    pub selector: Selector,
    /// How long open connections may finish, in milliseconds; as long as at the engine's
    /// end when absent.
    #[serde(default)]
    #[cfg_attr(feature = "bindings", ts(type = "number | null"))]
    pub within_ms: Option<u64>,
}

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Done {
    /// Names of the forwards the command applied to.
    pub forwards: Vec<String>,
    /// One sentence more, where there is something to say.
    pub message: Option<String>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case", tag = "error")]
pub enum Refusal {
    /// There is no forward of this name; the nearest known one, if any is near.
    UnknownForward {
        /// The name asked for.
        name: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// No forward carries this tag.
    UnknownTag {
        /// The tag asked for.
        tag: String,
    },
    /// No forward goes through this context; the nearest known one, if any is near.
    UnknownContext {
        /// The context asked for.
        context: String,
        /// The nearest known context.
        nearest: Option<String>,
    },
    /// The engine is quitting and takes no commands.
    Quitting,
    /// The command does not apply to the forward as it is now.
    NotNow {
        /// Why, in one sentence.
        sentence: String,
    },
}

impl Refusal {
    /// There is no forward `name`; names the nearest of `known`, if one is near enough
    /// to be a slip of the finger.
    #[must_use]
    pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Refusal::UnknownForward { name: name.to_owned(), nearest: nearest(name, known) }
    }

    /// No forward goes through `context`; names the nearest of `known`.
    #[must_use]
    pub fn unknown_context<'a>(context: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let nearest = nearest(context, known);
        Refusal::UnknownContext { context: context.to_owned(), nearest }
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 3))
        .map(|(_, known)| known.to_owned())
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::UnknownForward { name, nearest: Some(nearest) } => {
                write!(f, "there is no forward `{name}`; did you mean `{nearest}`?")
            }
            Refusal::UnknownForward { name, nearest: None } => {
                write!(f, "there is no forward `{name}`")
            }
            Refusal::UnknownTag { tag } => write!(f, "no forward carries the tag `{tag}`"),
            Refusal::UnknownContext { context, nearest: Some(nearest) } => {
                write!(f, "no forward goes through `{context}`; did you mean `{nearest}`?")
            }
            Refusal::UnknownContext { context, nearest: None } => {
                write!(f, "no forward goes through `{context}`")
            }
            Refusal::Quitting => f.write_str("LocalPort is quitting"),
            Refusal::NotNow { sentence } => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Refusal {}
