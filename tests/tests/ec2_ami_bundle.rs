//! `ec2-ami bundle`: what lands in S3 is what the older commands make and read.

use std::fs;
use std::process::Command;

use end_to_end::ebs::Scene;
use end_to_end::kills::assert_thawed;
use end_to_end::moto::Moto;
use end_to_end::mounts::Mount;
use end_to_end::proxy::Slowness;
use end_to_end::s3::{BUCKET, Server};
use end_to_end::straight::{FOLDER, Straight, identity};
use end_to_end::volumes::{differences, fill};
use end_to_end::{
    bundle, bundles, command, folder, images, key, md5_base64, names, outcome, run_by, sha256,
    shell, shell_with_path,
};
use regex::Regex;
use serde_json::Value;

const MANIFEST: &str = "image.img.manifest.xml";

/// A manifest without what is random: the keys, the digests of the parts, the signature.
fn skeleton(manifest: &[u8]) -> String {
    let random =
        r"(<(?:ec2|user)_encrypted_(?:key|iv)[^>]*>|<signature>|</filename><digest[^>]*>)[0-9a-f]+";
    let random = Regex::new(random).unwrap();
    let text = std::str::from_utf8(manifest).unwrap();
    assert_eq!(random.find_iter(text).count(), 8);
    random.replace_all(text, "$1").into_owned()
}

#[test]
fn what_lands_in_s3_is_what_the_older_commands_make_and_read() {
    let scene = Straight::new();
    let image = scene.path("image.img");
    let regions = [(0, 9 << 20), (50 << 20, 14 << 20), (199 << 20, 1 << 20)];
    images::sparse(&image, 200 << 20, &regions);
    let zeros = "dd if=/dev/zero of=image.img bs=1M seek=70 count=90 conv=notrunc status=none; sync image.img";
    let _ = shell(zeros, scene.work.path());
    let more = ["--kernel", "aki-1a2b3c4d", "-B", "ami=sda1,root=/dev/sda1"];
    let made = scene.ok(&[&more[..], &["--productcodes", "ABC"]].concat());
    assert_eq!(made.stdout, format!("s3://{BUCKET}/{FOLDER}/{MANIFEST}\n"));
    let go_on = "ec2-ami register 's3://bundles.test/a b/image.img.manifest.xml' --name NAME";
    assert!(made.stderr.contains(go_on), "{made:?}");

    let beside = folder();
    let more = [&more[..], &["--productcodes", "ABC"]].concat();
    let manifest = bundle(&image, beside.path(), &more);
    let ours = scene.stored();
    // There could be twelve parts, if nothing could be compressed, and are three, which the older command knows when it names them.
    let expected: Vec<&str> = ours.keys().map(String::as_str).collect();
    let parts = [
        "image.img.part.00",
        "image.img.part.01",
        "image.img.part.02",
    ];
    assert_eq!(expected, [&[MANIFEST][..], &parts].concat());
    let theirs: Vec<usize> = (0..3)
        .map(|part| {
            let name = format!("image.img.part.{part}");
            fs::read(beside.path().join(name)).unwrap().len()
        })
        .collect();
    let own: Vec<usize> = parts.iter().map(|part| ours[*part].len()).collect();
    assert_eq!(own, theirs);
    // The image's digest, which stays, is that of the stream that is compressed and encrypted.
    let own = skeleton(&ours[MANIFEST]).replace(".part.0", ".part.");
    assert_eq!(own, skeleton(&fs::read(&manifest).unwrap()));
    bundles::verify(&scene.store().join(MANIFEST), &key("user2048.crt"));

    let to = folder();
    let back = scene.back("image.img", to.path());
    assert_eq!(sha256(&back), sha256(&image));
    let manifest = to.path().join(MANIFEST);
    let deleted = scene.older(
        "ec2-delete-bundle",
        &["-m", manifest.to_str().unwrap(), "-y"],
    );
    assert_eq!(deleted.stdout.matches("Deleted ").count(), 4, "{deleted:?}");
    assert_eq!(scene.stored().len(), 0);
}

#[test]
fn every_file_goes_with_the_acl_and_its_md5_and_the_manifest_last() {
    let scene = Straight::new();
    scene.image(15 << 20);
    for acl in ["aws-exec-read", "public-read"] {
        scene.proxy.set_rules(Vec::new());
        let _ = scene.ok(&["--acl", acl]);
        let requests = scene.proxy.requests().into_iter();
        let puts: Vec<_> = requests.filter(|request| request.method == "PUT").collect();
        assert_eq!(puts.len(), 3);
        assert!(puts[2].path.contains("manifest"), "{puts:?}");
        for put in &puts {
            assert_eq!(put.header("x-amz-acl"), Some(acl));
            let name = put.path.split(['/', '?']).nth(3).unwrap();
            let bytes = fs::read(scene.store().join(name)).unwrap();
            assert_eq!(put.header("content-md5"), Some(&*md5_base64(&bytes)));
        }
    }
}

#[test]
fn a_mounted_volume_is_bundled_without_the_private_key() {
    let scene = Straight::new();
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let volume_path = volume.path();
    let (from, own_key) = (volume_path.to_str().unwrap(), volume_path.join("etc/k"));
    let _ = fs::copy(key("user2048.key"), &own_key).unwrap();
    let settle = || shell("touch -d 2001-02-03 etc", &volume_path);
    let _ = settle();
    let more = ["--size", "1", "--partition", "none", "-k"];
    let more = [&more[..], &[own_key.to_str().unwrap()]].concat();
    let plan = outcome(&mut scene.command(from, &[&more[..], &["--dry-run"]].concat()));
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.stdout.contains("\n  to be copied: 0 MiB\n"),
        "{plan:?}"
    );
    assert_eq!(scene.stored().len(), 0);

    let nothing_tells = outcome(&mut scene.command(from, &more));
    assert_eq!(nothing_tells.code, 2, "{nothing_tells:?}");
    let more = [&more[..], &["--arch", "x86_64"]].concat();
    let made = outcome(&mut scene.command(from, &more));
    assert_eq!(made.code, 0, "{made:?}");
    let location = format!("s3://{BUCKET}/{FOLDER}/image.manifest.xml\n");
    assert_eq!(made.stdout, location);
    assert!(made.stderr.contains("Left out the private key"), "{made:?}");
    let to = folder();
    let back = scene.back("image", to.path());
    fs::remove_file(&own_key).unwrap();
    let _ = settle();
    assert_eq!(differences(&volume.path(), &back), "");
    // The disk has gone with its private folder.
    let home = made_in(&scene);
    assert!(home.is_empty(), "{home:?}");
}

#[test]
fn a_device_is_bundled_and_one_that_others_write_to_only_frozen() {
    let scene = Straight::new();
    let volume = Mount::new("32M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let device = format!("findmnt -no SOURCE '{}'", volume.path().display());
    let device = shell(&device, scene.work.path());
    let more = ["--arch", "x86_64", "--prefix", "device.img"];
    let bundle = |more: &[&str]| outcome(&mut scene.command(&device, more));
    let refused = bundle(&more);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("unmount it"), "{refused:?}");
    assert_eq!(scene.stored().len(), 0);
    let frozen = bundle(&[&more[..], &["--freeze"]].concat());
    assert_eq!(frozen.code, 0, "{frozen:?}");
    assert_thawed(&volume.path());
    let to = folder();
    let back = scene.back("device.img", to.path());
    let check = format!("e2fsck -fn '{}'", back.display());
    let _ = shell_with_path(&check, scene.work.path());
    assert_eq!(fs::metadata(&back).unwrap().len(), 32 << 20);
}

/// What is left where disks of volumes are made.
fn made_in(scene: &Straight) -> Vec<String> {
    let command = scene.command("", &[]);
    let mut variables = command.get_envs();
    let (_, folder) = variables.find(|(name, _)| *name == "TMPDIR").unwrap();
    names(folder.unwrap().as_ref())
}

#[test]
fn however_large_the_image_and_slow_the_network_only_parts_in_flight_are_in_memory() {
    /// What it may allocate: six parts of 10 MiB, the pipeline's buffers, and the stacks of threads.
    const MOST: u64 = 192 << 20;
    let scene = Straight::with(Slowness {
        rate: 30_000_000,
        ..Slowness::default()
    });
    let regions = [(1 << 30, 150 << 20), ((5 << 30) - (50 << 20), 50 << 20)];
    images::sparse(&scene.path("image.img"), 5 << 30, &regions);
    let mut limited = Command::new("prlimit");
    let _ = limited.arg(format!("--data={MOST}"));
    let more = ["--arch", "x86_64", "--threads", "2"];
    let result = outcome(run_by(&mut limited, &scene.command("image.img", &more)));
    assert_eq!(result.code, 0, "{result:?}");
    let sizes = scene.stored().into_values().map(|bytes| bytes.len());
    assert!(sizes.sum::<usize>() > 200 << 20);
}

#[test]
fn the_bucket_is_made_where_it_is_asked_for_and_other_readers_read_it() {
    let mut moto = Moto::start();
    let work = folder();
    let image = work.path().join("image.img");
    images::incompressible(&image, 12 << 20);
    let run = |moto: &Moto, bucket: &str, more: &[&str]| {
        let mut command = command("ec2-ami", &["bundle", "image.img", bucket]);
        let _ = command
            .args(identity())
            .args(["--arch", "x86_64"])
            .args(more);
        let _ = command.current_dir(work.path());
        let _ = command.env("AWS_ENDPOINT_URL_S3", moto.url());
        let _ = command.env("AWS_ACCESS_KEY_ID", "x");
        outcome(command.env("AWS_SECRET_ACCESS_KEY", "y"))
    };
    let made = run(&moto, "s3://there.test/x", &["--location", "EU"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.stderr.starts_with("Creating the bucket ...\n"),
        "{made:?}"
    );
    assert!(made.stderr.contains(" --region eu-west-1\n"), "{made:?}");
    let location = &moto.call("state", &[])["there.test"]["location"];
    assert_eq!(location, "eu-west-1");
    let ownership = moto.call("ownership", &["there.test"]);
    assert_eq!(ownership, serde_json::json!(["BucketOwnerPreferred"]));
    let elsewhere = run(&moto, "s3://there.test/x", &["--location", "US"]);
    assert_eq!(elsewhere.code, 2, "{elsewhere:?}");

    let mut migration = command::<&str>("ec2-migrate-bundle", &[]);
    let _ = migration
        .arg("-k")
        .arg(key("user2048.key"))
        .arg("-c")
        .arg(key("user2048.crt"))
        .args(["-m", MANIFEST, "-b", "there.test/x", "-d", "here.test"])
        .args(["--region", "us-west-2", "--no-mapping"])
        .env("AWS_ENDPOINT_URL", moto.url());
    let migrated = moto.run(&mut migration);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let copied = moto.call("look", &["here.test", "image.img.part.1"]);
    let own = moto.call("look", &["there.test", "x/image.img.part.1"]);
    assert_eq!(copied["sha1"], own["sha1"]);
}

#[test]
fn the_bundle_becomes_an_ami_at_once() {
    let (scene, buckets) = (Scene::new(), Server::start());
    let _ = buckets.bucket(BUCKET);
    let disk = scene.disk("disk.img");
    let to = format!("s3://{BUCKET}");
    let run = |more: &[&str]| {
        let mut command = scene.command(&["bundle", &disk, &to, "--register", "web"]);
        let _ = command.args(identity()).args(more);
        outcome(command.env("AWS_ENDPOINT_URL_S3", buckets.url()))
    };
    let made = run(&[]);
    assert_eq!(made.code, 0, "{made:?}");
    let image = scene.image_in("us-east-1");
    let location = format!("{BUCKET}/disk.img.manifest.xml");
    assert_eq!(made.stdout, format!("s3://{location}\n{}\n", image.id));
    assert_eq!(image.name, "web");
    assert_eq!(&*image.architecture, "x86_64");

    let again = run(&["--json"]);
    assert_eq!((again.code, &*again.stderr), (0, ""), "{again:?}");
    let report: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(report["manifest"], format!("s3://{location}"));
    assert_eq!(report["image"], image.id.as_str());
    assert_eq!(report["region"], "us-east-1");
    assert_eq!(report["bucket_created"], false);
    assert_eq!(report["image_size"], 48 << 20);
    assert_eq!(report["parts"][0]["filename"], "disk.img.part.0");
    let store = buckets.bucket(BUCKET);
    let part = fs::read(store.join("disk.img.part.0")).unwrap();
    assert_eq!(report["parts"][0]["sha1"], end_to_end::sha1(&part));
    let manifest = store.join("disk.img.manifest.xml");
    let architecture = "grep -o '<architecture>[^<]*' disk.img.manifest.xml";
    assert_eq!(shell(architecture, &store), "<architecture>x86_64");
    bundles::verify(&manifest, &key("user2048.crt"));
}

#[test]
fn a_plan_lists_every_problem_and_changes_nothing() {
    let scene = Straight::new();
    scene.image(12 << 20);
    let _ = scene.ok(&[]);
    let before = scene.stored();
    let plan = scene.ok(&["--dry-run"]);
    let expected = format!(
        "This would be made:\n  manifest: s3://{BUCKET}/{FOLDER}/{MANIFEST}\n  bucket: in us-east-1\n  \
         older bundles of this name: 3 files\n  image: 12 MiB\n  architecture: x86_64\n"
    );
    assert_eq!((&*plan.stdout, &*plan.stderr), (&*expected, ""));

    let wrong = key("other.key");
    let more = ["--dry-run", "--json", "-k", wrong.to_str().unwrap()];
    let result = outcome(&mut scene.command("image.img", &more));
    assert_eq!(result.code, 2, "{result:?}");
    let report: Value = serde_json::from_str(&result.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(problems[0].as_str().unwrap().matches("--arch").count(), 1);
    assert_eq!(report["replaced"].as_array().unwrap().len(), 3);
    assert!(scene.stored() == before);
}
