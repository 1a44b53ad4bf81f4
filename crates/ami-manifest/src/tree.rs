//! A manifest's XML as a tree of elements with their positions in the text.
//!
//! Document types are refused, and so are entities other than XML's own five and character references, so a manifest cannot make its
//! reader open other files or use unlimited memory. Elements and attributes are limited too, because each takes more memory than its
//! text.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, shortened};

/// How deep elements can be nested. Those of a manifest are five deep.
const DEEPEST: usize = 32;

/// The limit on elements and attributes together: a part has three and two, so there is room for more than 100,000 parts.
pub(crate) const MOST_NODES: usize = 600_000;

/// The limit on an element's attributes, which are compared with each other. Those of a manifest have one.
const MOST_ATTRIBUTES: usize = 32;

/// An element.
#[derive(Debug, Default)]
pub(crate) struct Element<'t> {
    pub(crate) name: &'t str,
    pub(crate) attributes: Vec<(String, String)>,
    /// All text directly in it.
    pub(crate) text: String,
    pub(crate) children: Vec<Element<'t>>,
    /// From the start tag's `<` to the end tag's `>`, in bytes.
    pub(crate) span: Range<usize>,
}

/// Reads a whole document and returns its root element.
pub(crate) fn parse(text: &str) -> Result<Element<'_>, Error> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    // The innermost open element is last.
    let mut open: Vec<Element<'_>> = Vec::new();
    let mut root = None;
    let mut nodes = 0;
    loop {
        let start = position(&reader);
        let event = reader.read_event().map_err(not_well_formed)?;
        let end = position(&reader);
        match event {
            Event::Start(tag) => {
                refuse_second_root(root.is_some())?;
                if open.len() == DEEPEST {
                    return Err(Error::Xml("its elements are nested too deep".to_owned()));
                }
                open.push(element(&tag, text, start, &mut nodes)?);
            }
            Event::Empty(tag) => {
                refuse_second_root(root.is_some())?;
                let element = element(&tag, text, start, &mut nodes)?;
                close(element, end, &mut open, &mut root);
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(element, end, &mut open, &mut root);
                }
            }
            Event::Text(part) => add_text(&mut open, &part.xml10_content())?,
            Event::CData(part) => add_text(&mut open, &part.xml10_content())?,
            Event::GeneralRef(name) => add_text(&mut open, &resolve(&name)?)?,
            Event::DocType(_) => return Err(Error::DocType),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => break,
        }
    }
    match open.last() {
        Some(element) => Err(Error::Xml(format!(
            "it ends within the element {:?}",
            shortened(element.name)
        ))),
        None => root.ok_or_else(|| Error::Xml("there is no element in it".to_owned())),
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn not_well_formed(error: XmlError) -> Error {
    Error::Xml(error.to_string())
}

fn refuse_second_root(has_root: bool) -> Result<(), Error> {
    if has_root {
        return Err(Error::Xml("it has a second root element".to_owned()));
    }
    Ok(())
}

/// The element that the tag at `start` in `text` begins.
fn element<'t>(
    tag: &BytesStart<'_>,
    text: &'t str,
    start: usize,
    nodes: &mut usize,
) -> Result<Element<'t>, Error> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| Error::Xml(e.to_string()))?;
        if attributes.len() == MOST_ATTRIBUTES {
            return Err(Error::Xml("an element has too many attributes".to_owned()));
        }
        let key: &str = attribute.key.as_ref();
        let value: &str = &attribute.value;
        attributes.push((key.to_owned(), value.to_owned()));
    }
    *nodes += 1 + attributes.len();
    if *nodes > MOST_NODES {
        return Err(Error::TooManyElements { limit: MOST_NODES });
    }
    // After the `<`.
    let name = start + 1..start + 1 + tag.name().into_inner().len();
    Ok(Element {
        name: text.get(name).unwrap_or_default(),
        attributes,
        span: start..start,
        ..Element::default()
    })
}

fn close<'t>(
    mut element: Element<'t>,
    end: usize,
    open: &mut [Element<'t>],
    root: &mut Option<Element<'t>>,
) {
    element.span.end = end;
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn add_text(open: &mut [Element<'_>], text: &str) -> Result<(), Error> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => {
            return Err(Error::Xml(format!(
                "there is text outside the root element: {:?}",
                shortened(text.trim())
            )));
        }
    }
    Ok(())
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, Error> {
    if let Some(character) = reference.resolve_char_ref().map_err(not_well_formed)? {
        return Ok(character.to_string());
    }
    let name: &str = reference;
    quick_xml::escape::resolve_xml_entity(name)
        .map(str::to_owned)
        .ok_or_else(|| Error::Xml(format!("the entity {:?} is not defined", shortened(name))))
}

impl<'t> Element<'t> {
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Element<'t>> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(crate) fn at_most_one<'a>(
        &'a self,
        name: &str,
        path: &str,
    ) -> Result<Option<&'a Element<'t>>, Error> {
        let mut found = self.all(name);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Error::Twice {
                element: format!("{path}{name}"),
            }),
        }
    }

    pub(crate) fn one<'a>(&'a self, name: &str, path: &str) -> Result<&'a Element<'t>, Error> {
        self.at_most_one(name, path)?.ok_or_else(|| Error::Missing {
            element: format!("{path}{name}"),
        })
    }

    /// The text of the only child of this name, which must not be empty.
    pub(crate) fn text_of(&self, name: &str, path: &str) -> Result<String, Error> {
        let child = self.one(name, path)?;
        match child.text.trim() {
            "" => Err(child.invalid(path, "a text")),
            text => Ok(text.to_owned()),
        }
    }

    pub(crate) fn list(&self, name: &str, item: &str, path: &str) -> Result<Vec<String>, Error> {
        let list = self.at_most_one(name, path)?;
        Ok(list
            .into_iter()
            .flat_map(|list| list.all(item))
            .map(|item| item.text.trim().to_owned())
            .collect())
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    pub(crate) fn expect_algorithm(&self, expected: &'static str, path: &str) -> Result<(), Error> {
        match self.attribute("algorithm") {
            Some(found) if found != expected => Err(Error::Invalid {
                element: format!("{path}{}/@algorithm", self.name),
                found: shortened(found),
                expected,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn invalid(&self, path: &str, expected: &'static str) -> Error {
        Error::Invalid {
            element: format!("{path}{}", self.name),
            found: shortened(self.text.trim()),
            expected,
        }
    }
}
