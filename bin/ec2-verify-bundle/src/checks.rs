//! The checks of a bundle, one after the other, and what each found.

use std::num::NonZeroUsize;
use std::path::Path;

use ami_bundle::Settings;
use ami_cli::{BundleFiles, Context, Failure, Progress};
use ami_manifest::{BundleContents, Certificate, PrivateKey};
use ami_parts::PartFile;
use serde::Serialize;

/// What became of every check.
#[derive(Debug, Serialize)]
pub struct Checks {
    /// Whether all that could be checked holds.
    pub holds: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    result: Outcome,
    /// What was found; of a failure one entry for each thing that is wrong.
    details: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Ok,
    Failed,
    NotChecked,
}

impl Checks {
    /// Runs them all; one that fails does not keep others from running that do not need it.
    pub fn run(
        manifest: &Path,
        folder: &Path,
        certificate: Option<&Certificate>,
        key: Option<&PrivateKey>,
        threads: NonZeroUsize,
        context: &Context,
    ) -> Result<Self, Failure> {
        let mut all = Self {
            holds: true,
            checks: Vec::new(),
        };
        let contents = BundleContents::load(manifest);
        let contents = match contents.and_then(|contents| contents.with_name(manifest)) {
            Ok(contents) => contents,
            Err(error) => {
                all.failed("manifest", vec![context.explained(&error)]);
                for check in ["parts", "sizes", "digests", "signature", "stream"] {
                    all.not_checked(check, "the manifest cannot be read");
                }
                return Ok(all);
            }
        };
        context.warn_of_lacks(manifest, &contents);
        let name = contents.name.as_deref().unwrap_or_default();
        all.ok(
            "manifest",
            match contents.size {
                Some(size) => format!("{name}, {size} bytes of image"),
                None => format!("{name}, an image of unknown size"),
            },
        );

        let parts_hold = all.check_parts(&contents, folder, threads, context)?;
        let signature = certificate.map(|certificate| contents.verify(certificate));
        match signature {
            Some(Ok(())) => {
                let info = certificate.and_then(Certificate::info);
                let info = info.map(|info| format!(": {info}"));
                let info = info.unwrap_or_default();
                all.ok(
                    "signature",
                    format!("that of the certificate's owner{info}"),
                );
            }
            Some(Err(error)) => all.failed("signature", vec![context.explained(&error)]),
            None => all.not_checked("signature", "give the certificate with -c"),
        }
        match key {
            None => all.not_checked("stream", "give the private key with -k"),
            Some(_) if !parts_hold => all.not_checked("stream", "its parts do not hold"),
            Some(key) => all.check_stream(&contents, folder, key, threads, context)?,
        }
        Ok(all)
    }

    /// A line for each check, and one more for each further thing that is wrong.
    pub fn lines(&self) -> Vec<String> {
        self.checks
            .iter()
            .flat_map(|check| {
                let word = match check.result {
                    Outcome::Ok => "ok",
                    Outcome::Failed => "FAILED",
                    Outcome::NotChecked => "not checked",
                };
                check
                    .details
                    .iter()
                    .enumerate()
                    .map(move |(index, detail)| {
                        let (name, word) = if index == 0 {
                            (check.check, word)
                        } else {
                            ("", "")
                        };
                        format!("{name:<10} {word:<12} {detail}")
                    })
            })
            .collect()
    }

    fn ok(&mut self, check: &'static str, detail: String) {
        self.add(check, Outcome::Ok, vec![detail]);
    }

    fn failed(&mut self, check: &'static str, details: Vec<String>) {
        self.holds = false;
        self.add(check, Outcome::Failed, details);
    }

    fn not_checked(&mut self, check: &'static str, why: &str) {
        self.add(check, Outcome::NotChecked, vec![why.to_owned()]);
    }

    fn add(&mut self, check: &'static str, result: Outcome, details: Vec<String>) {
        self.checks.push(Check {
            check,
            result,
            details,
        });
    }

    fn check_parts(
        &mut self,
        contents: &BundleContents,
        folder: &Path,
        threads: NonZeroUsize,
        context: &Context,
    ) -> Result<bool, Failure> {
        let parts = BundleFiles::named(&contents.parts, folder);
        let results =
            ami_parts::check_all(&parts, threads, context.interrupted(), PartFile::verify)
                .ok_or_else(Failure::interrupted)?;
        let count = results.len();
        let mut size = 0;
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(part_size) => size += part_size,
                Err(error @ ami_parts::Error::Missing { .. }) => {
                    missing.push(context.explained(&error))
                }
                Err(error) => wrong.push(context.explained(&error)),
            }
        }
        let all_there = missing.is_empty();
        if all_there {
            self.ok("parts", format!("{count} of {count} are there"));
        } else {
            self.failed("parts", missing);
        }
        // Digests tell of every byte; the sum of the sizes only whether the manifest is right about itself.
        match contents.bundled_size {
            _ if !all_there || !wrong.is_empty() => {
                self.not_checked("sizes", "a part is missing or damaged");
            }
            None => self.not_checked("sizes", "the manifest does not say them"),
            Some(said) if said == size => self.ok("sizes", format!("{size} bytes in all")),
            Some(said) => self.failed(
                "sizes",
                vec![format!(
                    "the parts have {size} bytes in all, the manifest says {said}"
                )],
            ),
        }
        let digests_hold = wrong.is_empty();
        if !digests_hold {
            self.failed("digests", wrong);
        } else if all_there {
            self.ok("digests", "SHA-1 of every part".to_owned());
        } else {
            self.ok("digests", "SHA-1 of every part that is there".to_owned());
        }
        Ok(all_there && digests_hold)
    }

    fn check_stream(
        &mut self,
        contents: &BundleContents,
        folder: &Path,
        key: &PrivateKey,
        threads: NonZeroUsize,
        context: &Context,
    ) -> Result<(), Failure> {
        let found = BundleFiles::find(contents, folder);
        let (Ok(bundle_key), Ok(files)) = (contents.user_key.unwrap_with(key), found) else {
            self.failed(
                "stream",
                vec![context.explained(&ami_manifest::Error::WrongKey)],
            );
            return Ok(());
        };
        let progress = Progress::bytes(context, files.size);
        let settings = Settings {
            threads,
            progress: &|count| progress.add(count),
            interrupted: context.interrupted(),
        };
        match ami_bundle::verify_stream(files.parts, &files.expected, &bundle_key, &settings) {
            Ok(name) => self.ok(
                "stream",
                format!("it gives the image {name}, as it was bundled"),
            ),
            Err(ami_bundle::Error::Interrupted) => return Err(Failure::interrupted()),
            Err(error) => self.failed("stream", vec![context.explained(&error)]),
        }
        Ok(())
    }
}
