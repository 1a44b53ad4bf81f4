//! What has changed since the first pass began.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use ami_volume::{Event, InUse};

use crate::rig::{ext4, fill, image_of, in_image, request, shell};

pub fn second_pass() {
    let volume = ext4();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "cd '{}'; mkdir -p gone/deep moved old new was-folder acl; echo 1 > gone/deep/x; echo same > moved/file
        echo 111 > old/f; echo 222 > new/f; touch -d 2001-02-03 old/f new/f; echo x > was-file; ln -s a link
        echo linked > l1; ln l1 l2; ln l1 l3; echo changes > c1; ln c1 c2; echo y > vanishes; setfacl -d -m u:77:r acl; echo z > still",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        second_pass: true,
        ..InUse::default()
    };
    let copying = Mutex::new(0_u32);
    let event = |event: Event<'_>| {
        if matches!(event, Event::SecondPass) {
            *copying.lock().unwrap() += 1;
            // After the first pass, as other processes do at any time. Two folders are exchanged whose files have one size and time.
            let _ = shell(&format!(
                "cd '{}'; rm -r gone vanishes; mv moved moved-there; mv old t; mv new old; mv t new
                rmdir was-folder; echo f > was-folder; rm was-file; mkdir was-file; echo g > was-file/g; ln -sfn b link
                rm l2; echo alone > l2; ln l1 l4; echo more >> c2; echo in > acl/in; chmod 600 key; echo '***' > etc/more
                setfattr -n user.a -v b a; truncate -s 5M etc/hole",
                path.display()
            ));
            // What has changed in the same tick of the clock would be named; what mkfs made has whole seconds.
            std::thread::sleep(Duration::from_millis(1200));
        }
    };
    let writer = |_, _| {
        if *copying.lock().unwrap() == 1 {
            *copying.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(30));
            fs::write(path.join("still"), "changes in the second pass").unwrap();
        }
    };
    let made = image_of(request(&path, destination.path(), in_use), &event, &writer).unwrap();
    assert_eq!(made.copied.changed, [PathBuf::from("/still")]);
    assert_eq!(made.copied.vanished, Vec::<PathBuf>::new());
    let again = made.copied.again.unwrap();
    assert_eq!((again.removed, again.unsettled), (3, 1));
    // Not what is large and has not changed.
    assert!(again.data < 1000, "{again:?}");
    let differences = in_image(destination.path(), |root| {
        shell(&format!(
            "rsync -naHAXi --checksum --delete --numeric-ids --exclude=/key --exclude=/dev --exclude=/mnt --exclude=/proc --exclude=/sys \
             --exclude=/lost+found --exclude=/still '{}/' '{}/'",
            path.display(),
            root.display()
        ))
    });
    assert_eq!(differences, "");
}
