//! Untrusted text that is printed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use end_to_end::bundles::forge_image;
use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::s3::{BUCKET, Server, private_key, small_parts, with_keys};
use end_to_end::{Outcome, command_path, folder, outcome, run};

/// A file name with control characters: it clears the screen, begins a new line, and reverses the reading order.
const FORGED: &str = "\u{1b}[2J\u{9b}2J\nERROR: forged\r\u{202e}gpj";

/// The same as shown.
const SHOWN: &str = "\\u{1b}[2J\\u{9b}2J\\nERROR: forged\\r\\u{202e}gpj";

fn assert_harmless(result: &Outcome) {
    let printed = format!("{}{}", result.stdout, result.stderr);
    assert!(printed.contains(SHOWN), "{printed:?}");
    for c in ['\u{1b}', '\u{9b}', '\r', '\u{202e}'] {
        assert!(!printed.contains(c), "{printed:?}");
    }
    let forged = printed
        .lines()
        .filter(|line| line.starts_with("ERROR: forged"));
    assert_eq!(forged.count(), 0, "{printed:?}");
}

#[test]
fn finding_12_names_and_messages_of_others_reach_the_terminal_escaped() {
    // A part's name in a manifest, as far as XML allows it, and in a log.
    let in_xml = FORGED.replace('\u{1b}', "&#27;").replace('\r', "&#13;");
    let work = folder();
    let text = fs::read_to_string(small_parts().join("image.manifest.xml")).unwrap();
    let manifest = work.path().join("image.manifest.xml");
    fs::write(
        &manifest,
        text.replace("image.part.00", &format!("a{in_xml}")),
    )
    .unwrap();
    let private_key = private_key();
    for more in [&[][..], &["--debug"]] {
        let mut words = vec!["-k", &private_key, "-m", manifest.to_str().unwrap()];
        words.extend(more);
        let result = run("ec2-unbundle", &words);
        assert_eq!(result.code, 254);
        assert_harmless(&result);
    }

    // A server's message, in every try.
    let server = Server::start();
    let _ = server.bucket(BUCKET);
    let proxy = Proxy::start(server.address, Slowness::default());
    let body = format!("<Error><Code>Odd</Code><Message>{FORGED}</Message></Error>");
    let answer = Action::Answer {
        status: 400,
        headers: vec![("Content-Type".to_owned(), "application/xml".to_owned())],
        body: body.replace('\u{1b}', "&#27;").replace('\r', "&#13;"),
    };
    proxy.set_rules(vec![Rule::new("", ".", None, answer)]);
    let destination = folder();
    for more in [&[][..], &["--debug"]] {
        let result = {
            let destination = destination.path().to_str().unwrap();
            let words = [&["-k", &private_key, "-d", destination], more].concat();
            outcome(&mut with_keys("ec2-download-bundle", &proxy.url(), &words))
        };
        assert_eq!(result.code, 3, "{result:?}");
        assert_harmless(&result);
    }
}

#[test]
fn finding_12_names_on_a_volume_reach_the_terminal_escaped() {
    let (volume, destination) = (folder(), folder());
    fs::write(volume.path().join("a.pem"), "").unwrap();
    fs::write(volume.path().join(format!("{FORGED}.pem")), "").unwrap();
    let latin = OsStr::from_bytes(b"caf\xe9.pem");
    fs::write(volume.path().join(latin), "").unwrap();
    fs::create_dir_all(volume.path().join("etc")).unwrap();
    let words = [
        "--dry-run",
        "-P",
        "none",
        "-s",
        "64",
        "-v",
        volume.path().to_str().unwrap(),
        "-d",
        destination.path().to_str().unwrap(),
    ];
    let result = run("ec2-bundle-vol", &words);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_harmless(&result);
    for line in ["  /a.pem\n", "  /caf\\xe9.pem\n"] {
        assert!(result.stdout.contains(line), "{}", result.stdout);
    }
}

#[test]
fn finding_12_a_log_has_no_escapes_on_a_terminal_either() {
    let (work, destination) = (folder(), folder());
    let script = format!(
        "'{}' -k '{}' -m '{}' -d '{}' --debug",
        command_path("ec2-unbundle").display(),
        private_key(),
        forge_image(work.path(), "forged", "0644").display(),
        destination.path().display(),
    );
    let mut terminal = Command::new("script");
    let _ = end_to_end::isolate(&mut terminal)
        .args(["-qec", &script, "/dev/null"])
        .current_dir(work.path());
    let result = outcome(&mut terminal);
    assert_eq!(result.code, 0, "{result:?}");
    let logged: Vec<&str> = result
        .stdout
        .lines()
        .filter(|line| line.contains("DEBUG"))
        .collect();
    assert!(!logged.is_empty(), "{}", result.stdout);
    for line in logged {
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
