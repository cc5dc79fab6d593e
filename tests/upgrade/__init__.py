"""Upgrades from earlier versions, which are built from the history of the repository, and the way back."""
