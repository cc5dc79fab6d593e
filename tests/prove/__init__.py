"""All long proofs on one version, and their report."""
