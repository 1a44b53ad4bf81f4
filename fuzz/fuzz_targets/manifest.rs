//! The manifest reader: never panics, and what it reads can be written and read again.
#![no_main]

use std::sync::LazyLock;

use ami_manifest::{BundleContents, ParsedManifest, PrivateKey, is_encrypted};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let bytes = include_bytes!("../../fixtures/golden/keys/user1024.key");
    PrivateKey::parse(bytes).expect("the fixture is a key")
});

fuzz_target!(|bytes: &[u8]| {
    if is_encrypted(bytes) {
        let _ = ami_manifest::decrypt(bytes, &KEY);
    }
    let contents = BundleContents::parse(bytes);
    let Ok(parsed) = ParsedManifest::parse(bytes) else {
        return;
    };
    let contents = contents.expect("what is whole is read in part too");
    assert_eq!(contents.parts, parsed.manifest.image.parts);
    assert!(contents.lacks.is_empty());
    // It may contain control characters, which cannot be written.
    let Ok(written) = parsed.manifest.to_signed_xml(&KEY) else {
        return;
    };
    let again = ParsedManifest::parse(&written).expect("what was written is read");
    assert_eq!(again.manifest.image, parsed.manifest.image);
    assert_eq!(again.manifest.bundler, parsed.manifest.bundler);
});
