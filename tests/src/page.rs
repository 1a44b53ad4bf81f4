//! Sections of docs/benchmarks.md that programs write.

use std::fs;
use std::path::Path;

use crate::shell;

/// The page, from the repository's root, where `make` runs the programs.
const PAGE: &str = "docs/benchmarks.md";

/// Replaces the section with this heading, or appends it. If the page does not exist, nothing is written.
///
/// `heading` is the line's text after `## `, `text` what follows it.
pub fn write_section(heading: &str, text: &str) {
    let page = Path::new(PAGE);
    let Ok(old) = fs::read_to_string(page) else {
        return;
    };
    fs::write(page, with_section(&old, heading, text)).unwrap();
    println!("\nWritten to {PAGE}.");
}

fn with_section(page: &str, heading: &str, text: &str) -> String {
    let section = format!("## {heading}\n\n{}\n", text.trim());
    let Some(begin) = page.find(&format!("\n## {heading}\n")) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    let (before, old) = (&page[..=begin], &page[begin + 1..]);
    let after = old.find("\n## ").map_or("", |end| &old[end..]);
    format!("{before}{section}{after}")
}

/// The date, the number of cores and the kernel, with which sections begin.
pub fn machine() -> String {
    let lines = shell("date -u +%F; nproc; uname -sr", Path::new("/"));
    let lines: Vec<&str> = lines.lines().collect();
    format!("{}, {} cores, {}", lines[0], lines[1], lines[2])
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_section_takes_the_place_of_the_old_one_and_no_other() {
        let page = "# Page\n\n## A\n\nold\n\n## B\n\nstays\n";
        let changed = with_section(page, "A", "\nnew\n\n| x |\n");
        assert_eq!(changed, "# Page\n\n## A\n\nnew\n\n| x |\n\n## B\n\nstays\n");
        let changed = with_section(page, "B", "new");
        assert_eq!(changed, "# Page\n\n## A\n\nold\n\n## B\n\nnew\n");
        let longer = with_section(page, "C", "added");
        assert_eq!(longer, format!("{page}\n## C\n\nadded\n"));
        assert_eq!(with_section(&longer, "C", "added"), longer);
    }
}
