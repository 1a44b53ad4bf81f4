//! `s3-server FOLDER PORT`: an S3 server for the demonstration and the benchmarks; it prints its URL and serves until it is killed.

use std::path::Path;

use s3_server::serve;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, port] = arguments.as_slice() else {
        eprintln!("usage: s3-server FOLDER PORT");
        std::process::exit(1);
    };
    let address = serve(Path::new(folder), port.parse().unwrap_or(0));
    println!("http://{address}");
    loop {
        std::thread::park();
    }
}
