"""`wonderq cluster start`: a node of a cluster. It runs a broker for each shard that it owns."""
