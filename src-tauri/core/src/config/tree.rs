//! Owns the tree that YAML becomes: every key and value with its place, and
//! variables not yet replaced.

use std::rc::Rc;

/// Where something stands: a source by its index, line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value with its place. Aliases share the value they stand for.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// Values in it once every alias is written out.
    pub(super) weight: u64,
    /// Levels in it once every alias is written out.
    pub(super) height: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Map),
}

/// Keys and values in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<(Rc<Node>, Rc<Node>)>,
    /// Maps that `<<` brings in, the strongest first.
    pub(super) merged: Vec<Rc<Node>>,
}

/// A text before its variables are replaced.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) pieces: Vec<Piece>,
    /// Written without quotes, so that its type follows from its text.
    pub(super) plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// An escaped reference, as it shall read.
    Literal(String),
    Variable(Variable),
}

/// A reference such as `${NAME:-default}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) fallback: Fallback,
}

/// What holds when a variable has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// `${NAME}`: nothing does.
    None,
    /// `${NAME:default}`: the default when it is not set.
    Unset(String),
    /// `${NAME:-default}`: the default when it is not set or empty, as in a shell.
    UnsetOrEmpty(String),
}

impl Node {
    pub(super) fn scalar(place: Place, scalar: Scalar) -> Self {
        Self { place, kind: Kind::Scalar(scalar), weight: 1, height: 1 }
    }

    pub(super) fn list(place: Place, items: Vec<Rc<Node>>) -> Self {
        let (weight, height) = extent(items.iter());
        Self { place, kind: Kind::List(items), weight, height }
    }

    pub(super) fn map(place: Place, map: Map) -> Self {
        let inner = map.entries.iter().flat_map(|(key, value)| [key, value]).chain(&map.merged);
        let (weight, height) = extent(inner);
        Self { place, kind: Kind::Map(map), weight, height }
    }
}

fn extent<'a>(inner: impl Iterator<Item = &'a Rc<Node>>) -> (u64, usize) {
    inner.fold((1, 1), |(weight, height), node| {
        (node.weight.saturating_add(weight), height.max(node.height + 1))
    })
}
