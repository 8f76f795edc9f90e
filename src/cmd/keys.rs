//! `lychgate keys`: who may sign. Adds, lists, revokes and removes keys of one repository's keyring.

use super::error::{CommandError, Outcome};
use super::home::Home;
use super::output::{Format, Output};
use super::publish;
use crate::keyring::{Added, Binding, ChangeError, FolderKeyring, KeyInfo, KeyKind, MAX_KEY_BYTES, Reason};
use crate::push::Timestamp;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Arguments of `lychgate keys`.
#[derive(Debug, clap::Args)]
pub struct KeysArgs {
    /// The repository: its Git directory or work tree [default: that of the current folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// What to do
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What to do with the keyring.
#[derive(Debug, clap::Subcommand)]
pub enum KeysAction {
    /// Add a public key: OpenPGP (armored or binary), or an SSH .pub file
    Add(AddArgs),
    /// List the keys, and say which cannot sign now
    List,
    /// Refuse a key's signatures from now on; the key stays listed
    Revoke(RevokeArgs),
    /// Forget a key: its signatures become those of an unknown key
    Remove {
        /// The key, as `lychgate keys list` prints it
        fingerprint: String,
    },
}

/// Arguments of `lychgate keys add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The file with one public key
    pub file: PathBuf,
    /// The account that signs with it, by the name that the server gives it
    #[arg(long, value_name = "NAME", required_unless_present = "cert_authority")]
    pub account: Option<String>,
    /// An e-mail address that it may sign for; may be repeated [default for OpenPGP: its user ids']
    #[arg(long, value_name = "ADDRESS")]
    pub email: Vec<String>,
    /// The key is an SSH certificate authority: the keys that it certifies may sign
    #[arg(long, requires = "principal", conflicts_with_all = ["account", "email"])]
    pub cert_authority: bool,
    /// A principal that the authority may certify, as an account's name; `*` stands for any text; may be repeated
    #[arg(long, value_name = "PATTERN", requires = "cert_authority")]
    pub principal: Vec<String>,
    /// An SSH key may sign from this receive time on, such as 2026-11-24T07:30:46Z
    #[arg(long, value_name = "TIME")]
    pub valid_after: Option<Timestamp>,
    /// An SSH key may sign until this receive time
    #[arg(long, value_name = "TIME")]
    pub valid_before: Option<Timestamp>,
}

/// Arguments of `lychgate keys revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// The key, as `lychgate keys list` prints it; also an SSH key that an authority certified
    pub fingerprint: String,
    /// Why; a compromised key is refused whatever time its signature claims
    #[arg(long, value_enum)]
    pub reason: Why,
    /// From which receive time on, for superseded and retired keys [default: now]
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Revoke only this certificate of an SSH authority, by its serial number
    #[arg(long, value_name = "NUMBER", conflicts_with = "from")]
    pub serial: Option<u64>,
}

/// Why a key is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Why {
    /// Someone else may have it
    Compromised,
    /// Another key takes its place
    Superseded,
    /// Its holder signs no more
    Retired,
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        match why {
            Why::Compromised => Self::Compromised,
            Why::Superseded => Self::Superseded,
            Why::Retired => Self::Retired,
        }
    }
}

/// Runs the command at `now`.
///
/// # Errors
/// [`CommandError::Usage`] for what the operator gave, such as `private-key`, `unknown-key`, `not-installed`;
/// [`CommandError::Outage`] if the keyring cannot be read or written.
pub fn run(args: &KeysArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let home = Home::find(args.repo.as_deref())?;
    let keyring = FolderKeyring::open(&home.keyring());
    let mut unread = Vec::new();
    let text = match &args.action {
        KeysAction::Add(add) => {
            let keyring = FolderKeyring::create(&home.keyring())?;
            let added = keyring.add(&read(&add.file)?, &binding(add)?, now)?;
            print(args.format, &added, added_text)
        }
        KeysAction::List => {
            let (keys, outages) = keyring.list(now)?;
            unread = outages;
            print(args.format, &keys, |keys| list_text(keys))
        }
        KeysAction::Revoke(revoke) => print(args.format, &revoked(&keyring, revoke, now)?, Clone::clone),
        KeysAction::Remove { fingerprint } => {
            keyring.remove(fingerprint)?;
            print(args.format, &format!("removed {fingerprint}"), Clone::clone)
        }
    };
    out.line(text);
    if !matches!(args.action, KeysAction::List) {
        publish::refresh(&home, out);
    }
    let last = unread.pop();
    for outage in unread {
        out.note(CommandError::from(outage).to_string());
    }
    last.map_or(Ok(Outcome::Yes), |outage| Err(outage.into()))
}

fn print<T: serde::Serialize>(format: Format, value: &T, text: impl Fn(&T) -> String) -> String {
    match format {
        Format::Text => text(value),
        Format::Json => serde_json::json!(value).to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(e) => Err(CommandError::usage(
            "unreadable-file",
            format!("cannot read {}: {e}", path.display()),
            "give the path of a public key file",
        )),
    }
}

fn binding(add: &AddArgs) -> Result<Binding, CommandError> {
    // clap leaves out `requires` where the required argument conflicts with a present one.
    if !add.principal.is_empty() && !add.cert_authority {
        let next = "add --cert-authority, or leave out --principal";
        let what = "--principal is for a certificate authority";
        return Err(CommandError::usage("not-an-authority", what, next));
    }
    Ok(Binding {
        account: add.account.clone(),
        emails: add.email.clone(),
        principals: add.principal.clone(),
        valid_after: add.valid_after,
        valid_before: add.valid_before,
    })
}

fn revoked(keyring: &FolderKeyring, args: &RevokeArgs, now: Timestamp) -> Result<String, CommandError> {
    let fingerprint = &args.fingerprint;
    if let Some(serial) = args.serial {
        keyring.revoke_serial(fingerprint, serial)?;
        return Ok(format!("revoked certificate {serial} of authority {fingerprint}"));
    }
    if keyring.revoke(fingerprint, args.reason.into(), args.from.unwrap_or(now), now)? {
        return Ok(format!("revoked {fingerprint}"));
    }
    Ok(format!(
        "revoked {fingerprint}, which the keyring does not hold itself: \
         it is refused if an authority certified it"
    ))
}

/// What `keys add` prints.
pub fn added_text(added: &Added) -> String {
    let key = &added.key;
    let verb = if added.replaced { "updated" } else { "added" };
    let mut text = format!("{verb} {} for {}", key.fingerprint, holder(key));
    if let Some(why) = &key.unusable {
        text += &format!("\nwarning: no signature by it is accepted at present: {why}");
    }
    text
}

/// What `keys list` prints: one line a key.
pub fn list_text(keys: &[KeyInfo]) -> String {
    if keys.is_empty() {
        return "no keys; add one: lychgate keys add FILE --account NAME".to_owned();
    }
    let lines: Vec<String> = keys.iter().map(line).collect();
    lines.join("\n")
}

fn line(key: &KeyInfo) -> String {
    let kind = match key.kind {
        KeyKind::Openpgp => "openpgp",
        KeyKind::Ssh => "ssh",
        KeyKind::SshAuthority => "ssh-authority",
        KeyKind::SshRevoked => "ssh-revoked",
    };
    let state = match &key.unusable {
        None => "may sign".to_owned(),
        Some(why) => format!("cannot sign: {why}"),
    };
    format!("{kind:<13}  {}  {}  {state}", key.fingerprint, holder(key))
}

fn holder(key: &KeyInfo) -> String {
    match (&key.account, key.kind) {
        (Some(account), _) if key.emails.is_empty() => account.clone(),
        (Some(account), _) => format!("{account} <{}>", key.emails.join(", ")),
        (None, KeyKind::SshAuthority) => format!("principals {}", key.principals.join(", ")),
        (None, _) => "no account".to_owned(),
    }
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused { code, why, next } => Self::usage(code, why, next),
            ChangeError::Outage(outage) => Self::Outage(outage),
        }
    }
}
