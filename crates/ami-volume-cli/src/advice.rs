//! What the user can do about an error of the imager, with the options that all commands have that make images of volumes.

use std::error::Error;

use ami_cli::advice::as_a;
use ami_volume::{Error as E, Need, Package};

/// What to do about an error of the imager.
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    as_a(error).and_then(of_imaging)
}

fn of_imaging(error: &E) -> Option<String> {
    let advice = match error {
        E::TooSmall { .. } => "give a larger --size or leave out more with --exclude",
        E::Full { .. } => {
            "give a larger --size, leave out more with --exclude, or free space at the destination"
        }
        E::Space { .. } => {
            "free some, choose another --destination, or try all the same with --no-size-checks"
        }
        E::MissingTool { package, .. } => return Some(installing(package)),
        E::ToolOnVolume { package, .. } => {
            let install = installing(package);
            return Some(format!(
                "{install}, or, if you trust the volume, give --use-volume-tools"
            ));
        }
        E::NoBootLoader { .. } => {
            "install one (Debian: grub-pc-bin and grub2-common; Red Hat: grub2-pc-modules and grub2-tools), \
             or use --partition none for a paravirtual image"
        }
        E::NotConfigured { paths, .. } => {
            let path = paths.first()?;
            return Some(format!(
                "make one (Debian: update-grub; Red Hat: grub2-mkconfig -o {path}), or give one with --grub-config"
            ));
        }
        E::Legacy {
            partition,
            file_system,
            ..
        } => match (*partition, *file_system) {
            ("gpt", "ext2" | "ext3" | "ext4") => {
                "use --partition mbr, or install GRUB 2 on the volume"
            }
            _ => "install GRUB 2 on the volume, or use --partition none",
        },
        E::BrokenLoader { .. } => "reinstall the boot loader on the volume",
        E::LoaderTooLong { .. } => "use --partition gpt, which has more room, or --partition none",
        E::NotAllowed { need, .. } => of_need(*need),
        E::Least { .. } => "give a larger --size",
        E::TooLargeForMbr { .. } => "use --partition gpt",
        E::Patterns { .. } => "give fewer or shorter ones with --exclude and --include",
        E::NoThreads(_) => "raise it (ulimit -u, or that of the container)",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn installing(package: &Package) -> String {
    let Package { debian, red_hat } = package;
    format!("install it (Debian: {debian}; Red Hat: {red_hat})")
}

fn of_need(need: Need) -> &'static str {
    match need {
        Need::Mounts | Need::Freeze | Need::Snapshots => {
            "a container needs the capability CAP_SYS_ADMIN"
        }
        Need::PrivateMounts => {
            "in a chroot whose root directory is no mount point, bind-mount it onto itself first"
        }
        Need::LoopDevices => {
            "the kernel needs its loop module (modprobe loop), a container access to /dev/loop-control and /dev/loop*"
        }
        Need::Processes => "install the program on this machine",
        Need::Keeper => "mount /proc, and see that another process may be started",
    }
}
