//! Volumes to make images of.

use std::path::Path;

use crate::mounts::Mount;
use crate::shell;

/// Fills a folder with a few files like those of a root volume.
pub fn fill(root: &Path) {
    let script = "mkdir -p etc home/u/.ssh dev proc sys mnt media run tmp var; chmod 1777 tmp
        echo host > etc/hostname; echo '# old' > etc/fstab; echo top > .dotfile
        echo secret > home/u/id_rsa; echo key > home/u/.ssh/authorized_keys; echo t > home/u/notes.txt; echo s > home/u/x.swp
        ln home/u/notes.txt home/u/hard; ln -s notes.txt home/u/soft; mkfifo var/fifo; mknod var/null c 1 3
        setfattr -n user.a -v b etc/hostname; setcap cap_net_raw+ep home/u/notes.txt; chown 1000:1000 home/u
        truncate -s 3M var/hole; echo x | dd of=var/hole bs=1 seek=1M conv=notrunc status=none
        echo inner > mnt/not-copied; echo inner > dev/not-copied; touch -d '2001-02-03 04:05:06.789' etc/hostname etc";
    let _ = shell(script, root);
}

/// The differences between an image (without partitions) and its volume, as rsync lists them, except files that the filter leaves out, and
/// mount points.
pub fn differences(volume: &Path, image: &Path) -> String {
    let mounted = Mount::of_image(image, 0, "");
    let left_out = [
        "*.swp",
        "*id_rsa*",
        "*/.ssh/authorized_keys",
        "/dev/*",
        "/proc/*",
        "/sys/*",
        "/mnt/*",
        "/media/*",
        "/lost+found",
    ];
    let left_out: String = left_out
        .iter()
        .map(|path| format!(" --exclude='{path}'"))
        .collect();
    let script = format!(
        "rsync -naHAXi --checksum --delete --numeric-ids{left_out} --exclude=/etc/fstab '{}/' '{}/'",
        volume.display(),
        mounted.path().display()
    );
    shell(&script, Path::new("/"))
}
