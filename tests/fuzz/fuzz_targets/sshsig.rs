//! The readers of armored SSH and OpenPGP signatures: no input panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(signature) = lychgate::keyring::sshsig::parse(data) {
        let _ = signature.fits(data);
        let _ = signature.certificate.map(|certificate| certificate.fits());
    }
    let _ = lychgate::keyring::openpgp::read_signature(data);
});
