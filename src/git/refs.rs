//! Reading refs: loose and packed, symbolic ones followed.

use super::store::oid_of;
use super::{outage, printable};
use crate::port::Outage;
use crate::push::{Oid, RefName};
use gix::refs::{FullNameRef, Target, file};

/// How many symbolic refs may follow each other; Git's own limit.
const SYMREF_DEPTH: usize = 5;

/// Where a ref stands; `None` if it, or what it points at, does not exist.
pub(super) fn target(store: &file::Store, name: &str) -> Result<Option<Oid>, Outage> {
    let mut name = name.to_owned();
    for _ in 0..=SYMREF_DEPTH {
        match look_up(store, &name)? {
            None => return Ok(None),
            Some(Target::Object(id)) => return Ok(Some(oid_of(&id))),
            Some(Target::Symbolic(next)) => name = next.as_bstr().to_string(),
        }
    }
    Err(unreadable(
        store,
        &name,
        "symbolic refs point at each other in a circle",
    ))
}

/// Whether `packed-refs` has the ref at `oid`, and nobody is changing that file.
///
/// So Git leaves things before it removes a loose ref that it has just packed. Where a ref is really deleted, Git
/// has locked the file by the time that it asks the hook.
pub(super) fn is_packed(store: &file::Store, name: &str, oid: Oid) -> Result<bool, Outage> {
    if store.common_dir_resolved().join("packed-refs.lock").exists() {
        return Ok(false);
    }
    let full = <&FullNameRef>::try_from(name).map_err(|e| unreadable(store, name, e))?;
    let packed = store.open_packed_buffer().map_err(|e| unreadable(store, name, e))?;
    let Some(packed) = packed else { return Ok(false) };
    let found = packed.try_find(full).map_err(|e| unreadable(store, name, e))?;
    Ok(found.is_some_and(|reference| oid_of(&reference.target()) == oid))
}

fn look_up(store: &file::Store, name: &str) -> Result<Option<Target>, Outage> {
    let full = <&FullNameRef>::try_from(name).map_err(|e| unreadable(store, name, e))?;
    let found = store
        .try_find(full.as_partial_name())
        .map_err(|e| unreadable(store, name, e))?;
    // gix also tries refs/tags/<name> and the like: another ref is not this ref.
    Ok(found.filter(|r| r.name.as_bstr() == name).map(|r| r.target))
}

/// The refs under a prefix that ends with `/`, sorted by name.
pub(super) fn list(store: &file::Store, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage> {
    let failed = |e: &dyn std::fmt::Display| unreadable(store, prefix, e);
    let platform = store.iter().map_err(|e| failed(&e))?;
    let path = <&gix::path::RelativePath>::try_from(prefix).map_err(|e| failed(&e))?;
    let mut refs = Vec::new();
    for reference in platform.prefixed(path).map_err(|e| failed(&e))? {
        let reference = reference.map_err(|e| failed(&e))?;
        let Some(name) = printable_name(reference.name.as_bstr()) else {
            continue;
        };
        let oid = match reference.target {
            Target::Object(id) => Some(oid_of(&id)),
            Target::Symbolic(next) => target(store, &next.as_bstr().to_string())?,
        };
        refs.extend(oid.map(|oid| (name, oid)));
    }
    refs.sort();
    Ok(refs)
}

fn printable_name(raw: &[u8]) -> Option<RefName> {
    std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok())
}

fn unreadable(store: &file::Store, name: &str, why: impl std::fmt::Display) -> Outage {
    outage(
        "ref-unreadable",
        format!("cannot read {} in {}", name.escape_debug(), printable(store.git_dir())),
        why.to_string(),
        "check it with git show-ref",
    )
}
