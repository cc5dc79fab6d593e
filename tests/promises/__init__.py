"""A second checker: it holds a running broker to the sentences of docs/SEMANTICS.md, over REST and SQS.

It shares nothing with the broker or with the checker of `tests.support.history`. Each scenario is one promise: it quotes the
sentences, puts a load on queues of its own, and judges the journal of requests and answers.

    python -m tests.promises --minutes 60 [--seed S] [--only NAME]
"""
