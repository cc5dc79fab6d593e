"""Tools for the logs of a cluster: copy, check and restore them, and replace a machine. They print nothing."""
