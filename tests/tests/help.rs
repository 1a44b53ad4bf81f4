//! Help, manual, man page and completions of every command: they exist, are in order, and have the same options.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use end_to_end::{folder, run, shell};

const COMMANDS: [&str; 12] = [
    "ec2-bundle-vol",
    "ec2-bundle-image",
    "ec2-upload-bundle",
    "ec2-download-bundle",
    "ec2-unbundle",
    "ec2-verify-bundle",
    "ec2-delete-bundle",
    "ec2-migrate-manifest",
    "ec2-migrate-bundle",
    "ec2-create-signing-cert",
    "ec2-ami-tools-version",
    "ec2-ami",
];

/// The command with verbs, and those.
const WITH_VERBS: &str = "ec2-ami";
const VERBS: [&str; 8] = [
    "create", "bundle", "fetch", "register", "unbundle", "verify", "delete", "clean",
];

fn printed(command: &str, arguments: &[&str]) -> String {
    let result = run(command, arguments);
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (0, ""),
        "{command} {arguments:?}"
    );
    result.stdout
}

/// What `--help` and `-h` print; of a command with verbs, those of each verb follow.
fn help_of(command: &str) -> String {
    let verbs: &[&str] = if command == WITH_VERBS { &VERBS } else { &[] };
    let verbs = verbs.iter().map(|&verb| vec![verb]);
    let texts = std::iter::once(Vec::new()).chain(verbs).map(|words| {
        let with = |option| printed(command, &[&words[..], &[option]].concat());
        let help = with("--help");
        assert_eq!(with("-h"), help);
        help
    });
    texts.collect::<Vec<String>>().join("\n")
}

/// The long options in a text.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_is_what_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("help");
    for command in COMMANDS.iter().filter(|name| !name.ends_with("version")) {
        let path = folder.join(format!("{command}.txt"));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let help = help_of(command);
        assert!(
            help == expected,
            "{} is not what {command} --help prints, which is:\n{help}",
            path.display()
        );
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{command}"
        );
    }
}

#[test]
fn help_manual_man_page_and_completions_agree() {
    let work = folder();
    for command in COMMANDS {
        let man = printed(command, &["--dump", "man"]);
        let page = work.path().join(format!("{command}.1"));
        fs::write(&page, &man).unwrap();
        let rendered = shell(
            &format!(
                "MANWIDTH=80 man --warnings --nh --nj -E UTF-8 -l '{}' 2>&1 | col -bx",
                page.display()
            ),
            work.path(),
        );
        assert!(!rendered.contains("warning"), "{rendered}");
        assert!(rendered.contains(&format!("{command} - ")), "{rendered}");
        let of_man = options(&rendered);
        for shell_name in ["bash", "zsh", "fish"] {
            let script = printed(command, &["--dump", shell_name]);
            assert!(script.contains(command));
            for option in &of_man {
                let name = option.trim_start_matches("--");
                assert!(
                    script.contains(name),
                    "{command}: {shell_name} lacks {option}"
                );
            }
        }
        let bash = work.path().join("completion");
        fs::write(&bash, printed(command, &["--dump", "bash"])).unwrap();
        let _ = shell("bash -n completion", work.path());
        if command.ends_with("version") {
            continue;
        }
        assert_eq!(
            of_man,
            options(&printed(command, &["--manual"])),
            "{command}"
        );
        let help = options(&help_of(command));
        assert!(help.is_subset(&of_man), "{command}");
        assert!(
            of_man.contains("--debug") && of_man.contains("--json"),
            "{of_man:?}"
        );
    }
}

#[test]
fn bash_completes_verbs_and_their_options() {
    let work = folder();
    fs::write(
        work.path().join("completion"),
        printed(WITH_VERBS, &["--dump", "bash"]),
    )
    .unwrap();
    for (words, expected) in [
        ("cr", "create"),
        ("create --volume", "--volume-type"),
        ("fetch --rep", "--replace"),
        ("clean --y", "--yes"),
    ] {
        let script = format!(
            "source ./completion; COMP_WORDS=(ec2-ami {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _ec2__ami ec2-ami \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        assert_eq!(shell(&script, work.path()), expected);
    }
}

#[test]
fn versions_are_the_older_suites_then_ours() {
    let own = format!(
        "EC2 AMI tools in Rust, version {}\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(printed(WITH_VERBS, &["--version"]), own);
    for command in COMMANDS.iter().filter(|name| **name != WITH_VERBS) {
        let text = printed(command, &["--version"]);
        let first = match *command {
            "ec2-ami-tools-version" => "1.5.7 20071010".to_owned(),
            _ => format!("{command} 1.5.7 20071010"),
        };
        assert_eq!(text, format!("{first}\n{own}"));
    }
    assert_eq!(run("ec2-ami-tools-version", &["--nonsense"]).code, 0);
    assert_eq!(run("ec2-unbundle", &["--dump", "pdf"]).code, 1);
    // Only in full, and only as the first argument.
    assert_eq!(run("ec2-unbundle", &["--dum", "man"]).code, 1);
}
