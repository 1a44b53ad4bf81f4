//! Shows the events of bundling and unbundling on the command line: a bar, warnings and the log.

use std::path::Path;
use std::sync::OnceLock;

use ami_bundle::Event;
use ami_manifest::BundleContents;
use tracing::debug;

use crate::context::Context;
use crate::failure::one_line;
use crate::progress::Progress;

/// Shows a story's progress while it runs.
pub struct Story<'a> {
    context: &'a Context,
    manifest: &'a Path,
    bar: OnceLock<Progress>,
}

impl<'a> Story<'a> {
    /// A story that reads no manifest.
    pub fn new(context: &'a Context) -> Self {
        Self::of_manifest(Path::new(""), context)
    }

    /// A story that reads the manifest at this path.
    pub fn of_manifest(manifest: &'a Path, context: &'a Context) -> Self {
        Self {
            context,
            manifest,
            bar: OnceLock::new(),
        }
    }

    /// Shows an event.
    pub fn tell(&self, event: &Event<'_>) {
        match event {
            Event::ManifestRead(contents) => {
                self.warn_of_lacks(contents);
                debug!(version = ?contents.version, name = contents.name, size = contents.size, "manifest read");
            }
            Event::Space { free, needed } => debug!(free, needed, "space at the destination"),
            Event::Begins { bytes } => {
                debug!(bytes, "reading begins");
                let _ = self.bar.set(Progress::bytes(self.context, *bytes));
            }
            Event::Read(count) => {
                if let Some(bar) = self.bar.get() {
                    bar.add(*count);
                }
            }
            Event::Ends => {
                if let Some(bar) = self.bar.get() {
                    bar.clear();
                }
            }
            _ => {}
        }
    }

    /// Warns about what the manifest lacks, although its bundle can be read without.
    fn warn_of_lacks(&self, contents: &BundleContents) {
        for lack in &contents.lacks {
            let lack = one_line(lack);
            self.context.warn(&format!(
                "The manifest {} is incomplete: {lack}.",
                self.manifest.display()
            ));
        }
    }
}
