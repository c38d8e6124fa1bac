//! Owns how a map is read: each key is asked for once, with the type it must
//! have; what is left over at the end is unknown.

use super::Rule;
use super::cx::{Cx, Text, shown};
use super::tree::{Kind, Map, Node, Place};
use super::words::{capital, listed, nearest};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A map being read.
pub(super) struct Fields {
    /// How messages call it, with backticks where they belong.
    pub(super) what: String,
    pub(super) place: Place,
    entries: Vec<Field>,
    asked: Vec<&'static str>,
}

struct Field {
    key: String,
    place: Place,
    value: Rc<Node>,
    taken: bool,
}

/// What a key holds.
pub(super) enum Read<T> {
    /// Nothing, or null.
    Absent,
    /// Something wrong, which is complained of.
    Wrong,
    /// A value and its place.
    Is(T, Place),
}

/// A value before its type is looked at.
pub(super) enum Value {
    Text(Text),
    List(Vec<Rc<Node>>),
    Map(Rc<Node>),
}

impl<T> Read<T> {
    pub(super) fn ok(self) -> Option<T> {
        match self {
            Read::Is(value, _) => Some(value),
            Read::Absent | Read::Wrong => None,
        }
    }

    pub(super) fn placed(self) -> Option<(T, Place)> {
        match self {
            Read::Is(value, place) => Some((value, place)),
            Read::Absent | Read::Wrong => None,
        }
    }

    /// Reads on; `f` complains when it gives none.
    pub(super) fn then<U>(self, f: impl FnOnce(T, Place) -> Option<U>) -> Read<U> {
        match self {
            Read::Absent => Read::Absent,
            Read::Wrong => Read::Wrong,
            Read::Is(value, place) => {
                f(value, place).map_or(Read::Wrong, |value| Read::Is(value, place))
            }
        }
    }
}

impl Value {
    /// What it is, for messages that must not repeat it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The value of a node; none when a variable in it has none, which is complained of.
pub(super) fn value(cx: &mut Cx<'_>, node: &Rc<Node>) -> Option<Value> {
    match &node.kind {
        Kind::Scalar(_) => cx.text(node).map(Value::Text),
        Kind::List(items) => Some(Value::List(items.clone())),
        Kind::Map(_) => Some(Value::Map(Rc::clone(node))),
    }
}

impl Fields {
    /// Opens `node`, which must be a map. Its value is never repeated: it may hold secrets.
    pub(super) fn open(cx: &mut Cx<'_>, what: &str, node: &Rc<Node>) -> Option<Fields> {
        match value(cx, node)? {
            Value::Map(node) => {
                let Kind::Map(map) = &node.kind else { return None };
                let mut fields = Fields {
                    what: what.to_owned(),
                    place: node.place,
                    entries: Vec::new(),
                    asked: Vec::new(),
                };
                fields.fill(cx, map, &mut HashSet::new());
                Some(fields)
            }
            other => {
                let message = format!(
                    "{} must be a map of keys and values, this is {}",
                    capital(what),
                    other.kind()
                );
                cx.report(
                    Rule::WrongType,
                    node.place,
                    message,
                    "Write `key: value` lines below it",
                );
                None
            }
        }
    }

    /// Adds the entries of `map`, and of what it merges, that are not there yet.
    fn fill(&mut self, cx: &mut Cx<'_>, map: &Map, inherited: &mut HashSet<String>) {
        let mut own: HashMap<String, Place> = HashMap::new();
        for (key, value) in &map.entries {
            let Some(name) = key_name(cx, key) else { continue };
            if let Some(first) = own.get(&name) {
                let (name, line, column) = (shown(&name), first.line, first.column);
                let message = format!(
                    "The key `{name}` stands here again, first in line {line}, column {column}"
                );
                cx.report(Rule::DuplicateKey, key.place, message, "Keep one of the two");
                continue;
            }
            own.insert(name.clone(), key.place);
            if !inherited.contains(&name) {
                let value = Rc::clone(value);
                self.entries.push(Field { key: name, place: key.place, value, taken: false });
            }
        }
        inherited.extend(own.into_keys());
        for merged in &map.merged {
            if let Kind::Map(map) = &merged.kind {
                self.fill(cx, map, inherited);
            }
        }
    }

    /// Takes what `key` holds, if anything.
    pub(super) fn node(&mut self, key: &'static str) -> Option<(Rc<Node>, Place)> {
        self.asked.push(key);
        let field = self.entries.iter_mut().find(|field| field.key == key)?;
        field.taken = true;
        Some((Rc::clone(&field.value), field.place))
    }

    /// Takes what `key` holds, with its variables replaced.
    pub(super) fn value(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Read<Value> {
        let Some((node, _)) = self.node(key) else { return Read::Absent };
        match value(cx, &node) {
            None => Read::Wrong,
            Some(Value::Text(text)) if text.is_null() => Read::Absent,
            Some(value) => Read::Is(value, node.place),
        }
    }

    /// Takes a map.
    pub(super) fn map(&mut self, cx: &mut Cx<'_>, key: &'static str) -> Option<Fields> {
        match self.value(cx, key) {
            Read::Is(Value::Map(node), _) => Fields::open(cx, &format!("`{key}`"), &node),
            Read::Is(other, place) => {
                let message =
                    format!("`{key}` must be a map of keys and values, this is {}", other.kind());
                cx.report(
                    Rule::WrongType,
                    place,
                    message,
                    format!("Write `key: value` lines below `{key}:`"),
                );
                None
            }
            Read::Absent | Read::Wrong => None,
        }
    }

    /// Whether `key` is there, even if null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|field| field.key == key)
    }

    /// Where `key` stands.
    pub(super) fn key_place(&self, key: &str) -> Place {
        let field = self.entries.iter().find(|field| field.key == key);
        field.map_or(self.place, |field| field.place)
    }

    /// The value, with a complaint when it is absent.
    pub(super) fn require<T>(
        &self,
        cx: &mut Cx<'_>,
        key: &str,
        read: Read<T>,
        hint: &str,
    ) -> Option<(T, Place)> {
        if let Read::Absent = read {
            let message = if self.has(key) {
                format!("`{key}` of {} has no value", self.what)
            } else {
                format!("{} has no `{key}`", capital(&self.what))
            };
            cx.report(Rule::MissingKey, self.key_place(key), message, hint);
        }
        read.placed()
    }

    /// Every key not asked for, with its place and value.
    pub(super) fn rest(&mut self) -> Vec<(String, Place, Rc<Node>)> {
        let left = self.entries.iter_mut().filter(|field| !field.taken);
        left.map(|field| {
            field.taken = true;
            (field.key.clone(), field.place, Rc::clone(&field.value))
        })
        .collect()
    }

    /// Passes over keys that are nobody's business.
    pub(super) fn accept(&mut self, whose: impl Fn(&str) -> bool) {
        for field in &mut self.entries {
            field.taken |= whose(&field.key);
        }
    }

    /// Complains of `keys` that are known, but do nothing here.
    pub(super) fn ignored(
        &mut self,
        cx: &mut Cx<'_>,
        keys: &[&'static str],
        why: &str,
        hint: &str,
    ) {
        for key in keys {
            if let Some(field) =
                self.entries.iter_mut().find(|field| field.key == *key && !field.taken)
            {
                field.taken = true;
                cx.report(Rule::IgnoredKey, field.place, format!("`{key}` {why}"), hint);
            }
        }
    }

    /// Ends the reading: complains of every key that was not asked for.
    pub(super) fn finish(mut self, cx: &mut Cx<'_>, habits: &[(&str, &str)]) {
        for (key, place, _) in self.rest() {
            let message = format!("`{}` is not a key of {}", shown(&key), self.what);
            cx.report(Rule::UnknownKey, place, message, hint_for(&key, &self.asked, habits));
        }
    }
}

fn key_name(cx: &mut Cx<'_>, key: &Node) -> Option<String> {
    if let Kind::Scalar(_) = key.kind {
        return cx.text(key).map(|text| text.text);
    }
    bad_key(cx, key.place);
    None
}

fn bad_key(cx: &mut Cx<'_>, place: Place) {
    let message = "A list or a map stands where a key must be a plain text";
    let hint = "Put quotes round a value that begins with `{` or `[`; templates are not rendered";
    cx.report(Rule::BadKey, place, message, hint);
}

/// Complains of a map in place of a single value; `{{ name }}` is a map with a map as its key.
pub(super) fn not_single(cx: &mut Cx<'_>, place: Place, key: &str, found: &Value) {
    if let Value::Map(node) = found
        && let Kind::Map(map) = &node.kind
        && let Some((inner, _)) = map.entries.first()
        && !matches!(inner.kind, Kind::Scalar(_))
    {
        return bad_key(cx, inner.place);
    }
    let _: Option<()> = super::values::wrong(cx, place, key, "a single value", found.kind());
}

fn hint_for(key: &str, known: &[&str], habits: &[(&str, &str)]) -> String {
    if let Some((_, meant)) = habits.iter().find(|(habit, _)| *habit == key) {
        return format!("Write `{meant}`");
    }
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => format!("Remove it; known are {}", listed(known)),
    }
}
