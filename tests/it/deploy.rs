//! What `deploy/` holds fits the program, and others' checkers accept it.
//!
//! In scope: arguments, ports, paths, users, permissions, times; systemd's, Kubernetes', a shell's and a container
//! file's own checkers. Out of scope: starting any of it.

use crate::attest::judges;
use crate::support::Scratch;
use crate::tidy::{files, read};
use std::path::Path;

/// What stands between the first `from` and the next `to`.
#[track_caller]
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("there is no {from}"));
    rest.split_once(to).unwrap().0
}

/// The texts in double quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// The files below a folder that a text names, each once.
fn below<'a>(text: &'a str, folder: &str) -> Vec<&'a str> {
    let end = |c: char| c.is_whitespace() || "\",]}'".contains(c);
    let names = text.split(folder).skip(1).map(|rest| rest.split(end).next().unwrap());
    let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

const UNIT: &str = "deploy/lychgate.service";
const IMAGE: &str = "deploy/Containerfile";
const PODS: &str = "deploy/kubernetes/deployment.yaml";
const CONFIG: &str = "deploy/kubernetes/bot.toml";

#[test]
#[cfg(feature = "bot")]
fn the_program_takes_the_arguments_and_the_configuration() {
    use crate::support::LYCHGATE;
    let (unit, image, pods) = (read(UNIT), read(IMAGE), read(PODS));
    let started = between(&unit, "ExecStart=/usr/bin/lychgate ", "\n");
    let arguments: Vec<&str> = started.split(' ').collect();
    assert_eq!(quoted(between(&image, "\nCMD [", "]")), arguments);
    assert_eq!(quoted(between(&pods, "\n          args: [", "]")), arguments);

    let scratch = Scratch::new();
    let here = scratch.path("").display().to_string();
    let config = ["/run/secrets/lychgate", "/etc/lychgate", "/var/lib/lychgate"]
        .iter()
        .fold(read(CONFIG), |text, folder| {
            text.replace(folder, here.trim_end_matches('/'))
        });
    scratch.write("bot.toml", config);
    for secret in below(&read(CONFIG), "/run/secrets/lychgate/") {
        scratch.write(secret, "ab".repeat(32));
    }
    scratch.write("policy.toml", lychgate::config::DEFAULT_POLICY);
    for kind in ["openpgp", "ssh"] {
        std::fs::create_dir_all(scratch.path("keyring").join(kind)).unwrap();
    }
    let config = scratch.path("bot.toml");
    let arguments: Vec<&str> = arguments
        .into_iter()
        .map(|each| {
            if each.starts_with('/') {
                config.to_str().unwrap()
            } else {
                each
            }
        })
        .chain(["--check-config"])
        .collect();
    let said = scratch.run(LYCHGATE, &arguments).ok();
    assert!(said.contains("is valid"), "{said}");
}

#[test]
fn ports_paths_and_users_are_the_same_everywhere() {
    let (config, pods, image) = (read(CONFIG), read(PODS), read(IMAGE));
    let port = between(&config, "listen = \"0.0.0.0:", "\"");
    assert_eq!(between(&pods, "containerPort: ", "\n"), port);
    assert_eq!(quoted(between(&pods, "prometheus.io/port: ", "\n")), [port]);
    assert_eq!(between(&image, "EXPOSE ", "\n"), port);
    let policy = read("deploy/kubernetes/network-policy.yaml");
    assert_eq!(between(&policy, "port: ", ","), port);
    assert!(read("deploy/bot.toml").contains(&format!("\nlisten = \"127.0.0.1:{port}\"")));

    let routes = read("src/server.rs");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(routes.contains(&format!(".route(\"{path}\"")), "{path}");
    }
    assert_eq!(pods.matches("path: /healthz, port: http").count(), 2);
    assert_eq!(pods.matches("path: /readyz, port: http").count(), 1);

    let user = between(&image, "\nUSER ", "\n");
    let id = user.split(':').next().unwrap();
    assert!(image.contains(&format!("-o {id} -g {id}")));
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(between(&pods, &format!("{key}: "), "\n"), id);
    }
    // Every folder that the configuration names is mounted, and every secret is made by the guide.
    let guide = read("deploy/README.md");
    let made = between(&guide, "create secret generic", "tar -cf");
    for secret in below(&config, "/run/secrets/lychgate/") {
        assert!(made.contains(&format!("--from-file={secret}")), "{secret}");
    }
    for folder in ["/run/secrets/lychgate", "/etc/lychgate", "/var/lib/lychgate", "/tmp"] {
        assert!(pods.contains(&format!("mountPath: {folder}")), "{folder}");
    }
    let of_policy = between(&guide, "configmap lychgate-policy", "\n");
    for file in below(&format!("{config}{pods}"), "/etc/lychgate/") {
        let known = file == "bot.toml" || of_policy.contains(&format!("--from-file={file}"));
        assert!(known, "{file}");
    }
}

#[test]
fn what_kills_waits_longer_than_the_drain() {
    let drain = read("src/cmd/serve.rs");
    let drain: u32 = between(&drain, "const DRAIN: Duration = Duration::from_secs(", ")")
        .parse()
        .unwrap();
    let (unit, pods) = (read(UNIT), read(PODS));
    for wait in [
        between(&unit, "TimeoutStopSec=", "\n"),
        between(&pods, "terminationGracePeriodSeconds: ", "\n"),
    ] {
        assert!(wait.parse::<u32>().unwrap() >= drain + 5, "{wait} s");
    }
    assert!(unit.contains(&format!("at most {drain} s")) && pods.contains(&format!("at most {drain} s")));
    assert!(read("deploy/README.md").contains(&format!("at most {drain} s")));
}

#[test]
fn the_receiver_hears_what_the_app_is_sent() {
    let manifest: serde_json::Value = serde_json::from_str(&read("deploy/github-app.json")).unwrap();
    let events: Vec<&str> = manifest["default_events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    // Nothing is asked for that the receiver would ignore.
    let receiver = read("src/webhook/github.rs");
    for event in &events {
        assert!(receiver.contains(&format!("\"{event}\"")), "{event}");
    }
    let hook = manifest["hook_attributes"]["url"].as_str().unwrap();
    let forge = hook.split("/hooks/").nth(1).unwrap();
    for config in [CONFIG, "deploy/bot.toml"] {
        assert!(read(config).contains(&format!("name = \"{forge}\"")), "{config}");
    }
}

#[test]
fn the_unit_is_valid_and_tight() {
    let scratch = Scratch::new();
    let program = crate::support::LYCHGATE;
    let unit = scratch.write("lychgate.service", read(UNIT).replace("/usr/bin/lychgate", program));
    let unit = unit.to_str().unwrap();
    let said = scratch.run("systemd-analyze", &["verify", unit]).ends_with(0);
    assert!(!said.stderr.contains("lychgate.service"), "{}", said.stderr);
    // 2.0 of 10: what a service that talks to others by TCP cannot do without.
    scratch
        .run(
            "systemd-analyze",
            &["security", "--offline=true", "--no-pager", "--threshold=20", unit],
        )
        .ok();
    let text = read(UNIT);
    let secrets = text.lines().filter_map(|line| line.strip_prefix("LoadCredential="));
    let secrets: Vec<(&str, &str)> = secrets.map(|line| line.split_once(':').unwrap()).collect();
    assert!(
        secrets
            .iter()
            .all(|(name, path)| *path == format!("/etc/lychgate/secrets/{name}")),
        "{secrets:?}"
    );
    let guide = read("deploy/README.md");
    for (name, _) in secrets {
        assert!(guide.contains(name), "the guide does not make {name}");
    }
}

#[test]
fn others_checkers_accept_it() {
    let (judges, scratch) = (judges(), Scratch::new());
    let run = |tool: &str, args: &[&str]| scratch.run(judges.join("venv/bin").join(tool).to_str().unwrap(), args);
    let whole = |path: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(path)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let all = files();
    let manifests: Vec<&String> = all
        .iter()
        .filter(|path| path.starts_with("deploy/kubernetes/") && path.ends_with(".yaml"))
        .filter(|path| !path.ends_with("/kustomization.yaml"))
        .collect();
    let listed = read("deploy/kubernetes/kustomization.yaml");
    for path in &manifests {
        assert!(
            listed.contains(path.rsplit('/').next().unwrap()),
            "{path} is not in kustomization.yaml"
        );
        run("kubernetes-validate", &["--strict", "--quiet", &whole(path)]).ok();
    }
    assert_eq!(manifests.len(), 6);
    // Versions of Debian's packages move with its security fixes: none is pinned.
    run("hadolint", &["--ignore", "DL3008", &whole(IMAGE)]).ok();
    let is_script = |path: &&String| {
        let text = read(path);
        let shell = text
            .lines()
            .next()
            .is_some_and(|first| first.starts_with("#!") && first.ends_with("sh"));
        shell && !path.starts_with("tests/corpus/")
    };
    let scripts: Vec<String> = all.iter().filter(is_script).map(|path| whole(path)).collect();
    assert!(scripts.len() >= 8, "{scripts:?}");
    let mut args = vec!["--external-sources", "--source-path=SCRIPTDIR", "--severity=warning"];
    args.extend(scripts.iter().map(String::as_str));
    run("shellcheck", &args).ok();
}
