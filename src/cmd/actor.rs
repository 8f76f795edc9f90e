//! Who pushes, by the identity variables of the server that runs the hook.
//!
//! The variables are set by the server software; a pusher cannot set them unless the server lets clients pass
//! environment through, which `init --check` looks for. Two servers' variables at once are refused: nobody
//! could say whom to believe.

use super::error::CommandError;
use crate::port::Outage;
use crate::push::{Actor, Server};

/// Looks a variable up; empty values count as unset.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// (server, its account variable, a second variable that must be there too, its protocol variable).
const SERVERS: [(Server, &str, Option<&str>, Option<&str>); 7] = [
    (Server::Gitlab, "GL_USERNAME", Some("GL_ID"), Some("GL_PROTOCOL")),
    (Server::Ghes, "GITHUB_USER_LOGIN", None, Some("GITHUB_VIA")),
    (Server::Gitea, "GITEA_PUSHER_NAME", None, None),
    (Server::Gitolite, "GL_USER", Some("GL_REPO"), None),
    (Server::Bitbucket, "BB_USER_NAME", None, None),
    (
        Server::Phorge,
        "PHABRICATOR_USER",
        None,
        Some("PHABRICATOR_REMOTE_PROTOCOL"),
    ),
    (Server::HttpBackend, "REMOTE_USER", None, None),
];

/// The actor; the operating system's account where no server says more.
///
/// # Errors
/// Outage `actor-ambiguous` when variables of two servers are set.
pub fn actor(lookup: Lookup<'_>, account: impl FnOnce() -> String) -> Result<Actor, CommandError> {
    let present = SERVERS.iter().filter_map(|(server, name, also, protocol)| {
        let name = lookup(name)?;
        also.map_or(Some(()), |also| lookup(also).map(|_| ()))?;
        let protocol = protocol.and_then(lookup);
        Some(Actor {
            server: *server,
            name: bounded(name),
            protocol: protocol.map(bounded),
        })
    });
    let mut present: Vec<Actor> = present.collect();
    // A forge behind a web server has the web server's REMOTE_USER too: the forge knows better.
    if present.len() > 1 {
        present.retain(|actor| actor.server != Server::HttpBackend);
    }
    if present.len() > 1 {
        return Err(CommandError::Outage(Outage {
            code: "actor-ambiguous",
            what: "cannot tell who pushes".into(),
            why: format!(
                "identity variables of {:?} and {:?} are both set",
                present[0].server, present[1].server
            ),
            next: "unset those of the server that does not run this hook".into(),
        }));
    }
    Ok(present.pop().unwrap_or_else(|| Actor {
        server: Server::Plain,
        name: account(),
        protocol: None,
    }))
}

/// Whether GitLab runs this hook, as far as a failed hook needs to know how GitLab shows its lines.
pub fn gitlab(lookup: Lookup<'_>) -> Option<Server> {
    let told = lookup("GL_ID").is_some() && lookup("GL_USERNAME").is_some();
    told.then_some(Server::Gitlab)
}

/// The push options that the client sent: at most 64 of at most 1,024 bytes, the rest is cut.
///
/// <https://git-scm.com/docs/githooks#pre-receive>
pub fn options(lookup: Lookup<'_>) -> Vec<String> {
    let count: usize = lookup("GIT_PUSH_OPTION_COUNT")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    (0..count.min(64))
        .filter_map(|at| lookup(&format!("GIT_PUSH_OPTION_{at}")))
        .map(bounded)
        .collect()
}

fn bounded(mut text: String) -> String {
    let end = (0..=text.len().min(1024))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn ask(pairs: &[(&str, &str)]) -> Result<Actor, CommandError> {
        let map: HashMap<&str, &str> = pairs.iter().copied().collect();
        actor(&|name| map.get(name).map(|v| (*v).to_owned()), || "os-account".into())
    }

    #[test]
    fn each_server_is_told_by_its_variables() {
        let cases = [
            (
                &[("GL_ID", "key-1"), ("GL_USERNAME", "ann"), ("GL_PROTOCOL", "ssh")][..],
                Server::Gitlab,
                "ann",
            ),
            (&[("GITHUB_USER_LOGIN", "bob")], Server::Ghes, "bob"),
            (&[("GITEA_PUSHER_NAME", "cyd")], Server::Gitea, "cyd"),
            (&[("GL_USER", "dan"), ("GL_REPO", "r")], Server::Gitolite, "dan"),
            (&[("REMOTE_USER", "eve")], Server::HttpBackend, "eve"),
            (
                &[("REMOTE_USER", "proxy"), ("GITEA_PUSHER_NAME", "fay")],
                Server::Gitea,
                "fay",
            ),
            (&[], Server::Plain, "os-account"),
        ];
        for (env, server, name) in cases {
            let actor = ask(env).unwrap();
            assert_eq!((actor.server, actor.name.as_str()), (server, name));
        }
    }

    #[test]
    fn two_servers_at_once_are_an_outage() {
        let error = ask(&[("GITEA_PUSHER_NAME", "a"), ("GITHUB_USER_LOGIN", "b")]).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn options_are_bounded() {
        let lookup = |name: &str| {
            Some(if name == "GIT_PUSH_OPTION_COUNT" {
                "99999".into()
            } else {
                "ä".repeat(4000)
            })
        };
        let options = options(&lookup);
        assert_eq!(options.len(), 64);
        assert!(options.iter().all(|o| o.len() <= 1024));
    }
}
