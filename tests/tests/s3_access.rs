//! How S3 is reached: with whose credentials, at which endpoint, through which proxy, trusting whom; and that no secret leaks.

use std::fs;
use std::process::Command;

use end_to_end::proxy::{Proxy, Rule, Slowness};
use end_to_end::s3::{
    ACCESS_KEY, BUCKET, SECRET_KEY, Server, bundle_files, manifest, private_key, small_parts,
    with_keys,
};
use end_to_end::same::assert_same_files;
use end_to_end::{command, folder, names, outcome, tls};

#[test]
fn credentials_come_from_where_awss_tools_have_them() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let work = folder();
    let profiles = work.path().join("credentials");
    fs::write(
        &profiles,
        format!("[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[other]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"),
    )
    .unwrap();
    let url = proxy.url();
    let run = |more: &[&str], variables: &[(&str, &str)]| {
        let manifest = manifest();
        let mut arguments = vec!["-b", BUCKET, "--url", &url, "-m", &manifest, "--debug"];
        arguments.extend(more);
        let mut command = command("ec2-upload-bundle", &arguments);
        outcome(
            command
                .env("AWS_SHARED_CREDENTIALS_FILE", &profiles)
                .envs(variables.iter().copied()),
        )
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let given = ["-a", ACCESS_KEY, "-s", SECRET_KEY];
    let token = ("AWS_DELEGATION_TOKEN", "token/of+somebody=");
    for (more, variables, source, has_token) in [
        (&given[..], &[][..], "given on the command line", false),
        (&given[..], &[token], "given on the command line", true),
        (&[], &keys, "from environment variables", false),
        (&["--profile", "other"], &[], "from a profile", false),
        (&[], &[("AWS_PROFILE", "other")], "from a profile", false),
    ] {
        proxy.set_rules(Vec::new());
        let result = run(more, variables);
        assert_eq!(result.code, 0, "{source}: {result:?}");
        assert!(
            result
                .stderr
                .contains(&format!("DEBUG credentials: {source}")),
            "{}",
            result.stderr
        );
        let printed = format!("{}{}", result.stdout, result.stderr);
        assert!(
            !printed.contains(SECRET_KEY) && !printed.contains("token/of"),
            "{printed}"
        );
        let warns = result
            .stderr
            .matches("Others on this machine can see the keys")
            .count();
        assert_eq!(warns, usize::from(more.contains(&"-s")), "{source}");
        let requests = proxy.requests();
        let sent = requests
            .iter()
            .filter(|request| request.header("x-amz-security-token").is_some());
        assert_eq!(sent.count(), if has_token { requests.len() } else { 0 });
    }
    let none = outcome(&mut command(
        "ec2-upload-bundle",
        &["-b", BUCKET, "--url", &url, "-m", &manifest()],
    ));
    assert_eq!(none.code, 1);
    assert!(
        none.stderr
            .starts_with("missing mandatory parameter: --access-key"),
        "{none:?}"
    );
    let both = run(&["-a", "x", "-s", "y", "--profile", "other"], &[]);
    assert_eq!(
        (both.code, both.stderr.lines().next()),
        (
            1,
            Some("--access-key and --profile may not both be provided")
        )
    );
}

/// They never appear in another process, a log or a file, not even in a run with faults.
#[test]
fn no_secret_is_printed_or_handed_to_another_program() {
    let server = Server::start();
    let proxy = Proxy::start(server.address, Slowness::default());
    let work = folder();
    let trace = work.path().join("trace");
    let url = proxy.url();
    let traced = |name: &str, more: &[&str]| {
        proxy.set_rules(vec![Rule::error(
            "",
            "part.03",
            Some(1),
            500,
            "InternalError",
        )]);
        let mut strace = Command::new("strace");
        let _ = end_to_end::isolate(&mut strace)
            .args(["-f", "-s", "100000", "-e", "trace=execve,execveat", "-o"])
            .arg(&trace)
            .arg(end_to_end::command_path(name))
            .args(["-b", BUCKET, "--url", &url, "--debug", "--retry"])
            .args(more)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_SESSION_TOKEN", "token/of+somebody=");
        let result = outcome(&mut strace);
        assert_eq!(result.code, 0, "{result:?}");
        assert!(result.stderr.contains("DEBUG"));
        result.stdout + &result.stderr + &fs::read_to_string(&trace).unwrap()
    };
    let to = folder();
    let everything = traced("ec2-upload-bundle", &["-m", &manifest()])
        + &traced(
            "ec2-download-bundle",
            &["-k", &private_key(), "-d", to.path().to_str().unwrap()],
        )
        + &traced("ec2-delete-bundle", &["-m", &manifest(), "-y"]);
    for secret in [
        SECRET_KEY,
        "token/of+somebody=",
        "Signature=",
        "Credential=",
    ] {
        assert!(
            !everything.contains(secret),
            "{secret} was printed, or handed on"
        );
    }
    assert!(everything.contains("Server.InternalError(500)"));
}

#[test]
fn a_profile_says_which_endpoints_are_asked() {
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let work = folder();
    let url = server.url();
    let keys = format!("aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    let configuration = work.path().join("config");
    let text = format!(
        "[profile own]\n{keys}services = here\n\
         [profile all]\n{keys}endpoint_url = {url}\n\
         [profile fips]\n{keys}use_fips_endpoint = true\n\
         [profile dual]\n{keys}use_dualstack_endpoint = true\n\
         [profile both]\n{keys}use_fips_endpoint = true\nuse_dualstack_endpoint = true\n\
         [profile none]\n{keys}services = here\nignore_configured_endpoint_urls = true\n\
         [services here]\ns3 =\n  endpoint_url = {url}\n"
    );
    fs::write(&configuration, text).unwrap();
    // Nobody answers there; what is asked for is noted.
    let (proxy, asked) = tls::tunnels(server.address);
    let upload = |profile: &str, more: &[&str]| {
        let manifest = manifest();
        let arguments = [
            "-b",
            BUCKET,
            "-m",
            &manifest,
            "--batch",
            "--profile",
            profile,
        ];
        let mut upload = command("ec2-upload-bundle", &[&arguments[..], more].concat());
        let _ = upload
            .env("AWS_CONFIG_FILE", &configuration)
            .env("HTTPS_PROXY", format!("http://{proxy}"));
        let result = outcome(&mut upload);
        (result, std::mem::take(&mut *asked.lock().unwrap()))
    };
    for profile in ["own", "all"] {
        let (result, asked) = upload(profile, &[]);
        assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{profile}");
        assert!(asked.is_empty(), "{profile}: {asked:?}");
        assert_same_files(&bundle_files(&bucket), &bundle_files(&small_parts()));
        for name in names(&bucket) {
            fs::remove_file(bucket.join(name)).unwrap();
        }
    }
    for (profile, host) in [
        ("fips", "s3-fips.eu-west-1.amazonaws.com"),
        ("dual", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("both", "s3-fips.dualstack.eu-west-1.amazonaws.com"),
        ("none", "s3.eu-west-1.amazonaws.com"),
    ] {
        let (result, mut asked) = upload(profile, &["--region", "eu-west-1"]);
        assert_eq!(result.code, 3, "{profile}: {result:?}");
        asked.dedup();
        assert_eq!(asked, [format!("CONNECT {host}:443 HTTP/1.1")], "{profile}");
        assert!(names(&bucket).is_empty());
    }
}

#[test]
fn tls_trusts_the_given_authority_and_goes_through_the_proxy() {
    let server = Server::start();
    let work = folder();
    let secure = tls::terminate(server.address, work.path());
    let (proxy, asked) = tls::tunnels(secure);
    let through = format!("http://{proxy}");
    let authority = work.path().join("ca.pem");
    let upload = |url: &str, variables: &[(&str, &str)]| {
        let mut command = with_keys("ec2-upload-bundle", url, &["-m", &manifest()]);
        outcome(command.envs(variables.iter().copied()))
    };
    let direct = format!("https://localhost:{}", secure.port());
    let trusted = ("AWS_CA_BUNDLE", authority.to_str().unwrap());
    let refused = upload(&direct, &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("UnknownIssuer"), "{refused:?}");
    assert_eq!(upload(&direct, &[trusted]).code, 0);
    // Nothing listens on that port: the server can be reached only through the proxy.
    let proxied = upload("https://localhost:1", &[trusted, ("HTTPS_PROXY", &through)]);
    assert_eq!(proxied.code, 0, "{proxied:?}");
    let names = asked.lock().unwrap().clone();
    assert!(
        !names.is_empty()
            && names
                .iter()
                .all(|line| line == "CONNECT localhost:1 HTTP/1.1"),
        "{names:?}"
    );
    let not_proxied = upload(
        &direct,
        &[
            trusted,
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
            ("NO_PROXY", "localhost"),
        ],
    );
    assert_eq!(not_proxied.code, 0, "{not_proxied:?}");
    let empty = work.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    for file in [empty, "/dev/null"] {
        let useless = upload(&direct, &[("AWS_CA_BUNDLE", file)]);
        assert_eq!(
            (useless.code, useless.stderr),
            (
                254,
                format!("ERROR: AWS_CA_BUNDLE names {file}, which holds no certificates in PEM\n")
            )
        );
    }
}
