//! Which files a list of patterns leaves out, in rsync's language (rsync(1), "PATTERN MATCHING RULES").
//!
//! Paths are relative to the volume; the first rule whose pattern matches decides. Each pattern becomes a regular expression over
//! the path with a slash before it, so that all are matched in one pass and none can take more than linear time.
//!
//! | pattern | matches |
//! |---|---|
//! | `/a/b` | from the volume's root |
//! | `a`, `a/b`, `a**b` | at the end of the path, from the beginning of any name in it |
//! | `a/` | folders only |
//! | `*`, `?`, `[a-z]` | within a name; `**` also across slashes |
//! | `a/***` | the folder and all that is in it |
//! | `\` | takes the next character as it is, in patterns with one of `*?[` only |

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::error::Error;

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The request's patterns of what is copied.
    Include,
    /// The request's patterns of what is left out.
    Exclude,
    /// The list of secrets and leftovers, [`SECRETS_AND_LEFTOVERS`].
    Filter,
}

/// A pattern and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The pattern as it was given.
    pub pattern: String,
    /// Whether it leaves out or brings back.
    pub origin: Origin,
}

/// What the older suite leaves out by default: what must not get into a public image.
pub const SECRETS_AND_LEFTOVERS: [&str; 14] = [
    "*/#*#",
    "*/.#*",
    "*.sw",
    "*.swo",
    "*.swp",
    "*~",
    "*.pem",
    "*.priv",
    "*id_rsa*",
    "*id_dsa*",
    "*.gpg",
    "*.jks",
    "*/.ssh/authorized_keys",
    "*/.bash_history",
];

/// A list of rules, ready to be asked.
#[derive(Debug, Clone)]
pub struct Filter {
    rules: Vec<Rule>,
    /// For each expression in `set`: the rule, and whether it matches folders only.
    expressions: Vec<(usize, bool)>,
    set: RegexSet,
}

impl Filter {
    /// Makes a list of rules; the first that matches a path decides.
    ///
    /// # Errors
    /// [`Error::Patterns`] when they are too many or too long.
    pub fn new(rules: Vec<Rule>) -> Result<Self, Error> {
        let mut expressions = Vec::new();
        let mut texts = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            for (text, folders_only) in translate(rule.pattern.as_bytes()) {
                expressions.push((index, folders_only));
                texts.push(text);
            }
        }
        let set = RegexSetBuilder::new(&texts)
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(64 << 20)
            .dfa_size_limit(16 << 20)
            .build()
            .map_err(|source| Error::Patterns { source })?;
        Ok(Self {
            rules,
            expressions,
            set,
        })
    }

    /// The rule that decides about a path below the volume, with a slash at its beginning.
    pub fn decide(&self, path: &[u8], is_folder: bool) -> Option<&Rule> {
        self.set
            .matches(path)
            .into_iter()
            .map(|expression| self.expressions[expression])
            .find(|(_, folders_only)| is_folder || !folders_only)
            .map(|(rule, _)| &self.rules[rule])
    }
}

/// The regular expressions that together match what a pattern matches, each with whether it is for folders only.
fn translate(pattern: &[u8]) -> Vec<(String, bool)> {
    let (pattern, folders_only) = match pattern {
        [inner @ .., b'/'] if !inner.is_empty() => (inner, true),
        _ => (pattern, false),
    };
    let is_wild = pattern.iter().any(|b| b"*?[".contains(b));
    let two_stars = pattern.windows(2).position(|pair| pair == b"**");
    let (start, rest) = match pattern {
        [b'/', rest @ ..] => ("^/", rest),
        _ if two_stars == Some(0) => ("^", pattern),
        _ => ("/", pattern),
    };
    if rest.is_empty() {
        return Vec::new(); // the volume itself is not left out
    }
    let body = if is_wild {
        wild(rest)
    } else {
        Some(rest.iter().copied().map(literal).collect())
    };
    let Some(body) = body else {
        return Vec::new(); // a class without an end matches nothing
    };
    let mut expressions = vec![(format!("{start}{body}$"), folders_only)];
    // A folder is also matched with a slash behind its name.
    if let [folder @ .., b'/', b'*', b'*', b'*'] = rest
        && let Some(folder) = wild(folder)
    {
        expressions.push((format!("{start}{folder}$"), true));
    }
    expressions
}

fn wild(pattern: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'*' => {
                let more = rest.iter().take_while(|&&b| b == b'*').count();
                rest = &rest[more..];
                text.push_str(if more == 0 { "[^/]*" } else { ".*" });
            }
            b'?' => text.push_str("[^/]"),
            b'[' => {
                let (class, after) = class(rest)?;
                text.push_str(&class);
                rest = after;
            }
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                text.push_str(&literal(*escaped));
                rest = after;
            }
            _ => text.push_str(&literal(*first)),
        }
    }
    Some(text)
}

/// A class, behind its opening bracket, and what follows it.
fn class(pattern: &[u8]) -> Option<(String, &[u8])> {
    let (negation, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => ("^", rest),
        _ => ("", pattern),
    };
    let mut members = String::new();
    let mut is_first = true;
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b']' if !is_first => break,
            b'[' if rest.first() == Some(&b':') => {
                let end = rest.windows(2).position(|pair| pair == b":]")?;
                let name = std::str::from_utf8(&rest[1..end]).ok()?;
                if !NAMED_CLASSES.contains(&name) {
                    return None;
                }
                members.push_str(&format!("[:{name}:]"));
                rest = &rest[end + 2..];
            }
            _ => {
                let (low, after) = member(*first, rest)?;
                rest = after;
                members.push_str(&literal(low));
                if let [b'-', end, after @ ..] = rest
                    && *end != b']'
                {
                    let (high, after) = member(*end, after)?;
                    rest = after;
                    if high < low {
                        // An empty range: only its beginning, which rsync has taken as a member by then.
                        continue;
                    }
                    members.push('-');
                    members.push_str(&literal(high));
                }
            }
        }
        is_first = false;
    }
    // No class matches a slash.
    Some((format!("[[{negation}{members}]&&[^/]]"), rest))
}

fn member(first: u8, rest: &[u8]) -> Option<(u8, &[u8])> {
    match first {
        b'\\' => rest.split_first().map(|(escaped, rest)| (*escaped, rest)),
        _ => Some((first, rest)),
    }
}

const NAMED_CLASSES: [&str; 12] = [
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "xdigit",
];

fn literal(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!("\\x{byte:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let rule = Rule {
            pattern: pattern.to_owned(),
            origin: Origin::Exclude,
        };
        let (path, is_folder) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let filter = Filter::new(vec![rule]).unwrap();
        filter
            .decide(format!("/{path}").as_bytes(), is_folder)
            .is_some()
    }

    /// Each line is as rsync 3.2 decides; tests/tests/copy.rs asks the real one about random patterns.
    #[test]
    fn patterns_match_as_in_rsync() {
        for (pattern, yes, no) in [
            ("/etc", &["etc/", "etc"][..], &["a/etc", "etcetera"][..]),
            ("etc", &["etc", "a/etc"], &["etc/a", "xetc"]),
            ("a/b", &["a/b", "x/a/b"], &["xa/b", "a/b/c"]),
            ("a/", &["a/", "x/a/"], &["a", "x/a"]),
            ("*.pem", &["x.pem", "a/.pem", "a/x.pem/"], &["x.pem.old"]),
            ("*/#*#", &["a/##", "x/a/#b#"], &["#b#", "a/#b"]),
            ("*id_rsa*", &["id_rsa", "a/my_id_rsa.pub"], &["id_rs"]),
            (
                "*/.ssh/authorized_keys",
                &["root/.ssh/authorized_keys", "home/u/.ssh/authorized_keys"],
                &[".ssh/authorized_keys"],
            ),
            (
                "/home/*/tmp",
                &["home/u/tmp"],
                &["home/u/v/tmp", "home/tmp"],
            ),
            (
                "/home/**/tmp",
                &["home/u/tmp", "home/u/v/tmp"],
                &["home/tmp"],
            ),
            ("**/tmp", &["tmp", "a/b/tmp"], &["xtmp"]),
            ("a**z", &["az", "a/b/z", "x/a/z"], &["ba/zz/y"]),
            ("a/***", &["a/", "a/b", "a/b/c", "x/a/b"], &["a"]),
            ("[a-c]?", &["bx", "x/c."], &["dx", "b", "b/x"]),
            ("[!a-c]x", &["dx"], &["ax", "/x"]),
            ("[]x]y", &["]y", "xy"], &["zy"]),
            ("[[:digit:]]z", &["7z"], &["az"]),
            ("a\\*", &["a*"], &["ab", "a\\*"]),
            ("a\\b", &["a\\b"], &["ab"]),
            ("[a", &[], &["a", "[a"]),
            ("/", &[], &["a", "a/"]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} {path}");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |pattern: &str, origin| Rule {
            pattern: pattern.to_owned(),
            origin,
        };
        let filter = Filter::new(vec![
            rule("/etc/ssl/*.pem", Origin::Include),
            rule("/etc/x/", Origin::Exclude),
            rule("*.pem", Origin::Filter),
        ])
        .unwrap();
        let decide = |path: &str| {
            filter
                .decide(path.as_bytes(), false)
                .map(|rule| rule.origin)
        };
        assert_eq!(decide("/etc/ssl/a.pem"), Some(Origin::Include));
        assert_eq!(decide("/etc/ssl/b/a.pem"), Some(Origin::Filter));
        assert_eq!(decide("/etc/x"), None);
        assert_eq!(decide("/etc/x.PEM"), None);
    }

    #[test]
    fn names_need_not_be_utf8() {
        let filter = Filter::new(vec![Rule {
            pattern: "a?b".to_owned(),
            origin: Origin::Exclude,
        }])
        .unwrap();
        assert!(filter.decide(b"/x/a\xffb", false).is_some());
        assert!(filter.decide(b"/x/a\nb", false).is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_is_refused(pattern in "[ab/*?\\[\\]!^:\\\\ \\-&~\u{e4}]{0,12}", path in "(/[ab*\\]-]{0,3}){1,4}") {
            let rule = Rule { pattern, origin: Origin::Exclude };
            let filter = Filter::new(vec![rule]).unwrap();
            let _ = filter.decide(path.as_bytes(), false);
        }
    }
}
