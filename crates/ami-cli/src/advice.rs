//! What to do about errors of libraries, which state facts and know no options.
//!
//! Each helper takes the names of the command's options; the command's `advise` calls the helpers that apply (see
//! [`Advise`](crate::Advise)).

use std::error::Error;

use ami_files::FileError;

/// The error as one of this type, boxed or not.
pub fn as_a<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let boxed = || error.downcast_ref::<Box<E>>().map(|error| &**error);
    error.downcast_ref().or_else(boxed)
}

/// What to do about errors of files that are written and published.
///
/// `folder` is the option for the folder that they are written to, if there is one, and `name` the option that changes their names.
pub fn of_files(
    error: &(dyn Error + 'static),
    folder: Option<&str>,
    name: Option<&str>,
) -> Option<String> {
    use ami_parts::Error as E;
    let advice = match as_a::<E>(error)? {
        E::File(FileError::NoSpace { .. }) => of_no_space(folder),
        E::InTheWay { .. } => match name {
            Some(name) => format!("move it, or choose another {name}"),
            None => "move it".to_owned(),
        },
        E::Busy { .. } => "see what it waits for, or end it".to_owned(),
        _ => return None,
    };
    Some(advice)
}

/// What to do about errors of bundling, in the commands that have [`BundleOptions`](crate::BundleOptions).
pub fn of_bundling(error: &(dyn Error + 'static)) -> Option<String> {
    use ami_bundle::{Error as E, Problem, Problems};
    let (folder, name) = ("--destination", "--prefix");
    let problems = match as_a::<E>(error) {
        Some(E::Problems(problems)) => Some(problems),
        _ => as_a::<Problems>(error),
    };
    let problem = match problems {
        Some(problems) => problems.first(),
        None => as_a::<Problem>(error),
    };
    match problem {
        Some(problem) => of_problem(problem, folder, name),
        None => of_bundles(error, Some(folder), Some(name)),
    }
}

fn of_problem(problem: &ami_bundle::Problem, folder: &str, name: &str) -> Option<String> {
    use ami_bundle::Problem as P;
    match problem {
        P::NameNotUtf8(_) => Some(format!("give one with {name}")),
        P::Name { .. } => Some(format!("choose one with {name}")),
        P::Space { .. } => Some(format!(
            "free some, choose another folder with {folder}, or try all the same with --no-size-checks"
        )),
        P::WouldReplace(_) => Some(format!("choose another {name} or {folder}")),
        P::Folder(error) => of_files(error, Some(folder), Some(name)),
        P::Manifest(error) => of_manifests(error),
        _ => None,
    }
}

/// What to do about errors of bundling and unbundling, including those of files and manifests.
///
/// `folder` is the option for the folder that is written to; `name` the one for the bundle's name, if it can be chosen.
pub fn of_bundles(
    error: &(dyn Error + 'static),
    folder: Option<&str>,
    name: Option<&str>,
) -> Option<String> {
    use ami_bundle::Error as E;
    let Some(error) = as_a::<E>(error) else {
        return of_files(error, folder, name);
    };
    match error {
        E::File(error) => of_files(error, folder, name),
        E::Image(error) => of_images(error, folder),
        E::Manifest(error) => of_manifests(error),
        E::InTheWay { .. } | E::Exists { .. } => Some(match folder {
            Some(folder) => format!("move it, or choose another folder with {folder}"),
            None => "move it".to_owned(),
        }),
        E::WouldReplace { .. } => {
            folder.map(|folder| format!("choose another folder with {folder}"))
        }
        _ => None,
    }
}

/// What to do about errors in reading and writing images; `folder` as for [`of_files`].
fn of_images(error: &ami_image::Error, folder: Option<&str>) -> Option<String> {
    use ami_image::Error as E;
    match error {
        E::Changed { .. } => Some("stop what writes to it, and bundle it again".to_owned()),
        E::File(FileError::NoSpace { .. }) => Some(of_no_space(folder)),
        _ => None,
    }
}

fn of_no_space(folder: Option<&str>) -> String {
    match folder {
        Some(folder) => format!("free some, or choose another folder with {folder}"),
        None => "free some".to_owned(),
    }
}

/// What to do about errors of manifests, keys and certificates.
pub fn of_manifests(error: &(dyn Error + 'static)) -> Option<String> {
    use ami_manifest::{Error as E, KeyProblem};
    let advice = match as_a::<E>(error)? {
        E::DocType => "remove it",
        E::IsEncrypted => "download it again with ec2-download-bundle, which decrypts it",
        E::WrongKey => "give the one whose certificate it was made with",
        E::PrivateKey {
            problem: KeyProblem::Locked,
            ..
        } => "unlock it with: openssl rsa -in LOCKED -out UNLOCKED",
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_manifest::KeyProblem;
    use std::io;
    use std::path::PathBuf;

    const FOLDER: Option<&str> = Some("--directory");
    const NAME: Option<&str> = Some("--cn");

    fn path() -> PathBuf {
        "/x".into()
    }

    #[test]
    fn files_are_advised_on_with_the_commands_own_options() {
        use ami_parts::Error as E;
        let no_space = || E::io("write", &path())(io::ErrorKind::StorageFull.into());
        let in_the_way = || E::InTheWay { path: path() };
        let busy = || E::Busy { path: path() };
        let missing = || E::Missing { path: path() };
        let kinds: [(&dyn Fn() -> E, _, _); 4] = [
            (
                &no_space,
                Some("free some, or choose another folder with --directory"),
                Some("free some"),
            ),
            (
                &in_the_way,
                Some("move it, or choose another --cn"),
                Some("move it"),
            ),
            (
                &busy,
                Some("see what it waits for, or end it"),
                Some("see what it waits for, or end it"),
            ),
            (&missing, None, None),
        ];
        for (kind, with_options, without) in kinds {
            let same: [Box<dyn Error>; 3] = [
                Box::new(kind()),
                // As the cause of another one.
                Box::new(Box::new(kind())),
                Box::new(ami_bundle::Error::File(kind())),
            ];
            for (index, error) in same.iter().enumerate() {
                let error = error.as_ref();
                if index < 2 {
                    assert_eq!(of_files(error, FOLDER, NAME).as_deref(), with_options);
                    assert_eq!(of_files(error, None, None).as_deref(), without);
                }
                assert_eq!(of_bundles(error, FOLDER, NAME).as_deref(), with_options);
                assert_eq!(of_bundles(error, None, None).as_deref(), without);
            }
        }
    }

    #[test]
    fn bundles_are_advised_on_with_the_commands_own_options() {
        use ami_bundle::Error as E;
        let changed = E::Image(ami_image::Error::Changed {
            path: path(),
            what: "it was written to",
        });
        for (error, with_options, without) in [
            (
                E::InTheWay { path: path() },
                Some("move it, or choose another folder with --directory"),
                Some("move it"),
            ),
            (
                E::Exists { path: path() },
                Some("move it, or choose another folder with --directory"),
                Some("move it"),
            ),
            (
                E::WouldReplace { path: path() },
                Some("choose another folder with --directory"),
                None,
            ),
            (
                changed,
                Some("stop what writes to it, and bundle it again"),
                Some("stop what writes to it, and bundle it again"),
            ),
            (E::Interrupted, None, None),
        ] {
            assert_eq!(of_bundles(&error, FOLDER, NAME).as_deref(), with_options);
            assert_eq!(of_bundles(&error, None, None).as_deref(), without);
        }
    }

    #[test]
    fn problems_are_advised_on_with_the_options_of_bundles() {
        use ami_bundle::{Error as E, Problem as P, Problems};
        let name = || P::Name {
            name: "..".to_owned(),
            reason: "it is that of a folder",
        };
        let space = || P::Space {
            folder: path(),
            free: 1,
            needed: 2,
        };
        let no_advice = || P::Empty(path());
        let kinds: [(&dyn Fn() -> P, _); 6] = [
            (&name, Some("choose one with --prefix")),
            (&|| P::NameNotUtf8(path()), Some("give one with --prefix")),
            (
                &space,
                Some(
                    "free some, choose another folder with --destination, or try all the same with --no-size-checks",
                ),
            ),
            (
                &|| P::WouldReplace(path()),
                Some("choose another --prefix or --destination"),
            ),
            (
                &|| P::Folder(ami_parts::Error::InTheWay { path: path() }),
                Some("move it, or choose another --prefix"),
            ),
            (&no_advice, None),
        ];
        for (kind, advice) in kinds {
            assert_eq!(of_bundling(&kind()).as_deref(), advice);
            let problems = Problems::from(kind());
            assert_eq!(of_bundling(&problems).as_deref(), advice);
            let error = E::Problems(problems);
            assert_eq!(of_bundling(&error).as_deref(), advice);
        }
        let exists = E::Exists { path: path() };
        assert_eq!(
            of_bundling(&exists).as_deref(),
            Some("move it, or choose another folder with --destination")
        );
        let in_the_way = ami_parts::Error::InTheWay { path: path() };
        assert_eq!(
            of_bundling(&in_the_way).as_deref(),
            Some("move it, or choose another --prefix")
        );
    }

    #[test]
    fn manifests_and_keys_are_advised_on() {
        use ami_manifest::Error as E;
        let key = |problem| E::PrivateKey {
            path: path(),
            problem,
        };
        for (error, advice) in [
            (E::DocType, Some("remove it")),
            (
                E::IsEncrypted,
                Some("download it again with ec2-download-bundle, which decrypts it"),
            ),
            (
                E::WrongKey,
                Some("give the one whose certificate it was made with"),
            ),
            (
                key(KeyProblem::Locked),
                Some("unlock it with: openssl rsa -in LOCKED -out UNLOCKED"),
            ),
            (key(KeyProblem::NotRsa), None),
            (E::NoManifest("x".to_owned()), None),
        ] {
            assert_eq!(of_manifests(&error).as_deref(), advice);
            // As the cause of another one.
            assert_eq!(of_manifests(&Box::new(error)).as_deref(), advice);
        }
        assert_eq!(of_manifests(&io::Error::from(io::ErrorKind::Other)), None);
    }
}
