//! Adapter: keys and signatures: sequoia-openpgp, ssh-key, gpgme.
