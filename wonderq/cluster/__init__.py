"""A cluster: several processes (nodes) that share many queues. Each queue is in one shard, and one node owns a shard.

**Modules.** `shard_map` finds the shard of a queue. `shards` is what the parts that answer requests see of the shards.
"""
