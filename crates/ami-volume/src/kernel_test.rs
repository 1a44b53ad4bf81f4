//! What the kernel is told, and what comes of it. Needs root and loop devices.

use std::fs::{self, File};

use super::*;

#[test]
fn the_structures_have_the_kernels_size() {
    assert_eq!(size_of::<LoopInfo>(), 232);
    assert_eq!(size_of::<LoopConfig>(), 304);
    assert_eq!(size_of::<VolumeName>(), 4096);
    assert_eq!(size_of::<SnapshotOf>(), 4096);
    assert_eq!(size_of::<RootRefs>(), 4096);
    assert_eq!(size_of::<PlaceOf>(), 4096);
    // As the C compiler has them.
    assert_eq!((FIFREEZE, FITHAW), (0xC004_5877, 0xC004_5878));
    assert_eq!((SNAP_DESTROY, SNAP_CREATE_V2), (0x5000_940F, 0x5000_9417));
    assert_eq!(
        (GET_SUBVOL_ROOTREF, INO_LOOKUP_USER),
        (0xD000_943D, 0xD000_943E)
    );
}

/// Needs root and loop devices, as all of this module.
#[test]
fn a_loop_device_shows_a_piece_of_a_file_and_clears_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(
        &path,
        [vec![1; 4096], vec![2; 8192], vec![3; 4096]].concat(),
    )
    .unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let control = File::open("/dev/loop-control").expect("this test needs root and loop devices");
    let number = loop {
        let number = free_loop_device(&control).unwrap();
        let device = File::options()
            .read(true)
            .write(true)
            .open(format!("/dev/loop{number}"))
            .unwrap();
        match configure_loop_device(&device, &file, 4096, 8192) {
            Ok(()) => {
                let mut bytes = Vec::new();
                let _ = io::Read::read_to_end(&mut &device, &mut bytes).unwrap();
                assert_eq!(bytes, vec![2; 8192]);
                break number;
            }
            Err(e) => assert_eq!(e.raw_os_error(), Some(16), "{e}"),
        }
    };
    let backing = format!("/sys/block/loop{number}/loop/backing_file");
    let is_there =
        || fs::read_to_string(&backing).is_ok_and(|shown| Path::new(shown.trim()) == path);
    // Whoever looks at all devices may have it open for a moment.
    for _ in 0..600 {
        if !is_there() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("/dev/loop{number} still shows {}", path.display());
}

#[test]
fn a_child_dies_with_its_thread() {
    let (child, pid) = std::thread::spawn(|| {
        let mut command = Command::new("/bin/sleep");
        let _ = command.arg("1000");
        bind_to_thread(&mut command);
        let child = command.spawn().unwrap();
        let pid = child.id();
        (child, pid)
    })
    .join()
    .unwrap();
    let mut child = child;
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{pid}"
    );
}

#[test]
fn mounts_of_a_thread_are_its_own() {
    let inside = std::thread::spawn(|| {
        unshare_mounts().expect("this test needs root");
        fs::read_link("/proc/thread-self/ns/mnt").unwrap()
    });
    let outside = fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    assert_ne!(inside.join().unwrap(), outside);
}
