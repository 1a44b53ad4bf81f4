//! An S3 server that checks signatures: `s3s-fs` over a folder. A crate of its own, so that the demonstration compiles nothing else of the
//! tests.

mod rules;
mod store;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;

pub use crate::rules::{Kept, Rules};
use crate::store::Store;

/// The access key that the server knows.
pub const ACCESS_KEY: &str = "AKIATESTOFBUNDLES";

/// Its secret key; tests look for it in everything that is printed.
pub const SECRET_KEY: &str = "rather-secret/key+of=tests";

/// Serves a folder until the process ends; each bucket is a folder in it. Port 0 means any.
///
/// # Panics
/// If the port is taken.
pub fn serve(root: &Path, port: u16) -> SocketAddr {
    serve_by(Rules::default(), root, port)
}

/// The same, by these rules.
///
/// # Panics
/// If the port is taken.
pub fn serve_by(rules: Rules, root: &Path, port: u16) -> SocketAddr {
    let files = FileSystem::new(root).unwrap();
    let files = Store {
        files,
        rules,
        root: root.to_owned(),
    };
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let _ = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let service = service.clone();
                drop(tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    // Fails if the client closes the connection.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                }));
            }
        })
    });
    address
}
