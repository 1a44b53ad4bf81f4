//! What the older suite wrote is read, verified, decrypted, and written again byte for byte.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ami_manifest::{
    BundleKey, Certificate, KeyProblem, ParsedManifest, PrivateKey, Version, decrypt, is_encrypted,
};
use serde_json::Value;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/golden")
        .join(path)
}

fn json(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn private_key(name: &str) -> PrivateKey {
    PrivateKey::load(&golden(&format!("keys/{name}.key"))).unwrap()
}

fn certificate(name: &str) -> Certificate {
    Certificate::load(&golden(&format!("keys/{name}.crt"))).unwrap()
}

/// The bundles of `index.json`: folder, and their `info.json`.
fn bundles() -> Result<Vec<(PathBuf, Value)>> {
    let index = json(&golden("bundles/index.json"))?;
    let mut bundles = Vec::new();
    for entry in index.as_array().unwrap() {
        let folder = golden("bundles").join(text(&entry["name"]));
        let info = json(&folder.join("info.json"))?;
        bundles.push((folder, info));
    }
    assert!(bundles.len() >= 25);
    Ok(bundles)
}

#[test]
fn every_bundles_manifest_is_read_verified_decrypted_and_written_again_byte_for_byte() -> Result {
    for (folder, info) in bundles()? {
        let name = folder.display();
        let bytes = fs::read(folder.join(text(&info["manifest"])))?;
        let user = text(&info["user_key"]);
        let parsed = ParsedManifest::parse(&bytes)?;
        parsed.verify(&certificate(user))?;
        assert!(parsed.verify(&certificate("other")).is_err(), "{name}");

        let manifest = &parsed.manifest;
        assert_eq!(
            Value::from(manifest.image.size),
            info["image"]["size"],
            "{name}"
        );
        let digest = manifest.image.digest.to_string();
        assert_eq!(Value::from(digest), info["tar"]["sha1"], "{name}");
        assert_eq!(
            manifest.image.parts.len(),
            info["parts"].as_array().unwrap().len()
        );

        for (wrapped, key) in [
            (&manifest.image.user_key, user),
            (&manifest.image.ec2_key, "ec2"),
        ] {
            let key = wrapped.unwrap_with(&private_key(key))?;
            assert_eq!(hex::encode(key.key()), text(&info["aes_key_hex"]), "{name}");
            assert_eq!(hex::encode(key.iv()), text(&info["aes_iv_hex"]), "{name}");
        }
        assert_eq!(
            String::from_utf8(manifest.to_signed_xml(&private_key(user))?)?,
            String::from_utf8(bytes)?,
            "{name}"
        );
    }
    Ok(())
}

/// OpenSSL answers a wrong key with random bytes, which must never pass: tried often enough to see some that look right at first.
#[test]
fn a_wrong_key_is_told_from_the_right_one_every_time() -> Result {
    for round in 0..300 {
        let wrapped =
            BundleKey::from_bytes([round as u8; 16], [1; 16]).wrap(&certificate("user2048"))?;
        let _ = wrapped.unwrap_with(&private_key("user2048"))?;
        for wrong in ["other", "user1024", "user4096", "ec2"] {
            let outcome = wrapped.unwrap_with(&private_key(wrong)).map(|_| ());
            assert!(
                matches!(outcome, Err(ami_manifest::Error::WrongKey)),
                "{wrong}"
            );
        }
    }
    Ok(())
}

#[test]
fn older_formats_and_migrated_manifests_are_read_and_verified() -> Result {
    for (name, version) in [
        ("v3-a-raw64k", Version::V3),
        ("v3-f4-longname-sparse", Version::V3),
        ("v20070829-a-raw64k", Version::V20070829),
        ("v20070829-f4-longname-sparse", Version::V20070829),
    ] {
        let folder = golden("bundles/old-formats").join(name);
        let manifest = fs::read_dir(&folder)?
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().ends_with(".manifest.xml"));
        let parsed = ParsedManifest::load(&manifest.unwrap())?;
        parsed.verify(&certificate("user2048"))?;
        assert_eq!(parsed.manifest.version, version);
        assert_eq!(parsed.manifest.image.image_type, "machine");
        assert_eq!(parsed.manifest.machine.architecture, "i386");
    }
    let mut count = 0;
    for entry in fs::read_dir(golden("bundles/migrated"))? {
        let folder = entry?.path();
        let info = json(&folder.join("info.json"))?;
        let key = text(&info["signing_key"]);
        let after = fs::read(folder.join("after.manifest.xml"))?;
        let parsed = ParsedManifest::parse(&after)?;
        parsed.verify(&certificate(key))?;
        assert_eq!(
            parsed.manifest.to_signed_xml(&private_key(key))?,
            after,
            "{}",
            folder.display()
        );
        let _ = ParsedManifest::load(&folder.join("before.manifest.xml"))?;
        count += 1;
    }
    assert_eq!(count, 11);
    Ok(())
}

#[test]
fn openssl_alone_verifies_a_manifest_that_was_written_here() -> Result {
    let (folder, info) = bundles()?.remove(0);
    let parsed = ParsedManifest::load(&folder.join(text(&info["manifest"])))?;
    let mut manifest = parsed.manifest;
    manifest.image.name = "<it's> & \"more\" ü".to_owned();
    manifest.machine.kernel_id = Some("a&lt;b".to_owned());
    let _ = manifest
        .machine
        .block_device_mapping
        .insert("ami".into(), "sda1".into());
    let written = String::from_utf8(manifest.to_signed_xml(&private_key("user2048"))?)?;

    let cut = |from: &str, to: &str| {
        let start = written.find(from).unwrap();
        let end = written.find(to).unwrap() + to.len();
        written[start..end].to_owned()
    };
    let signed =
        cut("<machine_configuration>", "</machine_configuration>") + &cut("<image>", "</image>");
    let signature = cut("<signature>", "</signature>");
    let signature = signature
        .trim_start_matches("<signature>")
        .trim_end_matches("</signature>");
    let folder = tempfile::tempdir()?;
    let (public, signature_file) = (
        folder.path().join("public"),
        folder.path().join("signature"),
    );
    fs::write(&signature_file, hex::decode(signature)?)?;
    let output = Command::new("openssl")
        .args(["x509", "-pubkey", "-noout", "-in"])
        .arg(golden("keys/user2048.crt"))
        .output()?;
    fs::write(&public, output.stdout)?;
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha1", "-verify"])
        .arg(&public)
        .arg("-signature")
        .arg(&signature_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    openssl.stdin.take().unwrap().write_all(signed.as_bytes())?;
    let output = openssl.wait_with_output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "Verified OK\n");
    assert_eq!(
        ParsedManifest::parse(written.as_bytes())?.manifest,
        manifest
    );
    Ok(())
}

#[test]
fn encrypted_manifests_decrypt_and_damaged_ones_are_refused() -> Result {
    let folder = golden("bundles/encrypted-manifests");
    let index = json(&folder.join("index.json"))?;
    assert_eq!(index.as_array().unwrap().len(), 5);
    for entry in index.as_array().unwrap() {
        let bytes = fs::read(folder.join(text(&entry["file"])))?;
        let key = private_key(text(&entry["user_key"]));
        assert!(is_encrypted(&bytes));
        let plain = decrypt(&bytes, &key)?;
        let sha1 = openssl::hash::hash(openssl::hash::MessageDigest::sha1(), &plain)?;
        assert_eq!(hex::encode(sha1), text(&entry["plaintext_sha1"]));
        let _ = ParsedManifest::parse(&plain)?;
        assert!(matches!(
            ParsedManifest::parse(&bytes),
            Err(ami_manifest::Error::IsEncrypted)
        ));

        assert!(decrypt(&bytes, &private_key("other")).is_err());
        // Every length up to the text, and some beyond. Cut at a block, the padding may by chance be right: then the XML is not.
        for length in (0..600).chain([bytes.len() - 16, bytes.len() - 1]) {
            if let Ok(text) = decrypt(&bytes[..length.min(bytes.len() - 1)], &key) {
                assert!(ParsedManifest::parse(&text).is_err(), "{length}");
            }
        }
    }
    for text in ["<manifest/>", "  <?xml?>", "", "\u{feff}<?xml?>"] {
        assert!(!is_encrypted(text.as_bytes()));
    }
    Ok(())
}

#[test]
fn every_kind_of_key_and_certificate_file_is_told_apart() -> Result {
    use KeyProblem::*;
    // File; what it is as a private key; what it is as a certificate.
    let table: &[(&str, Option<KeyProblem>, Option<KeyProblem>)] = &[
        ("ec2.crt", Some(IsCertificate), None),
        ("ec2.key", None, Some(IsPrivateKey)),
        ("ecdsa.crt", Some(IsCertificate), Some(NotRsa)),
        ("ecdsa.key", Some(NotRsa), Some(IsPrivateKey)),
        ("empty.pem", Some(Empty), Some(Empty)),
        ("encrypted-pkcs1.key", Some(Locked), Some(IsPrivateKey)),
        ("encrypted-pkcs8.key", Some(Locked), Some(IsPrivateKey)),
        ("garbage.pem", Some(NotAPrivateKey), Some(NotACertificate)),
        ("other.crt", Some(IsCertificate), None),
        ("other.key", None, Some(IsPrivateKey)),
        ("user1024.crt", Some(IsCertificate), None),
        ("user1024.key", None, Some(IsPrivateKey)),
        ("user2048-both.pem", None, None),
        ("user2048-crlf.crt", Some(IsCertificate), None),
        ("user2048-expired.crt", Some(IsCertificate), None),
        ("user2048-pkcs1.key", None, Some(IsPrivateKey)),
        ("user2048-text.crt", Some(IsCertificate), None),
        ("user2048.crt", Some(IsCertificate), None),
        ("user2048.crt.der", Some(IsCertificate), None),
        ("user2048.der", None, Some(IsPrivateKey)),
        ("user2048.key", None, Some(IsPrivateKey)),
        ("user2048.pub", Some(IsPublicKey), Some(NotACertificate)),
        ("user4096.crt", Some(IsCertificate), None),
        ("user4096.key", None, Some(IsPrivateKey)),
    ];
    assert_eq!(fs::read_dir(golden("keys"))?.count(), table.len());
    for (file, key_problem, certificate_problem) in table {
        let bytes = fs::read(golden("keys").join(file))?;
        assert_eq!(PrivateKey::parse(&bytes).err(), *key_problem, "{file}");
        assert_eq!(
            Certificate::parse(&bytes).err(),
            *certificate_problem,
            "{file}"
        );
    }
    let key = private_key("user2048");
    for file in [
        "user2048-both.pem",
        "user2048-expired.crt",
        "user2048.crt.der",
    ] {
        assert!(Certificate::load(&golden("keys").join(file))?.belongs_to(&key));
    }
    assert!(!certificate("other").belongs_to(&key));
    Ok(())
}
