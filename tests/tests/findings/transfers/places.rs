//! Where requests are sent, and what they ask for.

use std::fs;

use end_to_end::moto::{Moto, python};
use end_to_end::proxy::{Action, Proxy, Rule, Slowness};
use end_to_end::s3::{
    ACCESS_KEY, BUCKET, SECRET_KEY, Server, bundle_files, manifest, ok, private_key, small_parts,
    with_keys,
};
use end_to_end::same::assert_same_files;
use end_to_end::{bundle, contents, folder, images, names, outcome};

fn in_front_of_a_server() -> (Proxy, Server) {
    let server = Server::start();
    let _ = server.bucket(BUCKET);
    (Proxy::start(server.address, Slowness::default()), server)
}

fn redirect(headers: &[(&str, &str)], body: &str) -> Rule {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let action = Action::Answer {
        status: 307,
        headers: headers.collect(),
        body: body.to_owned(),
    };
    Rule::new("", "part", None, action)
}

#[test]
fn finding_21_a_redirect_to_another_host_is_an_error_that_names_it() {
    let (proxy, _server) = in_front_of_a_server();
    let endpoint =
        "<Error><Code>TemporaryRedirect</Code><Endpoint>s3.example.com</Endpoint></Error>";
    for (rule, host) in [
        (redirect(&[], endpoint), "s3.example.com"),
        (
            redirect(&[("Location", "http://192.0.2.1/b/x")], ""),
            "192.0.2.1",
        ),
        (
            redirect(&[("Location", "http://127.0.0.1@192.0.2.1/")], ""),
            "127.0.0.1@192.0.2.1",
        ),
    ] {
        proxy.set_rules(vec![rule]);
        let more = ["-m", &manifest(), "--parallel", "1"];
        let mut upload = with_keys("ec2-upload-bundle", &proxy.url(), &more);
        let result = outcome(upload.env("AWS_SESSION_TOKEN", "token/of+somebody="));
        assert_eq!(result.code, 3, "{result:?}");
        assert_eq!(
            result.stderr,
            format!(
                "ERROR: Failed to upload \"{}\": the answer leads to {host}, which is not part of {}; credentials are sent there \
                 only if --url or --region names it\n",
                small_parts().join("image.part.00").display(),
                proxy.url()
            )
        );
    }
}

/// A bundle can be uploaded, downloaded and deleted in this region.
fn goes_through(proxy: &Proxy, region: &str) {
    proxy.set_rules(Vec::new());
    let in_region = |name: &str, more: &[&str]| {
        let result = ok(with_keys(
            name,
            &proxy.url(),
            &[more, &["--region", region]].concat(),
        ));
        assert_eq!(result.stderr, "", "{region}");
    };
    in_region("ec2-upload-bundle", &["-m", &manifest()]);
    let to = folder();
    let path = to.path().to_str().unwrap();
    in_region("ec2-download-bundle", &["-k", &private_key(), "-d", path]);
    in_region("ec2-delete-bundle", &["-p", "image", "-y"]);
    let scope = format!("/{region}/s3/aws4_request");
    for request in proxy.requests() {
        let signature = request.header("authorization").unwrap();
        assert!(signature.contains(&scope), "{signature}");
    }
}

#[test]
fn finding_25e_a_server_of_ones_own_calls_its_region_as_it_likes() {
    let (proxy, server) = in_front_of_a_server();
    for region in ["garage", "default", "auto", "fr-par"] {
        fs::remove_dir_all(server.bucket(BUCKET)).unwrap();
        goes_through(&proxy, region);
    }
    // moto accepts only names that an AWS region could have.
    let mut moto = Moto::start();
    let _ = moto.call("bucket", &[BUCKET]);
    let proxy = Proxy::start(moto.address, Slowness::default());
    for region in ["RegionOne", "EU", "US"] {
        goes_through(&proxy, region);
    }
    let at_aws = ["-m", &manifest(), "--region", "garage"];
    let url = "https://s3.amazonaws.com";
    let refused = outcome(&mut with_keys("ec2-upload-bundle", url, &at_aws));
    assert_eq!(
        (refused.code, refused.stderr.as_str()),
        (
            254,
            "ERROR: \"garage\" is not the name of a region, such as eu-west-1\n"
        )
    );
}

#[test]
fn finding_25j_a_scheme_has_no_case() {
    let server = Server::start();
    for scheme in ["HTTP", "Http"] {
        let url = server.url().replace("http", scheme);
        let _ = ok(with_keys("ec2-upload-bundle", &url, &["-m", &manifest()]));
        let mut by_variable =
            end_to_end::command("ec2-delete-bundle", &["-b", BUCKET, "-y", "-p", "image"]);
        let _ = by_variable
            .env("AWS_ENDPOINT_URL_S3", &url)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        assert_eq!(ok(by_variable).stdout.matches("Deleted ").count(), 13);
    }
}

/// Parts of the usual size are downloaded in halves; a last part that is shorter than a half has no second one.
#[test]
fn finding_25r_no_range_past_the_end_is_asked_for() {
    let (proxy, server) = in_front_of_a_server();
    let work = folder();
    let image = work.path().join("image");
    for (size, last_in_halves) in [(12 << 20, false), (18 << 20, true)] {
        images::incompressible(&image, size);
        let made = folder();
        let _ = bundle(&image, made.path(), &["-p", "image"]);
        let files = contents(made.path());
        assert_eq!(files.len(), 3);
        for (name, bytes) in &files {
            fs::write(server.bucket(BUCKET).join(name), bytes).unwrap();
        }
        let to = folder();
        proxy.set_rules(Vec::new());
        let more = ["-k", &private_key(), "-d", to.path().to_str().unwrap()];
        let _ = ok(with_keys("ec2-download-bundle", &proxy.url(), &more));
        assert_same_files(&contents(to.path()), &files);
        let requests = proxy.requests();
        let of = |part: &str| {
            let requests = requests
                .iter()
                .filter(|request| request.path.contains(part));
            requests
                .map(|request| request.header("range").is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("part.0"), [true, true]);
        let last = if last_in_halves {
            vec![true, true]
        } else {
            vec![false]
        };
        assert_eq!(of("part.1"), last);
    }
}

/// s3cmd compares ETags.
#[test]
fn finding_25s_the_tests_server_lists_etags() {
    let server = Server::start();
    let _ = ok(with_keys(
        "ec2-upload-bundle",
        &server.url(),
        &["-m", &manifest()],
    ));
    let script = format!(
        "import boto3\n\
         s3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', aws_access_key_id='{ACCESS_KEY}', \
         aws_secret_access_key='{SECRET_KEY}')\n\
         for version in (s3.list_objects, s3.list_objects_v2):\n    \
             for item in version(Bucket='{BUCKET}')['Contents']:\n        \
                 assert item['ETag'] == s3.head_object(Bucket='{BUCKET}', Key=item['Key'])['ETag']\n        \
                 print(item['Key'])\n",
        server.url()
    );
    let mut client = std::process::Command::new(python());
    let listed = outcome(client.args(["-c", &script]).env("NO_PROXY", "*"));
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let names: Vec<String> = bundle_files(&small_parts()).into_keys().collect();
    let listed: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(listed, [&names[..], &names[..]].concat());
}

#[test]
fn finding_10_a_listing_asks_for_the_bundles_files_only() {
    let (proxy, server) = in_front_of_a_server();
    for name in [
        "image.part.0",
        "image.manifest.xml",
        "images.part.0",
        "image.txt",
    ] {
        fs::write(server.bucket(BUCKET).join(name), "x").unwrap();
    }
    let result = ok(with_keys(
        "ec2-delete-bundle",
        &proxy.url(),
        &["-p", "image", "-y"],
    ));
    assert_eq!(
        result.stdout.matches("Deleted ").count(),
        2,
        "{}",
        result.stdout
    );
    assert!(proxy.requests()[0].path.contains("prefix=image."));
    let left = names(&server.bucket(BUCKET));
    let left: Vec<&String> = left.iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(left, ["image.txt", "images.part.0"]);
}
