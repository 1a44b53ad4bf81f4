//! Reads a command line as the older suite's parser (Ruby's OptionParser) does, and rewrites it in a canonical form for clap.
//!
//! - A long option may be abbreviated to an unambiguous prefix, in either case, with `_` for `-`. The older suite's options take
//!   precedence: an option that is new here never makes an old prefix ambiguous.
//! - `--name value`, `--name=value`, `-nvalue`, `-n value`; flags of one letter may be joined. A value is taken even if it begins with `-`.
//! - A letter that is not an option is completed to a long option that begins with it. Here case matters: `-Y` does not become `--yes`.
//! - `--` ends the options. With POSIXLY_CORRECT, so does the first word.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option, in the lexer's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The name after the two hyphens.
    pub(crate) long: String,
    pub(crate) short: Option<char>,
    pub(crate) takes_value: bool,
    pub(crate) shape: Shape,
    /// Whether the older suite lacks it.
    pub(crate) is_new: bool,
    /// Whether only the last value counts, and none if only help or the version is requested.
    pub(crate) is_checked_last: bool,
}

/// What the older suite's parser itself checks in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text except the empty one.
    Text,
    /// Any text.
    TextOrNothing,
    /// An integer in Ruby's notation: decimal, `0x`, `0b`, octal after a `0`, with `_` between digits.
    Integer,
    /// One of these, or an unambiguous prefix of one.
    OneOf(&'static [&'static str]),
}

impl Shape {
    /// The value to pass on; `None` if it does not have this shape.
    fn accept(self, value: OsString) -> Option<OsString> {
        match self {
            Self::Text => (!value.is_empty()).then_some(value),
            Self::TextOrNothing => Some(value),
            Self::Integer => Some(integer(value.to_str()?)?.to_string().into()),
            Self::OneOf(words) => {
                let typed = value.to_str()?;
                let mut fitting = words.iter().filter(|word| word.starts_with(typed));
                let word = fitting.next()?;
                let is_clear = *word == typed || fitting.next().is_none();
                (is_clear && !typed.is_empty()).then(|| word.into())
            }
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let is_spaced_well =
        !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    let digits = digits.replace('_', "");
    if !is_spaced_well || !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let number = i64::from_str_radix(&digits, radix).ok()?;
    Some(if is_negative { -number } else { number })
}

/// A command line in canonical form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lexed {
    /// `--name` or `--name=value`, with full names, in the order given.
    pub(crate) options: Vec<OsString>,
    /// Words that do not belong to an option.
    pub(crate) words: Vec<OsString>,
    /// Why reading stopped, in the older suite's words. `options` has everything before that.
    pub(crate) error: Option<String>,
}

/// Reads the arguments after the command's name.
pub(crate) fn lex(
    known: &[Known],
    arguments: impl IntoIterator<Item = OsString>,
    stop_at_word: bool,
) -> Lexed {
    let mut lexed = Lexed::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        let result = match bytes {
            b"--" => break,
            [b'-', b'-', rest @ ..] => long(known, &argument, rest, &mut arguments, &mut lexed),
            [b'-', rest @ ..] if !rest.is_empty() => {
                shorts(known, rest, &mut arguments, &mut lexed)
            }
            _ => {
                lexed.words.push(argument);
                if stop_at_word {
                    break;
                }
                continue;
            }
        };
        if let Err(error) = result {
            lexed.error = Some(error);
            return lexed;
        }
    }
    lexed.words.extend(arguments);
    lexed
}

fn long(
    known: &[Known],
    argument: &OsStr,
    rest: &[u8],
    arguments: &mut impl Iterator<Item = OsString>,
    lexed: &mut Lexed,
) -> Result<(), String> {
    let typed = argument.to_string_lossy();
    let (name, value) = match rest.iter().position(|&b| b == b'=') {
        Some(at) => (
            &rest[..at],
            Some(OsString::from_vec(rest[at + 1..].to_vec())),
        ),
        None => (rest, None),
    };
    let name = String::from_utf8_lossy(name);
    let name = name.to_ascii_lowercase().replace('_', "-");
    let option = complete(known, &name, &typed)?;
    match (option.takes_value, value) {
        (false, None) => lexed.push(option, None),
        (false, Some(_)) => return Err(format!("needless argument: {typed}")),
        (true, Some(value)) => match option.shape.accept(value) {
            Some(value) => lexed.push(option, Some(value)),
            None => return Err(format!("invalid argument: {typed}")),
        },
        (true, None) => lexed.push_next(option, &typed, arguments)?,
    }
    Ok(())
}

fn shorts(
    known: &[Known],
    letters: &[u8],
    arguments: &mut impl Iterator<Item = OsString>,
    lexed: &mut Lexed,
) -> Result<(), String> {
    let mut rest = letters;
    while let Some((letter, after)) = first_letter(rest) {
        if letter == '-' {
            let typed = String::from_utf8_lossy(rest);
            return Err(format!("invalid option: {typed}"));
        }
        let typed = format!("-{letter}");
        let option = match known.iter().find(|option| option.short == Some(letter)) {
            Some(option) => option,
            None => complete(known, &letter.to_string(), &typed)?,
        };
        if !option.takes_value {
            lexed.push(option, None);
            rest = after;
        } else if after.is_empty() {
            return lexed.push_next(option, &typed, arguments);
        } else {
            let value = OsString::from_vec(after.to_vec());
            let shown = value.to_string_lossy().into_owned();
            match option.shape.accept(value) {
                Some(value) => lexed.push(option, Some(value)),
                None => return Err(format!("invalid argument: {typed} {shown}")),
            }
            return Ok(());
        }
    }
    Ok(())
}

/// The first letter and the rest. A byte that is not UTF-8 counts as a letter that no option has.
fn first_letter(bytes: &[u8]) -> Option<(char, &[u8])> {
    let chunk = bytes.utf8_chunks().next()?;
    let (letter, length) = match chunk.valid().chars().next() {
        Some(letter) => (letter, letter.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, chunk.invalid().len()),
    };
    Some((letter, &bytes[length..]))
}

/// The option with this name, or the only one that begins with it. Errors show `typed`.
fn complete<'k>(known: &'k [Known], name: &str, typed: &str) -> Result<&'k Known, String> {
    if let Some(exact) = known.iter().find(|option| option.long == name) {
        return Ok(exact);
    }
    for is_new in [false, true] {
        let fitting: Vec<&Known> = known
            .iter()
            .filter(|option| option.is_new == is_new && option.long.starts_with(name))
            .collect();
        match fitting[..] {
            [] => {}
            [only] => return Ok(only),
            _ => return Err(format!("ambiguous option: {typed}")),
        }
    }
    Err(format!("invalid option: {typed}"))
}

impl Lexed {
    /// Removes values that do not count, whether valid or not.
    pub(crate) fn drop_unread(&mut self, known: &[Known]) {
        let wanted = ["--help", "--manual", "--version"];
        let wants_text = self.options.iter().any(|o| wanted.iter().any(|w| o == w));
        for option in known.iter().filter(|option| option.is_checked_last) {
            let start = format!("--{}=", option.long);
            let is_it = |given: &OsString| given.as_bytes().starts_with(start.as_bytes());
            let last = self.options.iter().rposition(is_it);
            let mut index = 0;
            self.options.retain(|given| {
                let is_read = !is_it(given) || (!wants_text && Some(index) == last);
                index += 1;
                is_read
            });
        }
    }

    fn push(&mut self, option: &Known, value: Option<OsString>) {
        let mut spelled = OsString::from(format!("--{}", option.long));
        if let Some(value) = value {
            spelled.push("=");
            spelled.push(value);
        }
        self.options.push(spelled);
    }

    fn push_next(
        &mut self,
        option: &Known,
        typed: &str,
        arguments: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let value = arguments
            .next()
            .ok_or_else(|| format!("missing argument: {typed}"))?;
        let shown = value.to_string_lossy().into_owned();
        match option.shape.accept(value) {
            Some(value) => self.push(option, Some(value)),
            None => return Err(format!("invalid argument: {typed} {shown}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let option = |long: &str, short, takes_value| Known {
            long: long.to_owned(),
            short,
            takes_value,
            shape: match long {
                "kernel" => Shape::TextOrNothing,
                "size" => Shape::Integer,
                "partition" => Shape::OneOf(&["gpt", "mbr", "none"]),
                _ => Shape::Text,
            },
            is_new: long == "threads" || long == "batches",
            is_checked_last: long == "prefix",
        };
        vec![
            option("cert", Some('c'), true),
            option("prefix", Some('p'), true),
            option("privatekey", Some('k'), true),
            option("kernel", None, true),
            option("no-size-checks", None, false),
            option("batch", None, false),
            option("help", Some('h'), false),
            option("version", None, false),
            option("threads", None, true),
            option("batches", None, true),
            option("size", Some('s'), true),
            option("partition", Some('P'), true),
        ]
    }

    fn read(arguments: &[&str]) -> (Vec<String>, Vec<String>, Option<String>) {
        let lexed = lex(&known(), arguments.iter().map(OsString::from), false);
        let strings =
            |list: Vec<OsString>| list.into_iter().map(|s| s.into_string().unwrap()).collect();
        (strings(lexed.options), strings(lexed.words), lexed.error)
    }

    fn options(arguments: &[&str]) -> Vec<String> {
        let (options, words, error) = read(arguments);
        assert_eq!((words.len(), error), (0, None), "{arguments:?}");
        options
    }

    fn error(arguments: &[&str]) -> String {
        read(arguments).2.unwrap()
    }

    #[test]
    fn every_spelling_becomes_one() {
        let expected = ["--cert=x"];
        for arguments in [
            &["--cert", "x"][..],
            &["--cert=x"],
            &["-c", "x"],
            &["-cx"],
            &["--ce=x"],
            &["--CERT=x"],
            &["--c", "x"],
        ] {
            assert_eq!(options(arguments), expected);
        }
        assert_eq!(options(&["-hcx"]), ["--help", "--cert=x"]);
        assert_eq!(options(&["--no_size"]), ["--no-size-checks"]);
        assert_eq!(options(&["-v"]), ["--version"]);
        assert_eq!(options(&["-c=x"]), ["--cert==x"]);
        assert_eq!(options(&["-c", "-h"]), ["--cert=-h"]);
        assert_eq!(
            options(&["--kernel", "", "--kernel="]),
            ["--kernel=", "--kernel="]
        );
    }

    #[test]
    fn a_new_option_does_not_make_an_old_prefix_ambiguous() {
        assert_eq!(options(&["--ba"]), ["--batch"]);
        assert_eq!(options(&["--batche", "1"]), ["--batches=1"]);
        assert_eq!(options(&["--t=2"]), ["--threads=2"]);
    }

    #[test]
    fn integers_and_choices_are_read_as_ruby_reads_them() {
        for (typed, read) in [
            ("16", "16"),
            ("020", "16"),
            ("0x10", "16"),
            ("0b1_0", "2"),
            ("1_0", "10"),
            ("-1", "-1"),
            ("0", "0"),
        ] {
            assert_eq!(
                options(&["-s", typed]),
                [format!("--size={read}")],
                "{typed}"
            );
        }
        for typed in [
            "big", "10.5", "10M", "08", "1__0", "_1", "1_", "0x", "", "-",
        ] {
            assert_eq!(
                error(&["-s", typed]),
                format!("invalid argument: -s {typed}"),
                "{typed}"
            );
        }
        assert_eq!(error(&["--size=10M"]), "invalid argument: --size=10M");
        assert_eq!(
            options(&["-P", "n", "--partition=gpt"]),
            ["--partition=none", "--partition=gpt"]
        );
        for typed in ["MBR", "zfs", "", "gptx"] {
            assert_eq!(
                error(&["-P", typed]),
                format!("invalid argument: -P {typed}")
            );
        }
    }

    #[test]
    fn finding_25l_of_what_is_checked_last_only_the_last_is_left() {
        let left = |arguments: &[&str]| {
            let mut lexed = lex(&known(), arguments.iter().map(OsString::from), false);
            lexed.drop_unread(&known());
            lexed.options
        };
        assert_eq!(
            left(&["-p", "a", "-c", "x", "-c", "y", "-p", "b", "--batch"]),
            ["--cert=x", "--cert=y", "--prefix=b", "--batch"]
        );
        for wanted in ["--help", "--version"] {
            assert_eq!(left(&["-p", "a", wanted, "-c", "x"]), [wanted, "--cert=x"]);
        }
    }

    #[test]
    fn words_are_kept_apart() {
        let (options, words, error) = read(&["a", "-h", "-", "--", "-c", "b"]);
        assert_eq!(options, ["--help"]);
        assert_eq!(words, ["a", "-", "-c", "b"]);
        assert_eq!(error, None);
        let lexed = lex(&known(), ["a", "-h"].map(OsString::from), true);
        assert_eq!(lexed.options.len(), 0);
        assert_eq!(lexed.words, ["a", "-h"]);
    }

    #[test]
    fn what_is_wrong_is_told_as_the_older_suite_does() {
        assert_eq!(error(&["--nonsense"]), "invalid option: --nonsense");
        assert_eq!(error(&["--nonsense=1"]), "invalid option: --nonsense=1");
        assert_eq!(error(&["-hz"]), "invalid option: -z");
        assert_eq!(error(&["--pr", "x"]), "ambiguous option: --pr");
        assert_eq!(error(&["-c"]), "missing argument: -c");
        assert_eq!(error(&["--cert"]), "missing argument: --cert");
        assert_eq!(error(&["--batch=yes"]), "needless argument: --batch=yes");
        assert_eq!(error(&["-c", ""]), "invalid argument: -c ");
        assert_eq!(error(&["--cert="]), "invalid argument: --cert=");
        assert_eq!(read(&["-h", "--nope", "-c"]).0, ["--help"]);
    }

    #[test]
    fn finding_25a_an_unknown_letter_is_completed_in_its_own_case_only() {
        assert_eq!(options(&["-b"]), ["--batch"]);
        assert_eq!(options(&["--V", "--BATCH"]), ["--version", "--batch"]);
        for letter in ["-B", "-V", "-N", "-C", "-K"] {
            assert_eq!(error(&[letter]), format!("invalid option: {letter}"));
            assert_eq!(
                error(&[&format!("-h{}", &letter[1..])]),
                format!("invalid option: {letter}")
            );
        }
    }

    #[test]
    fn finding_25m_what_is_no_letter_of_an_option_is_shown_as_typed() {
        assert_eq!(error(&["-ü"]), "invalid option: -ü");
        assert_eq!(error(&["-hü"]), "invalid option: -ü");
        assert_eq!(error(&["-h-1"]), "invalid option: -1");
        assert_eq!(error(&["-h-help"]), "invalid option: -help");
        let broken = OsString::from_vec(b"-h\xff".to_vec());
        let lexed = lex(&known(), [broken], false);
        assert_eq!(lexed.error.unwrap(), "invalid option: -\u{fffd}");
    }

    #[test]
    fn values_need_not_be_utf8() {
        let value = OsString::from_vec(vec![b'-', b'c', 0xff]);
        let lexed = lex(&known(), [value], false);
        assert_eq!(lexed.options, [OsString::from_vec(b"--cert=\xff".to_vec())]);
    }
}
