//! Other bundlers' bundles are read. Hostile and damaged ones are refused with a reason, use little memory, and leave nothing behind.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::bundles::{Forged, gzip};
use end_to_end::same::assert_same_bytes;
use end_to_end::{
    command_path, folder, golden, json, key, names, outcome, run, sha256, shell, text,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest, Sha1};

fn arguments(manifest: &Path, destination: &Path) -> Vec<PathBuf> {
    vec![
        "-k".into(),
        key("user2048.key"),
        "-m".into(),
        manifest.into(),
        "-s".into(),
        manifest.parent().unwrap().into(),
        "-d".into(),
        destination.into(),
    ]
}

/// Unbundles something that must be refused, and returns the error.
fn refusal(manifest: &Path) -> String {
    let destination = folder();
    let result = run("ec2-unbundle", &arguments(manifest, destination.path()));
    assert_eq!(
        (result.code, result.stdout.as_str()),
        (254, ""),
        "{}",
        result.stderr
    );
    assert!(names(destination.path()).is_empty());
    let error = result
        .stderr
        .strip_prefix("ERROR: ")
        .unwrap_or_else(|| panic!("{}", result.stderr));
    assert_eq!(error.matches('\n').count(), 1, "{error}");
    error.trim_end().to_owned()
}

/// Manifests in other dialects, which are read, and others, with why they are refused.
pub(crate) const VARIANTS: &[(&str, Result<(), &str>)] = &[
    ("absolute-name", Err("could leave the destination")),
    ("blocking-1", Ok(())),
    ("bundled-size-wrong", Ok(())),
    ("bzip2", Err("it is not gzip data")),
    ("digest-uppercase", Ok(())),
    (
        "digest-wrong",
        Err("the manifest says 0000000000000000000000000000000000000000"),
    ),
    ("directory-member", Err("is a folder, not a plain file")),
    ("dot-slash", Ok(())),
    (
        "dotdot-name",
        Err("\"../evil.img\", which is not a plain file name: it could leave the destination"),
    ),
    (
        "garbage-after-end",
        Err("there is data after the end of the tar archive"),
    ),
    ("gzip-bad-crc", Err("gzip's CRC-32 is wrong")),
    ("gzip-name-field", Ok(())),
    (
        "gzip-trailing-garbage",
        Err("there is data after the end of the gzip data"),
    ),
    ("gzip-trailing-zeros", Ok(())),
    ("gzip-truncated", Err("it ends too early, in")),
    ("gzip-two-streams", Ok(())),
    ("no-end-blocks", Ok(())),
    ("not-compressed", Err("it is not gzip data")),
    ("odd-part-names", Ok(())),
    ("one-end-block", Ok(())),
    ("part-corrupt-last-block", Err("is damaged: its SHA-1 is")),
    ("part-corrupt-middle", Err("is damaged: its SHA-1 is")),
    ("part-digest-wrong", Err("is damaged: its SHA-1 is")),
    ("part-missing", Err("image.part.1 is missing")),
    ("part-swapped", Err("is damaged: its SHA-1 is")),
    ("part-truncated", Err("is damaged: its SHA-1 is")),
    ("part-truncated-odd", Err("is damaged: its SHA-1 is")),
    ("parts-reversed-in-manifest", Ok(())),
    ("plain-gnu", Ok(())),
    ("plain-oldgnu", Ok(())),
    ("plain-posix", Ok(())),
    ("plain-ustar", Ok(())),
    ("plain-v7", Ok(())),
    ("python-tarfile-pax", Ok(())),
    ("signature-wrong", Ok(())),
    ("size-wrong", Err("bytes, the manifest says")),
    ("small-parts-12", Ok(())),
    ("sparse-not-detected", Ok(())),
    ("sparse-posix-0.0", Ok(())),
    ("sparse-posix-0.1", Ok(())),
    ("sparse-posix-1.0", Ok(())),
    (
        "symlink-escape",
        Err("is a symbolic link, not a plain file"),
    ),
    (
        "symlink-member",
        Err("is a symbolic link, not a plain file"),
    ),
    (
        "two-members",
        Err("its tar stream has more than one member"),
    ),
];

#[test]
fn every_variant_is_read_or_refused_as_the_table_says() {
    let variants = golden("bundles/unbundle-variants");
    let expected = json(&variants.join("expected.json"));
    let mut in_table: Vec<&str> = VARIANTS.iter().map(|(name, _)| *name).collect();
    in_table.push("expected.json");
    in_table.sort_unstable();
    assert_eq!(names(&variants), in_table);
    for (name, verdict) in VARIANTS {
        let source = variants.join(name);
        let manifest = names(&source)
            .into_iter()
            .find(|n| n.ends_with(".manifest.xml"))
            .unwrap();
        let manifest = source.join(manifest);
        match verdict {
            Err(why) => {
                let said = refusal(&manifest);
                assert!(said.contains(why), "{name}: {said}");
            }
            Ok(()) => {
                let destination = folder();
                let result = run("ec2-unbundle", &arguments(&manifest, destination.path()));
                assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{name}");
                // `file 20000 bytes sha1 9601… mode 0644`
                let entry = expected
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|e| e["name"] == *name)
                    .unwrap();
                let files = entry["reference"]["destination"].as_object().unwrap();
                let (file, description) = files.iter().next().unwrap();
                assert_eq!(names(destination.path()), [file.as_str()], "{name}");
                let sha1 = text(description).split(' ').nth(4).unwrap();
                let bytes = fs::read(destination.path().join(file)).unwrap();
                assert_eq!(hex::encode(Sha1::digest(bytes)), sha1, "{name}");
            }
        }
    }
}

#[test]
fn a_wrong_signature_is_refused_where_a_certificate_is_given() {
    let source = golden("bundles/unbundle-variants/signature-wrong");
    let manifest = names(&source)
        .into_iter()
        .find(|n| n.ends_with(".manifest.xml"))
        .unwrap();
    let destination = folder();
    let mut arguments = arguments(&source.join(manifest), destination.path());
    arguments.extend(["-c".into(), key("user2048.crt")]);
    let result = run("ec2-unbundle", &arguments);
    assert_eq!(result.code, 254);
    assert!(result.stderr.contains("signature"), "{}", result.stderr);
    assert!(names(destination.path()).is_empty());
}

/// GNU tar's stream of one file.
fn tar_of(bytes: &[u8]) -> Vec<u8> {
    let work = folder();
    fs::write(work.path().join("image"), bytes).unwrap();
    let _ = shell("tar -cf t --owner 0 --group 0 image", work.path());
    fs::read(work.path().join("t")).unwrap()
}

/// Streams compressed with synchronisation points, whose pieces look independent but need not be.
#[test]
fn streams_with_full_and_sync_flushes_at_odd_places_come_back() {
    let content: Vec<u8> = (0..3_000_000u32)
        .flat_map(|i| (i / 3 % 60_000).to_le_bytes())
        .collect();
    let with_pattern = [
        &content[..500_000],
        &[0, 0, 0xff, 0xff].repeat(3000),
        &content[..500_000],
    ]
    .concat();
    for content in [content, with_pattern] {
        let tar = tar_of(&content);
        for step in [1000, 70_000, 1 << 20] {
            for level in [
                Compression::none(),
                Compression::fast(),
                Compression::best(),
            ] {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                for piece in tar.chunks(step) {
                    encoder.write_all(piece).unwrap();
                    encoder.flush().unwrap(); // a sync flush: the next piece may refer to this one
                }
                let compressed = encoder.finish().unwrap();
                let work = folder();
                let manifest =
                    Forged::new(&compressed, &tar, content.len() as u64).write(work.path());
                let destination = folder();
                let result = run("ec2-unbundle", &arguments(&manifest, destination.path()));
                assert_eq!(
                    (result.code, result.stderr.as_str()),
                    (0, ""),
                    "step {step}"
                );
                assert_same_bytes(
                    &fs::read(destination.path().join("image")).unwrap(),
                    &content,
                );
            }
        }
    }
}

#[test]
fn gzip_members_cut_anywhere_come_back() {
    let content = golden("bundles/a-raw64k/recipe.sh");
    let content = fs::read(content).unwrap().repeat(50);
    let tar = tar_of(&content);
    for cut in [1, 511, 512, 513, 20_000, tar.len() - 1] {
        let compressed = [gzip(&tar[..cut]), gzip(&[]), gzip(&tar[cut..])].concat();
        for part_size in [16, 4096, 10 << 20] {
            let work = folder();
            let mut forged = Forged::new(&compressed, &tar, content.len() as u64);
            forged.part_size = part_size;
            let manifest = forged.write(work.path());
            let destination = folder();
            let result = run("ec2-unbundle", &arguments(&manifest, destination.path()));
            assert_eq!((result.code, result.stderr.as_str()), (0, ""));
            assert_same_bytes(
                &fs::read(destination.path().join("image")).unwrap(),
                &content,
            );
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused_even_if_every_digest_is_right() {
    let content: Vec<u8> = (0..50_000u32).flat_map(|i| (i * i).to_le_bytes()).collect();
    let tar = tar_of(&content);
    let compressed = gzip(&tar);
    for cut in (0..40)
        .chain((40..compressed.len()).step_by(9973))
        .chain(compressed.len() - 9..compressed.len())
    {
        let work = folder();
        let manifest =
            Forged::new(&compressed[..cut], &tar, content.len() as u64).write(work.path());
        let said = refusal(&manifest);
        assert!(
            said.contains("ends too early") || said.contains("not gzip"),
            "{cut}: {said}"
        );
    }
    // The same with a complete gzip stream of a truncated tar stream, up to its padding.
    for cut in [0, 1, 511, 512, 513, 100_000, 512 + content.len() - 1] {
        let work = folder();
        let compressed = gzip(&tar[..cut]);
        let said = refusal(
            &Forged::new(&compressed, &tar[..cut], content.len() as u64).write(work.path()),
        );
        assert!(
            said.contains("ends too early") || said.contains("no member"),
            "{cut}: {said}"
        );
    }
}

/// A command's peak memory in KiB, and its error.
fn peak_memory(manifest: &Path, destination: &Path) -> (u64, String) {
    let result = outcome(
        Command::new("/usr/bin/time")
            .args(["-f", "%M"])
            .arg(command_path("ec2-unbundle"))
            .args(arguments(manifest, destination)),
    );
    assert_eq!(result.code, 254);
    let (said, memory) = result.stderr.trim_end().rsplit_once('\n').unwrap();
    (
        memory.parse().unwrap(),
        said.replace("Command exited with non-zero status 254", ""),
    )
}

#[test]
fn a_gzip_bomb_is_stopped_at_the_manifests_size_in_bounded_memory() {
    let tar = tar_of(b"small");
    // 4 GiB of zeros, as the member's data and after the end of the archive.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&tar[..1024]).unwrap();
    for _ in 0..4096 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 8 << 20);
    let work = folder();
    let manifest = Forged::new(&bomb, &tar, 5).write(work.path());
    let destination = folder();
    let (memory, said) = peak_memory(&manifest, destination.path());
    assert!(
        said.contains("there is data after the end of the tar archive"),
        "{said}"
    );
    assert!(memory < 128 << 10, "{memory} KiB");
    assert!(names(destination.path()).is_empty());

    for (size, found) in [(4, 5), (6, 5)] {
        let compressed = gzip(&tar);
        let manifest = Forged::new(&compressed, &tar, size).write(work.path());
        let expected = format!("the image has {found} bytes, the manifest says {size}");
        assert!(refusal(&manifest).ends_with(&expected));
    }
}

#[test]
fn a_manifest_of_a_hundred_megabytes_is_refused_in_little_memory() {
    let work = folder();
    let manifest = work.path().join("image.manifest.xml");
    let mut text = String::from("<?xml version='1.0'?><manifest>");
    text.extend(std::iter::repeat_n("<x>&amp;</x>", 9 << 20));
    fs::write(&manifest, text).unwrap();
    let destination = folder();
    let (memory, said) = peak_memory(&manifest, destination.path());
    assert!(said.contains("which no manifest is"), "{said}");
    assert!(memory < 128 << 10, "{memory} KiB");
}

#[test]
fn a_part_that_would_leave_the_folder_is_refused_by_name() {
    let work = folder();
    let source = golden("bundles/manifest-variants");
    for (file, name) in [
        ("traversal-filename.xml", "../a-raw64k/image.img.part.0"),
        ("absolute-filename.xml", "/nonexistent/image.img.part.0"),
    ] {
        let manifest = work.path().join("m.manifest.xml");
        let _ = fs::copy(source.join(file), &manifest).unwrap();
        let said = refusal(&manifest);
        assert!(
            said.contains(&format!("image/parts/part/filename is {name:?}")),
            "{said}"
        );
    }
}

#[test]
fn a_link_in_the_destination_is_replaced_and_not_followed() {
    let source = golden("bundles/a-raw64k");
    let destination = folder();
    let elsewhere = folder();
    let target = elsewhere.path().join("precious");
    fs::write(&target, "precious").unwrap();
    let image = destination.path().join("image.img");
    std::os::unix::fs::symlink(&target, &image).unwrap();
    let result = run(
        "ec2-unbundle",
        &arguments(&source.join("image.img.manifest.xml"), destination.path()),
    );
    assert_eq!(result.code, 0);
    assert_same_bytes(&fs::read(&target).unwrap(), b"precious");
    assert!(image.symlink_metadata().unwrap().is_file());
    assert_eq!(
        sha256(&image),
        text(&json(&source.join("info.json"))["image"]["sha256"])
    );
}
