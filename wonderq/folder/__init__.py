"""Tools for the folder of a stopped broker. They return data and print nothing."""
