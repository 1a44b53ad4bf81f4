//! The commands that are compared. They run in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};

use ami_manifest::{
    BundleKey, Bundler, Certificate, Image, MachineConfiguration, Manifest, Part, PrivateKey,
    Version,
};

use crate::Result;
use crate::measure::{Measured, measured, shell};

/// The key and IV of the pipelines' bundles: any will do.
const KEY: [u8; 16] = *b"bench-bench-key!";
const IV: [u8; 16] = *b"bench-bench--iv!";

/// The benchmark's working folder.
pub struct Workshop {
    folder: PathBuf,
    /// The folder of the suite's commands.
    commands: PathBuf,
    image: PathBuf,
    sha256: String,
}

/// A bundle on disk.
pub struct Bundle {
    folder: PathBuf,
    manifest: PathBuf,
    /// The size of its parts in bytes.
    pub size: u64,
    /// SHA-256 of its image.
    sha256: String,
}

impl Workshop {
    /// A folder beside the image's, with a key and certificates.
    pub fn new(image: &Path) -> Result<Self> {
        let commands = std::env::current_exe()?
            .parent()
            .ok_or("no folder of commands")?
            .to_owned();
        let image = image.canonicalize()?;
        let parent = image.parent().ok_or("the image has no folder")?;
        let folder = parent.join("bench-work");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let shop = Self {
            sha256: sha256(&image)?,
            folder,
            commands,
            image,
        };
        for name in ["user", "ec2"] {
            let _ = shop.shell(&format!(
                "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -keyout {name}.key -out {name}.crt"
            ))?;
        }
        Ok(shop)
    }

    fn shell(&self, script: &str) -> Result<String> {
        shell(&format!("cd '{}'; {script}", self.folder.display()))
    }

    /// Measures a script in an empty folder `out`.
    fn measured(&self, script: &str) -> Result<Measured> {
        let _ = self.shell("rm -rf out; mkdir out; sync")?;
        measured(&format!("cd '{}'; {script}", self.folder.display()))
    }

    fn our_bundling(&self, image: &Path, threads: usize) -> String {
        format!(
            "'{}/ec2-bundle-image' -k user.key -c user.crt --ec2cert ec2.crt -u 123456789012 -r x86_64 --batch \
             -i '{}' -d out --threads {threads} > /dev/null",
            self.commands.display(),
            image.display()
        )
    }

    /// Ours.
    pub fn bundle(&self, image: &Path, threads: usize) -> Result<Measured> {
        self.measured(&self.our_bundling(image, threads))
    }

    /// Makes a bundle with our command, to be unbundled later.
    pub fn keep_our_bundle(&self, image: &Path) -> Result<Bundle> {
        let _ = self.shell(&format!(
            "rm -rf out ours; mkdir out; {}; mv out ours",
            self.our_bundling(image, 2)
        ))?;
        let folder = self.folder.join("ours");
        let name = image.file_name().ok_or("no name")?.to_string_lossy();
        Ok(Bundle {
            size: self.size_of_parts("ours/*.part.*")?,
            manifest: folder.join(format!("{name}.manifest.xml")),
            folder,
            sha256: sha256(image)?,
        })
    }

    /// The older suite's pipeline, with this compressor: the stream, then its parts, then their digests.
    pub fn bundle_by(&self, compressor: &str) -> Result<Measured> {
        let (key, iv) = (hex::encode(KEY), hex::encode(IV));
        self.measured(&format!(
            "tar -chS --owner 0 --group 0 -C '{}' '{}' | tee >(openssl sha1 > out/digest) | {compressor} \
             | openssl enc -e -aes-128-cbc -K {key} -iv {iv} > out/enc
             split -b 10485760 -d -a 3 out/enc out/image.part.
             rm out/enc
             for part in out/image.part.*; do openssl sha1 -r $part; done > out/digests",
            self.image.parent().ok_or("no folder")?.display(),
            self.image.file_name().ok_or("no name")?.to_string_lossy(),
        ))
    }

    /// Adds a manifest to the last result of [`bundle_by`](Self::bundle_by).
    pub fn keep_pipelines_bundle(&self) -> Result<Bundle> {
        let _ = self.shell("rm -rf theirs; mv out theirs")?;
        let folder = self.folder.join("theirs");
        let digest = fs::read_to_string(folder.join("digest"))?;
        let digest = digest.trim().rsplit(' ').next().unwrap_or_default();
        let mut parts = Vec::new();
        for line in fs::read_to_string(folder.join("digests"))?.lines() {
            let (digest, name) = line.split_once(" *out/").ok_or("no digest")?;
            parts.push(Part {
                filename: name.to_owned(),
                digest: digest.parse()?,
            });
        }
        let bundle_key = BundleKey::from_bytes(KEY, IV);
        let certificate = Certificate::load(&self.folder.join("user.crt"))?;
        let wrapped = bundle_key.wrap(&certificate)?;
        let size = self.size_of_parts("theirs/image.part.*")?;
        let manifest = Manifest {
            version: Version::V20071010,
            bundler: Bundler::default(),
            machine: MachineConfiguration {
                architecture: "x86_64".to_owned(),
                block_device_mapping: [].into(),
                kernel_id: None,
                ramdisk_id: None,
                product_codes: Vec::new(),
            },
            image: Image {
                name: "image".to_owned(),
                user: "123456789012".to_owned(),
                image_type: "machine".to_owned(),
                kernel_name: None,
                ancestry: Vec::new(),
                digest: digest.parse()?,
                size: fs::metadata(&self.image)?.len(),
                bundled_size: size,
                ec2_key: wrapped.clone(),
                user_key: wrapped,
                parts,
            },
        };
        let path = folder.join("image.manifest.xml");
        let key = PrivateKey::load(&self.folder.join("user.key"))?;
        fs::write(&path, manifest.to_signed_xml(&key)?)?;
        Ok(Bundle {
            folder,
            manifest: path,
            size,
            sha256: self.sha256.clone(),
        })
    }

    /// The older suite's pipeline backwards, on a bundle that the pipeline made.
    pub fn unbundle_by_pipeline(&self, bundle: &Bundle) -> Result<Measured> {
        let (key, iv) = (hex::encode(KEY), hex::encode(IV));
        let measured = self.measured(&format!(
            "cat '{}'/image.part.* | openssl enc -d -aes-128-cbc -K {key} -iv {iv} | gunzip \
             | tee >(openssl sha1 > out/.digest) | tar -x -C out",
            bundle.folder.display()
        ))?;
        let _ = self.shell("rm -f out/.digest")?;
        self.compare(bundle)?;
        Ok(measured)
    }

    /// Ours.
    pub fn unbundle(&self, bundle: &Bundle) -> Result<Measured> {
        let measured = self.measured(&format!(
            "'{}/ec2-unbundle' -k user.key -m '{}' -s '{}' -d out --threads 2 > /dev/null",
            self.commands.display(),
            bundle.manifest.display(),
            bundle.folder.display()
        ))?;
        self.compare(bundle)?;
        Ok(measured)
    }

    fn compare(&self, bundle: &Bundle) -> Result<()> {
        let name = self.shell("ls out")?;
        let found = sha256(&self.folder.join("out").join(&name))?;
        if found == bundle.sha256 {
            Ok(())
        } else {
            Err(format!("{name} is not what was bundled").into())
        }
    }

    fn size_of_parts(&self, pattern: &str) -> Result<u64> {
        Ok(self
            .shell(&format!("cat {pattern} | wc -c"))?
            .trim()
            .parse()?)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn sha256(path: &Path) -> Result<String> {
    shell(&format!(
        "openssl dgst -sha256 -r < '{}' | cut -d ' ' -f 1",
        path.display()
    ))
}
