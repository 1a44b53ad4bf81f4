//! Every error and warning of every command, as users see it: exit code, standard error, standard output. `errors/` has the cases.
//! Needs root.

use std::path::Path;

use end_to_end::errors::{assert_as_recorded, recorded};

/// The long options in a text.
fn options(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        })
}

/// Advice about an error names only options that the command has.
#[test]
fn errors_name_only_options_of_the_command_that_prints_them() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut advised = 0;
    for file in recorded() {
        let help = tests.join("help").join(file.file_name().unwrap());
        let Ok(help) = std::fs::read_to_string(help) else {
            continue; // of all commands, or of one without options
        };
        let known: Vec<&str> = options(&help).collect();
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let Some((_, error)) = line.split_once("| ERROR: ") else {
                continue;
            };
            for option in options(error) {
                assert!(known.contains(&option), "{} {line}", file.display());
                advised += 1;
            }
        }
    }
    assert!(advised > 20, "{advised}");
}

fn assert_errors_of(command: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("errors");
    assert_as_recorded(&folder.join(format!("{command}.txt")));
}

#[test]
fn every_file_has_its_test() {
    let tests = include_str!("error_texts.rs");
    for file in recorded() {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let call = format!("assert_errors_of({name:?})");
        assert!(tests.contains(&call), "{call}");
    }
}

#[test]
fn errors_of_bundle_image() {
    assert_errors_of("ec2-bundle-image");
}

#[test]
fn errors_of_bundle_vol() {
    assert_errors_of("ec2-bundle-vol");
}

#[test]
fn errors_of_unbundle() {
    assert_errors_of("ec2-unbundle");
}

#[test]
fn errors_of_verify_bundle() {
    assert_errors_of("ec2-verify-bundle");
}

#[test]
fn errors_of_upload_bundle() {
    assert_errors_of("ec2-upload-bundle");
}

#[test]
fn errors_of_download_bundle() {
    assert_errors_of("ec2-download-bundle");
}

#[test]
fn errors_of_delete_bundle() {
    assert_errors_of("ec2-delete-bundle");
}

#[test]
fn errors_of_migrate_manifest() {
    assert_errors_of("ec2-migrate-manifest");
}

#[test]
fn errors_of_migrate_bundle() {
    assert_errors_of("ec2-migrate-bundle");
}

#[test]
fn errors_of_create_signing_cert() {
    assert_errors_of("ec2-create-signing-cert");
}

#[test]
fn errors_of_ami() {
    assert_errors_of("ec2-ami");
}

#[test]
fn errors_that_all_commands_share() {
    assert_errors_of("all-commands");
}
