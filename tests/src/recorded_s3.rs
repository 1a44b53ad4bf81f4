//! The recordings of the older suite with an S3 server (`fixtures/contract/s3.jsonl`), and running them in the same way.

use serde_json::{Value, json};

use crate::moto::Moto;
use crate::proxy::{Action, Proxy, Rule, Slowness};
use crate::recorded::{Found, Surroundings, recorded, run_case};
use crate::{golden, text};

/// Fills the server with a case's initial contents, and returns the faults.
fn prepare(case: &Value, moto: &mut Moto, url: &str) -> Vec<Rule> {
    let _ = moto.call("reset", &[]);
    let mut rules = Vec::new();
    let bundles = golden("bundles");
    let real = |word: &str| word.replace("$BUNDLES", bundles.to_str().unwrap());
    for step in case["prepare"].as_array().into_iter().flatten() {
        let words: Vec<String> = step.as_array().unwrap()[1..]
            .iter()
            .filter_map(Value::as_str)
            .map(real)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match text(&step[0]) {
            "bucket" => drop(moto.call("bucket", &words)),
            "putdir" => {
                let [bucket, prefix, folder] = words[..] else {
                    panic!("{step}")
                };
                for name in crate::names(folder.as_ref()) {
                    if matches!(name.as_str(), "recipe.sh" | "info.json" | "tar-headers.bin") {
                        continue;
                    }
                    let _ = moto.call(
                        "put",
                        &[
                            bucket,
                            &format!("{prefix}{name}"),
                            &format!("{folder}/{name}"),
                        ],
                    );
                }
            }
            "put" => {
                let [bucket, key, content] = words[..] else {
                    panic!("{step}")
                };
                let named = match content.strip_prefix("text:") {
                    Some(content) => json!({"text": content}),
                    None => json!({"path": content}),
                };
                let _ = moto.call_with("put", &[bucket, key], named);
            }
            "many" => {
                let count = &step[3];
                let _ = moto.call_with("many", &words[..2], json!({"count": count}));
            }
            "faults" => rules.extend(
                step[1]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|fault| rule(fault, url)),
            ),
            other => panic!("{other}"),
        }
    }
    rules
}

fn rule(fault: &Value, url: &str) -> Rule {
    let host = url.strip_prefix("http://").unwrap();
    // The address of the recorded server.
    let here = |text: &str| text.replace("127.0.0.1:5056", host);
    let times = u32::try_from(fault["times"].as_i64().unwrap()).ok();
    let kind = fault["type"].as_str().unwrap_or("application/xml");
    let mut headers = vec![("Content-Type".to_owned(), kind.to_owned())];
    for (name, value) in fault["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), here(text(value))));
    }
    Rule::new(
        text(&fault["method"]),
        text(&fault["match"]),
        times,
        Action::Answer {
            status: u16::try_from(fault["status"].as_u64().unwrap()).unwrap(),
            headers,
            body: here(text(&fault["body"])),
        },
    )
}

/// Adds the port to URLs without one, because the recorded server also listened on the default port.
fn at_our_port(case: &Value, url: &str) -> Value {
    let mut case = case.clone();
    let port = url.rsplit(':').next().unwrap();
    for word in case["args"].as_array_mut().unwrap() {
        if text(word) == "http://localhost" {
            *word = format!("http://localhost:{port}").into();
        }
    }
    case
}

fn with_buckets(mut found: Found, moto: &mut Moto, before: &Value) -> Found {
    let after = moto.call("state", &[]);
    found.buckets = if after == *before {
        "unchanged".into()
    } else {
        after
    };
    found
}

/// Runs cases, each with its initial buckets and the server's faults. Returns what was recorded, what was found, and the case.
pub fn run_with_server(cases: Vec<Value>) -> Vec<(Found, Found, Value)> {
    let mut moto = Moto::start();
    let proxy = Proxy::start(moto.address, Slowness::default());
    let url = proxy.url();
    let run = |case: Value| {
        let rules = prepare(&case, &mut moto, &url);
        let before = moto.call("state", &[]);
        proxy.set_rules(rules);
        let surroundings = Surroundings {
            url: &url,
            ..Surroundings::default()
        };
        let found = run_case(&at_our_port(&case, &url), surroundings);
        let found = with_buckets(found, &mut moto, &before);
        (recorded(&case), found, case)
    };
    cases.into_iter().map(run).collect()
}
