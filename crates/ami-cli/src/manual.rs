//! A command's manual page as text and as roff, made from its definition.

use clap::{Arg, Command};
use roff::{Inline, Roff, bold, italic, roman};

use crate::definition::{Definition, takes_value};

/// The width of the text in columns.
const WIDTH: usize = 80;

/// The indent of text, and of a term's meaning, in columns, as in man(7).
const INDENT: usize = 7;
const DEEPER: usize = 14;

enum Block<'a> {
    Heading(&'a str),
    SubHeading(&'a str),
    Paragraph(Vec<Piece>),
    /// A term and its meaning.
    Entry(Vec<Piece>, String),
    /// A line that is not wrapped.
    Literal(String),
}

enum Piece {
    Plain(String),
    Strong(String),
    Variable(String),
}

/// The manual as text, 80 columns wide.
pub(crate) fn as_text(definition: &Definition, command: &Command) -> String {
    let mut text = String::new();
    for block in blocks(definition, command) {
        match block {
            Block::Heading(heading) => text.push_str(&format!("{heading}\n")),
            Block::SubHeading(heading) => text.push_str(&format!("   {heading}\n")),
            Block::Paragraph(pieces) => wrap(&plain(&pieces), INDENT, &mut text),
            Block::Entry(term, meaning) => {
                wrap(&plain(&term), INDENT, &mut text);
                let _ = text.pop();
                wrap(&meaning, DEEPER, &mut text);
            }
            Block::Literal(line) => text.push_str(&format!("{:DEEPER$}{line}\n\n", "")),
        }
    }
    text
}

/// The manual as roff, for man(1).
pub(crate) fn as_roff(definition: &Definition, command: &Command, version: &str) -> String {
    let mut page = Roff::new();
    let title = definition.name.to_uppercase();
    let _ = page.control("TH", [title.as_str(), "1", "", version, "EC2 AMI tools"]);
    for block in blocks(definition, command) {
        match block {
            Block::Heading(heading) => {
                let _ = page.control("SH", [heading]);
            }
            Block::SubHeading(heading) => {
                let _ = page.control("SS", [heading]);
            }
            Block::Paragraph(pieces) => {
                let _ = page.control("PP", []).text(inlines(pieces));
            }
            Block::Entry(term, meaning) => {
                let _ = page
                    .control("TP", [])
                    .text(inlines(term))
                    .text([roman(meaning)]);
            }
            Block::Literal(line) => {
                let _ = page.control("RS", []).control("nf", []);
                let _ = page.text([roman(line)]);
                let _ = page.control("fi", []).control("RE", []);
            }
        }
    }
    page.render()
}

fn blocks<'a>(definition: &'a Definition, command: &'a Command) -> Vec<Block<'a>> {
    let mut blocks = vec![
        Block::Heading("NAME"),
        Block::Paragraph(vec![Piece::Plain(format!(
            "{} - {}",
            definition.name, definition.summary
        ))]),
        Block::Heading("SYNOPSIS"),
        Block::Paragraph(vec![
            Piece::Strong(definition.name.to_owned()),
            Piece::Plain(format!(" {}", definition.usage)),
        ]),
    ];
    for verb in command.get_subcommands() {
        blocks.push(synopsis(verb));
    }
    blocks.push(Block::Heading("DESCRIPTION"));
    let paragraph = |text: &&str| Block::Paragraph(vec![Piece::Plain((*text).to_owned())]);
    blocks.extend(definition.description.iter().map(paragraph));
    for verb in command.get_subcommands() {
        blocks.push(Block::Heading(verb.get_name()));
        blocks.push(synopsis(verb));
        let about = verb.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default() + ".";
        blocks.push(Block::Paragraph(vec![Piece::Plain(about)]));
        blocks.extend(options(verb));
    }
    blocks.push(Block::Heading("OPTIONS"));
    blocks.extend(options(command));
    let entry = |(term, meaning): &(&str, &str)| {
        Block::Entry(
            vec![Piece::Strong((*term).to_owned())],
            (*meaning).to_owned(),
        )
    };
    blocks.push(Block::Heading("EXIT STATUS"));
    blocks.extend(definition.exit_codes.iter().map(entry));
    if !definition.files.is_empty() {
        blocks.push(Block::Heading("FILES AND ENVIRONMENT"));
        blocks.extend(definition.files.iter().map(entry));
    }
    blocks.push(Block::Heading("EXAMPLES"));
    for (what, line) in definition.examples {
        blocks.push(paragraph(what));
        blocks.push(Block::Literal((*line).to_owned()));
    }
    blocks.push(Block::Heading("SEE ALSO"));
    blocks.push(Block::Paragraph(vec![Piece::Plain(
        definition.see_also.join(", "),
    )]));
    blocks
}

/// How a verb is used, as its help says it.
fn synopsis(verb: &Command) -> Block<'static> {
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    Block::Paragraph(vec![Piece::Strong(usage.trim().to_owned())])
}

/// The options of a command or a verb, with their headings.
fn options(command: &Command) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut heading = None;
    for argument in arguments_by_heading(command) {
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            blocks.extend(heading.map(Block::SubHeading));
        }
        blocks.push(option_entry(argument));
    }
    blocks
}

/// The options in the order of the help: by heading, in the order in which the headings first appear.
fn arguments_by_heading(command: &Command) -> Vec<&Arg> {
    let mut arguments: Vec<&Arg> = command.get_arguments().collect();
    let headings: Vec<_> = arguments.iter().map(|a| a.get_help_heading()).collect();
    arguments.sort_by_key(|a| headings.iter().position(|h| *h == a.get_help_heading()));
    arguments
}

fn option_entry(argument: &Arg) -> Block<'static> {
    let mut term = Vec::new();
    if let Some(short) = argument.get_short() {
        term.push(Piece::Strong(format!("-{short}")));
        term.push(Piece::Plain(", ".to_owned()));
    }
    if let Some(long) = argument.get_long() {
        term.push(Piece::Strong(format!("--{long}")));
    }
    if argument.is_positional() {
        let names = argument.get_value_names().unwrap_or_default();
        term.extend(names.iter().map(|name| Piece::Variable(name.to_string())));
    } else if takes_value(argument) {
        for name in argument.get_value_names().unwrap_or_default() {
            term.push(Piece::Plain(" ".to_owned()));
            term.push(Piece::Variable(name.to_string()));
        }
    }
    let mut meaning = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let defaults = argument.get_default_values();
    if takes_value(argument) && !defaults.is_empty() {
        let defaults: Vec<_> = defaults.iter().map(|d| d.to_string_lossy()).collect();
        meaning.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    meaning.push('.');
    Block::Entry(term, meaning)
}

fn plain(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Plain(text) | Piece::Strong(text) | Piece::Variable(text) => text.as_str(),
        })
        .collect()
}

fn inlines(pieces: Vec<Piece>) -> Vec<Inline> {
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Plain(text) => roman(text),
            Piece::Strong(text) => bold(text),
            Piece::Variable(text) => italic(text),
        })
        .collect()
}

/// Appends a paragraph, wrapped and indented, and an empty line.
pub(crate) fn wrap(paragraph: &str, indent: usize, text: &mut String) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push_str("\n\n");
}
