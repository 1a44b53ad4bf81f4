//! What the user can do about an error, with this command's options.

use std::error::Error;

use ami_cli::advice;

/// See [`ami_cli::Advise`].
pub fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    ami_volume_cli::advice(error)
        .or_else(|| advice::of_bundling(error))
        .or_else(|| advice::of_manifests(error))
}
