"""A disk that forgets: every state that a power cut could leave of a folder, opened by the real recovery."""
