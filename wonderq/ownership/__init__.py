"""The ownership of a log that several processes share, and the life of the others meanwhile.

All processes have the same settings. One owns the log: it runs the broker. The others stand by: they read the log as it
grows, and answer every request with 503. When the owner is not heard any more, one of them takes over.

A process is the owner because its epoch record is the newest in the log (`wonderq_storage.jetstream_takeover`), and not
because of anything here. This package only decides when a process tries. A wrong decision costs the clients a second,
and no message.

**Modules.** `announcements` is what the processes tell each other. `neighbours` is what one process has heard. `member`
decides when to take over. `node` runs the broker while its process is the owner. `front` answers requests when there is
no broker, and those that a broker could not answer at present. `metrics` shows all of it.
"""
