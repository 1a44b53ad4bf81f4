//! A bundle in S3 becomes a snapshot: by one command, and by hand with the best tools for each step. And it is unbundled from S3.

use std::fs;
use std::path::{Path, PathBuf};

use ebs_server::{ACCESS_KEY, SECRET_KEY};

use crate::Result;
use crate::buckets::Buckets;
use crate::disk::compare;
use crate::double::Double;
use crate::figure::Figure;
use crate::measure::{Measured, best_of, measured, shell};
use crate::transfers::NETWORK;

/// How it is measured, for the page.
pub const METHOD: &str = "- From a bundle to a snapshot: `ec2-ami create s3://… --snapshot-only` of a bundle of the same disk of 10 GiB, beside \
     `ec2-download-bundle`, `ec2-unbundle` and `coldsnap upload`, one after the other. S3 server and double are each behind a proxy as above. \
     The faster of two runs each; the snapshot is compared with the disk, byte by byte. What is written counts as GNU time does \
     (`%O`): all of it is the journal. Unbundled from S3: `ec2-ami unbundle s3://… - > /dev/null`, without a proxy, beside `ec2-unbundle` \
     of the same files.";

/// The measurements.
#[derive(Debug, Clone, Copy)]
pub struct Rescue {
    pub create: Measured,
    /// A sparse disk of 9 GiB.
    pub create_huge: Measured,
    pub download: Measured,
    pub unbundle: Measured,
    pub coldsnap: Measured,
    /// From S3, without a network.
    pub unbundle_from_s3: Measured,
    /// From files.
    pub unbundle_alone: Measured,
}

/// The disk of 10 GiB that coldsnap is measured with, and a sparse one of 9 GiB.
const DISK: &str = "whole.img";
const HUGE: &str = "huge.img";

struct Scene {
    folder: PathBuf,
    commands: PathBuf,
    coldsnap: String,
    buckets: Buckets,
    far: String,
}

impl Rescue {
    /// Measures with the disks in `folder`, which are there.
    pub fn measure(folder: &Path) -> Result<Self> {
        let scene = Scene::new(folder)?;
        let (disk, huge) = (folder.join(DISK), folder.join(HUGE));
        eprintln!("From a bundle to a snapshot ...");
        let create = best_of(2, || scene.create(&disk))?;
        let create_huge = scene.create(&huge)?;
        eprintln!("The same by hand ...");
        let download = best_of(2, || scene.download())?;
        let unbundle = best_of(2, || scene.unbundle("back"))?;
        let coldsnap = best_of(2, || scene.upload_by_coldsnap(&disk))?;
        eprintln!("Unbundling from S3 ...");
        let unbundle_from_s3 = best_of(3, || scene.unbundle_from_s3())?;
        let unbundle_alone = best_of(3, || scene.unbundle(DISK))?;
        Ok(Self {
            create,
            create_huge,
            download,
            unbundle,
            coldsnap,
            unbundle_from_s3,
            unbundle_alone,
        })
    }

    /// The figures with their goals.
    pub fn figures(&self) -> Vec<Figure> {
        let by_hand = self.download.wall + self.unbundle.wall + self.coldsnap.wall;
        let (from_s3, alone) = (self.unbundle_from_s3.wall, self.unbundle_alone.wall);
        let memory = |what, run: &Measured| {
            let measured = format!("{:.2} s", run.wall);
            Figure::most(what, measured, run.memory, 160.0, "MiB")
        };
        vec![
            Figure::least(
                "from a bundle to a snapshot, as fast as by hand",
                format!(
                    "{:.2} + {:.2} + {:.2} s to {:.2} s",
                    self.download.wall, self.unbundle.wall, self.coldsnap.wall, self.create.wall
                ),
                by_hand / self.create.wall,
                3.0,
                "times",
            ),
            Figure::most(
                "written to disk meanwhile: the journal",
                String::new(),
                self.create.written,
                1.0,
                "MiB",
            ),
            Figure::least(
                "unbundling from S3, as fast as from files",
                format!("{alone:.2} s to {from_s3:.2} s"),
                alone / from_s3,
                0.9,
                "times",
            ),
            memory("memory, from a bundle to a snapshot", &self.create),
            memory("memory, the same of 9 GiB (sparse)", &self.create_huge),
        ]
    }
}

impl Scene {
    fn new(disks: &Path) -> Result<Self> {
        let commands = std::env::current_exe()?
            .parent()
            .ok_or("no folder of commands")?
            .to_owned();
        let coldsnap = shell("scripts/coldsnap")?;
        let folder = disks.join("bench-rescue");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let _ = shell(&format!(
            "cd '{}'
             openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout key -out crt
             mkdir store
             for disk in {DISK} {HUGE}; do
                 mkdir $disk
                 '{}/ec2-bundle-image' -k key -c crt --ec2cert crt -u 123456789012 -r x86_64 --batch -i '{}'/$disk -d $disk > /dev/null
             done",
            folder.display(),
            commands.display(),
            disks.display()
        ))?;
        let buckets = Buckets::start(&commands, &folder.join("store"))?;
        let scene = Self {
            far: buckets.url_behind(NETWORK),
            buckets,
            folder,
            commands,
            coldsnap,
        };
        for disk in [DISK, HUGE] {
            let _ = scene.run(&format!(
                "'{}/ec2-upload-bundle' -b bench.bucket/{disk} --url {} -m {disk}/{disk}.manifest.xml --batch",
                scene.commands.display(),
                scene.buckets.url()
            ))?;
        }
        Ok(scene)
    }

    /// A double without snapshots, behind the network.
    fn double(&self) -> Result<Double> {
        let _ = self.shell("rm -rf ebs home; mkdir ebs home; sync")?;
        Double::start(&self.commands, &self.folder.join("ebs"), &[], Some(NETWORK))
    }

    fn shell(&self, script: &str) -> Result<String> {
        shell(&format!("cd '{}'; {script}", self.folder.display()))
    }

    fn run(&self, script: &str) -> Result<Measured> {
        let run = measured(&format!(
            "cd '{}'; export HOME=$PWD/home AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY='{SECRET_KEY}'
             {script} > /dev/null",
            self.folder.display()
        ))?;
        eprintln!("  {script}: {run:.2?}");
        Ok(run)
    }

    /// Makes a snapshot by a command that finds the double and S3 in its environment.
    fn snapshot(&self, disk: &Path, command: &str) -> Result<Measured> {
        let double = self.double()?;
        let run = self.run(&format!(
            "export AWS_ENDPOINT_URL={} AWS_ENDPOINT_URL_S3={}; {command}",
            double.url, self.far
        ))?;
        let volume = self.folder.join("volume");
        double.export(&double.snapshot()?.id, &volume)?;
        let size = fs::metadata(disk)?.len();
        fs::File::options()
            .write(true)
            .open(&volume)?
            .set_len(size)?;
        compare(&volume, disk)?;
        fs::remove_file(&volume)?;
        Ok(run)
    }

    fn create(&self, disk: &Path) -> Result<Measured> {
        let name = disk.file_name().ok_or("no name")?.display();
        let command = format!(
            "'{}/ec2-ami' create s3://bench.bucket/{name}/{name}.manifest.xml -k key --snapshot-only",
            self.commands.display()
        );
        self.snapshot(disk, &command)
    }

    fn upload_by_coldsnap(&self, disk: &Path) -> Result<Measured> {
        let command = format!(
            "'{}' upload --no-progress '{}'",
            self.coldsnap,
            disk.display()
        );
        self.snapshot(disk, &command)
    }

    fn download(&self) -> Result<Measured> {
        let _ = self.shell("rm -rf back; mkdir back; sync")?;
        self.run(&format!(
            "'{}/ec2-download-bundle' -b bench.bucket/{DISK} --url {} -m {DISK}.manifest.xml -k key -d back --batch",
            self.commands.display(),
            self.far
        ))
    }

    fn unbundle(&self, parts: &str) -> Result<Measured> {
        let _ = self.shell("rm -rf image; mkdir image; sync")?;
        let run = self.run(&format!(
            "'{}/ec2-unbundle' -k key -m {parts}/{DISK}.manifest.xml -s {parts} -d image",
            self.commands.display()
        ))?;
        let _ = self.shell("rm -rf image")?;
        Ok(run)
    }

    fn unbundle_from_s3(&self) -> Result<Measured> {
        self.run(&format!(
            "AWS_ENDPOINT_URL_S3={} '{}/ec2-ami' unbundle s3://bench.bucket/{DISK}/{DISK}.manifest.xml - -k key",
            self.buckets.url(),
            self.commands.display()
        ))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
