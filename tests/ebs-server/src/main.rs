//! `ebs-server [--NAME VALUE]…`: the double for the demonstration and the benchmarks; it prints its URL and serves until it is killed.
//! Each field of [`Settings`] is an option (`--completes-after 0.5`, `--quotas '{"put_snapshot": 200}'`): a value is JSON or else text.

use ebs_server::{EbsServer, Settings};
use serde_json::{Map, Value};

fn settings(arguments: &[String]) -> Result<Settings, String> {
    let mut fields = Map::new();
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("{} needs a value", pair[0]));
        };
        let field = name
            .strip_prefix("--")
            .ok_or(format!("{name}: no option"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.clone()));
        let _ = fields.insert(field.replace('-', "_"), value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let settings = settings(&arguments).unwrap_or_else(|error| {
        eprintln!("ebs-server: {error}");
        std::process::exit(1);
    });
    let server = EbsServer::start(settings);
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}
