//! All end-to-end tests in one program, so that shared code is linked once, with a module for each subject. Only `make test-boot` and
//! `make test-dist` run `boot` and `dist`.

mod boot;
mod callers;
mod conformance;
mod conformance_lines;
mod conformance_migrate;
mod conformance_s3;
mod dist;
mod ebs_double;
mod ebs_double_access;
mod ebs_double_refusals;
mod ec2_ami;
mod ec2_ami_bundle;
mod ec2_ami_bundle_faults;
mod ec2_ami_bundles;
mod ec2_ami_bundles_wrong;
mod ec2_ami_distribution;
mod ec2_ami_from_bundles;
mod ec2_ami_from_bundles_bytes;
mod ec2_ami_from_bundles_faults;
mod ec2_ami_from_bundles_refusals;
mod ec2_ami_kills;
mod ec2_ami_noise;
mod ec2_ami_old_images;
mod ec2_ami_plan;
mod ec2_ami_refusals;
mod ec2_ami_secrets;
mod ec2_ami_verbs;
mod ec2_ami_wrong;
mod error_texts;
mod failures;
mod faults;
mod fetch_certificates;
mod findings;
mod formats;
mod golden;
mod guide;
mod help;
mod hostile;
mod migrate_bundle;
mod migrate_manifest;
mod s3;
mod s3_access;
mod s3_faults;
mod s3_resume;
mod secrets;
mod signing_cert;
mod verify;
mod volume;
mod volume_contents;
mod volume_failures;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files in and below `folder` that are not declared as modules. `module` is the source file that must declare them.
fn forgotten(folder: &Path, module: &Path) -> Vec<PathBuf> {
    let declarations = fs::read_to_string(module).unwrap();
    let names: BTreeSet<PathBuf> = end_to_end::names(folder)
        .iter()
        .map(|name| folder.join(name).with_extension(""))
        .filter(|path| path.with_extension("rs") != module)
        .collect();
    let mut found = Vec::new();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let sources = [path.with_extension("rs"), path.join("mod.rs")];
        match sources.iter().find(|source| source.is_file()) {
            Some(source)
                if declarations
                    .lines()
                    .any(|line| line == format!("mod {name};")) =>
            {
                if path.is_dir() {
                    found.extend(forgotten(&path, source));
                }
            }
            _ => found.push(path),
        }
    }
    found
}

#[test]
fn every_file_of_tests_is_part_of_its_program() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = workspace.join("crates");
    let mut programs = vec![workspace.join("tests/tests")];
    for name in end_to_end::names(&crates) {
        let tests = crates.join(name).join("tests");
        if tests.is_dir() {
            // Cargo finds test programs in folders with a main.rs.
            programs.extend(
                end_to_end::names(&tests)
                    .iter()
                    .map(|name| tests.join(name)),
            );
        }
    }
    for folder in programs {
        let found = forgotten(&folder, &folder.join("main.rs"));
        assert_eq!(found, Vec::<PathBuf>::new());
    }
}

/// Sources with unit tests, in and below the folder.
fn with_tests(folder: &Path) -> Vec<PathBuf> {
    let paths = end_to_end::names(folder)
        .into_iter()
        .map(|name| folder.join(name));
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(with_tests(&path));
        } else if fs::read_to_string(&path).unwrap().contains("#[test]") {
            found.push(path);
        }
    }
    found
}

/// Commands have `test = false` in Cargo.toml, because their own tests would link everything again, so they must not have any.
#[test]
fn no_command_has_tests_that_nobody_runs() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let commands = fs::read_dir(workspace.join("bin")).unwrap();
    let commands = commands.map(|entry| entry.unwrap().path());
    let without: Vec<PathBuf> = commands
        .filter(|command| {
            let manifest = fs::read_to_string(command.join("Cargo.toml")).unwrap();
            manifest.contains("test = false")
        })
        .collect();
    assert!(without.len() > 10, "{without:?}");
    let others = [
        "bench/src",
        "tests/src/bin",
        "tests/ebs-server/src",
        "tests/s3-server/src",
    ];
    let others = others.map(|folder| workspace.join(folder));
    for folder in without.iter().chain(&others) {
        assert_eq!(with_tests(folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_file_that_is_no_module_is_found() {
    let work = end_to_end::folder();
    let root = work.path();
    let files = [
        ("main.rs", "mod one;\nmod two;\nmod three;\n"),
        ("one.rs", ""),
        ("lost.rs", ""),
        ("two/mod.rs", "mod inner;\n"),
        ("two/inner.rs", ""),
        ("two/lost.rs", ""),
        ("three.rs", ""),
        ("three/lost.rs", ""),
        ("lost_folder/any.rs", ""),
    ];
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let lost = ["lost", "lost_folder", "three/lost", "two/lost"].map(|name| root.join(name));
    assert_eq!(forgotten(root, &root.join("main.rs")), lost);
}
