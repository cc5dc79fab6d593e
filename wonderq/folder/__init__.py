"""Tools for a broker's folder. They return data and print nothing; most need the broker to be stopped."""
