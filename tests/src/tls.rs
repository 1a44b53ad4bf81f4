//! TLS in front of a server, with a certificate authority that only the test knows; and a tunnelling proxy.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslStream};

/// Serves TLS as `localhost` in front of `server`; `folder` gets `ca.pem`, the certificate to trust.
pub fn terminate(server: SocketAddr, folder: &Path) -> SocketAddr {
    let _ = crate::shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test authority' -keyout ca.key -out ca.pem
         openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile <(echo subjectAltName=DNS:localhost) -out server.pem",
        folder,
    );
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor
        .set_private_key_file(folder.join("server.key"), SslFiletype::PEM)
        .unwrap();
    acceptor
        .set_certificate_chain_file(folder.join("server.pem"))
        .unwrap();
    let acceptor = Arc::new(acceptor.build());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _ = thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), acceptor) = (client, Arc::clone(&acceptor)) else {
                continue;
            };
            let _ = thread::spawn(move || {
                // A client that does not trust the certificate closes the connection.
                let Ok(mut client) = acceptor.accept(client) else {
                    return;
                };
                let mut server = TcpStream::connect(server).unwrap();
                exchange(&mut client, &mut server);
            });
        }
    });
    address
}

/// Passes on what either side sends, checking each in turn.
fn exchange(client: &mut SslStream<TcpStream>, server: &mut TcpStream) {
    let moment = Some(Duration::from_millis(5));
    client.get_ref().set_read_timeout(moment).unwrap();
    server.set_read_timeout(moment).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while step(client, server, &mut buffer) && step(server, client, &mut buffer) {}
}

/// Passes on some bytes; false when either side has closed the connection.
fn step(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> bool {
    match from.read(buffer) {
        Ok(0) => false,
        Ok(count) => to.write_all(&buffer[..count]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// A proxy that connects every tunnel to `server`, and records the requested names.
pub fn tunnels(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&asked);
    let _ = thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            let _ = thread::spawn(move || {
                let mut reader = BufReader::new(client.try_clone().unwrap());
                let mut first = String::new();
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                }
                seen.lock().unwrap().push(first.trim().to_owned());
                let mut to_client = client.try_clone().unwrap();
                let _ = to_client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                let mut server = TcpStream::connect(server).unwrap();
                let mut from_server = server.try_clone().unwrap();
                let _ = thread::spawn(move || {
                    let _ = std::io::copy(&mut from_server, &mut to_client);
                    let _ = to_client.shutdown(std::net::Shutdown::Both);
                });
                let _ = std::io::copy(&mut reader, &mut server);
                let _ = server.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    (address, asked)
}
