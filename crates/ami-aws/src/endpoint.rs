//! Which endpoints the environment and the profile ask for (AWS SDKs and tools reference guide, "Service-specific endpoints", "FIPS
//! endpoints", "Dual-stack endpoints").

use std::borrow::Cow;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env, Fs};
use tracing::debug;

/// A server used in place of AWS's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredEndpoint {
    /// The setting that names it, for errors: `AWS_ENDPOINT_URL_S3`, or `endpoint_url of the profile dev`.
    pub setting: String,
    /// Its URL, as it was given.
    pub url: String,
}

/// Which of a region's endpoints is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointKind {
    /// The FIPS endpoint.
    pub fips: bool,
    /// The dual-stack endpoint (IPv4 and IPv6).
    pub dual_stack: bool,
}

/// What the environment and a profile say about endpoints.
pub struct EndpointSettings {
    env: Env,
    sections: EnvConfigSections,
}

impl EndpointSettings {
    /// Reads the profile of that name, or the environment's. Files that cannot be read are ignored: the search for credentials reports
    /// them.
    pub fn load(profile: Option<&str>) -> Self {
        Self::load_from(Env::real(), &Fs::real(), profile)
    }

    fn load_from(env: Env, fs: &Fs, profile: Option<&str>) -> Self {
        let sections = sections(&env, fs, profile);
        let sections = sections.unwrap_or_else(|reason| {
            debug!("no profile says anything about endpoints: {reason}");
            EnvConfigSections::default()
        });
        Self { env, sections }
    }

    /// The endpoint of a service (`S3`, `EC2`), from the first of: the service's own variable, the variable for all services, the profile's
    /// section for the service, the profile's setting for all. `ignore_configured_endpoint_urls` disables all four.
    pub fn url(&self, service: &str) -> Option<ConfiguredEndpoint> {
        if self.asks(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        ) {
            return None;
        }
        self.url_of_environment(service)
            .or_else(|| self.url_of_profile(service))
    }

    fn url_of_environment(&self, service: &str) -> Option<ConfiguredEndpoint> {
        let general = "AWS_ENDPOINT_URL".to_owned();
        let of_service = format!("{general}_{service}");
        [of_service, general].into_iter().find_map(|setting| {
            let url = self.env.get(&setting).ok();
            let url = url.filter(|url| !url.is_empty())?;
            Some(ConfiguredEndpoint { setting, url })
        })
    }

    fn url_of_profile(&self, service: &str) -> Option<ConfiguredEndpoint> {
        let value = EnvConfigValue::new()
            .profile("endpoint_url")
            .service_id(service);
        let (url, _) = value.load(&self.env, Some(&self.sections))?;
        let setting = format!(
            "endpoint_url of the profile {}",
            self.sections.selected_profile()
        );
        (!url.is_empty()).then(|| ConfiguredEndpoint {
            setting,
            url: url.into_owned(),
        })
    }

    /// Which of AWS's own endpoints are asked for.
    pub fn kind(&self) -> EndpointKind {
        EndpointKind {
            fips: self.asks("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            dual_stack: self.asks("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        }
    }

    fn asks(&self, variable: &str, key: &str) -> bool {
        let value = EnvConfigValue::new().env(variable).profile(key);
        let value = value.load(&self.env, Some(&self.sections));
        value.is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"))
    }
}

fn sections(env: &Env, fs: &Fs, profile: Option<&str>) -> Result<EnvConfigSections, String> {
    let files = EnvConfigFiles::default();
    // The SDK's function is asynchronous, but never waits.
    let mut loading = pin!(source::load(env, fs, &files));
    let Poll::Ready(loaded) = loading
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    else {
        return Err("reading them takes too long".to_owned());
    };
    let mut source = loaded.map_err(|error| error.to_string())?;
    if let Some(profile) = profile {
        source.profile = Cow::Owned(profile.to_owned());
    }
    EnvConfigSections::parse(source).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\nendpoint_url = http://default\n\
        [profile dev]\nservices = local\nuse_fips_endpoint = true\n\
        [profile off]\nservices = local\nignore_configured_endpoint_urls = true\n\
        [profile dual]\nuse_dualstack_endpoint = TRUE\n\
        [services local]\ns3 =\n  endpoint_url = http://s3-of-dev\n";

    fn settings(env: &[(&str, &str)], profile: Option<&str>) -> EndpointSettings {
        let env = [env, &[("AWS_CONFIG_FILE", "/config")]].concat();
        let fs = Fs::from_slice(&[("/config", FILE)]);
        EndpointSettings::load_from(Env::from_slice(&env), &fs, profile)
    }

    fn url(settings: &EndpointSettings, service: &str) -> Option<(String, String)> {
        let found = settings.url(service);
        found.map(|found| (found.setting, found.url))
    }

    fn some(setting: &str, url: &str) -> Option<(String, String)> {
        Some((setting.to_owned(), url.to_owned()))
    }

    #[test]
    fn the_environment_comes_before_the_profile_and_a_service_before_all() {
        let of_default = settings(&[], None);
        let expected = some("endpoint_url of the profile default", "http://default");
        assert_eq!(url(&of_default, "S3"), expected);
        let of_dev = settings(&[], Some("dev"));
        let expected = some("endpoint_url of the profile dev", "http://s3-of-dev");
        assert_eq!(url(&of_dev, "S3"), expected);
        assert_eq!(url(&of_dev, "EC2"), None);

        let general = [("AWS_ENDPOINT_URL", "http://all")];
        let of_environment = settings(&general, Some("dev"));
        let expected = some("AWS_ENDPOINT_URL", "http://all");
        assert_eq!(url(&of_environment, "S3"), expected);
        let both = [general[0], ("AWS_ENDPOINT_URL_S3", "http://s3")];
        let of_both = settings(&both, None);
        assert_eq!(
            url(&of_both, "S3"),
            some("AWS_ENDPOINT_URL_S3", "http://s3")
        );
        assert_eq!(url(&of_both, "EC2"), expected);
        let empty = settings(&[("AWS_ENDPOINT_URL_S3", "")], None);
        assert_eq!(
            url(&empty, "S3"),
            some("endpoint_url of the profile default", "http://default")
        );
    }

    #[test]
    fn a_profile_is_chosen_by_name_or_by_the_environment() {
        let by_environment = settings(&[("AWS_PROFILE", "dev")], None);
        assert_eq!(by_environment.sections.selected_profile(), "dev");
        let by_name = settings(&[("AWS_PROFILE", "dev")], Some("default"));
        assert_eq!(by_name.sections.selected_profile(), "default");
    }

    #[test]
    fn endpoints_can_be_ignored() {
        let general = ("AWS_ENDPOINT_URL", "http://all");
        assert_eq!(url(&settings(&[general], Some("off")), "S3"), None);
        let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(url(&settings(&[general, ignore], Some("dev")), "S3"), None);
    }

    #[test]
    fn kinds_come_from_the_environment_or_the_profile() {
        let kind = |env: &[_], profile| {
            let kind = settings(env, profile).kind();
            (kind.fips, kind.dual_stack)
        };
        assert_eq!(kind(&[], None), (false, false));
        assert_eq!(kind(&[], Some("dev")), (true, false));
        assert_eq!(kind(&[], Some("dual")), (false, true));
        assert_eq!(
            kind(&[("AWS_USE_FIPS_ENDPOINT", "True")], None),
            (true, false)
        );
        assert_eq!(
            kind(&[("AWS_USE_FIPS_ENDPOINT", "false")], Some("dev")),
            (false, false)
        );
        assert_eq!(
            kind(&[("AWS_USE_DUALSTACK_ENDPOINT", "1")], None),
            (false, false)
        );
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_ignored() {
        let env = Env::from_slice(&[("AWS_CONFIG_FILE", "/config")]);
        let fs = Fs::from_slice(&[("/config", "[default\n")]);
        let settings = EndpointSettings::load_from(env, &fs, None);
        assert_eq!(settings.url("S3"), None);
        assert_eq!(settings.kind(), EndpointKind::default());
    }
}
