//! `.gitleaksignore`: findings by place, `commit:file:rule:line` or `file:rule:line`.

use crate::report::Item;

/// The lines of a `.gitleaksignore`.
#[derive(Debug, Default)]
pub struct Ignored {
    lines: Vec<Line>,
    /// `file:line: why` of what is no such line.
    pub not_honoured: Vec<String>,
}

#[derive(Debug)]
struct Line {
    commit: Option<String>,
    path: String,
    line: u32,
}

impl Ignored {
    /// Reads the file's text. Rules are not compared: their names are not ours.
    pub fn parse(file: &str, text: &str) -> Self {
        let mut this = Self::default();
        for (at, text) in (1..).zip(text.lines().take(1_000_000)) {
            let text = text.split(" #").next().unwrap_or(text).trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match read(text) {
                Some(line) => this.lines.push(line),
                None => this
                    .not_honoured
                    .push(format!("{file}:{at}: not commit:file:rule:line and not file:rule:line")),
            }
        }
        this
    }

    /// Whether a finding is ignored: the file and line are the same, and so is the commit if the line has one.
    pub fn ignores(&self, item: &Item) -> bool {
        let commit = item.history.as_ref().and_then(|h| h.commit).map(|oid| oid.to_string());
        let path = item.path.trim_start_matches("./");
        self.lines.iter().any(|line| {
            line.line == item.start_line
                && line.path == path
                && line
                    .commit
                    .as_ref()
                    .is_none_or(|wanted| commit.as_ref() == Some(wanted))
        })
    }
}

fn read(text: &str) -> Option<Line> {
    let (rest, line) = text.rsplit_once(':')?;
    let (rest, rule) = rest.rsplit_once(':')?;
    let line = line.parse().ok()?;
    if rule.is_empty() || rest.is_empty() {
        return None;
    }
    let commit = rest
        .split_once(':')
        .filter(|(oid, _)| matches!(oid.len(), 40 | 64) && oid.bytes().all(|b| b.is_ascii_hexdigit()));
    let (commit, path) = match commit {
        Some((oid, path)) => (Some(oid.to_ascii_lowercase()), path),
        None => (None, rest),
    };
    Some(Line {
        commit,
        path: path.trim_start_matches("./").to_owned(),
        line,
    })
}
