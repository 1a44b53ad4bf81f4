//! Disks that go by, and of which only their end tells whether they were the right ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ami_ebs::{BLOCK_SIZE, Counts, Error, Intake, NotPassed, Passing, Source};
use ami_image::Extent;
use ebs_server::Reading;

use crate::rig::*;

/// How a disk ends that went by.
#[derive(Clone, Copy)]
enum End {
    Right,
    Wrong,
    Unread,
}

/// A disk that is made up, handed over in pieces of an odd size.
struct GoingBy {
    disk: Made,
    free: Vec<Extent>,
    /// What is told before this block.
    end: (End, usize),
    /// How often it has gone by.
    times: Arc<AtomicUsize>,
}

impl GoingBy {
    fn source(disk: &Made, free: &[Extent], end: (End, usize)) -> Source {
        Self::counted(disk, free, end, Arc::default())
    }

    fn counted(disk: &Made, free: &[Extent], end: (End, usize), times: Arc<AtomicUsize>) -> Source {
        Source::Passing(Box::new(Self {
            disk: disk.clone(),
            free: free.to_vec(),
            end,
            times,
        }))
    }
}

impl Passing for GoingBy {
    fn size(&self) -> u64 {
        ami_ebs::Disk::size(&self.disk)
    }

    fn pass(&mut self, intake: &mut Intake<'_>, _: &AtomicBool) -> Result<Vec<Extent>, NotPassed> {
        let _ = self.times.fetch_add(1, Ordering::Relaxed);
        let (end, blocks) = self.end;
        for (number, index) in self.disk.blocks.iter().zip(0_u64..).take(blocks) {
            if *number == 0 {
                continue;
            }
            let begin = index * BLOCK_SIZE;
            let length = BLOCK_SIZE.min(self.size() - begin) as usize;
            let mut offset = begin;
            for piece in Made::block(*number)[..length].chunks(100_003) {
                let taken = intake.write(offset, piece);
                taken.map_err(|error| NotPassed::Unread(error.into()))?;
                offset += piece.len() as u64;
            }
        }
        match end {
            End::Right => Ok(self.free.clone()),
            End::Wrong => Err(NotPassed::Wrong("a digest differs".into())),
            End::Unread => Err(NotPassed::Unread("the line is cut".into())),
        }
    }
}

const ALL: (End, usize) = (End::Right, usize::MAX);

#[test]
fn zeros_in_free_space_are_left_out_and_everything_else_is_sent() {
    let scene = Scene::new();
    // 3 has data in free space, 4 zeros; half of 6 is free; the last is short.
    let mut disk = Made::new([1, 0, 2, 3, 0, 0, 0, 6]);
    disk.short = 1000;
    let half = Extent {
        offset: 6 * BLOCK_SIZE,
        length: BLOCK_SIZE / 2,
    };
    let source = GoingBy::source(&disk, &[extent(3, 2), half], ALL);
    let done = scene.put(source).unwrap();
    let expected = Counts {
        done: 7,
        zeros: 3,
        free: 1,
        ..Counts::default()
    };
    assert_eq!((done.blocks, done.counts), (7, expected));
    let snapshot = scene.server.snapshot(&done.snapshot).unwrap();
    assert_eq!(snapshot.blocks, [0, 1, 2, 3, 5, 6, 7]);
    assert!(scene.has(&done.snapshot, &disk));
    let zeros = scene.server.block(&done.snapshot, 5, Reading::Noise);
    assert!(zeros.unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_is_the_wrong_one_is_never_completed() {
    let scene = Scene::new();
    let disk = Made::new(1..=9);
    let wrong = GoingBy::source(&disk, &[], (End::Wrong, usize::MAX));
    let failed = scene.put(wrong).unwrap_err();
    assert!(matches!(failed.error, Error::Wrong(_)), "{failed}");
    assert!(!failed.can_resume);
    let snapshot = failed.snapshot.unwrap();
    assert_eq!(scene.server.snapshot(&snapshot).unwrap().state, "pending");
    // The next begins with another.
    let done = scene.put(GoingBy::source(&disk, &[], ALL)).unwrap();
    assert_ne!(done.snapshot, snapshot);
    assert_eq!((done.blocks, done.counts.kept), (9, 0));
}

#[test]
fn one_that_cannot_be_read_to_its_end_is_gone_on_with() {
    let scene = Scene::new();
    let disk = Made::new((1..=50).map(|n| if n % 5 == 0 { 0 } else { n }));
    let free = [extent(3, 3)];
    let cut = GoingBy::source(&disk, &free, (End::Unread, 30));
    let failed = scene.put(cut).unwrap_err();
    assert!(matches!(failed.error, Error::Unread(_)), "{failed}");
    assert!(failed.can_resume);
    let done = scene.put(GoingBy::source(&disk, &free, ALL)).unwrap();
    assert_eq!(Some(&done.snapshot), failed.snapshot.as_ref());
    assert_eq!(done.blocks, 49);
    assert!(scene.has(&done.snapshot, &disk));
    // Of 24 with data the last was not whole yet, and three waited to be hashed with a fourth.
    assert_eq!((done.counts.kept, done.counts.again), (20, 0));
    assert_eq!(scene.server.log().put_twice(&done.snapshot), 0);
}

#[test]
fn a_run_that_is_interrupted_anywhere_goes_on_with_the_same_snapshot() {
    let scene = Scene::slow();
    let disk = Made::new((1..=300).map(|n| if n % 7 == 0 { 0 } else { n }));
    let source = || GoingBy::source(&disk, &[extent(48, 1)], ALL);
    let done = scene.put_with_interruptions(source, 5);
    assert!(scene.has(&done.snapshot, &disk));
    assert_eq!(done.blocks, 299);
}

#[test]
fn what_has_changed_between_runs_becomes_what_it_is_now() {
    let scene = Scene::slow();
    let before = Made::new(1..=200);
    let _ = scene.put_some(GoingBy::source(&before, &[], ALL), 30);
    let written = scene.server.snapshots()[0].blocks.len();
    let mut after = before.with_zeros(0..5);
    after.blocks[5..10].fill(1000);
    after.blocks.truncate(written - 3);
    let free = [extent(0, 5)];
    let done = scene.put(GoingBy::source(&after, &free, ALL)).unwrap();
    assert!(scene.has(&done.snapshot, &after));
    assert_eq!(scene.server.snapshots().len(), 1);
}

#[test]
fn it_goes_by_again_for_another_snapshot() {
    let (mut scene, other) = (Scene::slow(), Scene::slow());
    scene.request.visible_within = Duration::from_millis(300);
    let disk = Made::new(1..=100);
    let _ = scene.put_some(GoingBy::source(&disk, &[], ALL), 30);
    let times = Arc::new(AtomicUsize::new(0));
    let source = GoingBy::counted(&disk, &[], ALL, times.clone());
    // The other server does not have the snapshot that was begun.
    let putting = put(&other.server, source, &scene.request, &scene.notes);
    let done = run(putting).unwrap();
    assert_eq!(times.load(Ordering::Relaxed), 2);
    assert_eq!((done.blocks, done.counts.kept), (100, 0));
    assert!(other.has(&done.snapshot, &disk));
}

#[test]
fn bytes_out_of_order_or_behind_the_end_are_refused() {
    struct Odd(Vec<(u64, usize)>);
    impl Passing for Odd {
        fn size(&self) -> u64 {
            2 * BLOCK_SIZE
        }
        fn pass(
            &mut self,
            intake: &mut Intake<'_>,
            _: &AtomicBool,
        ) -> Result<Vec<Extent>, NotPassed> {
            for (offset, length) in &self.0 {
                let taken = intake.write(*offset, &vec![1; *length]);
                taken.map_err(|error| NotPassed::Unread(error.into()))?;
            }
            Ok(Vec::new())
        }
    }
    for (writes, at) in [
        (vec![(10, 5), (14, 1)], 14),
        (vec![(2 * BLOCK_SIZE - 1, 2)], 2 * BLOCK_SIZE - 1),
        (vec![(u64::MAX, 2)], u64::MAX),
    ] {
        let scene = Scene::new();
        let failed = scene
            .put(Source::Passing(Box::new(Odd(writes))))
            .unwrap_err();
        assert!(
            matches!(failed.error, Error::OutOfOrder { offset } if offset == at),
            "{failed}"
        );
        assert!(!failed.can_resume);
    }
}
