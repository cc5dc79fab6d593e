"""WonderQ on systems other than Linux: its fallbacks, forced on Linux."""
