//! The journal of a publication: which files get which names, and which older files are moved out of the way.
//!
//! It is text with one item on each line. Fields are separated by a space; names are in hex, times are `SECONDS.NANOSECONDS` or `-`:
//!
//! | line | fields |
//! |---|---|
//! | `ec2-ami-tools journal 2` | first |
//! | `folder` | inode and time of birth of the private folder that contains the journal |
//! | `old` | size, modification time and name of an older file, which moves to `old.N` in the private folder; N counts these lines from 0 |
//! | `new` | inode, size, modification time, time of birth, name in the private folder, name in the destination; the last one completes the publication |
//! | `end` | last |
//!
//! A journal may be forged: anyone who can write to the destination can put a folder there. So a journal is valid only in the folder in
//! which it was written, and it can move only files whose inode and time of birth it names, or files in that folder.

use std::collections::HashSet;
use std::fmt::Write;

use crate::folder::{Identity, Moment, is_component};
use crate::names;

/// Its name in the private folder.
pub(crate) const JOURNAL: &str = "journal";

/// Its name until it is complete.
pub(crate) const UNFINISHED: &str = "journal.new";

/// The size limit in bytes. An entry takes some 200 bytes, and the largest manifest names fewer than 300,000 files.
pub(crate) const LARGEST: usize = 64 << 20;

const HEAD: &str = "ec2-ami-tools journal 2";
const END: &str = "end";

/// The prefix of the names of private folders, in all versions.
pub(crate) const PRIVATE: &str = ".ec2-ami-tools";

/// A file of the private folder that gets a name in the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) identity: Identity,
    pub(crate) staged: String,
    pub(crate) target: String,
}

/// A file of the destination that is moved out of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Old {
    /// Size and modification time; the rest may change when it is moved.
    pub(crate) size: u64,
    pub(crate) modified: Moment,
    pub(crate) target: String,
}

impl Old {
    /// Whether this is still the same file. Does not compare inodes, because overlayfs changes that of a file of its lower layer on a move.
    pub(crate) fn is(&self, now: &Identity) -> bool {
        (now.size, now.modified) == (self.size, self.modified)
    }
}

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The private folder's inode and time of birth.
    pub(crate) folder: (u64, Option<Moment>),
    /// In the order in which they are moved: manifests first.
    pub(crate) old: Vec<Old>,
    /// In the order in which they get their names. Never empty.
    pub(crate) new: Vec<New>,
}

impl Journal {
    /// Where an older file is kept in the private folder.
    pub(crate) fn slot(index: usize) -> String {
        format!("old.{index}")
    }

    /// The file that completes the publication.
    pub(crate) fn last(&self) -> Option<&New> {
        self.new.last()
    }

    /// Whether the name is that of a manifest, without which the other files cannot be mistaken for a bundle.
    pub(crate) fn is_manifest(&self, target: &str) -> bool {
        target.ends_with(names::MANIFEST_SUFFIX)
            || self.last().is_some_and(|last| last.target == target)
    }

    pub(crate) fn to_text(&self) -> String {
        // Writing to a string does not fail.
        let mut text = String::new();
        let (inode, born) = self.folder;
        let _ = writeln!(text, "{HEAD}\nfolder {inode} {}", moment(born));
        for old in &self.old {
            let (modified, target) = (moment(Some(old.modified)), hex::encode(&old.target));
            let _ = writeln!(text, "old {} {modified} {target}", old.size);
        }
        for new in &self.new {
            let Identity {
                inode,
                size,
                modified,
                born,
            } = new.identity;
            let (modified, born) = (moment(Some(modified)), moment(born));
            let (staged, target) = (hex::encode(&new.staged), hex::encode(&new.target));
            let _ = writeln!(
                text,
                "new {inode} {size} {modified} {born} {staged} {target}"
            );
        }
        text + END + "\n"
    }

    /// Parses a journal; `None` if this program cannot have written it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        if lines.next()? != HEAD || lines.next_back()? != END {
            return None;
        }
        let mut fields = Fields::of(lines.next()?, "folder")?;
        let folder = (fields.number()?, fields.moment()?);
        fields.end()?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for line in lines {
            if let Some(fields) = Fields::of(line, "old") {
                // `old` lines come first.
                if !new.is_empty() {
                    return None;
                }
                old.push(fields.old_file()?);
            } else {
                new.push(Fields::of(line, "new")?.new_file()?);
            }
        }
        let journal = Self { folder, old, new };
        journal.is_sound().then_some(journal)
    }

    /// Whether it can be parsed again.
    pub(crate) fn is_sound(&self) -> bool {
        fn unique<'a>(mut names: impl Iterator<Item = &'a String>) -> bool {
            let mut seen = HashSet::new();
            names.all(|name| seen.insert(name))
        }
        !self.new.is_empty()
            && self
                .new
                .iter()
                .all(|new| is_target(&new.target) && is_staged(&new.staged))
            && self.old.iter().all(|old| may_make_way(&old.target))
            && unique(self.new.iter().map(|new| &new.target))
            && unique(self.new.iter().map(|new| &new.staged))
            && unique(self.old.iter().map(|old| &old.target))
    }
}

/// Whether a file may get this name in the destination.
pub(crate) fn is_target(name: &str) -> bool {
    is_component(name) && !name.starts_with(PRIVATE)
}

/// Whether a file of this name may be replaced. Hidden files can configure shells and services, so of these only a bundle's may.
pub(crate) fn may_make_way(name: &str) -> bool {
    is_target(name) && (!name.starts_with('.') || names::has_bundle_shape(name))
}

/// Whether it is a name for content of the private folder, and not one that the program itself uses there.
pub(crate) fn is_staged(name: &str) -> bool {
    is_component(name)
        && !name.starts_with('.')
        && !name.starts_with("old.")
        && ![JOURNAL, UNFINISHED, crate::turn::TURN].contains(&name)
}

fn moment(moment: Option<Moment>) -> String {
    moment.map_or_else(
        || "-".to_owned(),
        |(seconds, nanos)| format!("{seconds}.{nanos}"),
    )
}

/// The fields of a line after its first word.
struct Fields<'a>(std::str::Split<'a, char>);

impl<'a> Fields<'a> {
    fn of(line: &'a str, word: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        (fields.next()? == word).then_some(Self(fields))
    }

    fn number<T: std::str::FromStr + ToString>(&mut self) -> Option<T> {
        number(self.0.next()?)
    }

    fn moment(&mut self) -> Option<Option<Moment>> {
        let field = self.0.next()?;
        if field == "-" {
            return Some(None);
        }
        let (seconds, nanos) = field.split_once('.')?;
        Some(Some((number(seconds)?, number(nanos)?)))
    }

    fn name(&mut self) -> Option<String> {
        let field = self.0.next()?;
        let name = String::from_utf8(hex::decode(field).ok()?).ok()?;
        // There is only one valid encoding of a name.
        (hex::encode(&name) == field).then_some(name)
    }

    fn end(mut self) -> Option<()> {
        self.0.next().is_none().then_some(())
    }

    fn old_file(mut self) -> Option<Old> {
        let old = Old {
            size: self.number()?,
            modified: self.moment()??,
            target: self.name()?,
        };
        self.end()?;
        Some(old)
    }

    fn new_file(mut self) -> Option<New> {
        let new = New {
            identity: Identity {
                inode: self.number()?,
                size: self.number()?,
                modified: self.moment()??,
                born: self.moment()?,
            },
            staged: self.name()?,
            target: self.name()?,
        };
        self.end()?;
        Some(new)
    }
}

/// Parses a number, of which there is only one valid spelling.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    let number: T = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The fuzz target's entry point.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use super::Journal;

    /// Reads bytes as a journal.
    ///
    /// # Panics
    /// If a parsed journal is not written back identically, or contains a path.
    pub fn journal(bytes: &[u8]) {
        let Some(journal) = Journal::parse(bytes) else {
            return;
        };
        assert_eq!(journal.to_text().as_bytes(), bytes);
        let old = journal.old.iter().map(|old| &old.target);
        let new = journal
            .new
            .iter()
            .flat_map(|new| [&new.staged, &new.target]);
        for name in old.chain(new) {
            assert!(
                !name.contains('/')
                    && !name.contains('\0')
                    && !["", ".", ".."].contains(&name.as_str())
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let new = |inode, staged: &str, target: &str| New {
            identity: Identity {
                inode,
                size: 7,
                modified: (-1, 999_999_999),
                born: Some((1_700_000_000, 5)),
            },
            staged: staged.into(),
            target: target.into(),
        };
        Journal {
            folder: (99, Some((1_700_000_000, 0))),
            old: vec![Old {
                size: 3,
                modified: (12, 0),
                target: "x y\n.manifest.xml".into(),
            }],
            new: vec![
                new(5, "part.0", "x.part.0"),
                new(6, "manifest", "é.manifest.xml"),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = journal().to_text();
        assert_eq!(Journal::parse(text.as_bytes()), Some(journal()));
        let expected = "ec2-ami-tools journal 2\nfolder 99 1700000000.0\n\
            old 3 12.0 7820790a2e6d616e69666573742e786d6c\n\
            new 5 7 -1.999999999 1700000000.5 706172742e30 782e706172742e30\n\
            new 6 7 -1.999999999 1700000000.5 6d616e6966657374 c3a92e6d616e69666573742e786d6c\n\
            end\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_no_journal() {
        let text = journal().to_text();
        for length in 0..text.len() {
            assert_eq!(Journal::parse(&text.as_bytes()[..length]), None, "{length}");
        }
        for (from, to) in [
            ("folder 99", "folder 099"),
            ("folder 99", "folder -99"),
            ("journal 2", "journal 3"),
            ("782e706172742e30", "782E706172742E30"),
            ("782e706172742e30", "7zz"),
            ("old 3 ", "old 3 3 "),
            ("end\n", "end\nend\n"),
        ] {
            assert_eq!(
                Journal::parse(text.replace(from, to).as_bytes()),
                None,
                "{from}"
            );
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        let with = |change: &dyn Fn(&mut Journal)| {
            let mut journal = journal();
            change(&mut journal);
            Journal::parse(journal.to_text().as_bytes())
        };
        for name in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "nul\0",
            ".ec2-ami-tools-work.1",
        ] {
            assert_eq!(with(&|j| j.new[0].target = name.into()), None, "{name}");
            assert_eq!(with(&|j| j.new[0].staged = name.into()), None, "{name}");
            assert_eq!(with(&|j| j.old[0].target = name.into()), None, "{name}");
        }
        for name in [".bashrc", ".x.part."] {
            assert_eq!(with(&|j| j.old[0].target = name.into()), None, "{name}");
        }
        assert!(with(&|j| j.old[0].target = ".x.part.0".into()).is_some());
        for name in ["journal", "journal.new", "turn", "old.0", ".x"] {
            assert_eq!(with(&|j| j.new[0].staged = name.into()), None, "{name}");
        }
        assert_eq!(with(&|j| j.new[1] = j.new[0].clone()), None);
        assert_eq!(with(&|j| j.new.clear()), None);
    }
}
