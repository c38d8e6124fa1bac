//! Owns how text becomes a tree: parses YAML into nodes with places, resolves
//! anchors, aliases and merge keys, and refuses what is broken or boundless.

use super::Rule;
use super::cx::Cx;
use super::mask::{Masked, Unmaskable, mask};
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
        let message = format!("The file has `{}` bytes, allowed are `{MAX_BYTES}`", text.len());
        cx.report(Rule::FileTooLarge, start, message, "Split it into several files");
        return None;
    }
    if let Some((place, c)) = control_character(source, text) {
        let message = format!("The character `U+{:04X}` is not allowed in YAML", u32::from(c));
        let hint = "Remove it, or write it as an escape in double quotes";
        cx.report(Rule::ControlCharacter, place, message, hint);
        return None;
    }
    let masked = match mask(source, text) {
        Ok(masked) => masked,
        Err(why) => {
            report_unmaskable(cx, start, why);
            return None;
        }
    };
    let extent = &Extent::of(source, text);
    let (stack, anchors) = (Vec::new(), HashMap::new());
    let result = Builder { cx, extent, masked: &masked, stack, anchors }.run();
    match result {
        Ok(root) => root,
        Err(Stop::Reported) => None,
        Err(Stop::Syntax(marker, info)) => {
            report_syntax(cx, text, extent.place(&marker), &info);
            None
        }
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
    extent: &'m Extent,
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
        if let Some(node) = self.anchors.get(&anchor) {
            return Ok(Rc::clone(node));
        }
        let message = "An alias stands inside the value it stands for";
        let hint = "Move the anchor to a value that does not contain its own alias";
        self.cx.report(Rule::RecursiveAlias, place, message, hint);
        Err(Stop::Reported)
    }

    /// Puts a complete node where it belongs; gives it back when it is the root.
    fn attach(&mut self, node: Rc<Node>) -> Result<Option<Rc<Node>>, Stop> {
        if self.stack.len() + node.height > MAX_DEPTH + 1 {
            return Err(self.too_deep(node.place));
        }
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
            let message =
                format!("The tag `{}` has no meaning here", super::cx::shown(&tag.to_string()));
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

/// The width of every line of a source, to keep places inside it: the parser
/// puts what it misses at the end on a line after the last.
struct Extent {
    source: usize,
    widths: Vec<usize>,
}

impl Extent {
    fn of(source: usize, text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        Self { source, widths: text.split(['\n', '\r']).map(|line| line.chars().count()).collect() }
    }

    fn place(&self, marker: &Marker) -> Place {
        let line = marker.line().clamp(1, self.widths.len());
        let width = self.widths.get(line - 1).copied().unwrap_or(0);
        let column = if marker.line() > line { width } else { marker.col().min(width) };
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place { source: self.source, line: number(line), column: number(column + 1) }
    }
}

fn report_unmaskable(cx: &mut Cx<'_>, start: Place, why: Unmaskable) {
    match why {
        Unmaskable::TooMany(place) => {
            let message = "The file refers to more variables than can be told apart";
            cx.report(Rule::TooManyVariables, place, message, "Split it into several files");
        }
        Unmaskable::NoPlane => {
            let message = "The file uses characters of both supplementary private-use planes";
            cx.report(Rule::ControlCharacter, start, message, "Remove those of one plane");
        }
    }
}

/// The first character that YAML forbids.
fn control_character(source: usize, text: &str) -> Option<(Place, char)> {
    let forbidden = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{fffe}' | '\u{ffff}' | '\u{feff}' => true,
        c => c.is_control(),
    };
    let at = text.find(forbidden)?;
    Some((place_at(source, text, at), text[at..].chars().next()?))
}

/// The place of a byte offset.
fn place_at(source: usize, text: &str, at: usize) -> Place {
    let before = &text[..at];
    let breaks = |text: &str| {
        let crlf = text.matches("\r\n").count();
        text.matches(['\n', '\r']).count() - crlf
    };
    let line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    let number = |value: usize| u32::try_from(value + 1).unwrap_or(u32::MAX);
    Place { source, line: number(breaks(before)), column: number(line.chars().count()) }
}

fn report_syntax(cx: &mut Cx<'_>, text: &str, place: Place, info: &str) {
    if let Some(tab) = tab_near(text, place) {
        let hint = "Replace the tab by spaces; YAML indents with spaces only";
        cx.report(Rule::TabIndentation, tab, "A tab stands where YAML wants spaces", hint);
        return;
    }
    let message = format!("This is not YAML: {}", super::cx::quoted(info));
    cx.report(Rule::YamlSyntax, place, message, syntax_hint(info));
}

/// The tab in the indentation of the line of `place` or of the one before it.
fn tab_near(text: &str, place: Place) -> Option<Place> {
    let candidates = [place.line, place.line.saturating_sub(1)];
    candidates.into_iter().find_map(|line| {
        let content = text.lines().nth(line.checked_sub(1)? as usize)?;
        let indent = &content[..content.len() - content.trim_start_matches([' ', '\t', '-']).len()];
        let column = indent.find('\t')? + 1;
        Some(Place { line, column: u32::try_from(column).unwrap_or(u32::MAX), ..place })
    })
}

fn syntax_hint(info: &str) -> &'static str {
    let hints = [
        ("unknown anchor", "Define the anchor with `&name` before its first `*name`"),
        ("quoted scalar", "Close the quote that was opened before this place"),
        ("end of stream", "Close the quote or bracket that was opened before this place"),
        (
            "mapping values",
            "Put quotes round a value that contains `: `, and check the indentation",
        ),
        ("indentation", "Indent this line like its neighbours of the same level"),
        ("',' or", "Close the bracket, or put a comma between the values"),
        ("bracket", "Close the brackets in the order they were opened"),
        ("unexpected character", "Put quotes round a value that begins with a sign"),
        ("simple key", "Put `: ` after the key, and check the indentation"),
        ("block", "Check the indentation of this line against the lines above"),
    ];
    let found = hints.iter().find(|(words, _)| info.contains(words));
    found.map_or(
        "Check indentation, quotes and brackets at this place and just above",
        |(_, hint)| hint,
    )
}
