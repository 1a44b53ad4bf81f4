//! A manifest's XML as a tree of elements that know where in the text they stand.
//!
//! No document types, no entities but XML's own five and character references: nothing in a manifest can make its reading reach
//! for other files or grow.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, shortened};

/// How deep elements may be nested; a manifest's own are five deep.
const DEEPEST: usize = 32;

/// An element.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    /// All text directly in it.
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
    /// From the start tag's `<` to the end tag's `>`, in bytes.
    pub(crate) span: Range<usize>,
}

/// Reads a whole document and gives its root element.
pub(crate) fn parse(text: &str) -> Result<Element, Error> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    // The last is the innermost of the elements that are open.
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
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
                open.push(element(&tag, start)?);
            }
            Event::Empty(tag) => {
                refuse_second_root(root.is_some())?;
                let element = element(&tag, start)?;
                close(element, end, &mut open, &mut root);
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(element, end, &mut open, &mut root);
                }
            }
            Event::Text(text) => add_text(&mut open, &text.xml10_content())?,
            Event::CData(text) => add_text(&mut open, &text.xml10_content())?,
            Event::GeneralRef(name) => add_text(&mut open, &resolve(&name)?)?,
            Event::DocType(_) => return Err(Error::DocType),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => break,
        }
    }
    match open.last() {
        Some(element) => Err(Error::Xml(format!(
            "it ends within the element {:?}",
            shortened(&element.name)
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

fn element(tag: &BytesStart<'_>, start: usize) -> Result<Element, Error> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| Error::Xml(e.to_string()))?;
        let key: &str = attribute.key.as_ref();
        let value: &str = &attribute.value;
        attributes.push((key.to_owned(), value.to_owned()));
    }
    let name: &str = tag.name().into_inner();
    Ok(Element {
        name: name.to_owned(),
        attributes,
        span: start..start,
        ..Element::default()
    })
}

fn close(mut element: Element, end: usize, open: &mut [Element], root: &mut Option<Element>) {
    element.span.end = end;
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), Error> {
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
