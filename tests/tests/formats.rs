//! Bundles of all kinds of images can be unpacked with only OpenSSL, gunzip and GNU tar, including holes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use end_to_end::bundles::{part_count, take_apart};
use end_to_end::images::{incompressible, noise, sparse};
use end_to_end::mounts::Mount;
use end_to_end::{allocated, bundle, folder, key, names, run, sha256, shell};

/// Bundles the image, unpacks it with GNU tar and `ec2-unbundle`, and compares both with it. Returns the number of parts.
fn there_and_back(image: &Path, more: &[&str]) -> usize {
    let work = tempfile::tempdir_in(image.parent().unwrap()).unwrap();
    let (bundled, by_tar, by_us) = (
        work.path().join("bundle"),
        work.path().join("tar"),
        work.path().join("us"),
    );
    for folder in [&bundled, &by_tar, &by_us] {
        fs::create_dir(folder).unwrap();
    }
    let manifest = bundle(image, &bundled, more);
    take_apart(&manifest, &by_tar);
    let result = run(
        "ec2-unbundle",
        &[
            "-k".as_ref(),
            key("user2048.key").as_os_str(),
            "-m".as_ref(),
            manifest.as_os_str(),
            "-s".as_ref(),
            bundled.as_os_str(),
            "-d".as_ref(),
            by_us.as_os_str(),
        ],
    );
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let expected = sha256(image);
    for folder in [&by_tar, &by_us] {
        let name = names(folder).remove(0);
        let unbundled = folder.join(name);
        assert_eq!(sha256(&unbundled), expected, "{}", folder.display());
        let _ = shell("sync -f .", folder);
        // A file system may need another block or two for its extents.
        assert!(
            allocated(&unbundled) <= allocated(image) + 64 * 1024,
            "{}: {} allocated of {}",
            folder.display(),
            allocated(&unbundled),
            allocated(image)
        );
    }
    part_count(&manifest)
}

#[test]
fn holes_wherever_they_are() {
    let work = folder();
    let image = work.path().join("image");
    let block = 65_536;
    let islands = |count: u64, last_is_hole: bool| {
        let regions: Vec<_> = (0..count)
            .map(|i| (i * 2 * block, block as usize))
            .collect();
        (
            count * 2 * block - if last_is_hole { 0 } else { block },
            regions,
        )
    };
    let cases = [
        (4 << 20, vec![(0, 4 << 20)]),
        (4 << 20, vec![(1 << 20, 3 << 20)]),
        (4 << 20, vec![(0, 3 << 20)]),
        (4 << 20, vec![(1 << 20, 1 << 20)]),
        (4 << 20, vec![(100, 1), ((4 << 20) - 1, 1)]),
        (4 << 20, vec![]),
        (1, vec![(0, 1)]),
        (513, vec![(0, 513)]),
        islands(4, false),
        islands(4, true),
        islands(5, false),
        islands(25, false),
        islands(25, true),
        islands(26, false),
        islands(47, true),
        islands(230, false),
    ];
    for (size, regions) in cases {
        sparse(&image, size, &regions);
        // Noise does not compress, so its size determines the number of parts.
        let data: usize = regions.iter().map(|(_, length)| length).sum();
        assert_eq!(there_and_back(&image, &[]), 1 + data / (10 << 20), "{size}");
    }
}

#[test]
fn an_image_of_more_than_8_gib() {
    let work = folder();
    let image = work.path().join("image");
    // The golden bundles have sizes of about 8 GiB.
    let size = (9 << 30) + 7;
    sparse(&image, size, &[(1 << 20, 5000), (size - 3, 3)]);
    assert_eq!(there_and_back(&image, &[]), 1);
}

#[test]
fn exactly_1_10_and_100_parts() {
    let work = folder();
    let image = work.path().join("image");
    for (parts, last) in [(1, "0"), (9, "8"), (10, "09"), (11, "10"), (100, "099")] {
        incompressible(&image, parts * (10 << 20) - 100_000 - parts * 20_000);
        assert_eq!(there_and_back(&image, &[]), parts);
        let bundled = folder();
        let _ = bundle(&image, bundled.path(), &["-p", "p"]);
        let mut expected: Vec<String> = (0..parts)
            .map(|i| format!("p.part.{i:0width$}", width = last.len()))
            .collect();
        expected.insert(0, "p.manifest.xml".to_owned());
        assert_eq!(names(bundled.path()), expected);
    }
}

/// The size of an incompressible image determines that of its stream to the byte, so the right size is found by trial.
#[test]
fn a_stream_that_ends_exactly_at_a_parts_end() {
    let work = folder();
    let image = work.path().join("image");
    let target = 10 << 20;
    let mut size = target - 12_000;
    for _ in 0..8 {
        incompressible(&image, size);
        let bundled = folder();
        let manifest = bundle(&image, bundled.path(), &[]);
        let parsed = ami_manifest::ParsedManifest::load(&manifest).unwrap();
        let found = parsed.manifest.image.bundled_size as usize;
        if found == target {
            assert_eq!(there_and_back(&image, &[]), 1);
            return;
        }
        size = size + target - found;
    }
    panic!("no size was found whose stream has {target} bytes");
}

#[test]
fn names_of_every_length_and_kind() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 100_000, &[(50_000, 5000)]);
    let long = |length: usize| "n".repeat(length);
    for name in [
        &long(99),
        &long(100),
        &long(101),
        &long(230),
        "a b",
        "it's",
        "-x",
        "a&b<c>\"",
        "ü.img",
        "a;touch pwned",
        "$(id)",
    ] {
        let bundled = folder();
        let manifest = bundle(&image, bundled.path(), &["-p", name]);
        let unbundled = folder();
        let result = run(
            "ec2-unbundle",
            &[
                "-k".as_ref(),
                key("user2048.key").as_os_str(),
                "-m".as_ref(),
                manifest.as_os_str(),
                "-s".as_ref(),
                bundled.path().as_os_str(),
                "-d".as_ref(),
                unbundled.path().as_os_str(),
            ],
        );
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{name}");
        assert_eq!(names(unbundled.path()), [name]);
        assert_eq!(sha256(&unbundled.path().join(name)), sha256(&image));
        // The helper's simple scripts cannot handle special characters of the shell and XML.
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            let _ = there_and_back(&image, &["-p", name]);
        }
    }
}

#[test]
fn every_level_and_number_of_threads_gives_the_same_image() {
    let work = folder();
    let image = work.path().join("image");
    let text: String = (0..300_000)
        .map(|i: u32| format!("{} ", i.wrapping_mul(2_654_435_761) % 9973))
        .collect();
    let file = File::create(&image).unwrap();
    file.write_all_at(text.as_bytes(), 12_345).unwrap();
    file.write_all_at(&noise(3 << 20, 5), 8 << 20).unwrap();
    file.set_len(20 << 20).unwrap();
    file.sync_all().unwrap();
    for level in ["1", "6", "9", "12"] {
        assert_eq!(there_and_back(&image, &["--compression-level", level]), 1);
    }
    for threads in ["1", "2", "7", "64"] {
        assert_eq!(there_and_back(&image, &["--threads", threads]), 1);
    }
}

#[test]
fn a_block_device_is_bundled_and_comes_back_sparse() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 64 << 20, &[(0, 4096), (33 << 20, 1 << 20)]);
    let device = shell("losetup --show -fr image", work.path());
    let bundled = folder();
    let manifest = bundle(Path::new(&device), bundled.path(), &["-p", "disk"]);
    let _ = shell(&format!("losetup -d {device}"), work.path());
    let by_tar = folder();
    take_apart(&manifest, by_tar.path());
    assert_eq!(sha256(&by_tar.path().join("disk")), sha256(&image));
    let unbundled = folder();
    let arguments =
        ["-k", "KEY", "-m", "MANIFEST", "-s", "SOURCE", "-d", "DEST"].map(|word| match word {
            "KEY" => key("user2048.key"),
            "MANIFEST" => manifest.clone(),
            "SOURCE" => bundled.path().to_owned(),
            "DEST" => unbundled.path().to_owned(),
            other => other.into(),
        });
    assert_eq!(run("ec2-unbundle", &arguments).code, 0);
    let result = unbundled.path().join("disk");
    assert_eq!(sha256(&result), sha256(&image));
    assert!(allocated(&result) < 2 << 20, "zeros were written");
}

/// Such file systems report only data, even for files that take less space.
#[test]
fn a_file_system_without_seek_hole() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 8 << 20, &[(1 << 20, 100_000), (5 << 20, 100_000)]);
    let _ = shell(
        "mkdir files; cp --sparse=always image files; truncate -s 16M fs; mke2fs -q -t ext4 -d files fs",
        work.path(),
    );
    let mount = Mount::without_seek_hole(&work.path().join("fs"));
    let mounted = mount.path().join("image");
    assert!(allocated(&mounted) < 1 << 20);
    let bundled = folder();
    let manifest = bundle(&mounted, bundled.path(), &[]);
    let by_tar = folder();
    take_apart(&manifest, by_tar.path());
    assert_eq!(sha256(&by_tar.path().join("image")), sha256(&image));
}
