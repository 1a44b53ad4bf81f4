//! Answers that no EBS gives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use ami_ebs::{Error, download, upload, verify};

use crate::rig::*;

/// A status, headers with their ends of lines, and the body.
type Answer = (u16, String, Vec<u8>);

/// Answers the first line of a request.
type Answers = dyn Fn(&str) -> Answer + Send + Sync;

/// A server that answers with what it is told to; it ends with the process.
fn serve(answers: impl Fn(&str) -> Answer + Send + Sync + 'static) -> String {
    let answers: Arc<Answers> = Arc::new(answers);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _ = std::thread::spawn(move || {
        for socket in listener.incoming() {
            let answers = answers.clone();
            let _ = std::thread::spawn(move || {
                let mut socket = BufReader::new(socket.unwrap());
                while answer(&mut socket, &*answers).is_some() {}
            });
        }
    });
    url
}

fn answer(socket: &mut BufReader<std::net::TcpStream>, answers: &Answers) -> Option<()> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.to_ascii_lowercase());
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).ok()?;
    let (status, headers, body) = answers(&lines[0]);
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    socket.get_mut().write_all(head.as_bytes()).ok()?;
    socket.get_mut().write_all(&body).ok()
}

fn json(text: &str) -> Answer {
    (200, String::new(), text.as_bytes().to_vec())
}

const PAGE: &str =
    r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":0,"BlockToken":"t"}]}"#;

/// The SHA-256 of a block of zeros.
const ZEROS: &str = "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=";

fn block(length: &str, checksum: &str, bytes: usize) -> Answer {
    let headers = format!(
        "x-amz-Data-Length: {length}\r\nx-amz-Checksum: {checksum}\r\nx-amz-Checksum-Algorithm: SHA256\r\n"
    );
    (200, headers, vec![0; bytes])
}

fn fetch(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let order = order("snap-0123456789abcdef0", folder.path());
    let fetched = run(async { download(&ebs(url).await, &order, &()).await });
    assert!(!order.file.exists());
    fetched.unwrap_err().to_string()
}

#[test]
fn lists_that_no_snapshot_has_are_refused() {
    let list = "ListSnapshotBlocks of snap-0123456789abcdef0: ";
    for (page, reason) in [
        (
            r#"{"BlockSize":512,"VolumeSize":1}"#,
            "the answer has blocks of another size than 524288 bytes",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":70000}"#,
            "the answer has no size that a volume can have",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":-1}"#,
            "the answer has no size that a volume can have",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":5,"BlockToken":"t"},{"BlockIndex":5,"BlockToken":"t"}]}"#,
            "the blocks are not in order, or not in the volume",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":2048,"BlockToken":"t"}]}"#,
            "the blocks are not in order, or not in the volume",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":-1,"BlockToken":"t"}]}"#,
            "a block has no index or no token",
        ),
        // For ever the next page, which is the same.
        (
            r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[],"NextToken":"n"}"#,
            "the answers have no end",
        ),
        (
            r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":5,"BlockToken":"t"}],"NextToken":"n"}"#,
            "a block comes a second time",
        ),
    ] {
        let url = serve(move |asked| match asked.contains("/blocks/") {
            true => block("524288", ZEROS, BLOCK),
            false => json(page),
        });
        assert_eq!(fetch(&url), format!("{list}{reason}"));
    }
    let endless = serve(|_| (200, String::new(), vec![b' '; 3 << 20]));
    assert!(fetch(&endless).starts_with(list));
}

#[test]
fn blocks_that_are_not_what_they_are_said_to_be_are_refused() {
    let get = "GetSnapshotBlock of snap-0123456789abcdef0, block 0: ";
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (length, checksum, bytes, reason) in [
        (
            "524288",
            other,
            BLOCK,
            "the block's SHA-256 is another than EBS says",
        ),
        ("524288", "zero", BLOCK, "the block has no SHA-256"),
        (
            "512",
            ZEROS,
            BLOCK,
            "the block has another length than 524288 bytes",
        ),
        ("524288", ZEROS, BLOCK - 1, "524287 bytes of a block came"),
        (
            "524288",
            ZEROS,
            BLOCK + 1,
            "the block has more than 524288 bytes",
        ),
    ] {
        let url = serve(move |asked| match asked.contains("/blocks/") {
            true => block(length, checksum, bytes),
            false => json(PAGE),
        });
        assert_eq!(fetch(&url), format!("{get}{reason}"));
    }
}

#[test]
fn a_block_that_was_not_written_or_is_another_is_found() {
    let scene = Scene::new();
    let done = scene.put(Made::new([1, 2]).source(&[])).unwrap();
    let listing = |indices: &[u32]| {
        let blocks: Vec<String> = indices
            .iter()
            .map(|index| format!(r#"{{"BlockIndex":{index},"BlockToken":"t"}}"#))
            .collect();
        format!(
            r#"{{"BlockSize":524288,"VolumeSize":1,"Blocks":[{}]}}"#,
            blocks.join(",")
        )
    };
    for (indices, index, found) in [
        (&[0, 1][..], 0, "it has other bytes"),
        (&[][..], 0, "nothing is there"),
        (&[7][..], 7, "nothing was written there"),
    ] {
        let page = listing(indices);
        let url = serve(move |asked| match asked.contains("/blocks/") {
            true => block("524288", ZEROS, BLOCK),
            false => json(&page),
        });
        // One at a time, so that the first one is told.
        let error =
            run(async { verify(&ebs(&url).await, &done.journal, 1, &()).await }).unwrap_err();
        let expected = format!(
            "block {index} of the snapshot {} is not what was written: {found}",
            done.snapshot
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_snapshot_needs_an_id() {
    for answer in [
        r#"{"BlockSize":524288,"VolumeSize":1}"#,
        r#"{"SnapshotId":"snap-1\n2","BlockSize":524288,"VolumeSize":1}"#,
        r#"{"SnapshotId":"snap-12","BlockSize":512,"VolumeSize":1}"#,
        r#"{"SnapshotId":"snap-12","BlockSize":524288,"VolumeSize":2}"#,
    ] {
        let url = serve(move |_| json(answer));
        let scene = Scene::new();
        let failed = run(async {
            let (ebs, known) = (ebs(&url).await, Known(&scene.server));
            upload(
                &ebs,
                Made::new([1]).source(&[]),
                &scene.request,
                &known,
                &(),
            )
            .await
        });
        let failed = failed.unwrap_err();
        assert!(matches!(failed.error, Error::Answer { .. }), "{failed}");
        assert_eq!(failed.snapshot, None);
    }
}

#[test]
fn a_page_whose_token_has_expired_is_asked_for_by_its_first_block() {
    const FIRST: &str = r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":0,"BlockToken":"t"}],"NextToken":"n"}"#;
    const SECOND: &str =
        r#"{"BlockSize":524288,"VolumeSize":1,"Blocks":[{"BlockIndex":5,"BlockToken":"t"}]}"#;
    let url = serve(|asked| {
        if asked.contains("/blocks/") {
            block("524288", ZEROS, BLOCK)
        } else if asked.contains("pagetoken=n") {
            let headers = "x-amzn-ErrorType: ValidationException\r\n".to_owned();
            let body = r#"{"Message":"expired","Reason":"INVALID_PAGE_TOKEN"}"#;
            (400, headers, body.as_bytes().to_vec())
        } else if asked.contains("startingblockindex=1&") || asked.contains("startingblockindex=1 ")
        {
            json(SECOND)
        } else {
            json(FIRST)
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let order = order("snap-0123456789abcdef0", folder.path());
    let done = run(async { download(&ebs(&url).await, &order, &()).await }).unwrap();
    assert_eq!((done.counts.done, done.counts.zeros), (2, 2));
}
