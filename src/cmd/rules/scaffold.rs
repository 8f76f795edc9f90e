//! A rule file to start from.

/// A body of 32 characters that no model takes for words.
const BODY: &str = "7Kq2vZ9xW4mT8nLp3RfY6hJc5BsD1gQa";

/// A rule file with one rule of that id, which loads and finds its example as it is.
///
/// The form it has is the usual one, a prefix and 32 letters and digits; comments say what to put in its place.
/// An id or a provider that the loader refuses is written as it is: the loader says what is wrong.
pub(super) fn rule_file(id: &str, provider: Option<&str>) -> String {
    let word: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
    let word = if word.len() < 2 { "acme".to_owned() } else { word };
    let provider = provider.unwrap_or(&word);
    let (head, tail) = word.split_at(1);
    format!(
        r##"# One [[rule]] a credential; CONTRIBUTING.md explains the keys. Try it: lychgate rules test DIR

[[rule]]
id = {id:?}
provider = {provider:?}
# What the credential is, in the provider's words.
kind = "API token"
# How bad a leak is: info, low, medium, high, critical.
severity = "high"
# How sure the form alone makes: low, medium, high. High is refused by the hook.
confidence = "medium"
# The provider's own description of the form: the rule is written from it and from nothing else.
documentation = "https://{word}.example/docs/tokens"
# Where or how to revoke it.
revoke = "https://{word}.example/settings/tokens"
# The group `secret` is the credential; what stands round it is not shown as such.
regex = '\b(?P<secret>{word}_[0-9A-Za-z]{{32}})(?:[^0-9A-Za-z]|$)'
# Each match contains one of these, compared without case; the rarer, the faster.
keywords = ["{word}_"]
# Bits a character that the credential has at least; 3.5 suits 32 random characters.
entropy = 3.5
# Texts that it must find; <> is dropped, so that no scanner finds them in this file.
examples = ['token = "{head}<>{tail}_{BODY}"']
# Texts that it must not find: what its documentation and users write in its place.
counterexamples = ['token = "{word}_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"', 'token = "{word}_your_token"']
"##
    )
}
