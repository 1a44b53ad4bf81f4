//! Answers in XML.

use std::fmt::{Display, Write as _};

use quick_xml::escape::escape;

/// A document while it is written.
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// The outermost element, in its namespace.
    pub(crate) fn root(&mut self, name: &str, namespace: &str, inner: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name} xmlns=\"{namespace}\">");
        inner(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element around others.
    pub(crate) fn within(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        inner(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with a text.
    pub(crate) fn text(&mut self, name: &str, text: impl Display) {
        let text = text.to_string();
        let _ = write!(self.0, "<{name}>{}</{name}>", escape(&text));
    }

    /// The same, if there is one.
    pub(crate) fn optional(&mut self, name: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with an `item` for each of these.
    pub(crate) fn items<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut inner: impl FnMut(&mut Self, T),
    ) {
        self.within(name, |xml| {
            for item in items {
                xml.within("item", |xml| inner(xml, item));
            }
        });
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}
