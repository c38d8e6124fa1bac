//! Owns how text becomes a tree: parses YAML into nodes with places, resolves
//! anchors, aliases and merge keys, and refuses what is broken or boundless.

mod complaints;
mod extent;

use self::extent::Extent;
use super::Rule;
use super::cx::{Cx, shown};
use super::mask::{Masked, mask};
use super::tree::{Kind, Map, Node, Piece, Place, Scalar};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use std::collections::HashMap;
use std::rc::Rc;

/// Largest file, in bytes: thousands of services fit in a tenth of it.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting with aliases written out; a configuration needs seven.
pub(super) const MAX_DEPTH: usize = 32;
/// Most values with aliases written out, so that no file grows beyond its size in work.
pub(super) const MAX_VALUES: u64 = 1_000_000;

/// Parses one source. None when it is empty or so broken that nothing of it can
/// be trusted; the complaints are then in `cx`.
pub(super) fn parse(cx: &mut Cx<'_>, source: usize) -> Option<Rc<Node>> {
    let text = cx.sources.get(source)?.text.as_str();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = Place { source, line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        complaints::too_large(cx, start, text.len());
        return None;
    }
    let extent = &Extent::of(source, text);
    if let Some((place, c)) = extent.find(is_forbidden) {
        complaints::forbidden(cx, place, c);
        return None;
    }
    let masked = match mask(source, text) {
        Ok(masked) => masked,
        Err(why) => {
            complaints::unmaskable(cx, start, why);
            return None;
        }
    };
    let (stack, anchors) = (Vec::new(), HashMap::new());
    let result = Builder { cx, extent, masked: &masked, stack, anchors }.run();
    match result {
        Ok(root) => root,
        Err(Stop::Reported) => None,
        Err(Stop::Syntax(marker, info)) => {
            complaints::syntax(cx, extent, &marker, &info);
            None
        }
    }
}

/// Whether YAML forbids a character.
fn is_forbidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{fffe}' | '\u{ffff}' | '\u{feff}' => true,
        c => c.is_control(),
    }
}

/// Why building the tree ended early.
enum Stop {
    /// The complaint is made.
    Reported,
    /// The parser's own complaint.
    Syntax(Marker, String),
}

/// A collection that is still open.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map(Map, Option<Rc<Node>>),
}

struct Builder<'c, 'e, 'm> {
    cx: &'c mut Cx<'e>,
    extent: &'m Extent<'m>,
    masked: &'m Masked,
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl Builder<'_, '_, '_> {
    fn run(&mut self) -> Result<Option<Rc<Node>>, Stop> {
        let mut parser = Parser::new_from_str(&self.masked.text);
        let (mut root, mut documents) = (None, 0);
        while let Some(event) = parser.next_event() {
            let (event, span) =
                event.map_err(|error| Stop::Syntax(*error.marker(), error.info().to_owned()))?;
            match event {
                Event::DocumentStart(_) if documents == 1 => {
                    self.report_second_document(&span);
                    break;
                }
                Event::DocumentStart(_) => documents += 1,
                Event::StreamEnd => break,
                event => {
                    if let Some(node) = self.node(event, &span)? {
                        root = self.attach(node)?.or(root);
                    }
                }
            }
        }
        Ok(root)
    }

    /// The node that `event` completes, if it does.
    fn node(&mut self, event: Event<'_>, span: &Span) -> Result<Option<Rc<Node>>, Stop> {
        let place = self.extent.place(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = self.is_text_tag(place, tag.as_deref());
                let pieces = self.masked.pieces(&text, style);
                let plain = style == ScalarStyle::Plain && !quoted;
                Ok(Some(self.keep(anchor, Node::scalar(place, Scalar { pieces, plain }))))
            }
            Event::Alias(anchor) => self.alias(place, anchor).map(Some),
            Event::SequenceStart(anchor, tag) => {
                self.is_text_tag(place, tag.as_deref());
                self.open(place, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.is_text_tag(place, tag.as_deref());
                self.open(place, anchor, Content::Map(Map::default(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => Ok(self.close()),
            _ => Ok(None),
        }
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        content: Content,
    ) -> Result<Option<Rc<Node>>, Stop> {
        if self.stack.len() == MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        self.stack.push(Open { place, anchor, content });
        Ok(None)
    }

    fn close(&mut self) -> Option<Rc<Node>> {
        let open = self.stack.pop()?;
        let node = match open.content {
            Content::List(items) => Node::list(open.place, items),
            Content::Map(map, _) => Node::map(open.place, map),
        };
        Some(self.keep(open.anchor, node))
    }

    fn keep(&mut self, anchor: usize, node: Node) -> Rc<Node> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        node
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<Rc<Node>, Stop> {
        if let Some(node) = self.anchors.get(&anchor).map(Rc::clone) {
            let deep = self.stack.len() + node.height > MAX_DEPTH + 1;
            return if deep { Err(self.too_deep(place)) } else { Ok(node) };
        }
        let message = "An alias stands inside the value it stands for";
        let hint = "Move the anchor to a value that does not contain its own alias";
        self.cx.report(Rule::RecursiveAlias, place, message, hint);
        Err(Stop::Reported)
    }

    /// Puts a complete node where it belongs; gives it back when it is the root.
    fn attach(&mut self, node: Rc<Node>) -> Result<Option<Rc<Node>>, Stop> {
        if node.weight > MAX_VALUES {
            let message =
                format!("With its aliases written out it holds over `{MAX_VALUES}` values");
            let hint = "Use fewer aliases of aliases";
            self.cx.report(Rule::TooManyAliases, node.place, message, hint);
            return Err(Stop::Reported);
        }
        let Some(open) = self.stack.last_mut() else { return Ok(Some(node)) };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map(_, key @ None) => *key = Some(node),
            Content::Map(map, key) => {
                let Some(key) = key.take() else { return Ok(None) };
                if is_merge(&key) {
                    merge(self.cx, map, &node);
                } else {
                    map.entries.push((key, node));
                }
            }
        }
        Ok(None)
    }

    fn too_deep(&mut self, place: Place) -> Stop {
        let message = format!("Values are nested deeper than `{MAX_DEPTH}` levels");
        self.cx.report(
            Rule::TooDeep,
            place,
            message,
            "Flatten them; no setting lies deeper than 7",
        );
        Stop::Reported
    }

    /// Whether a tag makes a text of the value; unknown tags are complained of.
    fn is_text_tag(&mut self, place: Place, tag: Option<&Tag>) -> bool {
        let Some(tag) = tag else { return false };
        let core = ["str", "int", "float", "bool", "null", "map", "seq"];
        let known = tag.is_yaml_core_schema() && core.contains(&tag.suffix.as_str());
        if !known && !tag.suffix.is_empty() {
            let message = format!("The tag `{}` has no meaning here", shown(&tag.to_string()));
            self.cx.report(Rule::UnknownTag, place, message, "Remove the tag");
        }
        tag.suffix == "str" || (tag.handle == "!" && tag.suffix.is_empty())
    }

    fn report_second_document(&mut self, span: &Span) {
        let place = self.extent.place(&span.start);
        let message = "A second YAML document starts here, only the first is read";
        let hint = "Put it into a file of its own, or remove the `---` before it";
        self.cx.report(Rule::MultipleDocuments, place, message, hint);
    }
}

fn is_merge(key: &Node) -> bool {
    let Kind::Scalar(Scalar { pieces, plain: true }) = &key.kind else { return false };
    matches!(pieces.as_slice(), [Piece::Text(text)] if text == "<<")
}

fn merge(cx: &mut Cx<'_>, map: &mut Map, value: &Rc<Node>) {
    match &value.kind {
        Kind::Map(_) => map.merged.push(Rc::clone(value)),
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            map.merged.extend(items.iter().cloned());
        }
        _ => {
            let hint =
                "Give `<<` an alias of a map, such as `<<: *common`, or a list of such aliases";
            cx.report(Rule::BadMerge, value.place, "`<<` merges only maps", hint);
        }
    }
}
