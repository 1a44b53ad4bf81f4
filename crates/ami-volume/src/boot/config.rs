//! Whether a boot configuration finds the image's root.

use std::path::Path;

use crate::inside;

/// What names the image's root in a boot configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uuid: String,
    pub(crate) label: String,
    pub(crate) partuuid: Option<String>,
}

/// A kernel's command line in a configuration, or GRUB's search for a file system.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    number: usize,
    text: &'a str,
    kind: Kind<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    /// Its arguments.
    Kernel(Vec<&'a str>),
    /// `search --fs-uuid` and the UUID.
    SearchUuid(&'a str),
    /// `search --label` and the label.
    SearchLabel(&'a str),
}

/// Boot loader specification: entries beside GRUB's configuration (Fedora, RHEL 8 and later).
const ENTRIES: &str = "/boot/loader/entries";

/// Checks the configurations at these paths of the root directory `root`, and returns a warning for each line that names another root.
///
/// `running` is the machine's kernel command line, if it was started from this volume: one entry should have its arguments.
pub(crate) fn check(
    root: &Path,
    configurations: &[String],
    identity: &Identity,
    running: Option<&str>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut kernels = Vec::new();
    let mut has_any = false;
    let mut paths = configurations.to_vec();
    let entries = inside::list(root, Path::new(ENTRIES)).unwrap_or_default();
    let names = entries
        .into_iter()
        .filter_map(|name| name.into_string().ok());
    let names = names.filter(|name| name.ends_with(".conf"));
    paths.extend(names.map(|name| format!("{ENTRIES}/{name}")));
    for path in &paths {
        let Ok(Some(bytes)) = inside::read(root, Path::new(path)) else {
            continue;
        };
        has_any = true;
        let text = String::from_utf8_lossy(&bytes);
        for line in lines(&text) {
            let reason = match &line.kind {
                Kind::Kernel(arguments) => {
                    kernels.push(
                        arguments
                            .iter()
                            .map(|&word| word.to_owned())
                            .collect::<Vec<_>>(),
                    );
                    wrong_root(arguments, identity)
                }
                Kind::SearchUuid(uuid) if !uuid.eq_ignore_ascii_case(&identity.uuid) => {
                    Some(format!("the image's root has the UUID {}", identity.uuid))
                }
                Kind::SearchLabel(label) if *label != identity.label => Some(label_of(identity)),
                _ => None,
            };
            if let Some(reason) = reason {
                warnings.push(format!(
                    "WARNING: {path}, line {}: {} - this is not the image's root, which may not boot: {reason}",
                    line.number, line.text
                ));
            }
        }
    }
    if !has_any {
        warnings.push(format!(
            "WARNING: the image has no boot configuration ({}): it will not boot",
            configurations.join(" or ")
        ));
    }
    if let Some(running) = running
        && !kernels.is_empty()
        && !kernels.iter().any(|kernel| has_arguments(kernel, running))
    {
        warnings.push(format!(
            "WARNING: this machine runs with the kernel command line \"{}\", which no entry of {} has",
            running.trim(),
            configurations.join(" or ")
        ));
    }
    warnings
}

fn label_of(identity: &Identity) -> String {
    if identity.label.is_empty() {
        "it has no label".to_owned()
    } else {
        format!("it has the label {}", identity.label)
    }
}

/// Why the root that a kernel is given is not the image's.
fn wrong_root(arguments: &[&str], identity: &Identity) -> Option<String> {
    let root = arguments
        .iter()
        .rev()
        .find_map(|word| word.strip_prefix("root="))?;
    let unquoted = root.trim_matches('"');
    if let Some(uuid) = unquoted.strip_prefix("UUID=") {
        let is_right = uuid.eq_ignore_ascii_case(&identity.uuid);
        return (!is_right).then(|| format!("it has the UUID {}", identity.uuid));
    }
    if let Some(label) = unquoted.strip_prefix("LABEL=") {
        return (label != identity.label).then(|| label_of(identity));
    }
    if let Some(partuuid) = unquoted.strip_prefix("PARTUUID=") {
        return match &identity.partuuid {
            Some(own) if partuuid.eq_ignore_ascii_case(own) => None,
            Some(own) => Some(format!("it has the PARTUUID {own}")),
            None => Some("it is in no partition".to_owned()),
        };
    }
    // A variable (`$kernelopts`) or anything that is settled elsewhere.
    let device = unquoted.strip_prefix("/dev/")?;
    let is_usual = ["xvda", "sda", "hda", "vda", "nvme0n1"].iter().any(|disk| {
        let rest = device.strip_prefix(disk);
        matches!(rest, Some("1" | "p1")) || (rest == Some("") && identity.partuuid.is_none())
    });
    (!is_usual).then(|| {
        "on an instance it is /dev/xvda1 or /dev/sda1; a UUID or label is safer".to_owned()
    })
}

/// Whether a kernel gets everything that the machine was started with, apart from what GRUB and EC2 add.
fn has_arguments(kernel: &[String], running: &str) -> bool {
    running
        .split_whitespace()
        .filter(|word| !word.starts_with("BOOT_IMAGE=") && !word.starts_with("initrd="))
        .all(|word| {
            kernel
                .iter()
                .any(|argument| argument.trim_matches('"') == word)
        })
}

/// The lines of GRUB 2's, GRUB Legacy's and the boot loader specification's language that name a root.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(index, text)| {
        let mut words = text.split_whitespace();
        let kind = match words.next()? {
            "linux" | "linux16" | "linuxefi" | "kernel" | "options" => {
                Kind::Kernel(words.collect())
            }
            "search" => {
                let words: Vec<&str> = words.collect();
                let is_given = |names: &[&str]| words.iter().any(|word| names.contains(word));
                let last = *words.last()?;
                if is_given(&["--fs-uuid", "-u"]) {
                    Kind::SearchUuid(last)
                } else if is_given(&["--label", "-l"]) {
                    Kind::SearchLabel(last)
                } else {
                    return None;
                }
            }
            _ => return None,
        };
        let number = index + 1;
        let text = text.trim();
        Some(Line { number, text, kind })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn warnings(file: &str, text: &str, running: Option<&str>) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        let identity = Identity {
            uuid: UUID.to_owned(),
            label: "root".to_owned(),
            partuuid: Some("12345678-01".to_owned()),
        };
        check(
            folder.path(),
            &["/boot/grub/grub.cfg".to_owned()],
            &identity,
            running,
        )
    }

    #[test]
    fn the_images_own_names_are_right() {
        for line in [
            format!("\tlinux /boot/vmlinuz root=UUID={} ro", UUID.to_uppercase()),
            "linux16 /vmlinuz root=LABEL=root".to_owned(),
            "linux /v root=PARTUUID=12345678-01".to_owned(),
            "kernel /v root=/dev/xvda1".to_owned(),
            "kernel /v root=/dev/nvme0n1p1".to_owned(),
            format!("search --no-floppy --fs-uuid --set=root {UUID}"),
            "search --label --set=root root".to_owned(),
            "linux /v ro quiet".to_owned(),
            "options $kernelopts".to_owned(),
        ] {
            assert_eq!(
                warnings("boot/grub/grub.cfg", &line, None),
                [""; 0],
                "{line}"
            );
        }
    }

    #[test]
    fn another_root_is_named_with_its_line() {
        let text = "set timeout=1\nmenuentry x {\n  linux /v root=UUID=dead-beef ro\n}\n";
        let told = warnings("boot/grub/grub.cfg", text, None);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with(
                "WARNING: /boot/grub/grub.cfg, line 3: linux /v root=UUID=dead-beef ro - "
            ),
            "{told:?}"
        );
        assert!(told[0].ends_with(UUID), "{told:?}");
        for line in [
            "linux /v root=LABEL=other",
            "linux /v root=PARTUUID=12345678-02",
            "linux /v root=/dev/mapper/vg-root",
            "linux /v root=/dev/xvda",
            "search --fs-uuid --set=root dead-beef",
            "search -l other",
        ] {
            assert_eq!(
                warnings("boot/grub/grub.cfg", line, None).len(),
                1,
                "{line}"
            );
        }
        assert_eq!(
            warnings(
                "boot/loader/entries/a.conf",
                "title x\noptions root=LABEL=other\n",
                None
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_missing_configuration_is_told() {
        let told = warnings("other", "", None);
        assert_eq!(
            told,
            [
                "WARNING: the image has no boot configuration (/boot/grub/grub.cfg): it will not boot"
            ]
        );
    }

    #[test]
    fn the_running_kernels_arguments_are_looked_for() {
        let text = "linux /v root=LABEL=root ro console=ttyS0\n";
        let running = |line| warnings("boot/grub/grub.cfg", text, Some(line)).len();
        assert_eq!(
            running("BOOT_IMAGE=/boot/v root=LABEL=root ro console=ttyS0\n"),
            0
        );
        assert_eq!(running("root=LABEL=root ro nvme.timeout=1"), 1);
    }
}
