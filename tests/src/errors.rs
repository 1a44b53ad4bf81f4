//! Recorded errors: text files of cases, each with a situation, a command line and what the command prints.
//!
//! A file begins with notes, which are ignored. Then comes a block for each case:
//!
//! ```text
//! ## What is wrong
//! % shell commands that set it up
//! @ orders to the test's own server
//! $ the command line
//! out| a line of standard output
//! err| a line of standard error
//! exit 254
//! ```
//!
//! Lines with `%` and `@` before the first case apply to every case. A case runs as root, in its own folder and its own mount namespace.
//! `keys` and `bundles` are the golden ones, `$S3` is a server whose buckets are the folders of `$STORE`, `$EC2` is moto, `$IMDS` an
//! instance metadata service.
//!
//! METHOD may be `any`; PATH is a regular expression.
//!
//! | order | what the server does |
//! |---|---|
//! | `@ s3 METHOD PATH STATUS CODE` | S3 answers such requests with this error |
//! | `@ s3 METHOD PATH cut BYTES` | the connection ends after this many bytes of the answer |
//! | `@ s3 METHOD PATH alter` | the last byte of the answer is changed |
//! | `@ s3 METHOD PATH head NAME VALUE` | the answer has this header |
//! | `@ s3 METHOD PATH body STATUS TEXT` | S3 answers with this text |
//! | `@ s3 METHOD PATH hold` | S3 does not answer |
//! | `@ s3 METHOD PATH endless STATUS` | S3's answer never ends |
//! | `@ s3 METHOD PATH redirect STATUS URL` | S3 redirects to this URL |
//! | `@ s3 once METHOD PATH …` | the same, but only the first time |
//! | `@ s3 clock SECONDS` | the server's clock is ahead |
//! | `@ ec2 STATUS CODE` | EC2 answers everything with this error |
//! | `@ ec2 body STATUS TEXT` | EC2 answers everything with this text |
//! | `@ ec2 image REGION ID LOCATION OWNER TYPE` | the region has this kernel or RAM disk |
//! | `@ imds refuses STATUS` | the metadata service answers everything with this status |
//! | `@ imds PATH=TEXT …` | the metadata service has these items |
//! | `@ image NAME` | makes `forged.manifest.xml` and its part, a bundle of an image of that name |
//! | `@ stream COMMAND` | makes them from the tar stream that the shell command prints |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use regex::Regex;
use serde_json::json;

use crate::bundles::{Forged, forge_image, gzip};
use crate::hostile::Hostile;
use crate::imds::{Service, Version};
use crate::machine::on_new_machine;
use crate::moto::Moto;
use crate::proxy::{Action, Proxy, Rule, Slowness};
use crate::s3::{ACCESS_KEY, SECRET_KEY, Server};
use crate::{METADATA_ENDPOINT, NO_METADATA, command_path, folder, golden, isolate, outcome};

/// If this variable is set, the files are rewritten instead of compared.
pub const UPDATE: &str = "AMI_TOOLS_UPDATE";

/// Comes before the setup in a case's script, so that a command of the setup that fails ends the case.
const BEFORE_SETUP: &str = "set -euo pipefail; exec 8>&1 9>&2 > \"$SETUP_LOG\" 2>&1
trap 'cat \"$SETUP_LOG\" >&9; exit 99' EXIT\n";
const AFTER_SETUP: &str = "trap - EXIT; set +euo pipefail; exec >&8 2>&9 8>&- 9>&-\n";

/// A file of cases.
#[derive(Debug)]
struct Cases {
    /// The lines before the first case.
    notes: Vec<String>,
    /// What every case begins with.
    common: Vec<String>,
    cases: Vec<Case>,
}

/// A case: its title, its setup and its command line.
#[derive(Debug)]
struct Case {
    title: String,
    setup: Vec<String>,
    line: String,
}

impl Cases {
    fn parse(text: &str) -> Self {
        let mut file = Self {
            notes: Vec::new(),
            common: Vec::new(),
            cases: Vec::new(),
        };
        for line in text.lines() {
            let is_setup = line.starts_with("% ") || line.starts_with("@ ");
            if let Some(title) = line.strip_prefix("## ") {
                file.cases.push(Case {
                    title: title.to_owned(),
                    setup: Vec::new(),
                    line: String::new(),
                });
            } else if let Some(case) = file.cases.last_mut() {
                if is_setup {
                    case.setup.push(line.to_owned());
                } else if let Some(line) = line.strip_prefix("$ ") {
                    assert!(case.line.is_empty(), "{}: two commands", case.title);
                    line.clone_into(&mut case.line);
                }
            } else if is_setup {
                file.common.push(line.to_owned());
            } else {
                file.notes.push(line.to_owned());
            }
        }
        file
    }
}

/// Runs the cases of a file and compares the output with the recorded one.
///
/// # Panics
/// If the output differs, or a case cannot be set up.
pub fn assert_as_recorded(file: &Path) {
    let recorded = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let cases = Cases::parse(&recorded);
    let mut scene = Scene::new(&recorded);
    let mut found = cases.notes.join("\n").trim_end().to_owned();
    let _ = write!(found, "\n\n{}\n", cases.common.join("\n"));
    for case in &cases.cases {
        let _ = write!(found, "\n{}", scene.run(&cases.common, case));
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(file, &found).unwrap();
        return;
    }
    assert!(
        found == recorded,
        "{} is not what the commands say ({UPDATE}=1 writes it anew):\n{}",
        file.display(),
        difference(&recorded, &found)
    );
}

/// The lines that differ, by diff(1).
fn difference(old: &str, new: &str) -> String {
    let work = folder();
    let [a, b] = ["recorded", "found"].map(|name| work.path().join(name));
    fs::write(&a, old).unwrap();
    fs::write(&b, new).unwrap();
    outcome(Command::new("diff").arg("-U8").args([a, b])).stdout
}

/// The servers of a file's cases; only those that the file uses.
struct Scene {
    server: Server,
    s3: Proxy,
    ec2: Option<(Moto, Proxy)>,
}

impl Scene {
    fn new(text: &str) -> Self {
        let server = Server::start();
        let s3 = Proxy::start(server.address, Slowness::default());
        let ec2 = text.contains("$EC2").then(|| {
            let moto = Moto::start();
            let proxy = Proxy::start(moto.address, Slowness::default());
            (moto, proxy)
        });
        Self { server, s3, ec2 }
    }

    /// Runs a case, and returns it in the file's form with its output.
    fn run(&mut self, common: &[String], case: &Case) -> String {
        let work = folder();
        // A case may run commands as another user in it.
        let _ = crate::shell("chmod 755 .", work.path());
        let root = work.path();
        symlink(golden("keys"), root.join("keys")).unwrap();
        symlink(golden("bundles"), root.join("bundles")).unwrap();
        let beside = folder();
        let log = beside.path().join("setup.log");
        let orders: Vec<&str> = common
            .iter()
            .chain(&case.setup)
            .filter_map(|line| line.strip_prefix("@ "))
            .collect();
        let imds = self.obey(&orders, root);
        let mut script = String::from(BEFORE_SETUP);
        for line in common.iter().chain(&case.setup) {
            if let Some(line) = line.strip_prefix("% ") {
                let _ = writeln!(script, "{line}");
            }
        }
        let _ = writeln!(script, "{AFTER_SETUP}{}", case.line);
        let endpoint = imds.map_or(NO_METADATA.to_owned(), |service| service.endpoint);
        let programs = command_path("ec2-unbundle");
        let path = std::env::var("PATH").unwrap();
        let path = format!(
            "{}:{path}:/usr/sbin:/sbin",
            programs.parent().unwrap().display()
        );
        let mut bash = on_new_machine("unshare");
        let _ = isolate(&mut bash)
            .args(["--mount", "bash", "-c", &script])
            .current_dir(root)
            .stdin(Stdio::null())
            .env("PATH", path)
            .env("HOME", root)
            .env("SETUP_LOG", &log)
            .env("STORE", self.server.bucket(""))
            .env("S3", self.s3.url())
            .env("ACCESS_KEY", ACCESS_KEY)
            .env("SECRET_KEY", SECRET_KEY)
            .env(METADATA_ENDPOINT, &endpoint);
        if let Some((_, proxy)) = &self.ec2 {
            let _ = bash.env("EC2", proxy.url());
        }
        let result = outcome(&mut bash);
        assert_ne!(result.code, 99, "{}: {}", case.title, result.stderr);
        let mut text = format!("## {}\n", case.title);
        for line in &case.setup {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "$ {}", case.line);
        for (name, stream) in [("out", &result.stdout), ("err", &result.stderr)] {
            for line in self.settled(stream, root, &endpoint).lines() {
                let blank = if line.is_empty() { "" } else { " " };
                let _ = writeln!(text, "{name}|{blank}{line}");
            }
        }
        let _ = writeln!(text, "exit {}", result.code);
        text
    }

    /// Sets up the servers, and makes bundles in the case's folder.
    fn obey(&mut self, orders: &[&str], work: &Path) -> Option<Service> {
        let _ = crate::shell("rm -rf ./* ./.[!.]*", &self.server.bucket(""));
        if let Some((moto, _)) = &mut self.ec2 {
            let _ = moto.call("reset", &[]);
        }
        let mut rules = Vec::new();
        let mut of_ec2 = Vec::new();
        let mut imds = None;
        for order in orders {
            let words: Vec<&str> = order.split(' ').collect();
            let rest = |from: usize| words[from..].join(" ");
            match words[..] {
                ["s3", "clock", seconds] => {
                    let ahead = Duration::from_secs(seconds.parse().unwrap());
                    rules.push(Rule::new("", ".", None, Action::Clock(ahead)));
                }
                ["s3", "once", method, path, ..] => {
                    let rule = rule(method, path, &words[4..]);
                    rules.push(Rule {
                        times: Some(1),
                        ..rule
                    });
                }
                ["s3", method, path, ..] => rules.push(rule(method, path, &words[3..])),
                ["image", name] => drop(forge_image(work, name, "644")),
                ["stream", ..] => {
                    let _ = crate::shell(&format!("{{ {}; }} > stream", rest(1)), work);
                    let tar = fs::read(work.join("stream")).unwrap();
                    let _ = Forged::new(&gzip(&tar), &tar, 9).write(work);
                }
                ["ec2", "image", region, id, place, owner, kind] => {
                    let (moto, _) = self.ec2.as_mut().expect("a file that names $EC2");
                    let images = json!([[id, place, owner, kind]]);
                    moto.images(region, images);
                }
                ["ec2", "body", status, ..] => {
                    of_ec2.push(rule("any", "", &["body", status, &rest(3)]));
                }
                ["ec2", status, code] => of_ec2.push(refusal_of_ec2(status.parse().unwrap(), code)),
                ["imds", "refuses", status] => {
                    let version = Version::Refuses(status.parse().unwrap());
                    imds = Some(Service::start(version, BTreeMap::new()));
                }
                ["imds", ..] => {
                    let item = |word: &str| {
                        let (path, text) = word.split_once('=').unwrap();
                        (format!("/latest/meta-data/{path}"), text.to_owned())
                    };
                    let items = words[1..].iter().map(|word| item(word)).collect();
                    imds = Some(Service::start(Version::V2Only, items));
                }
                _ => panic!("no such order: {order}"),
            }
        }
        self.s3.set_rules(rules);
        if let Some((_, proxy)) = &self.ec2 {
            proxy.set_rules(of_ec2);
        }
        imds
    }

    /// Replaces everything that differs between machines or runs.
    fn settled(&self, text: &str, work: &Path, endpoint: &str) -> String {
        let mut text = text.to_owned();
        let real = fs::canonicalize(work).unwrap();
        let golden = golden("keys");
        for (found, name) in [
            (real.to_str(), "$WORK"),
            (work.to_str(), "$WORK"),
            (golden.parent().and_then(Path::to_str), "$GOLDEN"),
            (Some(&*self.s3.address.to_string()), "S3"),
            (endpoint.strip_prefix("http://"), "IMDS"),
        ] {
            text = text.replace(found.unwrap(), name);
        }
        if let Some((_, proxy)) = &self.ec2 {
            text = text.replace(&proxy.address.to_string(), "EC2");
        }
        for (pattern, name) in [
            (r"/dev/loop[0-9]+", "/dev/loop*"),
            (
                r"\.ec2-ami-tools-(work|saved|download)\.[0-9A-Za-z._-]+",
                ".ec2-ami-tools-$1.*",
            ),
            (r"[0-9]+ bytes are free", "N bytes are free"),
            (r"[0-9]+ MB free", "N MB free"),
            // moto's regions, which depend on its version.
            (r"\(af-south-1, [a-z0-9, -]+\)", "(REGIONS)"),
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "UUID",
            ),
        ] {
            let pattern = Regex::new(pattern).unwrap();
            text = pattern.replace_all(&text, name).into_owned();
        }
        text
    }
}

fn rule(method: &str, path: &str, what: &[&str]) -> Rule {
    let action = match *what {
        ["cut", count] => Action::CutDownload(count.parse().unwrap()),
        ["hold"] => Action::Hold { passed_on: false },
        ["alter"] => Action::AlterDownload,
        ["head", "ETag", value] => Action::Header("ETag", value.to_owned()),
        ["redirect", status, url] => Action::Answer {
            status: status.parse().unwrap(),
            headers: vec![("Location".to_owned(), url.to_owned())],
            body: String::new(),
        },
        ["endless", status] => Action::Hostile(Hostile::endless(
            status.parse().unwrap(),
            "<?xml version='1.0'?><Error><Code>",
            "x",
        )),
        ["body", status, ..] => Action::Answer {
            status: status.parse().unwrap(),
            headers: vec![("Content-Type".to_owned(), "application/xml".to_owned())],
            body: what[2..].join(" "),
        },
        [status, code] => {
            return Rule::error(any(method), path, None, status.parse().unwrap(), code);
        }
        _ => panic!("no such order: s3 {method} {path} {what:?}"),
    };
    Rule::new(any(method), path, None, action)
}

/// An HTTP method, or any.
fn any(method: &str) -> &str {
    if method == "any" { "" } else { method }
}

/// An error of EC2's Query protocol.
fn refusal_of_ec2(status: u16, code: &str) -> Rule {
    let body = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Response><Errors><Error><Code>{code}</Code>\
         <Message>made by a test</Message></Error></Errors><RequestID>1</RequestID></Response>"
    );
    rule("any", "", &["body", &status.to_string(), &body])
}

/// The files of cases, by the commands' names.
pub fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("errors");
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// All lines of standard output and error that are recorded.
pub fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for file in recorded() {
        let text = fs::read_to_string(file).unwrap();
        let said = text.lines().filter_map(|line| {
            line.strip_prefix("err| ")
                .or_else(|| line.strip_prefix("out| "))
        });
        lines.extend(said.map(str::to_owned));
    }
    lines
}
