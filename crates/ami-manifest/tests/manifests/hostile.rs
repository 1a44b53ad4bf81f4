//! Input that must be refused, and input of every kind that must come back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ami_manifest::{
    Bundler, Error, Image, MachineConfiguration, Manifest, ParsedManifest, Part, PrivateKey,
    Sha1Digest, Version, WrappedKey,
};
use proptest::prelude::*;

fn key() -> PrivateKey {
    let path = "../../fixtures/golden/keys/user1024.key";
    PrivateKey::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn refusal(text: &str) -> String {
    ParsedManifest::parse(text.as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_hundred_megabytes_are_refused_by_their_size() {
    let mut text = String::from("<manifest>");
    text.extend(std::iter::repeat_n("<part>x</part>", 8_000_000));
    assert!(matches!(
        ParsedManifest::parse(text.as_bytes()),
        Err(Error::TooLarge { limit: 16_777_216 })
    ));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    // A hole: reading all of it would take a while, and it must not be read.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(
        ParsedManifest::load(&path),
        Err(Error::Manifest { .. })
    ));
}

#[test]
fn finding_10_elements_and_attributes_are_limited() {
    let text = format!("<manifest>{}</manifest>", "<a/>".repeat(4_000_000));
    let error = ParsedManifest::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::TooManyElements { limit: 600_000 }));
    let tag = "<a b='' c='' d='' e='' f='' g='' h='' i='' j='' k=''/>";
    let text = format!("<manifest>{}</manifest>", tag.repeat(100_000));
    let error = ParsedManifest::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::TooManyElements { limit: 600_000 }));
    // They are compared with each other: a million would take for ever.
    let attributes: String = (0..1_000_000).map(|i| format!(" a{i}=''")).collect();
    assert!(refusal(&format!("<manifest{attributes}/>")).contains("too many attributes"));
}

#[test]
fn finding_10_a_hundred_thousand_parts_are_read() {
    let mut whole = manifest(vec!["x".into()], vec!["n".into()], (1, 1), vec![1]);
    whole.image.parts = (0..100_000)
        .map(|index| Part {
            filename: format!("image.part.{index:06}"),
            digest: Sha1Digest([7; 20]),
        })
        .collect();
    let written = whole.to_signed_xml(&key()).unwrap();
    assert!(written.len() < 16 << 20);
    assert_eq!(ParsedManifest::parse(&written).unwrap().manifest, whole);
}

#[test]
fn entities_nesting_and_broken_tags_are_refused() {
    let bomb = "<!DOCTYPE m [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><manifest>&b;</manifest>";
    assert!(refusal(bomb).contains("DOCTYPE"));
    assert!(refusal(&"<a>".repeat(1_000_000)).contains("nested too deep"));
    for text in [
        "<manifest",
        "<manifest></image>",
        "<manifest a=>",
        "<manifest>&#0;</manifest>",
        "</manifest>",
        "<manifest a='1' a='2'/>",
    ] {
        let _ = refusal(text);
    }
}

fn manifest(
    texts: Vec<String>,
    names: Vec<String>,
    numbers: (u64, u64),
    bytes: Vec<u8>,
) -> Manifest {
    let text = |index: usize| texts[index % texts.len()].clone();
    Manifest {
        version: Version::V20071010,
        bundler: Bundler {
            name: text(0),
            version: text(1),
            release: text(2),
        },
        machine: MachineConfiguration {
            architecture: text(3),
            block_device_mapping: BTreeMap::from([(text(4), text(5)), (text(6), text(7))]),
            kernel_id: texts.first().cloned(),
            ramdisk_id: texts.get(2).cloned(),
            product_codes: texts.clone(),
        },
        image: Image {
            name: names[0].clone(),
            user: text(1),
            image_type: text(2),
            kernel_name: texts.get(3).cloned(),
            ancestry: texts.clone(),
            digest: Sha1Digest([7; 20]),
            size: numbers.0,
            bundled_size: numbers.1,
            ec2_key: WrappedKey {
                key: bytes.clone(),
                iv: bytes.clone(),
            },
            user_key: WrappedKey {
                key: bytes.clone(),
                iv: bytes,
            },
            parts: names
                .into_iter()
                .map(|filename| Part {
                    filename,
                    digest: Sha1Digest([9; 20]),
                })
                .collect(),
        },
    }
}

/// Text without white space at its ends, which readers take off.
fn some_text() -> impl Strategy<Value = String> {
    "[ -~\u{a1}-\u{d7ff}\u{10000}-\u{10ffff}\t\n]{1,30}"
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("not empty", |text| !text.is_empty())
}

fn file_name() -> impl Strategy<Value = String> {
    some_text()
        .prop_map(|text| text.replace('/', "_"))
        .prop_filter("a name", |text| text != "." && text != "..")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read_back(
        texts in proptest::collection::vec(some_text(), 1..8),
        names in proptest::collection::vec(file_name(), 1..13),
        numbers: (u64, u64),
        bytes in proptest::collection::vec(any::<u8>(), 1..9),
    ) {
        let manifest = manifest(texts, names, numbers, bytes);
        let written = manifest.to_signed_xml(&key()).unwrap();
        prop_assert_eq!(ParsedManifest::parse(&written).unwrap().manifest, manifest);
    }

    #[test]
    fn damaged_manifests_never_panic(position in 0usize..3200, byte: u8, cut in 0usize..3200) {
        let path = "../../fixtures/golden/bundles/manifest-variants/pretty.xml";
        let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        if let Some(slot) = bytes.get_mut(position) {
            *slot = byte;
        }
        let _ = ParsedManifest::parse(&bytes);
        bytes.truncate(cut);
        prop_assert!(ParsedManifest::parse(&bytes).is_err() || cut >= bytes.len());
    }
}

#[test]
fn control_characters_are_not_written() {
    let mut manifest = manifest(vec!["x".into()], vec!["n".into()], (1, 1), vec![1]);
    manifest.machine.kernel_id = Some("aki\u{1}".into());
    let error = manifest.to_signed_xml(&key()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel_id would hold the control character '\\u{1}', which a manifest cannot"
    );
}
