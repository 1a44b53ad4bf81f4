//! The files of a bundle that are to be deleted.

use std::path::Path;

use ami_cli::{Answer, Context, Failure, OrExit, exit};
use ami_manifest::BundleContents;
use ami_s3_cli::Session;

/// Files in the bucket, by whether their names say that they belong to a bundle.
///
/// Whoever made a manifest chose the names in it. Under a name that no part has there may be anything.
pub struct Named {
    /// The manifest, then parts that are called as parts are.
    pub usual: Vec<String>,
    /// What else the manifest names.
    pub odd: Vec<String>,
}

impl Named {
    /// What a manifest names, and it itself.
    pub fn of(manifest: &Path, context: &Context) -> Result<Self, Failure> {
        let contents = BundleContents::load(manifest)
            .and_then(|contents| contents.with_name(manifest))
            .or_exit(exit::OTHER)?;
        context.warn_of_lacks(manifest, &contents);
        let name = manifest.file_name().unwrap_or_default();
        let names = contents.parts.into_iter();
        let (parts, odd): (Vec<_>, Vec<_>) = names
            .map(|part| part.filename)
            .partition(|name| ami_parts::is_part_name(name));
        let manifest = name.to_string_lossy().into_owned();
        Ok(Self {
            usual: std::iter::once(manifest).chain(parts).collect(),
            odd,
        })
    }

    /// Adds what else the manifest names to what is deleted, as far as it may be: after a question of its own, which `--yes` does
    /// not answer, and never hidden files. Gives and tells of what is kept.
    pub fn settle_odd(&mut self, session: &Session<'_>) -> Result<Vec<String>, Failure> {
        let (mut kept, odd): (Vec<_>, Vec<_>) = std::mem::take(&mut self.odd)
            .into_iter()
            .partition(|name| ami_parts::is_hidden(name));
        if !odd.is_empty() && agree(&odd, session)? {
            self.usual.extend(odd);
        } else {
            kept.extend(odd);
        }
        for name in &kept {
            session.context.warn(&format!(
                "Not deleted: {name}, which the manifest names and which is not called as a part is (NAME.part.NUMBER)."
            ));
        }
        Ok(kept)
    }
}

/// Asks, where somebody can answer.
fn agree(odd: &[String], session: &Session<'_>) -> Result<bool, Failure> {
    if session.context.is_batch() {
        return Ok(false);
    }
    session.say("The manifest also names files that are not called as parts are:")?;
    for name in odd {
        session.say(&format!("   - {name}"))?;
    }
    let answer = session.context.confirm("Delete these too [y/N]: ")?;
    if answer == Answer::None {
        session.say("")?;
    }
    Ok(answer == Answer::Yes)
}
