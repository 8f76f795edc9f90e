//! One armored signature and nothing else: the frame that both verifiers must see alike.
//!
//! Looks only at the frame. What is inside is read by `keyring`.

use super::{MAX_SIGNATURE_BYTES, Malformed, SignatureFormat};

/// First lines that Git takes for the start of a signature, known to us or not.
const BEGINS: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
];

/// Armor headers that OpenPGP names; none changes what the block means.
/// <https://www.rfc-editor.org/rfc/rfc9580#section-6.2.2>
const ARMOR_HEADERS: [&[u8]; 5] = [b"Version", b"Comment", b"MessageID", b"Hash", b"Charset"];

/// Where the only line stands that Git would take for the start of a signature.
///
/// # Errors
/// `several-signatures` if there are more.
pub(super) fn only_begin(body: &[u8]) -> Result<Option<usize>, Malformed> {
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', body).map(|at| at + 1));
    let mut begins = starts.filter(|&at| BEGINS.iter().any(|begin| body[at..].starts_with(begin)));
    let first = begins.next();
    match begins.next() {
        None => Ok(first),
        Some(_) => Err(Malformed::new(
            "several-signatures",
            "more than one armored signature begins in the message",
        )),
    }
}

/// Checks that a text is exactly one armored signature, and says of which format.
///
/// One empty line after the block is allowed: GitHub's own commits have it.
/// A line ends with a line feed alone.
///
/// # Errors
/// `signature-too-large`, `unknown-signature-format`, `several-signatures`, `bad-armor`.
pub(super) fn check(signature: &[u8]) -> Result<SignatureFormat, Malformed> {
    if signature.len() > MAX_SIGNATURE_BYTES {
        let why = format!("the signature is larger than {MAX_SIGNATURE_BYTES} bytes");
        return Err(Malformed::new("signature-too-large", why));
    }
    let text = signature.strip_suffix(b"\n").unwrap_or(signature);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
    let (format, end): (_, &[u8]) = match lines[0] {
        b"-----BEGIN PGP SIGNATURE-----" => (SignatureFormat::Openpgp, b"-----END PGP SIGNATURE-----"),
        b"-----BEGIN SSH SIGNATURE-----" => (SignatureFormat::Ssh, b"-----END SSH SIGNATURE-----"),
        _ => {
            return Err(Malformed::new(
                "unknown-signature-format",
                "the signature is neither an armored OpenPGP nor an armored SSH signature",
            ));
        }
    };
    let inner = match lines.iter().position(|&line| line == end) {
        Some(at) if at + 1 == lines.len() => &lines[1..at],
        Some(_) => return Err(after_end(&lines)),
        None => {
            return Err(Malformed::new(
                "bad-armor",
                "the signature's last line is not its END line",
            ));
        }
    };
    let data = match format {
        SignatureFormat::Openpgp => without_headers(inner)?,
        SignatureFormat::Ssh => inner,
    };
    if data.is_empty() || !data.iter().all(|line| base64_line(line)) {
        return Err(Malformed::new("bad-armor", "a line of the signature is not Base64"));
    }
    Ok(format)
}

fn after_end(lines: &[&[u8]]) -> Malformed {
    let again = |line: &&&[u8]| BEGINS.iter().any(|begin| line.starts_with(begin));
    if lines.iter().filter(again).count() > 1 {
        return Malformed::new(
            "several-signatures",
            "the signature header holds more than one signature",
        );
    }
    Malformed::new("bad-armor", "bytes follow the signature's END line")
}

/// The lines after the armor headers and the empty line that must end them.
fn without_headers<'a, 'b>(inner: &'a [&'b [u8]]) -> Result<&'a [&'b [u8]], Malformed> {
    let bad = || {
        Malformed::new(
            "bad-armor",
            "the armor's headers are not well-formed or no empty line ends them",
        )
    };
    let empty = inner.iter().position(|line| line.is_empty()).ok_or_else(bad)?;
    let known = |line: &&[u8]| {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        let rest = line.get(name.len()..).unwrap_or_default();
        ARMOR_HEADERS.contains(&name) && rest.starts_with(b": ") && rest.iter().all(|b| (0x20..0x7f).contains(b))
    };
    if inner[..empty].iter().all(known) {
        Ok(&inner[empty + 1..])
    } else {
        Err(bad())
    }
}

/// One line of Base64 or an OpenPGP checksum (`=` and four characters): at most 76 characters.
fn base64_line(line: &[u8]) -> bool {
    let good = |&b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    (1..=76).contains(&line.len()) && line.iter().all(good)
}
