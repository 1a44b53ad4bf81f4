//! Bundles with one wrong byte: whichever it is, no snapshot of wrong bytes is ever completed, and none stays pending.

use std::error::Error as StdError;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use ami_aws::Identity;
use ami_lifecycle::{
    Access, Bundle, Create, Created, Distribution, Error, Event, Journal, Observer, Origin, Place,
    Question, RootVolume, Stopped, create,
};
use ebs_server::BLOCK;
use end_to_end::bundles::forge_in_parts;
use end_to_end::ebs::{ACCESS_KEY, EbsServer, REGION, Reading, SECRET_KEY, Settings, quick};
use end_to_end::from_bundles::{self, Scene, key_file, words};
use end_to_end::images::noise;
use end_to_end::{contents, folder, key};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// How many wrong bundles are tried at once.
const THREADS: usize = 4;

/// Whose bundles they are: the shortest key makes the shortest manifest.
const USER: &str = "user1024";

/// Where thousands of small files come and go quickly.
const MEMORY: &str = "/dev/shm";

/// A bundle in a folder, and the image in it.
struct Whole {
    folder: TempDir,
    image: Vec<u8>,
}

impl Whole {
    /// The parts have this size in bytes.
    fn new(image: Vec<u8>, part_size: usize) -> Self {
        let (folder, work) = (folder(), folder());
        let path = work.path().join("image");
        fs::write(&path, &image).unwrap();
        let _ = forge_in_parts(folder.path(), USER, &path, part_size);
        Self { folder, image }
    }

    /// A few bytes in each of three blocks: a bundle of some hundred bytes.
    fn small() -> Self {
        let mut image = vec![0; 2 * BLOCK + 4096];
        for block in 0..3 {
            image[block * BLOCK..][..40].copy_from_slice(&noise(40, block as u64 + 1));
        }
        Self::new(image, 128)
    }

    /// Each file's name and how many bytes it has.
    fn files(&self) -> Vec<(String, usize)> {
        let files = contents(self.folder.path()).into_iter();
        files.map(|(name, bytes)| (name, bytes.len())).collect()
    }
}

/// What came of a bundle.
type Outcome = Result<Created, Box<Error>>;

/// A wrong byte.
#[derive(Debug, Clone)]
struct Fault {
    file: String,
    position: usize,
    /// Which bits are wrong.
    bits: u8,
    /// Whether the signature is checked.
    is_checked: bool,
}

impl Fault {
    fn is_in_a_part(&self) -> bool {
        self.file.contains(".part.")
    }
}

/// A copy of a bundle, and a double that nothing has been asked of yet.
struct Trial {
    bundle: TempDir,
    server: EbsServer,
}

impl Trial {
    fn of(whole: &Whole, fault: &Fault) -> Self {
        let bundle = tempfile::tempdir_in(MEMORY).unwrap();
        for (name, mut bytes) in contents(whole.folder.path()) {
            if name == fault.file {
                bytes[fault.position] ^= fault.bits;
            }
            fs::write(bundle.path().join(name), bytes).unwrap();
        }
        let server = EbsServer::start(Settings {
            store: Some(bundle.path().join("store")),
            ..quick()
        });
        Self { bundle, server }
    }

    fn run(&self, runtime: &Runtime, is_checked: bool) -> Outcome {
        let request = self.request(is_checked);
        let never = AtomicBool::new(false);
        let result = runtime.block_on(create(request, &Silent, &never));
        result.map_err(Box::new)
    }

    fn request(&self, is_checked: bool) -> Create {
        let manifest = from_bundles::manifest_in(self.bundle.path());
        Create {
            access: Access {
                identity: Identity::Given {
                    access_key: ACCESS_KEY.to_owned(),
                    secret_key: SECRET_KEY.to_owned().into(),
                    token: None,
                },
                region: Some(REGION.to_owned()),
                server: Some(self.server.url()),
            },
            origin: Origin::Bundle(Box::new(Bundle {
                place: Place::Folder { manifest },
                private_key: key(&format!("{USER}.key")),
                certificate: is_checked.then(|| key(&format!("{USER}.crt"))),
            })),
            resumes: true,
            name: None,
            description: None,
            architecture: None,
            size: None,
            root: RootVolume::default(),
            root_device: None,
            devices: Vec::new(),
            encrypted: false,
            kms_key: None,
            boot_mode: None,
            virtualization: "hvm".to_owned(),
            ena: None,
            imds_v2_only: false,
            tpm: false,
            uefi_data: None,
            tags: Vec::new(),
            distribution: Distribution::default(),
            verify: false,
            parallel: 16,
            journal: Journal::At(self.bundle.path().join("journal")),
        }
    }

    fn asked(&self, action: &str) -> usize {
        self.server.log().of(action).count()
    }

    /// Fails unless the snapshot has exactly the image's bytes, or was not completed and is gone.
    fn judge(&self, result: &Outcome, whole: &Whole, fault: &Fault) {
        match result {
            Ok(created) => {
                let record = self.server.snapshot(&created.snapshot).unwrap();
                assert_eq!(record.state, "completed", "{fault:?}");
                for (index, expected) in whole.image.chunks(BLOCK).enumerate() {
                    let index = u32::try_from(index).unwrap();
                    let read = self.server.block(&record.id, index, Reading::Zeros);
                    let (begin, end) = read.as_ref().unwrap().split_at(expected.len());
                    assert!(begin == expected, "{fault:?}: block {index}");
                    assert!(end.iter().all(|byte| *byte == 0), "{fault:?}");
                }
                let last = u32::try_from(whole.image.len().div_ceil(BLOCK)).unwrap();
                assert!(record.blocks.iter().all(|index| *index < last), "{fault:?}");
            }
            Err(error) => {
                assert_eq!(self.asked("CompleteSnapshot"), 0, "{fault:?}: {error}");
                assert_eq!(self.server.snapshots(), [], "{fault:?}: {error}");
            }
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn tell(&self, _: Event<'_>) {}

    fn agrees(&self, _: Question<'_>) -> Result<bool, Stopped> {
        Ok(false)
    }
}

/// An error and its causes.
fn chain(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// Tries each fault on a copy of the bundle of its own; `look` gets what came of it.
fn try_all(whole: &Whole, faults: &[Fault], look: impl Fn(&Fault, &Trial, &Outcome) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let runtime = Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let trial = Trial::of(whole, fault);
            let result = trial.run(&runtime, fault.is_checked);
            trial.judge(&result, whole, fault);
            look(fault, &trial, &result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let _ = scope.spawn(work);
        }
    });
}

/// Where the manifest has what its signature is of.
fn signed(manifest: &Path) -> Vec<Range<usize>> {
    let text = fs::read_to_string(manifest).unwrap();
    let elements = ["machine_configuration", "image"].map(|name| {
        let begin = text.find(&format!("<{name}>")).unwrap();
        let end = format!("</{name}>");
        begin..text.find(&end).unwrap() + end.len()
    });
    elements.into()
}

#[test]
fn whichever_byte_is_wrong_no_snapshot_of_wrong_bytes_is_completed() {
    let whole = Whole::small();
    let manifest = from_bundles::manifest_in(whole.folder.path());
    let signed = signed(&manifest);
    let mut faults = Vec::new();
    let mut parts = 0;
    for (file, size) in whole.files() {
        let is_part = file.contains(".part.");
        parts += usize::from(is_part);
        for position in 0..size {
            // One is text as before, the other is not.
            for bits in [0x01, 0x80] {
                let fault = Fault {
                    file: file.clone(),
                    position,
                    bits,
                    is_checked: false,
                };
                if !is_part {
                    let is_checked = true;
                    faults.push(Fault {
                        is_checked,
                        ..fault.clone()
                    });
                }
                faults.push(fault);
            }
        }
    }
    assert!(
        parts > 2 && faults.len() > 8000,
        "{parts}, {}",
        faults.len()
    );
    let (made, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
    try_all(&whole, &faults, |fault, trial, result| {
        let is_signed = signed.iter().any(|range| range.contains(&fault.position));
        let is_begun = trial.asked("StartSnapshot") > 0;
        match result {
            Ok(_) => {
                assert!(!fault.is_in_a_part(), "{fault:?}");
                assert!(!(fault.is_checked && is_signed), "{fault:?}");
                let _ = made.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let told = chain(error);
                let names_it = told.contains(&fault.file);
                assert!(!fault.is_in_a_part() || names_it, "{fault:?}: {told}");
                let _ = begun.fetch_add(usize::from(is_begun), Ordering::Relaxed);
            }
        }
    });
    let (made, begun) = (made.into_inner(), begun.into_inner());
    // What the manifest says of EC2's key, say, means nothing for the image; what it says of the stream is compared at the end.
    assert!(made > 700 && begun > 30, "{made} made, {begun} begun");
}

#[test]
fn a_wrong_byte_behind_what_is_sent_already_deletes_what_was_begun() {
    // Behind all that is read ahead of what is sent.
    let whole = Whole::new(noise(128 * BLOCK, 1), 8 << 20);
    let (file, size) = whole.files().pop().unwrap();
    assert_eq!(file, "forged.part.8");
    let faults: Vec<Fault> = [0, 1, size / 2, size - 1]
        .map(|position| Fault {
            file: file.clone(),
            position,
            bits: 0x10,
            is_checked: false,
        })
        .into();
    try_all(&whole, &faults, |fault, trial, result| {
        let told = chain(result.as_ref().unwrap_err());
        assert!(told.contains(&fault.file), "{fault:?}: {told}");
        let counts = ["StartSnapshot", "DeleteSnapshot"].map(|action| trial.asked(action));
        assert_eq!(counts, [1, 1], "{fault:?}: {told}");
        assert!(trial.asked("PutSnapshotBlock") > 0, "{fault:?}");
    });
}

/// Alters a byte of a file.
fn alter(file: &Path, position: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x01], position).unwrap();
}

#[test]
fn a_wrong_byte_in_s3_is_told_with_its_part_and_leaves_nothing() {
    let whole = Whole::new(noise(24 * BLOCK, 1), 4 << 20);
    let certificate = key_file(&format!("{USER}.crt"));
    let scene = Scene::new();
    let try_one = |file: &str, position: u64| {
        let manifest = scene.put(whole.folder.path());
        let path: PathBuf = scene.store().join(file);
        alter(&path, position);
        scene.aws.server.clear_log();
        let arguments = from_bundles::create(&manifest, USER);
        let result = scene.run(&words(&arguments, &["-c", &certificate]));
        assert_eq!(result.code, 2, "{file} at {position}: {result:?}");
        // The ID of what was begun, and that it was deleted.
        let said: Vec<&str> = result.stdout.lines().collect();
        assert!(matches!(said[..], [] | [_, _]), "{result:?}");
        let last = result.stderr.lines().next_back().unwrap().to_owned();
        assert!(last.starts_with("ERROR: "), "{result:?}");
        scene.assert_nothing_made();
        (last, scene.aws.asked("StartSnapshot") > 0)
    };
    let mut begun = 0;
    for (file, size) in whole.files() {
        let size = size as u64;
        if file.ends_with(".manifest.xml") {
            let text = fs::read_to_string(whole.folder.path().join(&file)).unwrap();
            for place in [
                "<size>",
                "<digest ",
                "<part ",
                "<user_encrypted_key",
                "<signature>",
            ] {
                let position = text.find(place).unwrap() + place.len() + 30;
                let (line, is_begun) = try_one(&file, position as u64);
                let is_told = line.contains("signature") || line.contains(&file);
                assert!(!is_begun && is_told, "{line}");
            }
            continue;
        }
        for position in [0, size / 2, size - 1] {
            let (line, is_begun) = try_one(&file, position);
            assert!(line.contains(&format!("{file}\": its SHA-1 is")), "{line}");
            assert_eq!(line.contains(" was deleted: "), is_begun, "{line}");
            begun += usize::from(is_begun);
        }
    }
    assert!(begun >= 6, "{begun}");
}
