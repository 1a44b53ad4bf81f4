//! What a manifest may lack where only its bundle is to be read.

use std::fs;
use std::path::{Path, PathBuf};

use ami_manifest::{BundleContents, Certificate, Error, ParsedManifest};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden")
}

fn variant(name: &str) -> PathBuf {
    golden().join(format!("bundles/manifest-variants/{name}.xml"))
}

fn lacks(contents: &BundleContents) -> Vec<String> {
    contents.lacks.iter().map(Error::to_string).collect()
}

/// A manifest that lacks something, and how that is told.
const LACKING: &[(&str, &str)] = &[
    ("missing-bundler", "the element bundler is missing"),
    (
        "missing-machine_configuration",
        "the element machine_configuration is missing",
    ),
    ("missing-name", "the element image/name is missing"),
    ("missing-user", "the element image/user is missing"),
    ("missing-type", "the element image/type is missing"),
    ("missing-size", "the element image/size is missing"),
    (
        "missing-bundled_size",
        "the element image/bundled_size is missing",
    ),
    (
        "missing-ec2_encrypted_key",
        "the element image/ec2_encrypted_key is missing",
    ),
    (
        "missing-ec2_encrypted_iv",
        "the element image/ec2_encrypted_iv is missing",
    ),
    (
        "other-root",
        "it is not a manifest: its root element is \"manifesto\"",
    ),
];

#[test]
fn finding_25g_what_a_bundle_is_read_without_is_told() {
    let whole = ParsedManifest::load(&variant("plain")).unwrap();
    let whole = whole.manifest.image;
    for (name, lack) in LACKING {
        let path = variant(name);
        let contents = BundleContents::load(&path).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(lacks(&contents), [*lack], "{name}");
        assert_eq!(contents.parts, whole.parts, "{name}");
        assert_eq!(contents.digest, whole.digest, "{name}");
        let is = |lacking: &str| *name == lacking;
        let size = (!is("missing-size")).then_some(whole.size);
        let bundled = (!is("missing-bundled_size")).then_some(whole.bundled_size);
        assert_eq!(contents.size, size, "{name}");
        assert_eq!(contents.bundled_size, bundled, "{name}");
        assert!(ParsedManifest::load(&path).is_err(), "{name}");
        assert_eq!(
            contents.with_name(&path).is_err(),
            is("missing-name"),
            "{name}"
        );
    }
}

#[test]
fn finding_25g_what_is_needed_stays_needed() {
    for (name, why) in [
        ("missing-version", "the element version is missing"),
        ("version-2008", "its version is \"2008\""),
        ("missing-image", "the element image is missing"),
        ("missing-digest", "the element image/digest is missing"),
        ("missing-parts", "the element image/parts is missing"),
        (
            "missing-part-digest",
            "the element image/parts/part/digest is missing",
        ),
        (
            "missing-user_encrypted_key",
            "the element image/user_encrypted_key is missing",
        ),
        (
            "missing-user_encrypted_iv",
            "the element image/user_encrypted_iv is missing",
        ),
        ("html", "the element version is missing"),
        ("size-text", "image/size is \"big\""),
        ("traversal-filename", "image/parts/part/filename is \"../"),
    ] {
        let bytes = fs::read(variant(name)).unwrap();
        let said = BundleContents::parse(&bytes).unwrap_err().to_string();
        assert!(said.contains(why), "{name}: {said}");
    }
}

#[test]
fn whole_manifests_of_every_version_lack_nothing_and_their_signatures_are_checked() {
    let certificate = Certificate::load(&golden().join("keys/user2048.crt")).unwrap();
    for name in ["plain", "format3", "format20070829", "utf16"] {
        let contents = BundleContents::load(&variant(name)).unwrap();
        assert_eq!(lacks(&contents), [""; 0], "{name}");
        contents.verify(&certificate).unwrap();
    }
    for name in ["missing-signature", "image-text-changed", "missing-user"] {
        let contents = BundleContents::load(&variant(name)).unwrap();
        let refused = contents.verify(&certificate);
        assert!(matches!(refused, Err(Error::Signature(_))), "{name}");
    }
}
