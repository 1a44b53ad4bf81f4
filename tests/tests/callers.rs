//! Command lines of Packer's `amazon-instance` builder, rubber and AWS's guide, run by a shell on a test volume and with test S3 servers.
//! Only the volume (`-v`) and the server are added.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use end_to_end::imds::{Service, Version};
use end_to_end::moto::Moto;
use end_to_end::mounts::Mount;
use end_to_end::volumes::fill;
use end_to_end::{
    METADATA_ENDPOINT, Outcome, command_path, folder, isolate, key, names, outcome, shell,
};
use tempfile::TempDir;

/// An instance: its volume, its metadata, S3, and a folder with the commands and `sudo`.
struct Instance {
    volume: Mount,
    metadata: Service,
    moto: Moto,
    work: TempDir,
}

impl Instance {
    fn new() -> Self {
        let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
        fill(&volume.path());
        let answers = [
            ("/latest/meta-data/", "ami-id"),
            ("/latest/meta-data/ami-id", "ami-11111111"),
            ("/latest/meta-data/kernel-id", "aki-1a2b3c4d"),
            ("/latest/meta-data/placement/region", "us-east-1"),
        ];
        let answers: BTreeMap<String, String> = answers
            .map(|(path, answer)| (path.to_owned(), answer.to_owned()))
            .into();
        let work = folder();
        let root = work.path();
        for name in ["bin", "x509", "out", "fetched", "back"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for (from, to) in [("user2048.key", "pk.pem"), ("user2048.crt", "cert.pem")] {
            let _ = fs::copy(key(from), root.join("x509").join(to)).unwrap();
        }
        // The keys are on the instance's own volume, from which they are excluded.
        let there = volume.path().join(root.strip_prefix("/").unwrap());
        fs::create_dir_all(&there).unwrap();
        let copied = format!("cp -r x509 '{}'", there.display());
        let _ = shell(&copied, root);
        let certificates = root.join("etc/ec2/amitools");
        fs::create_dir_all(&certificates).unwrap();
        let _ = fs::copy(key("ec2.crt"), certificates.join("cert-ec2.pem")).unwrap();
        // As much of sudo as matters: options, then the command.
        let sudo = root.join("bin/sudo");
        let script =
            "#!/bin/sh\nwhile :; do case $1 in -*) shift ;; *) exec \"$@\" ;; esac; done\n";
        fs::write(&sudo, script).unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        let mut moto = Moto::start();
        let _ = moto.call("bucket", &["my.bucket"]);
        Self {
            volume,
            metadata: Service::start(Version::V2Only, answers),
            moto,
            work,
        }
    }

    /// Runs a line in a shell, with `$W` for the folder; it must succeed.
    fn run(&self, line: &str) -> Outcome {
        let bundler = command_path("ec2-bundle-vol");
        let commands = bundler.parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        let work = self.work.path();
        // The builders mean the root volume and AWS.
        let line = line
            .replace("ec2-bundle-vol ", "ec2-bundle-vol -v $VOLUME -s 96 ")
            .replace("-b my.bucket", "--url $S3 -b my.bucket");
        let mut bash = Command::new("bash");
        let _ = isolate(&mut bash)
            .args(["-c", &line])
            .current_dir(work)
            .env(
                "PATH",
                format!("{}/bin:{commands}:{path}:/usr/sbin:/sbin", work.display()),
            )
            .env("W", work)
            .env("VOLUME", self.volume.path())
            .env("S3", self.moto.url())
            .env("EC2_AMITOOL_HOME", work)
            .env(METADATA_ENDPOINT, &self.metadata.endpoint);
        let result = outcome(bash.stdin(std::process::Stdio::null()));
        assert_eq!(result.code, 0, "{line}: {result:?}");
        result
    }

    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.work.path().join(folder))
    }

    fn keys(&mut self) -> String {
        self.moto.call("state", &[])["my.bucket"]["keys"].to_string()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.work.path().join(file)).unwrap()
    }
}

/// The default `bundle_vol_command` and `bundle_upload_command`. The shell expands `x509/*` to several words: the first is excluded, the
/// others belong to no option.
#[test]
fn packers_lines_work_as_they_are() {
    let mut instance = Instance::new();
    let prefix = "image-1700000000";
    let bundle = format!(
        "sudo -i -n ec2-bundle-vol -k $W/x509/pk.pem -u 123456789012 -c $W/x509/cert.pem -r x86_64 -e $W/x509/* -d $W/out \
         -p {prefix} --batch --no-filter"
    );
    let bundled = instance.run(&bundle);
    assert!(
        bundled.stdout.ends_with("ec2-bundle-vol complete.\n"),
        "{}",
        bundled.stdout
    );
    assert!(
        bundled.stderr.contains("it belongs to no option."),
        "{}",
        bundled.stderr
    );
    let manifest = instance.text(&format!("out/{prefix}.manifest.xml"));
    for part in [
        "<kernel_id>aki-1a2b3c4d</kernel_id>",
        "<user>123456789012</user>",
        "<ancestor_ami_id>ami-11111111</ancestor_ami_id>",
    ] {
        assert!(manifest.contains(part), "{part}");
    }
    let uploaded = instance.run(&format!(
        "sudo -i -n ec2-upload-bundle -b my.bucket/packer -m $W/out/{prefix}.manifest.xml -a AKIDEXAMPLE -s secret -d $W/out --batch \
         --region us-east-1 --retry"
    ));
    assert!(uploaded.stdout.contains(&format!(
        "Manifest uploaded to: my.bucket/packer/{prefix}.manifest.xml\n"
    )));
    let keys = instance.keys();
    assert!(
        keys.contains(&format!("packer/{prefix}.manifest.xml"))
            && keys.contains(&format!("packer/{prefix}.part.0"))
    );
}

/// With a partition table, as in templates for hardware-virtual instances, and with the token of temporary credentials.
#[test]
fn packers_lines_work_with_a_partition_and_a_token() {
    let instance = Instance::new();
    // The test volume has no boot loader, which a partitioned image needs.
    let _ = instance.run(
        "sudo -i -n ec2-bundle-vol -k $W/x509/pk.pem -u 123456789012 -c $W/x509/cert.pem -r x86_64 -e $W/x509 -d $W/out -p image \
         --batch --no-filter -P none",
    );
    let _ = instance.run(
        "sudo -i -n ec2-upload-bundle -b my.bucket -m $W/out/image.manifest.xml -a AKIDEXAMPLE -s secret -t token -d $W/out --batch \
         --region us-east-1 --retry",
    );
}

#[test]
fn rubbers_lines_work_as_they_are() {
    let mut instance = Instance::new();
    let _ = instance.run("nice -n 19 ec2-bundle-vol --batch -d $W/out -k $W/x509/pk.pem -c $W/x509/cert.pem -u 123456789012 -p rubber -r x86_64");
    let _ = instance.run("ec2-upload-bundle --batch -b my.bucket -m $W/out/rubber.manifest.xml -a AKIDEXAMPLE -s secret");
    assert!(instance.keys().contains("rubber.manifest.xml"));
    let deleted = instance
        .run("ec2-delete-bundle --batch -y -a AKIDEXAMPLE -s secret -b my.bucket -p rubber");
    assert!(deleted.stdout.ends_with("ec2-delete-bundle complete.\n"));
    assert_eq!(instance.keys(), "[]");
}

/// The lines of the EC2 user guide's reference for these commands, in full or with options abbreviated as people write them.
#[test]
fn the_lines_of_awss_guide_work_as_they_are() {
    let instance = Instance::new();
    for line in [
        "sudo -E ec2-bundle-vol -d $W/out -k $W/x509/pk.pem -c $W/x509/cert.pem -u 1234-5678-9012 -r x86_64 --no-filter",
        "ec2-upload-bundle -b my.bucket/bundles/bundle_name -m $W/out/image.manifest.xml -a AKIDEXAMPLE -s secret",
        "ec2-upload-bundle --bucket my.bucket --manifest $W/out/image.manifest.xml --access-key AKIDEXAMPLE --secret-key secret --url $S3",
        "ec2-download-bundle -b my.bucket/bundles/bundle_name -m image.manifest.xml -a AKIDEXAMPLE -s secret --privatekey $W/x509/pk.pem -d $W/fetched",
        "ec2-unbundle -k $W/x509/pk.pem -m $W/fetched/image.manifest.xml -s $W/fetched -d $W/back",
        "ec2-migrate-manifest --manifest $W/fetched/image.manifest.xml --cert $W/x509/cert.pem --privatekey $W/x509/pk.pem --region eu-west-1 --no-mapping --kernel aki-2",
        "ec2-migrate-bundle --cert $W/x509/cert.pem --privatekey $W/x509/pk.pem --access-key AKIDEXAMPLE --secret-key secret --bucket my.bucket --destination-bucket other.bucket --manifest image.manifest.xml --location EU --ec2cert $W/etc/ec2/amitools/cert-ec2.pem --no-mapping --url $S3",
        "ec2-delete-bundle -b my.bucket/bundles/bundle_name -a AKIDEXAMPLE -s secret -p image -y",
        "ec2-bundle-image -i $W/back/image -c $W/x509/cert.pem -k $W/x509/pk.pem -u 123456789012 -r x86_64 -d $W/fetched -p again",
        "ec2-ami-tools-version",
    ] {
        let _ = instance.run(line);
    }
    assert_eq!(instance.names("back"), ["image"]);
    let same = fs::read(instance.work.path().join("out/image")).unwrap()
        == fs::read(instance.work.path().join("back/image")).unwrap();
    assert!(same);
    assert!(Path::new(&instance.work.path().join("fetched/image.manifest.xml.bak")).exists());
}
