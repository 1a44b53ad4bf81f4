//! The names of a bundle's files.

pub(crate) const MANIFEST_SUFFIX: &str = ".manifest.xml";

/// The file name of the manifest of the bundle `bundle`: `NAME.manifest.xml`.
pub fn manifest_file_name(bundle: &str) -> String {
    format!("{bundle}{MANIFEST_SUFFIX}")
}

/// The file name of part `index` (from 0) of `count` of the bundle `bundle`.
///
/// The index is padded with zeros to the number of digits of the *count*: the last of 9 parts is `.8`, of 10 parts `.09`.
///
/// ```
/// assert_eq!(ami_parts::part_file_name("image", 2, 3), "image.part.2");
/// assert_eq!(ami_parts::part_file_name("image", 2, 10), "image.part.02");
/// ```
pub fn part_file_name(bundle: &str, index: usize, count: usize) -> String {
    let width = count.to_string().len();
    format!("{bundle}.part.{index:0width$}")
}

/// Whether `file` is the name of a part, the manifest or (in the older suite) the temporary file of the bundle `bundle`.
pub fn belongs_to_bundle(bundle: &str, file: &str) -> bool {
    let suffix = file.strip_prefix(bundle);
    matches!(suffix, Some(".manifest.xml" | ".tar.gz.enc")) || is_part_of(bundle, file)
}

/// Whether `file` is the name of a part of the bundle `bundle`.
pub fn is_part_of(bundle: &str, file: &str) -> bool {
    file.strip_prefix(bundle)
        .and_then(|suffix| suffix.strip_prefix(".part."))
        .is_some_and(is_number)
}

/// Whether `file` is the name of a part of any bundle: `NAME.part.DIGITS`.
///
/// The names in a manifest were chosen by whoever made it. A part with such a name may replace an existing file. Any other name
/// (`pk.pem`) may be used only if it is free.
///
/// ```
/// assert!(ami_parts::is_part_name("image.part.07"));
/// assert!(!ami_parts::is_part_name("pk.pem") && !ami_parts::is_part_name(".profile.part.0"));
/// ```
pub fn is_part_name(file: &str) -> bool {
    file.rsplit_once(".part.")
        .is_some_and(|(name, digits)| !name.is_empty() && is_number(digits))
        && !is_hidden(file)
}

/// Whether `file` is the name of a hidden file, as programs' start-up files are. No such file is made, replaced or deleted because a
/// manifest or bundle names it.
pub fn is_hidden(file: &str) -> bool {
    file.starts_with('.')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `file` is the name of a part or the manifest of any bundle.
pub(crate) fn has_bundle_shape(file: &str) -> bool {
    let is_part = |(bundle, _): (&str, &str)| is_part_of(bundle, file);
    file.ends_with(MANIFEST_SUFFIX) || file.rsplit_once(".part.").is_some_and(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_number_is_padded_to_the_digits_of_the_count() {
        let last = |count| part_file_name("n", count - 1, count);
        assert_eq!(last(1), "n.part.0");
        assert_eq!(last(9), "n.part.8");
        assert_eq!(last(10), "n.part.09");
        assert_eq!(last(11), "n.part.10");
        assert_eq!(last(100), "n.part.099");
        assert_eq!(last(1000), "n.part.0999");
    }

    #[test]
    fn only_the_bundles_own_files_belong_to_it() {
        for own in [
            "a.img.manifest.xml",
            "a.img.part.0",
            "a.img.part.0099",
            "a.img.tar.gz.enc",
        ] {
            assert!(belongs_to_bundle("a.img", own), "{own}");
        }
        for other in [
            "a.img",
            "a.img.part.",
            "a.img.part.0x",
            "a.img.part.0.bak",
            "a.img.manifest.xml.bak",
            "b.img.part.0",
            "a.img2.part.0",
        ] {
            assert!(!belongs_to_bundle("a.img", other), "{other}");
        }
    }

    #[test]
    fn finding_02_only_names_of_parts_may_replace_files() {
        for part in [
            "a.part.0",
            "a b.part.part.12",
            "a.part.0.part.00",
            "-.part.9",
        ] {
            assert!(is_part_name(part), "{part}");
        }
        for other in [
            "pk.pem",
            ".bashrc",
            ".bashrc.part.0",
            ".part.0",
            "a.part.",
            "a.part.0x",
            "a.part.-1",
            "a.part.٣",
            "a.part.0 ",
            "a.PART.0",
            "a.manifest.xml",
            "",
        ] {
            assert!(!is_part_name(other), "{other}");
        }
    }
}
