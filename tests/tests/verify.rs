//! `ec2-verify-bundle` on valid and damaged bundles.

use std::fs;
use std::path::Path;

use end_to_end::images::incompressible;
use end_to_end::same::assert_same_files;
use end_to_end::{bundle, contents, folder, key, run, shell};
use serde_json::Value;

fn verify(folder: &Path, more: &[&str]) -> (i32, String) {
    let manifest = folder.join("image.manifest.xml");
    let mut arguments = vec!["-m", manifest.to_str().unwrap()];
    arguments.extend(more);
    let before = contents(folder);
    let result = run("ec2-verify-bundle", &arguments);
    assert_eq!(result.stderr, "");
    assert_same_files(&contents(folder), &before);
    (result.code, result.stdout)
}

#[test]
fn every_check_holds_fails_or_says_what_it_takes() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 21 << 20);
    let bundled = folder();
    let _ = bundle(&image, bundled.path(), &[]);
    let (certificate, private_key) = (key("user2048.crt"), key("user2048.key"));
    let all = [
        "-c",
        certificate.to_str().unwrap(),
        "-k",
        private_key.to_str().unwrap(),
    ];
    let size: u64 = (0..3)
        .map(|i| {
            fs::metadata(bundled.path().join(format!("image.part.{i}")))
                .unwrap()
                .len()
        })
        .sum();

    let script = format!(
        "openssl x509 -in '{}' -noout -enddate | cut -d = -f 2",
        certificate.display()
    );
    let until = shell(&script, bundled.path());
    assert_eq!(
        verify(bundled.path(), &all),
        (
            0,
            format!(
                "manifest   ok           image, 22020096 bytes of image\n\
                 parts      ok           3 of 3 are there\n\
                 sizes      ok           {size} bytes in all\n\
                 digests    ok           SHA-1 of every part\n\
                 signature  ok           that of the certificate's owner: \"O=golden test, CN=golden user 2048\", 2048 bits, valid until {until}\n\
                 stream     ok           it is the image image, as it was bundled\n"
            )
        )
    );
    let (code, said) = verify(bundled.path(), &[]);
    assert_eq!(code, 0);
    assert!(said.ends_with(
        "signature  not checked  give the certificate with -c\n\
         stream     not checked  give the private key with -k\n"
    ));
    let (other, wrong) = (key("other.crt"), key("other.key"));
    let (code, said) = verify(
        bundled.path(),
        &["-c", other.to_str().unwrap(), "-k", wrong.to_str().unwrap()],
    );
    assert_eq!(code, 254);
    assert!(
        said.contains(
            "signature  FAILED       the manifest's signature is invalid: the manifest was changed after it was signed, or signed with \
             another key than that of \"O=golden test, CN=golden unrelated\"\n"
        ),
        "{said}"
    );
    assert!(
        said.contains("stream     FAILED       the bundle was not made for this private key"),
        "{said}"
    );

    let second = bundled.path().join("image.part.1");
    let mut bytes = fs::read(&second).unwrap();
    bytes[5_000_000] ^= 1;
    fs::write(&second, &bytes).unwrap();
    let (code, said) = verify(bundled.path(), &all);
    assert_eq!(code, 254);
    assert!(said.contains("digests    FAILED       part "), "{said}");
    assert!(
        said.contains("image.part.1 is damaged: its SHA-1 is "),
        "{said}"
    );
    assert!(
        said.contains("stream     not checked  its parts are missing or damaged"),
        "{said}"
    );

    fs::remove_file(&second).unwrap();
    fs::remove_file(bundled.path().join("image.part.2")).unwrap();
    let (code, said) = verify(bundled.path(), &all);
    assert_eq!(code, 254);
    let missing: Vec<_> = said
        .lines()
        .filter(|line| line.ends_with("is missing"))
        .collect();
    assert_eq!(missing.len(), 2, "{said}");
    assert!(
        missing[0].starts_with("parts      FAILED       part ")
            && missing[0].contains("image.part.1")
    );
    assert!(
        missing[1].starts_with("                        part ")
            && missing[1].contains("image.part.2")
    );

    fs::write(bundled.path().join("image.manifest.xml"), "<manifest>").unwrap();
    let (code, said) = verify(bundled.path(), &["--json"]);
    assert_eq!(code, 254);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["holds"], false);
    assert_eq!(report["checks"][0]["check"], "manifest");
    assert_eq!(report["checks"][0]["result"], "failed");
    assert_eq!(report["checks"][5]["result"], "not-checked");
}

#[test]
fn json_says_the_same_of_bundling_and_unbundling() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 11 << 20);
    let bundled = folder();
    let manifest = bundle(&image, bundled.path(), &[]);
    let mut arguments = end_to_end::bundling(&image, bundled.path());
    arguments.push("--json".to_owned());
    let bundling: Value =
        serde_json::from_str(&run("ec2-bundle-image", &arguments).stdout).unwrap();
    assert_eq!(bundling["manifest"], manifest.to_str().unwrap());
    assert_eq!(bundling["image_size"], 11 << 20);
    let parts = bundling["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let path = bundled.path().join(part["filename"].as_str().unwrap());
        assert_eq!(part["size"], fs::metadata(&path).unwrap().len());
        let sha1 = end_to_end::shell(&format!("sha1sum < '{}'", path.display()), work.path());
        assert_eq!(sha1, format!("{}  -", part["sha1"].as_str().unwrap()));
    }
    let sum: u64 = parts
        .iter()
        .map(|part| part["size"].as_u64().unwrap())
        .sum();
    assert_eq!(bundling["bundled_size"], sum);

    let unbundled = folder();
    let words = [
        "-k", "KEY", "-m", "MANIFEST", "-s", "SOURCE", "-d", "DEST", "--json",
    ]
    .map(|word| match word {
        "KEY" => key("user2048.key"),
        "MANIFEST" => manifest.clone(),
        "SOURCE" => bundled.path().to_owned(),
        "DEST" => unbundled.path().to_owned(),
        other => other.into(),
    });
    let report: Value = serde_json::from_str(&run("ec2-unbundle", &words).stdout).unwrap();
    assert_eq!(
        report["image"],
        unbundled.path().join("image").to_str().unwrap()
    );
    assert_eq!(report["image_size"], 11 << 20);
    assert_eq!(report["digest"], bundling["digest"]);
    assert_eq!(report["signature_checked"], false);
}
